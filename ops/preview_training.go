package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// The optimizers of the domain ai.onnx.preview.training update any number of
// tensors at once: after the rate r and the count t of updates so far come all
// tensors x, all their gradients g, and all of each kind of state.
// https://github.com/onnx/onnx/blob/main/docs/Operators.md#ai.onnx.preview.training

// previewTraining is the domain's name.
const previewTraining = "ai.onnx.preview.training"

// an update makes the new x and the new state of one tensor.
type update func(b *Builder, x, g *ir.Value, state []*ir.Value) (next *ir.Value, after []*ir.Value)

// previewOptimizer is an optimizer with states kinds of state.
type previewOptimizer struct {
	flatFunction
	states int
	norm   float64 // of the quadratic penalty that is added to the gradient
	// prepare computes what all tensors share.
	prepare func(b *Builder, r, t *ir.Value) update
}

// Expand builds the body.
func (o previewOptimizer) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	groups := 2 + o.states
	count := (len(n.Inputs()) - 2) / groups
	if count < 1 || len(n.Inputs()) != 2+count*groups {
		return nil, fmt.Errorf("%d inputs; want 2 and %d for each tensor", len(n.Inputs()), groups)
	}
	next := o.prepare(b, n.Input(0), n.Input(1))
	out := make([]*ir.Value, count*(1+o.states))
	for i := range count {
		x, g := n.Input(2+i), n.Input(2+count+i)
		var state []*ir.Value
		for s := range o.states {
			state = append(state, n.Input(2+(2+s)*count+i))
		}
		g = b.Add(b.Mul(b.Scalar(x, o.norm), x), g)
		var after []*ir.Value
		out[i], after = next(b, x, g, state)
		for s, v := range after {
			out[(1+s)*count+i] = v
		}
	}
	return out, nil
}

// newAdagrad: h' = h + g^2; x' = x - r/(1+t*decay) * g/(sqrt(h')+epsilon).
func newAdagrad(a *Args) (Op, error) {
	decay, eps := decimal(a.Float("decay_factor", 0)), decimal(a.Float("epsilon", 1e-6))
	return previewOptimizer{states: 1, norm: decimal(a.Float("norm_coefficient", 0)), prepare: func(b *Builder, r, t *ir.Value) update {
		t = b.Cast(t, tensor.Float64)
		rate := b.Div(b.Cast(r, tensor.Float64), b.Add(b.Mul(t, b.Scalar(t, decay)), b.Scalar(t, 1)))
		return func(b *Builder, x, g *ir.Value, state []*ir.Value) (*ir.Value, []*ir.Value) {
			h := b.Add(state[0], b.Mul(g, g))
			step := b.Mul(b.rateFor(rate, x), b.Div(g, b.Add(b.Op("Sqrt", ir.In(h)), b.Scalar(x, eps))))
			return b.Sub(x, step), ir.In(h)
		}
	}}, nil
}

// newAdam: v' = alpha*v + (1-alpha)*g; h' = beta*h + (1-beta)*g^2;
// x' = (1-post) * (x - r*sqrt(1-beta^t)/(1-alpha^t) * v'/(sqrt(h')+epsilon)),
// where the correction of r is left out when t is 0.
func newAdam(a *Args) (Op, error) {
	alpha, beta, eps := decimal(a.Float("alpha", 0.9)), decimal(a.Float("beta", 0.999)), decimal(a.Float("epsilon", 1e-6))
	post := decimal(a.Float("norm_coefficient_post", 0))
	return previewOptimizer{states: 2, norm: decimal(a.Float("norm_coefficient", 0)), prepare: func(b *Builder, r, t *ir.Value) update {
		r, t = b.Cast(r, tensor.Float64), b.Cast(t, tensor.Float64)
		left := func(base float64) *ir.Value { return b.Sub(b.Scalar(t, 1), b.Op("Pow", ir.In(b.Scalar(t, base), t))) }
		first := b.Op("Equal", ir.In(t, b.Scalar(t, 0)))
		correction := b.Op("Where", ir.In(first, b.Scalar(t, 1), b.Div(b.Op("Sqrt", ir.In(left(beta))), left(alpha))))
		rate := b.Mul(r, correction)
		return func(b *Builder, x, g *ir.Value, state []*ir.Value) (*ir.Value, []*ir.Value) {
			v := b.Add(b.Mul(b.Scalar(x, alpha), state[0]), b.Mul(b.Scalar(x, 1-alpha), g))
			h := b.Add(b.Mul(b.Scalar(x, beta), state[1]), b.Mul(b.Scalar(x, 1-beta), b.Mul(g, g)))
			step := b.Mul(b.rateFor(rate, x), b.Div(v, b.Add(b.Op("Sqrt", ir.In(h)), b.Scalar(x, eps))))
			return b.Mul(b.Sub(x, step), b.Scalar(x, 1-post)), ir.In(v, h)
		}
	}}, nil
}

// newMomentum: v' = alpha*v + beta*g, beta being 1 when t is 0;
// x' = x - r*v', or with Nesterov's mode x - r*(g + alpha*v').
func newMomentum(a *Args) (Op, error) {
	alpha, beta, mode := decimal(a.Float("alpha", 0)), decimal(a.Float("beta", 0)), a.String("mode", "")
	if mode != "standard" && mode != "nesterov" {
		return nil, fmt.Errorf("mode is %q, want standard or nesterov", mode)
	}
	return previewOptimizer{states: 1, norm: decimal(a.Float("norm_coefficient", 0)), prepare: func(b *Builder, r, t *ir.Value) update {
		t = b.Cast(t, tensor.Float64)
		some := b.Op("Greater", ir.In(t, b.Scalar(t, 0)))
		weight := b.Op("Where", ir.In(some, b.Scalar(t, beta), b.Scalar(t, 1)))
		return func(b *Builder, x, g *ir.Value, state []*ir.Value) (*ir.Value, []*ir.Value) {
			v := b.Add(b.Mul(b.Scalar(x, alpha), state[0]), b.Mul(b.rateFor(weight, x), g))
			step := v
			if mode == "nesterov" {
				step = b.Add(g, b.Mul(b.Scalar(x, alpha), v))
			}
			return b.Sub(x, b.Mul(b.rateFor(r, x), step)), ir.In(v)
		}
	}}, nil
}

// rateFor is a rate in x's type.
func (b *Builder) rateFor(rate, x *ir.Value) *ir.Value { return b.Cast(rate, b.Fact(x).DType) }
