package train

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Batch is what one step is fed: arrays by graph input, "labels" among them.
type Batch struct {
	Feeds map[string]*tensor.Tensor
	// Tokens is how many input positions the batch holds, padding not counted;
	// samples where the task has no positions. Where it is 0, it is counted.
	Tokens int
}

// Data is a set of samples. Samples are numbered from 0; any selection of them
// makes a batch. Implementations are immutable and safe for concurrent use.
type Data interface {
	Len() int
	Batch(samples []int) (Batch, error)
}

// refiller is Data that makes a batch in the memory of an earlier one, as far
// as that fits: the steps of a run then take none of their own.
type refiller interface {
	refill(b *Batch, samples []int) error
}

// batchInto is d.Batch in the memory of b, where d can do that.
func batchInto(b *Batch, d Data, samples []int) (err error) {
	if r, ok := d.(refiller); ok {
		if b.Feeds == nil {
			b.Feeds = map[string]*tensor.Tensor{}
		}
		return r.refill(b, samples)
	}
	*b, err = d.Batch(samples)
	return err
}

// refilled is a batch in memory of its own.
func refilled(d refiller, samples []int) (Batch, error) {
	b := Batch{Feeds: map[string]*tensor.Tensor{}}
	if err := d.refill(&b, samples); err != nil {
		return Batch{}, err
	}
	return b, nil
}

// spaceFor is the content of the tensor that b has under a name, if it has the
// type and shape, else of a new one that it has from now on.
func spaceFor[T tensor.Elem](b *Batch, name string, shape ...int) []T {
	t := b.Feeds[name]
	if t == nil || t.DType() != tensor.DTypeOf[T]() || !t.Shape().Equal(shape) {
		t = tensor.New(tensor.DTypeOf[T](), shape...)
		b.Feeds[name] = t
	}
	return tensor.Data[T](t)
}

// clone is b in memory of its own.
func (b Batch) clone() Batch {
	c := Batch{Feeds: make(map[string]*tensor.Tensor, len(b.Feeds)), Tokens: b.Tokens}
	for name, t := range b.Feeds {
		if t != nil {
			c.Feeds[name] = t.Clone()
		}
	}
	return c
}

// measured is Data that knows how many positions a sample has.
type measured interface{ positions(sample int) int }

// longest is a sample that no other is longer than, where d can tell.
func longest(d Data) int {
	m, ok := d.(measured)
	if !ok {
		return 0
	}
	best := 0
	for k := range d.Len() {
		if m.positions(k) > m.positions(best) {
			best = k
		}
	}
	return best
}

// Port is an input of the model that data must fill.
type Port struct {
	Name string
	Type ir.Type
}

// subset is some samples of Data.
type subset struct {
	of   Data
	pick []int
}

func (s subset) Len() int { return len(s.pick) }

func (s subset) Batch(samples []int) (Batch, error) {
	idx := make([]int, len(samples))
	for i, k := range samples {
		idx[i] = s.pick[k]
	}
	return s.of.Batch(idx)
}

func (s subset) positions(sample int) int {
	if m, ok := s.of.(measured); ok {
		return m.positions(s.pick[sample])
	}
	return 0
}

// unfolded is the Data that d is samples of, and which.
func unfolded(d Data) (Data, []int) {
	if s, ok := d.(subset); ok {
		of, all := unfolded(s.of)
		pick := make([]int, len(s.pick))
		for i, k := range s.pick {
			pick[i] = all[k]
		}
		return of, pick
	}
	pick := make([]int, d.Len())
	for i := range pick {
		pick[i] = i
	}
	return d, pick
}

// Split keeps the last fraction of the samples, at least one, for evaluation.
func Split(d Data, fraction float64) (train, eval Data, err error) {
	n := int(float64(d.Len())*fraction + 0.5)
	n = max(n, 1)
	if !(fraction > 0 && fraction < 1) || n >= d.Len() {
		return nil, nil, fmt.Errorf("a fraction of %g of %d samples leaves nothing to train on or to evaluate", fraction, d.Len())
	}
	seq := func(lo, hi int) []int {
		s := make([]int, hi-lo)
		for i := range s {
			s[i] = lo + i
		}
		return s
	}
	return subset{d, seq(0, d.Len()-n)}, subset{d, seq(d.Len()-n, d.Len())}, nil
}
