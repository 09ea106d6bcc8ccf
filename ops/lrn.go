package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// lrn is local response normalisation across channels (Krizhevsky and others,
// 2012): with s[c] the sum of squares over the channels from c-(size-1)/2,
// rounded down, to c+(size-1)/2, rounded up,
//
//	x (N,C,D...) -> y = x / (bias + alpha/size*s)^beta
//
// https://onnx.ai/onnx/operators/onnx__LRN.html
type lrn struct {
	size              int
	alpha, beta, bias float64
}

func newLRN(a *Args) (Op, error) {
	o := lrn{a.Int("size", 0), a.Float("alpha", 1e-4), a.Float("beta", 0.75), a.Float("bias", 1)}
	if o.size < 1 || o.size > 1<<30 {
		return nil, fmt.Errorf("size is %d", o.size)
	}
	return o, nil
}

func (o lrn) Infer(in []Fact) ([]Fact, error) {
	if in[0].Ranked && in[0].Rank() < 2 {
		return nil, fmt.Errorf("x is %v, want (N,C,...)", in[0])
	}
	return []Fact{in[0].WithoutValue()}, nil
}

func (o lrn) Bind(p *Binder, in, out []Fact) (Step, error) {
	return bindTyped(p, o, []typedStep{lrnStep[float32](o, in[0]), lrnStep[float64](o, in[0])}, in, out)
}

func lrnStep[T kernel.Float](o lrn, x Fact) typedStep {
	n, channels, inner := channelLayout(x.MustShape())
	return typedStep{tensor.DTypeOf[T](), func(f *Frame, in, out []*tensor.Tensor) error {
		kernel.LRN(f.Pool, n, channels, inner, tensor.Data[T](out[0]), tensor.Data[T](in[0]), o.size, o.alpha, o.beta, o.bias)
		return nil
	}}
}

// Grad: with base = bias + alpha/size*s,
//
//	dx[c] = dy[c]*base[c]^-beta - 2*alpha*beta/size * x[c] * sum_k dy[k]*x[k]*base[k]^(-beta-1)
//
// over the channels k whose sum has c in it. Both sums are average pools over
// channels, of which the second looks the other way.
func (o lrn) Grad(b *GradBuilder) error {
	x, dy := b.plane(b.In(0)), b.plane(b.Grad(0))
	before, after := (o.size-1)/2, o.size/2
	base := b.Add(b.Mul(b.channelMean(b.Mul(x, x), before, after), b.c(o.alpha)), b.c(o.bias))
	scaled := b.Mul(dy, b.f("Pow", base, b.c(-o.beta)))
	across := b.channelMean(b.Div(b.Mul(scaled, x), base), after, before)
	dx := b.Sub(scaled, b.Mul(b.Mul(x, across), b.c(2*o.alpha*o.beta)))
	b.Set(0, b.Reshape(dx, b.Shape(b.In(0))))
	return nil
}

// plane is x (N,C,...) as (N,1,C,rest).
func (b *GradBuilder) plane(x *ir.Value) *ir.Value { return b.Unsqueeze(b.channelView(x), 1) }

// channelMean is the sum over channels from before to after of a plane,
// divided by their number, which counts those that do not exist.
func (b *GradBuilder) channelMean(plane *ir.Value, before, after int) *ir.Value {
	if before+after == 0 {
		return plane
	}
	return b.Op("AveragePool", ir.In(plane), ir.A("kernel_shape", ir.Ints{int64(before + after + 1), 1}),
		ir.A("pads", ir.Ints{int64(before), 0, int64(after), 0}), ir.A("count_include_pad", ir.Int(1)))
}
