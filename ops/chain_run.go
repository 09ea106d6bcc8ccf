package ops

import (
	"sync"

	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/tensor"
)

// chainState is a Session's part of a Chain: what each thread works with.
type chainState struct {
	mu    sync.Mutex
	lanes []*lane // those that nobody works with
	err   error
	at    int // the tile of the error, the first of those that failed
}

// A lane is one thread's tensors. Its memory is its own for the time of a run.
type lane struct {
	frame   Frame
	buffers []byte
	values  []*tensor.Tensor
	in, out [][]*tensor.Tensor // of each link
	at      []int
}

func (b *boundChain) newState() *chainState {
	s := &chainState{}
	for range b.lanes {
		l := &lane{at: make([]int, b.inputs)}
		for _, state := range b.states {
			l.frame.states = append(l.frame.states, state())
		}
		for _, v := range b.values {
			l.values = append(l.values, tensor.Header(v.dtype))
		}
		next := b.inputs
		for _, k := range b.Links {
			l.in = append(l.in, picked(l.values, k.In))
			l.out = append(l.out, l.values[next:next+k.Out])
			next += k.Out
		}
		s.lanes = append(s.lanes, l)
	}
	return s
}

func (b *boundChain) run(f *Frame, s *chainState, in, out []*tensor.Tensor) error {
	memory := f.Scratch(b.memory)
	for _, l := range s.lanes {
		l.buffers, memory = memory[:b.buffers:b.buffers], memory[b.buffers:]
		l.frame.scratch, memory = memory[:b.scratch:b.scratch], memory[b.scratch:]
	}
	pool := f.Pool
	if pool.Threads() > b.lanes {
		pool = nil
	}
	rows, cols := b.full()
	par.Do(pool, b.count, ceilDiv(grainOfChain, max(1, rows*cols)), &chaining{b, s, in, out})
	err := s.err
	s.err = nil
	return err
}

// grainOfChain is how many elements are worth a thread's while.
const grainOfChain = 1 << 14

// chaining runs tiles.
type chaining struct {
	b       *boundChain
	s       *chainState
	in, out []*tensor.Tensor
}

func (t *chaining) Run(lo, hi int) {
	l := t.s.take()
	for i, v := range t.b.values[:t.b.inputs] {
		if v.whole {
			l.values[i].Reset(t.in[i].Shape(), t.in[i].Bytes())
		}
	}
	for u := lo; u < hi; u++ {
		if err := t.tile(l, u); err != nil {
			t.s.failed(u, err)
			break
		}
	}
	t.s.give(l)
}

// tile runs all links on tile u.
func (t *chaining) tile(l *lane, u int) error {
	begin, tail := t.b.place(u, l.at)
	kind := &t.b.kinds[0]
	if tail {
		kind = &t.b.kinds[1]
	}
	for i, v := range t.b.values {
		s := kind.shapes[i]
		n := v.dtype.Size(s.Size())
		switch {
		case v.whole:
		case i < t.b.inputs:
			at := v.dtype.Size(l.at[i])
			l.values[i].Reset(s, t.in[i].Bytes()[at:at+n])
		case v.leaves >= 0:
			at := v.dtype.Size(begin)
			l.values[i].Reset(s, t.out[v.leaves].Bytes()[at:at+n])
		default:
			l.values[i].Reset(s, l.buffers[v.buffer:v.buffer+n])
		}
	}
	for j, step := range kind.steps {
		if err := step(&l.frame, l.in[j], l.out[j]); err != nil {
			return &LinkError{j, err}
		}
	}
	return nil
}

func (s *chainState) take() *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[len(s.lanes)-1]
	s.lanes = s.lanes[:len(s.lanes)-1]
	return l
}

func (s *chainState) give(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lanes = append(s.lanes, l)
}

// failed keeps the error of the first tile that failed, whoever ran it.
func (s *chainState) failed(u int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil || u < s.at {
		s.err, s.at = err, u
	}
}
