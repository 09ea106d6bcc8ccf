package ops

import (
	"math"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// globalPool reduces all spatial dimensions of x (N,C,D...) to extent 1: their
// mean, or their maximum.
// https://onnx.ai/onnx/operators/onnx__GlobalAveragePool.html
type globalPool struct{ max bool }

func newGlobalAveragePool(*Args) (Op, error) { return globalPool{}, nil }

func newGlobalMaxPool(*Args) (Op, error) { return globalPool{max: true}, nil }

func (o globalPool) Infer(in []Fact) ([]Fact, error) {
	if _, err := spatialRank(in[0]); err != nil || !in[0].Ranked {
		return []Fact{unranked(in[0].DType)}, err
	}
	dims := append([]ir.Dim{}, in[0].Dims...)
	for i := 2; i < len(dims); i++ {
		dims[i] = known(1)
	}
	return []Fact{Of(in[0].DType, dims...)}, nil
}

func (o globalPool) Bind(p *Binder, in, out []Fact) (Step, error) {
	return bindTyped(p, o, []typedStep{globalStep(o.max, in[0], float32(math.Inf(-1))), globalStep(o.max, in[0], math.Inf(-1))}, in, out)
}

func globalStep[T kernel.Float](isMax bool, x Fact, low T) typedStep {
	s := x.MustShape()
	planes, n := s[:2].Size(), s[2:].Size()
	return typedStep{tensor.DTypeOf[T](), func(f *Frame, in, out []*tensor.Tensor) error {
		x, y := tensor.Data[T](in[0]), tensor.Data[T](out[0])
		if isMax {
			kernel.ReduceMax(f.Pool, planes, n, 1, y, x, low)
		} else {
			kernel.ReduceMean(f.Pool, planes, n, 1, y, x)
		}
		return nil
	}}
}

// Grad spreads dy over the plane, or gives it to the greatest elements in
// equal parts.
func (o globalPool) Grad(b *GradBuilder) error {
	x, dy := b.In(0), b.Grad(0)
	d := b.Fact(dy).DType
	if !o.max {
		n := b.Cast(b.Div(b.Op("Size", ir.In(x)), b.Op("Size", ir.In(dy))), d)
		b.Set(0, b.ExpandLike(b.Div(dy, n), x))
		return nil
	}
	mask := b.Cast(b.Op("Equal", ir.In(x, b.Out(0))), d)
	// the mean of the mask times the size of a plane is the number of ties
	n := b.Cast(b.Div(b.Op("Size", ir.In(x)), b.Op("Size", ir.In(dy))), d)
	ties := b.Mul(b.Op("GlobalAveragePool", ir.In(mask)), n)
	b.Set(0, b.Mul(mask, b.Div(dy, ties)))
	return nil
}
