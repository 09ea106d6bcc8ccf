package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// gatedSiLU is ai.bonnx.GatedSiLU, the gate of a feed-forward (Shazeer, arXiv
// 2002.05202):
//
//	gate (...), up (...) -> y (...) = silu(gate) * up
type gatedSiLU struct{}

// gatedSiLUGrad is its gradient, for which silu(gate) is computed again:
//
//	dy (...), gate (...), up (...) -> dgate = dy*up*silu'(gate), dup = dy*silu(gate)
type gatedSiLUGrad struct{}

func newGatedSiLU(*Args) (Op, error) { return gatedSiLU{}, nil }
func newGatedSiLUGrad(a *Args) (Op, error) {
	for i := range 2 {
		if a.Node.Output(i) == nil {
			return nil, fmt.Errorf("output %d is left out", i)
		}
	}
	return gatedSiLUGrad{}, nil
}

func (gatedSiLU) Infer(in []Fact) ([]Fact, error) {
	if err := sameFloats([]string{"gate", "up"}, in); err != nil {
		return nil, err
	}
	f, err := sameShape(in)
	return []Fact{f}, err
}

func (gatedSiLU) Bind(p *Binder, in, _ []Fact) (Step, error) {
	p.InPlace(0, 0)
	return floatStep(in[0].DType,
		func() (Step, error) { return gatedStep[float32], nil },
		func() (Step, error) { return gatedStep[float64], nil })
}

func gatedStep[T tensor.Float](f *Frame, in, out []*tensor.Tensor) error {
	kernel.GatedSiLU(f.Pool, tensor.Data[T](out[0]), tensor.Data[T](in[0]), tensor.Data[T](in[1]))
	return nil
}

// Grad keeps the inputs alone.
func (gatedSiLU) Grad(b *GradBuilder) error {
	d := b.Composite("GatedSiLUGrad", ir.In(b.Grad(0), b.In(0), b.In(1)), 2)
	for i, v := range d {
		if b.Needs(i) {
			b.Set(i, v)
		}
	}
	return nil
}

// Expand spells the equation out.
func (gatedSiLU) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	return ir.In(b.Mul(silu.expand(b, n.Input(0)), n.Input(1))), nil
}

func (gatedSiLUGrad) Infer(in []Fact) ([]Fact, error) {
	if err := sameFloats([]string{"dy", "gate", "up"}, in); err != nil {
		return nil, err
	}
	f, err := sameShape(in)
	return []Fact{f, f}, err
}

func (gatedSiLUGrad) Bind(p *Binder, in, _ []Fact) (Step, error) {
	p.InPlace(0, 0)
	return floatStep(in[0].DType,
		func() (Step, error) { return gatedGradStep[float32], nil },
		func() (Step, error) { return gatedGradStep[float64], nil })
}

func gatedGradStep[T tensor.Float](f *Frame, in, out []*tensor.Tensor) error {
	kernel.GatedSiLUGrad(f.Pool, tensor.Data[T](out[0]), tensor.Data[T](out[1]), tensor.Data[T](in[0]), tensor.Data[T](in[1]), tensor.Data[T](in[2]))
	return nil
}

// Expand spells the equations out.
func (gatedSiLUGrad) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	dy, gate, up := n.Input(0), n.Input(1), n.Input(2)
	return ir.In(b.Mul(b.Mul(dy, up), silu.slope(b, gate)), b.Mul(dy, silu.expand(b, gate))), nil
}
