package ops

import (
	"errors"
	"fmt"
	"math"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// batchNorm normalises each channel with statistics that were gathered before
// (Ioffe and Szegedy, arXiv 1502.03167):
//
//	x (N,C,D...), scale, bias, mean, var (C) -> y (N,C,D...)
//	y[n,c,i] = (x[n,c,i]-mean[c]) / sqrt(var[c]+epsilon) * scale[c] + bias[c]
//
// An x of one dimension has one channel.
// https://onnx.ai/onnx/operators/onnx__BatchNormalization.html
type batchNorm struct{ eps float64 }

func newBatchNorm(a *Args) (Op, error) {
	eps, momentum := a.Float("epsilon", 1e-5), a.Float("momentum", 0.9)
	switch {
	case a.Bool("training_mode", false):
		return batchNormTraining{eps: eps, momentum: decimal(momentum)}, nil
	case a.NumOut() > 1:
		return nil, errors.New("only training mode has statistics as outputs")
	}
	return batchNorm{eps}, nil
}

func (o batchNorm) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if x.Rank() == 0 {
		return nil, fmt.Errorf("x is %v, which has no channels", x)
	}
	c := x.Dim(1)
	if x.Rank() == 1 {
		c = known(1)
	}
	for i, name := range []string{"scale", "bias", "mean", "variance"} {
		if err := perChannel(name, in[i+1], &c); err != nil {
			return nil, err
		}
	}
	return []Fact{x.WithoutValue()}, nil
}

// perChannel checks that f is a vector of n elements; n becomes known where f
// tells it.
func perChannel(what string, f Fact, n *ir.Dim) error {
	if f.Ranked && f.Rank() != 1 {
		return fmt.Errorf("%s is %v, want a vector", what, f)
	}
	d, err := agree(what+" and channels", *n, f.Dim(0))
	*n = d
	return err
}

func (o batchNorm) Bind(p *Binder, in, out []Fact) (Step, error) {
	for _, f := range in {
		if isNarrow(f.DType) {
			return viaFloat32(p, o, in, out)
		}
	}
	if err := sameFloats([]string{"x", "scale", "bias", "mean", "variance"}, in); err != nil {
		return nil, err
	}
	p.InPlace(0, 0)
	return floatStep(in[0].DType,
		func() (Step, error) { return bindBatchNorm[float32](p, o, in[0]), nil },
		func() (Step, error) { return bindBatchNorm[float64](p, o, in[0]), nil })
}

// channelLayout sees a concrete shape as (n, channels, inner).
func channelLayout(s tensor.Shape) (n, channels, inner int) {
	if len(s) == 1 {
		return s[0], 1, 1
	}
	return s[0], s[1], s[2:].Size()
}

func bindBatchNorm[T kernel.Float](p *Binder, o batchNorm, x Fact) Step {
	n, channels, inner := channelLayout(x.MustShape())
	slopes, shifts := scratchOf[T](p, channels), scratchOf[T](p, channels)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		a, b := ScratchOf[T](f, slopes), ScratchOf[T](f, shifts)
		scale, bias := tensor.Data[T](in[1]), tensor.Data[T](in[2])
		mean, variance := tensor.Data[T](in[3]), tensor.Data[T](in[4])
		for c := range channels {
			slope := float64(scale[c]) / math.Sqrt(float64(variance[c])+o.eps)
			a[c], b[c] = T(slope), T(float64(bias[c])-float64(mean[c])*slope)
		}
		kernel.ChannelAffine(f.Pool, n, channels, inner, tensor.Data[T](out[0]), tensor.Data[T](in[0]), a, b)
		return nil
	}
}

// channelView is x as (N,C,rest), which needs no rank.
func (b *Builder) channelView(x *ir.Value) *ir.Value { return b.ReshapeTo(x, 0, 0, -1) }

// column makes a vector of channels fit a channelView.
func (b *Builder) column(v *ir.Value) *ir.Value { return b.Unsqueeze(v, 1) }

// Grad: y is affine in x, scale and bias; mean and var are differentiated too.
func (o batchNorm) Grad(b *GradBuilder) error {
	x, d := b.In(0), b.Fact(b.In(0)).DType
	wide := func(i int) *ir.Value { return b.Cast(b.In(i), d) }
	set := func(i int, g *ir.Value) { b.Set(i, b.Cast(g, b.Fact(b.In(i)).DType)) }
	// a vector x has one channel: C is better taken from scale
	shape := b.Join(b.Ints(0), b.Extent(b.In(1), 0), b.Ints(-1))
	dy, scale := b.Reshape(b.Grad(0), shape), wide(1)
	inv := b.f("Reciprocal", b.f("Sqrt", b.Add(wide(4), b.c(o.eps))))
	slope := b.Mul(scale, inv)
	if b.Needs(0) {
		b.Set(0, b.ReshapeLike(b.Mul(dy, b.column(slope)), x))
	}
	if b.Needs(2) || b.Needs(3) {
		sum := b.ReduceSum(dy, false, 0, 2)
		if b.Needs(2) {
			set(2, sum)
		}
		if b.Needs(3) {
			set(3, b.Neg(b.Mul(slope, sum)))
		}
	}
	if b.Needs(1) || b.Needs(4) {
		off := b.Sub(b.Reshape(x, shape), b.column(wide(3)))
		sum := b.Mul(b.ReduceSum(b.Mul(dy, off), false, 0, 2), inv)
		if b.Needs(1) {
			set(1, sum)
		}
		if b.Needs(4) {
			set(4, b.Mul(b.Mul(sum, slope), b.Mul(inv, b.c(-0.5))))
		}
	}
	return nil
}
