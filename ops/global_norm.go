package ops

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// globalNorm is ai.bonnx.GlobalNorm, the length of all inputs taken as one
// vector, added in float64 in a fixed order:
//
//	values (any shapes) -> norm () = sqrt(sum of all elements squared)
type globalNorm struct{}

func newGlobalNorm(*Args) (Op, error) { return globalNorm{}, nil }

func (globalNorm) Infer(in []Fact) ([]Fact, error) {
	for i, f := range in {
		if err := sameFloats([]string{"input 0", fmt.Sprintf("input %d", i)}, []Fact{in[0], f}); err != nil {
			return nil, err
		}
	}
	return []Fact{Of(in[0].DType)}, nil
}

func (globalNorm) Bind(_ *Binder, in, _ []Fact) (Step, error) {
	return floatStep(in[0].DType,
		func() (Step, error) { return globalNormStep[float32], nil },
		func() (Step, error) { return globalNormStep[float64], nil })
}

func globalNormStep[T tensor.Float](f *Frame, in, out []*tensor.Tensor) error {
	sum := 0.0
	for _, t := range in {
		sum += kernel.SumSquares(f.Pool, tensor.Data[T](t))
	}
	tensor.Data[T](out[0])[0] = T(math.Sqrt(sum))
	return nil
}

// Expand adds ReduceSumSquare of each.
func (globalNorm) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	var parts []*ir.Value
	for _, v := range n.Inputs() {
		parts = append(parts, b.Op("ReduceSumSquare", ir.In(v), ir.A("keepdims", ir.Int(0))))
	}
	return ir.In(b.Op("Sqrt", ir.In(b.Op("Sum", parts)))), nil
}

// clipScale is ai.bonnx.ClipScale, what torch.nn.utils.clip_grad_norm_
// multiplies gradients by:
//
//	norm () -> factor () = min(1, max_norm/(norm + 1e-6))
type clipScale struct{ max float64 }

// clipEpsilon is PyTorch's guard against a norm of zero.
const clipEpsilon = 1e-6

func newClipScale(a *Args) (Op, error) {
	o := clipScale{decimal(a.Float("max_norm", 1))}
	if !(o.max > 0) {
		return nil, fmt.Errorf("max_norm is %g, want more than 0", o.max)
	}
	return o, nil
}

func (clipScale) Infer(in []Fact) ([]Fact, error) {
	return []Fact{in[0].WithoutValue()}, needFloat("norm", in[0])
}

func (o clipScale) Bind(_ *Binder, in, _ []Fact) (Step, error) {
	return floatStep(in[0].DType,
		func() (Step, error) { return clipScaleStep[float32](o.max), nil },
		func() (Step, error) { return clipScaleStep[float64](o.max), nil })
}

func clipScaleStep[T tensor.Float](limit float64) Step {
	return func(_ *Frame, in, out []*tensor.Tensor) error {
		for i, v := range tensor.Data[T](in[0]) {
			tensor.Data[T](out[0])[i] = T(min(1, limit/(float64(v)+clipEpsilon)))
		}
		return nil
	}
}

// Expand spells the equation out.
func (o clipScale) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	norm := n.Input(0)
	factor := b.Div(b.Scalar(norm, o.max), b.Add(norm, b.Scalar(norm, clipEpsilon)))
	return ir.In(b.Op("Min", ir.In(factor, b.Scalar(norm, 1)))), nil
}

// allFinite is ai.bonnx.AllFinite: whether no element of any input is NaN or
// infinite.
//
//	values (any shapes and float types) -> finite () bool
type allFinite struct{}

func newAllFinite(*Args) (Op, error) { return allFinite{}, nil }

func (allFinite) Infer(in []Fact) ([]Fact, error) {
	for i, f := range in {
		if err := needFloat(fmt.Sprintf("input %d", i), f); err != nil {
			return nil, err
		}
	}
	return []Fact{Of(tensor.Bool)}, nil
}

func (allFinite) Bind(*Binder, []Fact, []Fact) (Step, error) {
	return func(_ *Frame, in, out []*tensor.Tensor) error {
		ok := true
		for _, t := range in {
			ok = ok && finite(t)
		}
		tensor.Data[bool](out[0])[0] = ok
		return nil
	}, nil
}

func finite(t *tensor.Tensor) bool {
	if t.DType() == tensor.Float32 {
		return kernel.FirstNonFinite(tensor.Data[float32](t)) < 0
	}
	return kernel.FirstNonFinite(tensor.Data[float64](t)) < 0
}

// Expand counts what IsNaN and IsInf find.
func (allFinite) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	var found []*ir.Value
	for _, v := range n.Inputs() {
		bad := b.Op("Or", ir.In(b.Op("IsNaN", ir.In(v)), b.Op("IsInf", ir.In(v))))
		found = append(found, b.Op("ReduceSum", ir.In(b.Cast(bad, tensor.Float32)), ir.A("keepdims", ir.Int(0))))
	}
	sum := b.Op("Sum", found)
	return ir.In(b.Op("Equal", ir.In(sum, b.Scalar(sum, 0)))), nil
}
