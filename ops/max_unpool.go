package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// maxUnpool undoes MaxPool as far as that goes: elements return to where they
// came from, everything else is 0.
//
//	x (N,C,O...), index (N,C,O...) of x's elements in y seen as a vector
//	[, shape of y] -> y (N,C,D...)
//
// The index is of the y that pooling with this window would give x; a greater
// y has it at the front of each axis.
// https://onnx.ai/onnx/operators/onnx__MaxUnpool.html
type maxUnpool struct{ window }

func newMaxUnpool(a *Args) (Op, error) {
	w := window{kernel: a.Ints("kernel_shape"), strides: a.Ints("strides"), pads: a.Ints("pads")}
	for _, list := range [][]int{w.kernel, w.strides} {
		for _, v := range list {
			if v < 1 || v > 1<<30 {
				return nil, fmt.Errorf("kernel_shape or strides are %v", list)
			}
		}
	}
	for _, v := range w.pads {
		if v < 0 || v > 1<<30 {
			return nil, fmt.Errorf("pads are %v", w.pads)
		}
	}
	if w.kernel == nil {
		return nil, errors.New("kernel_shape is missing")
	}
	return maxUnpool{w}, nil
}

func (o maxUnpool) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if d := in[1].DType; d != tensor.Int64 && d != tensor.Undefined {
		return nil, fmt.Errorf("index is %v", in[1])
	}
	y, err := o.pooled(x)
	if err != nil {
		return nil, err
	}
	if !at(in, 2).Absent() {
		y = shapedFact(x.DType, in[2])
		if x.Ranked && y.Ranked && len(x.Dims) != len(y.Dims) {
			return nil, fmt.Errorf("shape %v for rank %d", dimsString(y.Dims), len(x.Dims))
		}
	}
	return []Fact{y}, nil
}

// pooled is the y that pooling gives x.
func (o maxUnpool) pooled(x Fact) (Fact, error) {
	rank, err := spatialRank(x)
	if err != nil || rank < 0 {
		return unranked(x.DType), err
	}
	if len(o.kernel) != rank {
		return Fact{}, errors.New("kernel_shape does not have a value for each spatial dimension")
	}
	if err := o.check(rank); err != nil {
		return Fact{}, err
	}
	dims := append([]ir.Dim{}, x.Dims...)
	for i, k := range o.kernel {
		stride, pad := 1, 0
		if o.strides != nil {
			stride = o.strides[i]
		}
		if o.pads != nil {
			pad = o.pads[i] + o.pads[rank+i]
		}
		d := dimOp('*', dimOp('-', dims[2+i], known(1)), known(stride))
		if dims[2+i] = dimOp('+', d, known(k-pad)); dims[2+i].Known && dims[2+i].Value < 0 {
			return Fact{}, fmt.Errorf("spatial dimension %d would have %d elements", i, dims[2+i].Value)
		}
	}
	return Of(x.DType, dims...), nil
}

func (o maxUnpool) Bind(p *Binder, in, out []Fact) (Step, error) {
	if !in[0].MustShape().Equal(in[1].MustShape()) {
		return nil, errors.New("input and index differ in shape")
	}
	f, err := o.pooled(in[0])
	if err != nil {
		return nil, err
	}
	from, to := f.MustShape(), out[0].MustShape()
	if _, err := from.CheckedSize(); err != nil {
		return nil, err
	}
	return bindTyped(p, o, []typedStep{maxUnpoolStep[float32](from, to), maxUnpoolStep[float64](from, to)}, in, out)
}

func maxUnpoolStep[T kernel.Numeric](from, to tensor.Shape) typedStep {
	size := from.Size()
	return typedStep{tensor.DTypeOf[T](), func(_ *Frame, in, out []*tensor.Tensor) error {
		x, index, y := tensor.Data[T](in[0]), tensor.Data[int64](in[1]), tensor.Data[T](out[0])
		clear(y)
		for i, v := range index {
			if v < 0 || v >= int64(size) {
				return fmt.Errorf("index %d of %d elements", v, size)
			}
			rest, place, stride := int(v), 0, 1
			for d := len(from) - 1; d >= 0; d-- {
				c := rest % from[d]
				rest /= from[d]
				if c >= to[d] {
					return fmt.Errorf("index %d is outside of shape %v", v, to)
				}
				place += c * stride
				stride *= to[d]
			}
			y[place] = x[i]
		}
		return nil
	}}
}
