package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// rmsNorm is ai.bonnx.RMSNorm (Zhang and Sennrich, arXiv 1910.07467) over the
// last axis:
//
//	x (..., C), scale (C); epsilon -> y (..., C) [, inv (..., 1)]
//	inv[i] = 1/sqrt(mean_j x[i,j]^2 + epsilon)
//	y[i,j] = x[i,j] * inv[i] * scale[j]
//
// inv is there for the gradient.
type rmsNorm struct{ eps float64 }

// rmsNormGrad is ai.bonnx.RMSNormGrad, the gradient for x: with g = dy*scale
//
//	dy (..., C), x (..., C), scale (C), inv (..., 1) -> dx (..., C)
//	dx[i,j] = inv[i] * (g[i,j] - x[i,j] * inv[i]^2 * mean_j g[i,j]*x[i,j])
type rmsNormGrad struct{}

func newRMSNorm(a *Args) (Op, error) { return rmsNorm{decimal(a.Float("epsilon", 1e-5))}, nil }

func newRMSNormGrad(*Args) (Op, error) { return rmsNormGrad{}, nil }

func (rmsNorm) Infer(in []Fact) ([]Fact, error) {
	if err := sameFloats([]string{"x", "scale"}, in); err != nil {
		return nil, err
	}
	x, scale := in[0], in[1]
	if scale.Ranked && scale.Rank() != 1 || x.Ranked && x.Rank() == 0 {
		return nil, fmt.Errorf("x %v with scale %v: %w", x, scale, errRank)
	}
	if _, err := agree("last extents", x.Dim(-1), scale.Dim(0)); err != nil {
		return nil, fmt.Errorf("x %v with scale %v: %w", x, scale, err)
	}
	inv := Fact{DType: x.DType, Ranked: x.Ranked}
	if x.Ranked {
		inv.Dims = append(append([]ir.Dim{}, x.Dims[:x.Rank()-1]...), known(1))
	}
	return []Fact{x.WithoutValue(), inv}, nil
}

func (o rmsNorm) Bind(p *Binder, in, _ []Fact) (Step, error) {
	p.InPlace(0, 0)
	return floatStep(in[0].DType,
		func() (Step, error) { return rmsNormStep[float32](o.eps, in[0].MustShape()), nil },
		func() (Step, error) { return rmsNormStep[float64](o.eps, in[0].MustShape()), nil })
}

func rmsNormStep[T tensor.Float](eps float64, shape tensor.Shape) Step {
	rows, n := shape[:len(shape)-1].Size(), shape[len(shape)-1]
	return func(f *Frame, in, out []*tensor.Tensor) error {
		var inv []T
		if len(out) > 1 && out[1] != nil {
			inv = tensor.Data[T](out[1])
		}
		kernel.RMSNorm(f.Pool, rows, n, tensor.Data[T](out[0]), tensor.Data[T](in[0]), tensor.Data[T](in[1]), inv, eps)
		return nil
	}
}

// Grad keeps inv from the forward pass.
func (rmsNorm) Grad(b *GradBuilder) error {
	if b.Grad(1) != nil {
		return errors.New("the second output of RMSNorm has no gradient of its own")
	}
	inv := b.Keep(1)
	if b.Needs(0) {
		b.Set(0, b.Composite("RMSNormGrad", ir.In(b.Grad(0), b.In(0), b.In(1), inv), 1)[0])
	}
	if b.Needs(1) {
		b.SetSum(1, b.Mul(b.Grad(0), b.Mul(b.In(0), inv)))
	}
	return nil
}

// Expand spells the equation out.
func (o rmsNorm) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x := n.Input(0)
	mean := b.Op("ReduceMean", ir.In(b.Mul(x, x), b.Ints(-1)))
	inv := b.Op("Reciprocal", ir.In(b.Op("Sqrt", ir.In(b.Add(mean, b.Scalar(x, o.eps))))))
	return ir.In(b.Mul(b.Mul(x, inv), n.Input(1)), inv), nil
}

func (rmsNormGrad) Infer(in []Fact) ([]Fact, error) {
	if err := sameFloats([]string{"dy", "x", "scale", "inv"}, in); err != nil {
		return nil, err
	}
	return []Fact{in[1].WithoutValue()}, nil
}

func (rmsNormGrad) Bind(_ *Binder, in, _ []Fact) (Step, error) {
	s := in[1].MustShape()
	if len(s) == 0 || !s.Equal(in[0].MustShape()) || in[2].MustShape().Size() != s[len(s)-1] || in[3].MustShape().Size() != s[:len(s)-1].Size() {
		return nil, errDataShape
	}
	return floatStep(in[0].DType,
		func() (Step, error) { return rmsNormGradStep[float32](in[1].MustShape()), nil },
		func() (Step, error) { return rmsNormGradStep[float64](in[1].MustShape()), nil })
}

func rmsNormGradStep[T tensor.Float](shape tensor.Shape) Step {
	rows, n := shape[:len(shape)-1].Size(), shape[len(shape)-1]
	return func(f *Frame, in, out []*tensor.Tensor) error {
		kernel.RMSNormGrad(f.Pool, rows, n, tensor.Data[T](out[0]), nil, tensor.Data[T](in[1]), tensor.Data[T](in[2]),
			tensor.Data[T](in[3]), tensor.Data[T](in[0]))
		return nil
	}
}

// Expand spells the equation out.
func (rmsNormGrad) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	dy, x, scale, inv := n.Input(0), n.Input(1), n.Input(2), n.Input(3)
	g := b.Mul(dy, scale)
	xh := b.Mul(x, inv)
	mean := b.Op("ReduceMean", ir.In(b.Mul(g, xh), b.Ints(-1)))
	return ir.In(b.Mul(inv, b.Sub(g, b.Mul(xh, mean)))), nil
}
