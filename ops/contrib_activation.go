package ops

import "github.com/bonnx/bonnx/ir"

// biasedActivation is an activation of com.microsoft after the addition of a
// bias, which may be left out:
//
//	Gelu, BiasGelu: z*Phi(z); FastGelu: the form with tanh;
//	QuickGelu: z*sigmoid(alpha*z)
//	x (...,H) [, bias (H)] -> y (...,H), with z = x + bias
type biasedActivation struct {
	function
	of func(b *Builder, z *ir.Value) *ir.Value
}

func newBiasedActivation(of func(b *Builder, z *ir.Value) *ir.Value) func(*Args) (Op, error) {
	return func(*Args) (Op, error) { return biasedActivation{of: of}, nil }
}

func newQuickGelu(a *Args) (Op, error) {
	alpha := decimal(a.Float("alpha", 1.702))
	return biasedActivation{of: func(b *Builder, z *ir.Value) *ir.Value {
		inner := z
		if alpha != 1 {
			inner = b.Mul(z, b.Scalar(z, alpha))
		}
		return b.Mul(z, b.Op("Sigmoid", ir.In(inner)))
	}}, nil
}

// Expand builds the body.
func (o biasedActivation) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x := n.Input(0)
	d, z := b.Fact(x).DType, b.widened(x)
	if bias := n.Input(1); bias != nil {
		z = b.Add(z, b.widened(bias))
	}
	return ir.In(b.Cast(o.of(b, z), d)), nil
}

// activationRows are the rows of the table.
func biasedActivationTable() []Entry {
	row := func(name string, ins int, make func(*Args) (Op, error)) Entry {
		return Entry{Domain: microsoft, Name: name, MinIn: 1, MaxIn: ins, MaxOut: 1, Strict: Accurate, New: make}
	}
	return []Entry{
		row("Gelu", 1, newBiasedActivation(geluErf.expand)), row("BiasGelu", 2, newBiasedActivation(geluErf.expand)),
		row("FastGelu", 2, newBiasedActivation(geluTanh.expand)), row("QuickGelu", 1, newQuickGelu),
	}
}
