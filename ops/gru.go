package ops

import "github.com/bonnx/bonnx/ir"

// gru is the gated recurrent unit (Cho and others, arXiv 1406.1078); the gates
// are in the order z, r, h. See recurrent for shapes.
//
//	z = f(x Wz + h Rz + bz), r alike
//	h~ = g(x Wh + (r*h) Rh + bh), or g(x Wh + Wbh + r*(h Rh + Rbh)) where the
//	product comes before the reset; H = (1-z)*h~ + z*h
//
// https://onnx.ai/onnx/operators/onnx__GRU.html
type gru struct {
	recurrent
	productFirst bool
}

func newGRU(a *Args) (Op, error) {
	r, err := newRecurrent(a, 3, []string{"Sigmoid", "Tanh"})
	return gru{r, a.Bool("linear_before_reset", false)}, err
}

// Expand builds the body.
func (o gru) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) { return o.expand(b, n, 1, o) }

// prepare adds both biases, but for the one that is reset with its product.
func (o gru) prepare(b *Builder, w *cellWeights) *ir.Value {
	w.zr, w.rh = b.slice(w.r, 1, 0, 2*w.hidden, 1), b.slice(w.r, 1, 2*w.hidden, 3*w.hidden, 1)
	if w.wb == nil {
		return w.x
	}
	rb := w.rb
	if o.productFirst {
		zeros := b.Mul(w.part(b, rb, 2), b.Scalar(rb, 0))
		rb = b.concat(ir.In(b.slice(rb, 0, 0, 2*w.hidden, 1), zeros), 0)
	}
	return b.Add(w.x, b.Add(w.wb, rb))
}

func (o gru) step(b *Builder, w *cellWeights, x *ir.Value, state []*ir.Value) []*ir.Value {
	h := state[0]
	zr := b.Add(b.slice(x, -1, 0, 2*w.hidden, 1), b.MatMul(h, w.zr))
	z, r := w.gate(b, 0, w.part(b, zr, 0)), w.gate(b, 0, w.part(b, zr, 1))
	var inner *ir.Value
	if o.productFirst {
		inner = b.MatMul(h, w.rh)
		if w.rb != nil {
			inner = b.Add(inner, w.part(b, w.rb, 2))
		}
		inner = b.Mul(r, inner)
	} else {
		inner = b.MatMul(b.Mul(r, h), w.rh)
	}
	next := w.gate(b, 1, b.Add(w.part(b, x, 2), inner))
	return ir.In(b.Add(b.Mul(b.Sub(b.Scalar(z, 1), z), next), b.Mul(z, h)))
}
