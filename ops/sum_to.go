package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// sumTo undoes a broadcast, ai.bonnx.SumTo: y (shape) is the sum of v over all
// elements that an element of y would be repeated to. It is the gradient of
// broadcasting where shapes are not known when the gradient is built.
//
//	v (...), shape (rank of y) int64 -> y
type sumTo struct{}

func newSumTo(*Args) (Op, error) { return sumTo{}, nil }

func (sumTo) Infer(in []Fact) ([]Fact, error) {
	if err := needFloat("input", in[0]); err != nil {
		return nil, err
	}
	if in[1].DType != tensor.Int64 {
		return nil, fmt.Errorf("shape is %v, want int64", in[1].DType)
	}
	dims, ok := in[1].Extents()
	if !ok {
		return []Fact{{DType: in[0].DType}}, nil
	}
	if in[0].Ranked {
		if len(dims) > len(in[0].Dims) {
			return nil, fmt.Errorf("%v does not sum to rank %d", in[0], len(dims))
		}
		for i, d := range dims {
			l := in[0].Dims[i+len(in[0].Dims)-len(dims)]
			if d.Known && l.Known && d.Value != l.Value && d.Value != 1 {
				return nil, fmt.Errorf("%v does not sum to %s", in[0], dimsString(dims))
			}
		}
	}
	return []Fact{Of(in[0].DType, dims...)}, nil
}

func (sumTo) Bind(_ *Binder, in, out []Fact) (Step, error) {
	s := kernel.NewStretch(in[0].MustShape(), out[0].MustShape())
	return floatStep(in[0].DType,
		func() (Step, error) { return sumToStep[float32](s), nil },
		func() (Step, error) { return sumToStep[float64](s), nil })
}

func sumToStep[T tensor.Float](s *kernel.Stretch) Step {
	return func(f *Frame, in, out []*tensor.Tensor) error {
		kernel.SumTo(f.Pool, s, tensor.Data[T](out[0]), tensor.Data[T](in[0]))
		return nil
	}
}

// Grad: every element of v counts once.
func (sumTo) Grad(b *GradBuilder) error {
	if b.Needs(0) {
		b.Set(0, b.ExpandLike(b.Grad(0), b.In(0)))
	}
	return nil
}

// Expand puts ones before shape up to v's rank, and sums the axes on which
// that differs from v's shape.
func (sumTo) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	v, shape := n.Input(0), n.Input(1)
	vs := b.Op("Shape", ir.In(v))
	missing := b.Sub(b.Op("Shape", ir.In(vs)), b.Op("Shape", ir.In(shape)))
	ones := b.Op("ConstantOfShape", ir.In(missing), ir.A("value", ir.TensorAttr{Data: ir.Dense(tensor.Ints(1))}))
	padded := b.Op("Concat", ir.In(ones, shape), ir.A("axis", ir.Int(0)))
	differs := b.Op("Not", ir.In(b.Op("Equal", ir.In(padded, vs))))
	axes := b.ReshapeTo(b.Op("NonZero", ir.In(differs)), -1)
	sum := b.Op("ReduceSum", ir.In(v, axes), ir.A("keepdims", ir.Int(1)), ir.A("noop_with_empty_axes", ir.Int(1)))
	return ir.In(b.Op("Reshape", ir.In(sum, shape), ir.A("allowzero", ir.Int(1)))), nil
}
