package kernel

import "github.com/bonnx/bonnx/internal/par"

// A Stretch undoes a broadcast: it says which elements of a large tensor came
// of which element of a small one. It is made once for given shapes and is
// then read only.
type Stretch struct {
	size int // elements of the small tensor
	// kept and summed axes of the large tensor, outermost first, neighbours of
	// a kind merged: extents and strides in the large tensor. The last axis of
	// all is in tail.
	kept, summed []stretchAxis
	tail         int  // extent of the last axis
	tailKept     bool // whether the small tensor has it
}

type stretchAxis struct{ n, stride int }

// stretchBlock is how many neighbouring elements of the small tensor make a task.
const stretchBlock = 64

// NewStretch plans the sum of the shape large to the shape small, which must be
// broadcastable to it.
func NewStretch(large, small []int) *Stretch {
	s := &Stretch{size: 1, tail: 1, tailKept: true}
	for _, n := range small {
		s.size *= n
	}
	var axes []stretchAxis
	var kinds []bool
	for i, n := range large {
		j := i - (len(large) - len(small))
		kept := j >= 0 && small[j] == n
		if n == 1 {
			continue
		}
		if last := len(axes) - 1; last >= 0 && kinds[last] == kept {
			axes[last].n *= n
			continue
		}
		axes, kinds = append(axes, stretchAxis{n: n}), append(kinds, kept)
	}
	stride := 1
	for i := len(axes) - 1; i >= 0; i-- {
		axes[i].stride = stride
		stride *= axes[i].n
	}
	if last := len(axes) - 1; last >= 0 {
		s.tail, s.tailKept = axes[last].n, kinds[last]
		axes, kinds = axes[:last], kinds[:last]
	}
	for i, a := range axes {
		if kinds[i] {
			s.kept = append(s.kept, a)
		} else {
			s.summed = append(s.summed, a)
		}
	}
	return s
}

// SumTo adds up in float64, in an order that the shapes decide:
//
//	for i < len(dst): dst[i] = sum of those x that s stretches i to
func SumTo[T Float](p *par.Pool, s *Stretch, dst, x []T) {
	terms := 1
	for _, a := range s.summed {
		terms *= a.n
	}
	if !s.tailKept {
		par.Do(p, s.size, rowsPerChunk(terms*s.tail), &summingRuns[T]{s, dst, x, terms})
		return
	}
	if s.size == 0 || s.tail == 0 {
		return
	}
	blocks := (s.tail + stretchBlock - 1) / stretchBlock
	par.Do(p, s.size/s.tail*blocks, rowsPerChunk(terms*min(s.tail, stretchBlock)), &summingLines[T]{s, dst, x, terms, blocks})
}

// summingRuns sums where the small tensor lacks the last axis.
type summingRuns[T Float] struct {
	s      *Stretch
	dst, x []T
	terms  int
}

func (t *summingRuns[T]) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		t.dst[i] = T(sumRuns(t.s, t.x[t.s.keptAt(i):], t.terms))
	}
}

// summingLines sums where it has it, block by block.
type summingLines[T Float] struct {
	s             *Stretch
	dst, x        []T
	terms, blocks int
}

func (t *summingLines[T]) Run(lo, hi int) {
	var sums [stretchBlock]float64
	s := t.s
	for b := lo; b < hi; b++ {
		line, j := b/t.blocks, b%t.blocks*stretchBlock
		acc := sums[:min(stretchBlock, s.tail-j)]
		clear(acc)
		at := s.keptAt(line) + j
		for i := range t.terms {
			addLine(acc, t.x[at+s.summedAt(i):])
		}
		for c, v := range acc {
			t.dst[line*s.tail+j+c] = T(v)
		}
	}
}

// sumRuns adds terms runs of the tail.
func sumRuns[T Float](s *Stretch, x []T, terms int) float64 {
	sum := 0.0
	for i := range terms {
		sum += vec[T]().sum(x[s.summedAt(i):][:s.tail])
	}
	return sum
}

// keptAt is where in the large tensor the line i of kept axes begins.
func (s *Stretch) keptAt(i int) int { return axesAt(s.kept, i) }

// summedAt is the offset of term i.
func (s *Stretch) summedAt(i int) int { return axesAt(s.summed, i) }

func axesAt(axes []stretchAxis, i int) int {
	at := 0
	for j := len(axes) - 1; j >= 0; j-- {
		at += i % axes[j].n * axes[j].stride
		i /= axes[j].n
	}
	return at
}
