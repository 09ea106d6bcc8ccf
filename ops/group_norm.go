package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// groupNorm normalises groups of channels of each image (Wu and He, arXiv
// 1803.08494): with mean and variance over a group's channels and places,
//
//	x (N,C,D...), scale, bias -> y (N,C,D...)
//	y = (x-mean) / sqrt(variance+epsilon) * scale + bias
//
// scale and bias are (C), but (G) in GroupNormalization of opset 18 to 20.
// InstanceNormalization is the same with each channel a group.
// https://onnx.ai/onnx/operators/onnx__GroupNormalization.html
type groupNorm struct {
	eps      float64
	groups   int // 0: as many as channels
	perGroup bool
}

func newGroupNorm(a *Args) (Op, error) {
	a.Skip("stash_type") // sums are kept in float64 whatever it says
	if !a.Has("num_groups") {
		return nil, errors.New("attribute \"num_groups\" is missing")
	}
	o := groupNorm{a.Float("epsilon", 1e-5), a.Int("num_groups", 1), a.Opset < 21}
	if o.groups < 1 {
		return nil, fmt.Errorf("num_groups is %d", o.groups)
	}
	return o, nil
}

func newInstanceNorm(a *Args) (Op, error) { return groupNorm{eps: a.Float("epsilon", 1e-5)}, nil }

func (o groupNorm) Infer(in []Fact) ([]Fact, error) {
	if _, err := commonDType(in); err != nil {
		return nil, err
	}
	x := in[0]
	if x.Ranked && x.Rank() < 2 {
		return nil, fmt.Errorf("x is %v, want (N,C,...)", x)
	}
	c := x.Dim(1)
	if o.groups > 0 && c.Known && c.Value%int64(o.groups) != 0 {
		return nil, fmt.Errorf("%d channels in %d groups", c.Value, o.groups)
	}
	if o.perGroup {
		c = known(o.groups)
	}
	for i, name := range []string{"scale", "bias"} {
		if err := perChannel(name, in[i+1], &c); err != nil {
			return nil, err
		}
	}
	return []Fact{x.WithoutValue()}, nil
}

func (o groupNorm) Bind(p *Binder, in, out []Fact) (Step, error) {
	if isNarrow(in[0].DType) {
		return viaFloat32(p, o, in, out)
	}
	return floatStep(in[0].DType,
		func() (Step, error) { return bindGroupNorm[float32](o, in[0]), nil },
		func() (Step, error) { return bindGroupNorm[float64](o, in[0]), nil })
}

func bindGroupNorm[T kernel.Float](o groupNorm, x Fact) Step {
	n, channels, inner := channelLayout(x.MustShape())
	groups := o.groups
	if groups == 0 {
		groups = channels
	}
	if o.perGroup && groups > 0 {
		channels, inner = groups, channels/groups*inner
	}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		kernel.GroupNorm(f.Pool, n, channels, groups, inner, tensor.Data[T](out[0]), tensor.Data[T](in[0]),
			tensor.Data[T](in[1]), tensor.Data[T](in[2]), o.eps)
		return nil
	}
}

// Grad computes the groups' statistics anew: the operator gives none. Then it
// is that of a layer normalisation of each group.
func (o groupNorm) Grad(b *GradBuilder) error {
	x := b.In(0)
	parts := 0 // the extent of (N,parts,-1) that scale and bias fit; 0 keeps C
	if o.perGroup {
		parts = o.groups
	}
	view := func(v *ir.Value) *ir.Value { return b.ReshapeTo(v, 0, parts, -1) }
	dy := view(b.Grad(0))
	if b.Needs(2) {
		b.Set(2, b.ReduceSum(dy, false, 0, 2))
	}
	if !b.Needs(0) && !b.Needs(1) {
		return nil
	}
	rows := b.ReshapeTo(x, 0, o.groups, -1)
	average := func(v *ir.Value) *ir.Value { return b.f("ReduceMean", v, b.Ints(-1)) }
	mean := average(rows)
	off := b.Sub(rows, mean)
	inv := b.f("Reciprocal", b.f("Sqrt", b.Add(average(b.Mul(off, off)), b.c(o.eps))))
	if b.Needs(1) {
		normed := b.Reshape(b.Mul(off, inv), b.Shape(x))
		b.Set(1, b.ReduceSum(b.Mul(dy, view(normed)), false, 0, 2))
	}
	if b.Needs(0) {
		g := b.ReshapeTo(b.Mul(dy, b.column(b.In(1))), 0, o.groups, -1)
		dx := b.Composite("LayerNormalizationGrad", ir.In(g, rows, nil, mean, inv), 1, ir.A("axis", ir.Int(-1)))[0]
		b.Set(0, b.Reshape(dx, b.Shape(x)))
	}
	return nil
}
