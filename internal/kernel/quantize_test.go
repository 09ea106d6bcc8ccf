package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// scaleOf is the index of element (o,a,i)'s scale, as Scales says.
func scaleOf(s Scales, o, a, i int) int {
	if s.Block == 0 {
		return a
	}
	return (o*((s.Extent+s.Block-1)/s.Block)+a/s.Block)*s.Inner + i
}

// TestQuantize compares with loops over every element, for one scale, an axis
// and blocks, in place and not.
func TestQuantize(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, s := range []Scales{{1, 1, 0, 0}, {1, 1, 37, 0}, {1, 1, 40000, 0}, {3, 5, 7, 0}, {2, 4, 1, 0}, {3, 7, 5, 3}, {2, 8, 3, 4}, {1, 5, 1, 8}} {
		n := s.Outer * s.Extent * s.Inner
		scales := s.Extent
		if s.Block > 0 {
			scales = s.Outer * ((s.Extent + s.Block - 1) / s.Block) * s.Inner
		}
		x, scale, zero := make([]float64, n), make([]float64, scales), make([]float64, scales)
		for i := range x {
			x[i] = rng.NormFloat64() * 40
		}
		for i := range scale {
			scale[i], zero[i] = 0.1+rng.Float64(), float64(rng.IntN(9)-4)
		}
		if n > 2 {
			x[1], x[2] = math.NaN(), 2.5*scale[0] // no number; a tie, which goes to the even one
		}
		wantQ, wantX := make([]float64, n), make([]float64, n)
		for e := range x {
			o, a, i := e/s.Inner/s.Extent, e/s.Inner%s.Extent, e%s.Inner
			k := scaleOf(s, o, a, i)
			v := math.RoundToEven(x[e]/scale[k]) + zero[k]
			if !(v >= -128) {
				v = -128
			}
			wantQ[e] = min(v, 127)
			wantX[e] = (wantQ[e] - zero[k]) * scale[k]
		}
		name := fmt.Sprint(s)
		q := make([]float64, n)
		Quantize(nil, s, q, x, scale, zero, -128, 127)
		if !slices.Equal(q, wantQ) {
			t.Errorf("%s: Quantize differs", name)
		}
		inPlace := slices.Clone(x)
		ScaleDown(nil, s, inPlace, inPlace, scale)
		Quantize(nil, s, inPlace, inPlace, nil, zero, -128, 127)
		if !slices.Equal(inPlace, wantQ) {
			t.Errorf("%s: in two steps, Quantize differs", name)
		}
		Dequantize(nil, s, q, q, scale, zero)
		if !slices.Equal(q, wantX) {
			t.Errorf("%s: Dequantize differs", name)
		}
	}
}
