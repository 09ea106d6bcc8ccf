package rewrite

import (
	"errors"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// A source is where a node reads a constant.
type source struct {
	node  *ir.Node
	index int
	v     *ir.Value // nil for none
}

// data is the constant, nil where there is none.
func (s source) data() ir.Data {
	var w Weight
	return w.literal(s.v)
}

// dequantize is DequantizeLinear with constant scale and zero point.
type dequantize struct {
	scale, zero source
	axis, block int
}

var errScale = errors.New("its scale or zero point is not a constant")

// constant is an error where scale or zero point are none.
func (d dequantize) constant() error {
	if d.scale.data() == nil || d.zero.v != nil && d.zero.data() == nil {
		return errScale
	}
	return nil
}

func newDequantize(n *ir.Node) (s step, err error) {
	d := dequantize{scale: source{n, 1, n.Input(1)}, zero: source{n, 2, n.Input(2)}}
	if err := d.constant(); err != nil {
		return nil, err
	}
	if d.axis, err = integer(n, "axis", 1); err != nil {
		return nil, err
	}
	d.block, err = integer(n, "block_size", 0)
	return d, err
}

func (d dequantize) out(in info) (info, error) { return info{d.scale.data().DType(), in.shape}, nil }

func (d dequantize) read(t *tensor.Tensor) (*tensor.Tensor, error) {
	scale, zero, err := d.tensors()
	if err != nil {
		return nil, err
	}
	return tensor.Dequantize(t, scale, zero, d.axis, d.block)
}

// tensors are scale and zero point, of one shape; zero may be nil. Products of
// integers may have one zero point beside a scale for each column.
func (d dequantize) tensors() (scale, zero *tensor.Tensor, err error) {
	if scale, err = d.scale.data().Tensor(); err != nil || d.zero.v == nil {
		return scale, nil, err
	}
	if zero, err = d.zero.data().Tensor(); err != nil {
		return nil, nil, err
	}
	switch {
	case zero.Size() == 1 && scale.Size() == 1:
		zero = zero.Reshape(scale.Shape()...)
	case zero.Size() == 1 && scale.Rank() == 1:
		v, err := zero.Float64s()
		if err != nil {
			return nil, nil, err
		}
		zero, err = tensor.FromSlice(slices.Repeat(v, scale.Size()), scale.Size()).Cast(zero.DType())
		return scale, zero, err
	}
	return scale, zero, nil
}

func (dequantize) write(*tensor.Tensor, info) (*tensor.Tensor, error) { return nil, errQuantized }
