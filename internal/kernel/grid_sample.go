package kernel

import (
	"math"

	"github.com/bonnx/bonnx/internal/par"
)

// Sampling is how GridSample reads between and beyond the elements of an image.
type Sampling struct {
	Degree  int  // 0 nearest, 1 linear, 3 cubic (of alpha -0.75)
	Border  bool // beyond it the nearest element counts
	Reflect bool // beyond it the image is mirrored; else it is 0
	Corners bool // -1 and 1 are the centres of the outer elements, not their edges
}

// GridSample reads an image (channels,size...) at points, whose coordinates
// from -1 to 1 are in grid (points,len(size)), the last axis's first:
//
//	y[c,p] = interpolation of x[c] at the place of point p
func GridSample[T Float](p *par.Pool, s Sampling, size []int, channels, points int, y, x, grid []T) {
	area := 1
	for _, n := range size {
		area *= n
	}
	rank := len(size)
	taps := s.Degree + 1
	par.Do(p, points, rowsPerChunk(channels*intPower(taps, rank)*4), &gridSample[T]{s, size, area, channels, points, y, x, grid})
}

type gridSample[T Float] struct {
	s                      Sampling
	size                   []int
	area, channels, points int
	y, x, grid             []T
}

func (t *gridSample[T]) Run(lo, hi int) {
	rank, taps := len(t.size), t.s.Degree+1
	at, weight := make([]int, rank*taps), make([]float64, rank*taps)
	for q := lo; q < hi; q++ {
		for d, n := range t.size {
			t.s.taps(float64(t.grid[q*rank+rank-1-d]), n, at[d*taps:][:taps], weight[d*taps:][:taps])
		}
		for c := range t.channels {
			t.y[c*t.points+q] = T(gather(t.x[c*t.area:][:t.area], t.size, at, weight, taps))
		}
	}
}

func intPower(b, n int) int {
	p := 1
	for range n {
		p *= b
	}
	return p
}

// gather sums the elements at the taps of every axis; a place of -1 adds
// nothing.
func gather[T Float](x []T, size, at []int, weight []float64, taps int) float64 {
	if len(size) == 0 {
		return float64(x[0])
	}
	inner := len(x) / max(1, size[0])
	sum := 0.0
	for i := range taps {
		if k := at[i]; k >= 0 && weight[i] != 0 {
			sum += weight[i] * gather(x[k*inner:][:inner], size[1:], at[taps:], weight[taps:], taps)
		}
	}
	return sum
}

// taps finds the elements along an axis of n that a coordinate g reads, and
// their weights.
func (s Sampling) taps(g float64, n int, at []int, weight []float64) {
	lo, hi := -0.5, float64(n)-0.5
	v := ((g+1)*float64(n) - 1) / 2
	if s.Corners {
		lo, hi = 0, float64(n-1)
		v = (g + 1) / 2 * float64(n-1)
	}
	if s.Degree == 0 {
		v = math.RoundToEven(v)
	}
	if !(v >= -1e9 && v <= 1e9) { // no number, or beyond all bounds
		v = -1e9
	}
	if v < lo || v > hi {
		switch {
		case s.Border && s.Degree < 3: // cubic ones take the border for each element
			v = min(max(v, 0), float64(n-1))
		case s.Reflect:
			v = reflect(v, lo, hi)
		}
	}
	first := int(math.Floor(v))
	t := v - float64(first)
	switch s.Degree {
	case 0:
		weight[0] = 1
	case 1:
		weight[0], weight[1] = 1-t, t
	default:
		cubicWeights(weight, t)
		first--
	}
	for i := range at {
		at[i] = s.element(first+i, n, lo, hi)
	}
}

// element is the element that place i stands for, -1 for none.
func (s Sampling) element(i, n int, lo, hi float64) int {
	switch {
	case i >= 0 && i < n:
		return i
	case s.Border:
		return min(max(i, 0), n-1)
	case s.Reflect:
		return min(max(int(reflect(float64(i), lo, hi)), 0), n-1)
	}
	return -1
}

// reflect mirrors v into [lo, hi].
func reflect(v, lo, hi float64) float64 {
	if hi <= lo {
		return lo
	}
	d := math.Mod(math.Abs(v-lo), 2*(hi-lo))
	return lo + min(d, 2*(hi-lo)-d)
}

// cubicWeights are those of four elements around a place t after the second.
func cubicWeights(w []float64, t float64) {
	const a = -0.75
	near := func(x float64) float64 { return ((a+2)*x-(a+3))*x*x + 1 }
	far := func(x float64) float64 { return ((a*x-5*a)*x+8*a)*x - 4*a }
	w[0], w[1], w[2], w[3] = far(t+1), near(t), near(1-t), far(2-t)
}
