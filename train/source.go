package train

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
)

// Source is what a run trains or evaluates on: Samples or a Stream.
type Source interface {
	// epochSteps is how many steps an epoch has, 0 where only its end tells.
	epochSteps(c Config) (int, error)
	// cut tells that batches are cut by Config.BatchSize.
	cut() bool
	// feed gives the batches of a training run from a place on.
	feed(c Config, from place) (feeder, error)
	// once gives every batch once, in order: for an evaluation.
	once(c Config) iter.Seq2[Batch, error]
	// largest is a batch of n samples such as takes the most memory; of a
	// stream it is the first batch, whatever n.
	largest(n int) (Batch, error)
}

// place is a point of a training run between two steps.
type place struct {
	epoch int // counted from 0
	used  int // of the epoch: samples, or batches of a stream
}

// A portion is what one step trains on. It is valid until the feeder's next.
type portion struct {
	batches []Batch // none at the end of the run
	epoch   int     // that they are of, counted from 0
	after   place
}

// feeder gives the batches of a run, step by step.
type feeder interface {
	next() (portion, error)
	close()
}

// Samples is a Source that chooses from numbered samples: each epoch takes all
// of them, in an order that follows from the seed and the epoch alone.
func Samples(d Data) Source { return samples{d} }

type samples struct{ data Data }

func (s samples) epochSteps(c Config) (int, error) {
	if s.data.Len() == 0 {
		return 0, errors.New("the training data has no sample")
	}
	perStep := max(1, c.BatchSize) * c.Accumulate // 0 is a size not chosen yet
	return (s.data.Len() + perStep - 1) / perStep, nil
}

func (s samples) cut() bool { return true }

func (s samples) feed(c Config, from place) (feeder, error) {
	d := &sampler{c: c, at: from, ordered: -1}
	d.data, d.all = unfolded(s.data)
	d.rand = rand.New(&d.source)
	return d, nil
}

func (s samples) once(c Config) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		n := s.data.Len()
		for lo := 0; lo < n; lo += min(c.BatchSize, n) {
			pick := make([]int, min(c.BatchSize, n-lo))
			for i := range pick {
				pick[i] = lo + i
			}
			if !yield(s.data.Batch(pick)) {
				return
			}
		}
	}
}

func (s samples) largest(n int) (Batch, error) {
	if s.data.Len() == 0 {
		return Batch{}, errors.New("the data has no sample")
	}
	pick := make([]int, n)
	for i := range pick {
		pick[i] = longest(s.data)
	}
	return s.data.Batch(pick)
}

// sampler is the feeder of Samples.
type sampler struct {
	data    Data
	all     []int // its samples that are trained on
	c       Config
	at      place
	order   []int // all in the order of the epoch under way
	ordered int   // the epoch that order is of
	source  rand.PCG
	rand    *rand.Rand
	batches []Batch // whose memory is used again
}

func (s *sampler) next() (portion, error) {
	s.shuffle()
	p := portion{epoch: s.at.epoch}
	hi := min(s.at.used+s.c.BatchSize*s.c.Accumulate, len(s.order))
	for lo := s.at.used; lo < hi; lo += s.c.BatchSize {
		n := len(p.batches)
		if n == len(s.batches) {
			s.batches = append(s.batches, Batch{})
		}
		if err := batchInto(&s.batches[n], s.data, s.order[lo:min(lo+s.c.BatchSize, hi)]); err != nil {
			return portion{}, err
		}
		p.batches = s.batches[:n+1]
	}
	if s.at.used = hi; hi == len(s.order) {
		s.at = place{s.at.epoch + 1, 0}
	}
	p.after = s.at
	return p, nil
}

func (s *sampler) close() {}

// shuffle orders the samples of an epoch: by the seed and the epoch alone, so
// that a resumed run sees the same order.
func (s *sampler) shuffle() {
	if s.ordered == s.at.epoch {
		return
	}
	s.ordered = s.at.epoch
	s.order = append(s.order[:0], s.all...)
	if !s.c.NoShuffle {
		s.source.Seed(s.c.Seed, uint64(s.at.epoch))
		s.rand.Shuffle(len(s.order), func(i, j int) { s.order[i], s.order[j] = s.order[j], s.order[i] })
	}
}

// Stream is a Source of ready batches: one range over seq is an epoch, in
// seq's own order. A run ranges over it once for each epoch, and once more for
// each thing that it has to find out first (task, learning rate), so seq must
// give its batches anew each time, and the same ones where a run is to be
// resumed, which passes over those that were used. A batch stays as it is
// until the range ends. Config.BatchSize and shuffling do not apply.
func Stream(seq iter.Seq2[Batch, error]) Source { return stream{seq} }

type stream struct{ seq iter.Seq2[Batch, error] }

func (s stream) epochSteps(Config) (int, error) { return 0, nil }

func (s stream) cut() bool { return false }

func (s stream) once(Config) iter.Seq2[Batch, error] { return s.seq }

func (s stream) largest(int) (Batch, error) {
	for b, err := range s.seq {
		return b, err
	}
	return Batch{}, errEmptyStream
}

var errEmptyStream = errors.New("the stream gave no batch")

func (s stream) feed(c Config, from place) (feeder, error) {
	p := &puller{seq: s.seq, perStep: c.Accumulate, at: place{epoch: from.epoch}}
	if c.Steps == 0 {
		p.epochs = c.Epochs
	}
	for p.at.used < from.used {
		_, ok, err := p.pull()
		if err == nil && !ok {
			err = fmt.Errorf("the stream ended after %d batches; the run that is resumed had used %d", p.at.used, from.used)
		}
		if err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

// puller is the feeder of a Stream.
type puller struct {
	seq     iter.Seq2[Batch, error]
	perStep int
	epochs  int // 0 for no end
	at      place
	step    func() (Batch, error, bool) // nil between two epochs
	stop    func()
	batches []Batch // of the last portion
}

// pull is the next batch of the epoch, which it begins where need be.
func (p *puller) pull() (Batch, bool, error) {
	if p.step == nil {
		p.step, p.stop = iter.Pull2(p.seq)
	}
	b, err, ok := p.step()
	if ok && err == nil {
		p.at.used++
	}
	return b, ok, err
}

func (p *puller) next() (portion, error) {
	for p.epochs == 0 || p.at.epoch < p.epochs {
		list := p.batches[:0]
		for len(list) < p.perStep {
			b, ok, err := p.pull()
			if err != nil {
				return portion{}, err
			}
			if !ok {
				break
			}
			list = append(list, b)
		}
		p.batches = list
		epoch := p.at.epoch
		if len(list) < p.perStep {
			if p.at.used == 0 {
				return portion{}, fmt.Errorf("epoch %d: %w", epoch+1, errEmptyStream)
			}
			p.close()
			p.at = place{epoch: epoch + 1}
		}
		if len(list) > 0 {
			return portion{list, epoch, p.at}, nil
		}
	}
	return portion{}, nil
}

func (p *puller) close() {
	if p.stop != nil {
		p.stop()
	}
	p.step, p.stop = nil, nil
}
