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
