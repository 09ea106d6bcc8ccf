package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// lpNorm divides by the norm along an axis, of order p = 1 or 2; where that is
// 0 the result is 0.
//
//	x (...) -> y[o,i,j] = x[o,i,j] / (sum_k |x[o,k,j]|^p)^(1/p)
//
// https://onnx.ai/onnx/operators/onnx__LpNormalization.html
type lpNorm struct{ axis, p int }

func newLpNorm(a *Args) (Op, error) {
	o := lpNorm{a.Int("axis", -1), a.Int("p", 2)}
	if o.p != 1 && o.p != 2 {
		return nil, fmt.Errorf("p is %d, want 1 or 2", o.p)
	}
	return o, nil
}

func (o lpNorm) Infer(in []Fact) ([]Fact, error) {
	if in[0].Ranked {
		if _, err := axisOf(in[0], o.axis); err != nil {
			return nil, err
		}
	}
	return []Fact{in[0].WithoutValue()}, nil
}

func (o lpNorm) Bind(p *Binder, in, out []Fact) (Step, error) {
	if isNarrow(in[0].DType) {
		return viaFloat32(p, o, in, out)
	}
	p.InPlace(0, 0)
	return floatStep(in[0].DType,
		func() (Step, error) { return bindLpNorm[float32](p, o, in[0]) },
		func() (Step, error) { return bindLpNorm[float64](p, o, in[0]) })
}

func bindLpNorm[T kernel.Float](p *Binder, o lpNorm, x Fact) (Step, error) {
	outer, n, inner, err := aroundAxis(x, o.axis)
	if err != nil {
		return nil, err
	}
	bc, err := planBroadcast(tensor.Shape{outer, n, inner}, tensor.Shape{outer, n, inner}, tensor.Shape{outer, 1, inner})
	if err != nil {
		return nil, err
	}
	norm := map[int]func(p *par.Pool, outer, n, inner int, dst, x []T){1: kernel.ReduceL1[T], 2: kernel.ReduceL2[T]}[o.p]
	s := scratchOf[T](p, outer*inner)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		x, size := tensor.Data[T](in[0]), ScratchOf[T](f, s)[:outer*inner]
		norm(f.Pool, outer, n, inner, size, x)
		for i, v := range size {
			if v == 0 {
				size[i] = 1
			}
		}
		kernel.Div(f.Pool, bc, tensor.Data[T](out[0]), x, size)
		return nil
	}, nil
}

// Grad: dx = (dy - d|x|/dx * sum(dy*y)) / |x|, where the norm's derivative is
// y for p = 2 and the sign of x for p = 1.
func (o lpNorm) Grad(b *GradBuilder) error {
	x, y, dy := b.In(0), b.Out(0), b.Grad(0)
	slope, norm := y, "ReduceL2"
	if o.p == 1 {
		slope, norm = b.f("Sign", x), "ReduceL1"
	}
	size := b.Op(norm, ir.In(x, b.Ints(o.axis)))
	size = b.f("Where", b.f("Equal", size, b.c(0)), b.c(1), size)
	along := b.ReduceSum(b.Mul(dy, y), true, o.axis)
	b.Set(0, b.Div(b.Sub(dy, b.Mul(slope, along)), size))
	return nil
}
