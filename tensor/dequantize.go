package tensor

import "fmt"

// Dequantize is (q - zero) * scale in the type of scale, as ONNX
// DequantizeLinear computes it. zero may be nil; it has the shape of scale.
//
//   - scale of one element: one scale for all;
//   - scale of rank 1: one for each entry along axis;
//   - block > 0: scale has q's shape, but ceil(n/block) entries along axis.
func Dequantize(q, scale, zero *Tensor, axis, block int) (*Tensor, error) {
	index, err := scaleIndex(q, scale, axis, block)
	if err != nil {
		return nil, fmt.Errorf("dequantize %v by %v: %w", q, scale, err)
	}
	if zero != nil && !zero.shape.Equal(scale.shape) {
		return nil, fmt.Errorf("dequantize %v: zero point %v does not fit scale %v", q, zero, scale)
	}
	if !scale.dtype.IsFloat() {
		return nil, fmt.Errorf("dequantize %v: scale is %v", q, scale)
	}
	x, err := q.Float64s()
	if err != nil {
		return nil, err
	}
	s, err := scale.Float32s()
	if err != nil {
		return nil, err
	}
	var z []float64
	if zero != nil {
		if z, err = zero.Float64s(); err != nil {
			return nil, err
		}
	}
	out := make([]float32, len(x))
	for i, v := range x {
		k := index.at(i)
		if z != nil {
			v -= z[k]
		}
		out[i] = float32(v) * s[k]
	}
	return FromSlice(out, q.shape...).Cast(scale.dtype)
}

// scaleAt finds the scale of an element: element i is at entry
// i/inner%extent of the axis and i/inner/extent of what is outside of it.
type scaleAt struct{ inner, extent, block, blocks, outer, lane int }

func (s scaleAt) at(i int) int {
	a, o, in := i/s.inner%s.extent, i/s.inner/s.extent, i%s.inner
	return (o*s.outer*s.blocks+a/s.block)*s.lane + in*s.outer
}

func scaleIndex(q, scale *Tensor, axis, block int) (scaleAt, error) {
	if scale.Size() == 1 && scale.Rank() <= 1 && block == 0 {
		n := max(q.Size(), 1)
		return scaleAt{inner: 1, extent: n, block: n, blocks: 1, lane: 1}, nil
	}
	a, err := q.shape.Axis(axis)
	if err != nil {
		return scaleAt{}, err
	}
	inner, extent := max(1, q.shape[a+1:].Size()), max(1, q.shape[a])
	if block <= 0 {
		if scale.Rank() != 1 || scale.Size() != q.shape[a] {
			return scaleAt{}, fmt.Errorf("axis %d has %d entries", a, q.shape[a])
		}
		return scaleAt{inner: inner, extent: extent, block: 1, blocks: extent, lane: 1}, nil
	}
	want := q.shape.Clone()
	want[a] = (q.shape[a] + block - 1) / block
	if !scale.shape.Equal(want) {
		return scaleAt{}, fmt.Errorf("blocks of %d along axis %d need scales of shape %v", block, a, want)
	}
	return scaleAt{inner: inner, extent: extent, block: block, blocks: want[a], outer: 1, lane: inner}, nil
}
