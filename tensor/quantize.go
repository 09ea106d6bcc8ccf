package tensor

import (
	"fmt"
	"math"
)

// Requantize rounds x to integers of type to, in groups that share a scale and
// a zero point as Dequantize has them: Dequantize of the results is nearly x.
// scale and zero (nil for none) are those of numbers like x; each group keeps
// its own, or takes those of its new range, whichever is nearer. Where all zero
// points of a tensor are in the middle of to's range they stay there. The
// results are of scale's and zero's shapes and types.
func Requantize(x *Tensor, to DType, scale, zero *Tensor, axis, block int) (q, s, z *Tensor, err error) {
	index, err := scaleIndex(x, scale, axis, block)
	if err == nil && (!to.IsInteger() || to.Bits() > 16) {
		err = fmt.Errorf("to %v", to)
	}
	if err == nil && zero != nil && zero.Size() != scale.Size() {
		err = fmt.Errorf("zero point %v does not fit scale %v", zero, scale)
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("requantize %v by %v: %w", x, scale, err)
	}
	v, err := x.Float64s()
	if err != nil {
		return nil, nil, nil, err
	}
	g, err := newGrid(to, scale, zero)
	if err != nil {
		return nil, nil, nil, err
	}
	groups := make([][]float64, len(g.scale))
	for i, a := range v {
		k := index.at(i)
		groups[k] = append(groups[k], a)
	}
	for k, values := range groups {
		g.choose(k, values)
	}
	for i, a := range v {
		v[i] = g.round(a, g.scale[index.at(i)], g.zero[index.at(i)])
	}
	if q, err = FromSlice(v, x.shape...).Cast(to); err != nil {
		return nil, nil, nil, err
	}
	if s, err = FromSlice(g.scale, scale.shape...).Cast(scale.dtype); err != nil || zero == nil {
		return q, s, nil, err
	}
	z, err = FromSlice(g.zero, zero.shape...).Cast(zero.dtype)
	return q, s, z, err
}

// grid is the integers lo to hi, with a scale and a zero point for each group.
type grid struct {
	lo, hi      float64
	scale, zero []float64
	narrow      DType // of scales
	middle      bool  // zero points stay
	signed      bool  // scales may be negative, as some are
}

func newGrid(to DType, scale, zero *Tensor) (*grid, error) {
	g := &grid{hi: math.Ldexp(1, to.Bits()) - 1, narrow: scale.dtype}
	middle := math.Ldexp(1, to.Bits()-1)
	if to.IsSigned() {
		g.lo, g.hi, middle = -middle, middle-1, 0
	}
	var err error
	if g.scale, err = scale.Float64s(); err != nil {
		return nil, err
	}
	g.zero, g.middle = make([]float64, len(g.scale)), true
	for _, s := range g.scale {
		g.signed = g.signed || s < 0
	}
	if zero == nil {
		return g, nil
	}
	if g.zero, err = zero.Float64s(); err != nil {
		return nil, err
	}
	for _, z := range g.zero {
		g.middle = g.middle && z == middle
	}
	return g, nil
}

func (g *grid) round(x, scale, zero float64) float64 {
	if scale == 0 {
		return zero
	}
	return min(max(math.RoundToEven(x/scale)+zero, g.lo), g.hi)
}

// choose gives group k the steps that are nearest to its values.
func (g *grid) choose(k int, values []float64) {
	best := g.off(values, g.scale[k], g.zero[k])
	for _, c := range g.candidates(values, g.zero[k]) {
		c[0] = g.representable(c[0])
		if off := g.off(values, c[0], c[1]); off < best {
			best, g.scale[k], g.zero[k] = off, c[0], c[1]
		}
	}
}

// representable is a scale as its type has it.
func (g *grid) representable(s float64) float64 {
	t, err := Scalar(s).Cast(g.narrow)
	if err != nil {
		return s
	}
	if v, err := t.Float64s(); err == nil {
		s = v[0]
	}
	return s
}

// candidates are pairs of scale and zero point for the range of the values:
// around a zero point that stays, with the largest value at either end of the
// grid; else over the range that they and 0 span.
func (g *grid) candidates(values []float64, zero float64) [][2]float64 {
	var least, most float64
	for _, v := range values {
		least, most = min(least, v), max(most, v)
	}
	if least == most {
		return nil
	}
	if g.middle {
		top := max(most, -least)
		pairs := [][2]float64{{top / (g.hi - zero), zero}, {top / (zero - g.lo), zero}}
		if g.signed && most > -least {
			pairs = append(pairs, [2]float64{-top / (zero - g.lo), zero})
		}
		return pairs
	}
	scale := (most - least) / (g.hi - g.lo)
	return [][2]float64{{scale, min(max(math.RoundToEven(g.lo-least/scale), g.lo), g.hi)}}
}

// off is the squared error of the values on the grid.
func (g *grid) off(values []float64, scale, zero float64) float64 {
	sum := 0.0
	for _, v := range values {
		d := v - (g.round(v, scale, zero)-zero)*scale
		sum += d * d
	}
	if math.IsNaN(sum) {
		return math.Inf(1)
	}
	return sum
}
