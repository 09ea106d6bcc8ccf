package kernel

import (
	"math"

	"github.com/bonnx/bonnx/internal/par"
)

// Scales says which scale belongs to element (o,a,i) of x (Outer,Extent,Inner):
// scale[a], or with Block > 0, where the scales are (Outer,ceil(Extent/Block),Inner),
// scale[o,a/Block,i]. One scale for all is an Extent of 1.
type Scales struct{ Outer, Extent, Inner, Block int }

// runs visits runs of n elements from at on: element at+i has scale k+i*step.
func (s Scales) runs(p *par.Pool, visit func(at, n, k, step int)) {
	if s.Extent == 1 && s.Block == 0 {
		p.For(s.Outer*s.Inner, grain, func(lo, hi int) { visit(lo, hi-lo, 0, 0) })
		return
	}
	p.For(s.Outer*s.Extent, rowsPerChunk(s.Inner), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			o, a := r/s.Extent, r%s.Extent
			if s.Block == 0 {
				visit(r*s.Inner, s.Inner, a, 0)
				continue
			}
			blocks := (s.Extent + s.Block - 1) / s.Block
			visit(r*s.Inner, s.Inner, (o*blocks+a/s.Block)*s.Inner, 1)
		}
	})
}

// Quantize rounds to steps of the scale and cuts off, with k the scale's index
// of element i; scale (1 then) and zero (0 then) may be nil, y may be x:
//
//	y[i] = min(max(round(x[i]/scale[k]) + zero[k], lo), hi)
//
// round goes to the nearest integer, ties to the even one. No number becomes lo.
func Quantize[T Float](p *par.Pool, s Scales, y, x, scale, zero []T, lo, hi T) {
	s.runs(p, func(at, n, k, step int) {
		for i, v := range x[at:][:n] {
			if scale != nil {
				v /= scale[k]
			}
			v = T(math.RoundToEven(float64(v)))
			if zero != nil {
				v += zero[k]
			}
			if !(v >= lo) {
				v = lo
			}
			if v > hi {
				v = hi
			}
			y[at+i] = v
			k += step
		}
	})
}

// ScaleDown divides by the scale, with k the scale's index of element i; y may
// be x:
//
//	y[i] = x[i]/scale[k]
func ScaleDown[T Float](p *par.Pool, s Scales, y, x, scale []T) {
	s.runs(p, func(at, n, k, step int) {
		for i, v := range x[at:][:n] {
			y[at+i] = v / scale[k]
			k += step
		}
	})
}

// Dequantize takes Quantize back, with k the scale's index of element i; zero
// may be nil, y may be q:
//
//	y[i] = (q[i] - zero[k]) * scale[k]
func Dequantize[T Float](p *par.Pool, s Scales, y, q, scale, zero []T) {
	s.runs(p, func(at, n, k, step int) {
		for i, v := range q[at:][:n] {
			if zero != nil {
				v -= zero[k]
			}
			y[at+i] = v * scale[k]
			k += step
		}
	})
}
