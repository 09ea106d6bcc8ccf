package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// rmsNormalization scales to unit mean square over the dimensions from axis
// on: y = x / sqrt(mean(x^2)+epsilon) * scale, scale broadcast to x.
// https://onnx.ai/onnx/operators/onnx__RMSNormalization.html (since 23)
type rmsNormalization struct {
	axis int
	eps  float64
}

func newRMSNormalization(a *Args) (Op, error) {
	a.Skip("stash_type") // sums are kept in float64 whatever it says
	return rmsNormalization{a.Int("axis", -1), a.Float("epsilon", 1e-5)}, nil
}

func (o rmsNormalization) Infer(in []Fact) ([]Fact, error) {
	f, err := layerNorm{axis: o.axis}.Infer(in)
	if err != nil {
		return nil, err
	}
	return f[:1], nil
}

func (o rmsNormalization) Bind(p *Binder, in, out []Fact) (Step, error) {
	if isNarrow(in[0].DType) {
		return viaFloat32(p, o, in, out)
	}
	return floatStep(in[0].DType,
		func() (Step, error) { return bindRMSNormalization[float32](p, o, in, out) },
		func() (Step, error) { return bindRMSNormalization[float64](p, o, in, out) })
}

func bindRMSNormalization[T kernel.Float](p *Binder, o rmsNormalization, in, out []Fact) (Step, error) {
	rows, n, err := rowsFrom(in[0], o.axis)
	if err != nil {
		return nil, err
	}
	p.InPlace(0, 0)
	var after []Step
	whole := in[1].MustShape().Size() == n
	if !whole {
		if after, err = scaleAfter[T](in, out); err != nil {
			return nil, err
		}
	}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		var scale []T
		if whole {
			scale = tensor.Data[T](in[1])
		}
		kernel.RMSNorm(f.Pool, rows, n, tensor.Data[T](out[0]), tensor.Data[T](in[0]), scale, nil, o.eps)
		for _, s := range after {
			if err := s(f, in, out); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// Grad: with inv = 1/sqrt(mean(x^2)+epsilon), xh = x*inv and g = dy*scale,
// dx = inv*(g - xh*mean(g*xh)).
func (o rmsNormalization) Grad(b *GradBuilder) error {
	x, scale, dy := b.In(0), b.In(1), b.Grad(0)
	axes, err := b.axesFrom(o.axis, x)
	if err != nil {
		return err
	}
	ms := b.meanOver(b.Mul(x, x), axes)
	inv := b.f("Reciprocal", b.f("Sqrt", b.Add(ms, b.c(o.eps))))
	xh := b.Mul(x, inv)
	if b.Needs(0) {
		g := b.Mul(dy, scale)
		b.Set(0, b.Mul(inv, b.Sub(g, b.Mul(xh, b.meanOver(b.Mul(g, xh), axes)))))
	}
	if b.Needs(1) {
		b.SetSum(1, b.Mul(dy, xh))
	}
	return nil
}

// axesFrom lists the axes of x from axis on, counted from the end; a positive
// axis needs x's rank.
func (b *Builder) axesFrom(axis int, x *ir.Value) ([]int, error) {
	if axis >= 0 {
		rank := b.Fact(x).Rank()
		if rank < 0 {
			return nil, fmt.Errorf("axis %d needs the rank of %v", axis, b.Fact(x))
		}
		axis -= rank
	}
	var axes []int
	for a := axis; a < 0; a++ {
		axes = append(axes, a)
	}
	return axes, nil
}

// meanOver is the mean of v over axes, which are kept.
func (b *Builder) meanOver(v *ir.Value, axes []int) *ir.Value {
	return b.Op("ReduceMean", ir.In(v, b.Ints(axes...)), ir.A("keepdims", ir.Int(1)))
}
