package kernel

import (
	"math"

	"github.com/bonnx/bonnx/internal/par"
)

// Scales says which scale belongs to element (o,a,i) of x (Outer,Extent,Inner):
// scale[a], or with Block > 0, where the scales are (Outer,ceil(Extent/Block),Inner),
// scale[o,a/Block,i]. One scale for all is an Extent of 1.
type Scales struct{ Outer, Extent, Inner, Block int }

// A scaled computes n elements from at on: element at+i has scale k+i*step.
type scaled interface{ run(at, n, k, step int) }

// eachRun has f compute all elements.
func eachRun[F scaled](p *par.Pool, s Scales, f F) {
	if s.Extent == 1 && s.Block == 0 {
		par.Do(p, s.Outer*s.Inner, grain, &oneScale[F]{f})
		return
	}
	par.Do(p, s.Outer*s.Extent, rowsPerChunk(s.Inner), &manyScales[F]{s, f})
}

type oneScale[F scaled] struct{ f F }

func (t *oneScale[F]) Run(lo, hi int) { t.f.run(lo, hi-lo, 0, 0) }

type manyScales[F scaled] struct {
	s Scales
	f F
}

func (t *manyScales[F]) Run(lo, hi int) {
	s := t.s
	for r := lo; r < hi; r++ {
		o, a := r/s.Extent, r%s.Extent
		if s.Block == 0 {
			t.f.run(r*s.Inner, s.Inner, a, 0)
			continue
		}
		blocks := (s.Extent + s.Block - 1) / s.Block
		t.f.run(r*s.Inner, s.Inner, (o*blocks+a/s.Block)*s.Inner, 1)
	}
}

// Quantize rounds to steps of the scale and cuts off, with k the scale's index
// of element i; scale (1 then) and zero (0 then) may be nil, y may be x:
//
//	y[i] = min(max(round(x[i]/scale[k]) + zero[k], lo), hi)
//
// round goes to the nearest integer, ties to the even one. No number becomes lo.
func Quantize[T Float](p *par.Pool, s Scales, y, x, scale, zero []T, lo, hi T) {
	eachRun(p, s, quantizing[T]{y, x, scale, zero, lo, hi})
}

type quantizing[T Float] struct {
	y, x, scale, zero []T
	lo, hi            T
}

func (t quantizing[T]) run(at, n, k, step int) {
	if step == 0 {
		scale, zero := T(1), T(0)
		if t.scale != nil {
			scale = t.scale[k]
		}
		if t.zero != nil {
			zero = t.zero[k]
		}
		vec[T]().quantize(t.y[at:][:n], t.x[at:][:n], scale, zero, t.lo, t.hi)
		return
	}
	for i, v := range t.x[at:][:n] {
		if t.scale != nil {
			v /= t.scale[k]
		}
		v = T(math.RoundToEven(float64(v)))
		if t.zero != nil {
			v += t.zero[k]
		}
		if !(v >= t.lo) {
			v = t.lo
		}
		if v > t.hi {
			v = t.hi
		}
		t.y[at+i] = v
		k += step
	}
}

// ScaleDown divides by the scale, with k the scale's index of element i; y may
// be x:
//
//	y[i] = x[i]/scale[k]
func ScaleDown[T Float](p *par.Pool, s Scales, y, x, scale []T) {
	eachRun(p, s, scalingDown[T]{y, x, scale})
}

type scalingDown[T Float] struct{ y, x, scale []T }

func (t scalingDown[T]) run(at, n, k, step int) {
	if step == 0 {
		vec[T]().div.vs(t.y[at:][:n], t.x[at:][:n], t.scale[k])
		return
	}
	for i, v := range t.x[at:][:n] {
		t.y[at+i] = v / t.scale[k]
		k += step
	}
}

// Dequantize takes Quantize back, with k the scale's index of element i; zero
// may be nil, y may be q:
//
//	y[i] = (q[i] - zero[k]) * scale[k]
func Dequantize[T Float](p *par.Pool, s Scales, y, q, scale, zero []T) {
	eachRun(p, s, dequantizing[T]{y, q, scale, zero})
}

type dequantizing[T Float] struct{ y, q, scale, zero []T }

func (t dequantizing[T]) run(at, n, k, step int) {
	if step == 0 {
		v, y, q := vec[T](), t.y[at:][:n], t.q[at:][:n]
		if t.zero != nil {
			v.sub.vs(y, q, t.zero[k])
			q = y
		}
		v.mul.vs(y, q, t.scale[k])
		return
	}
	for i, v := range t.q[at:][:n] {
		if t.zero != nil {
			v -= t.zero[k]
		}
		t.y[at+i] = v * t.scale[k]
		k += step
	}
}
