package ops

import "github.com/bonnx/bonnx/ir"

// lstm is long short-term memory (Hochreiter and Schmidhuber, 1997), with
// peepholes; the gates are in the order i, o, f, c. See recurrent for shapes.
//
//	i = f(x Wi + h Ri + Pi*c + bi), f alike, c~ = g(x Wc + h Rc + bc)
//	C = f*c + i*c~; o = f(x Wo + h Ro + Po*C + bo); H = o*h(C)
//
// https://onnx.ai/onnx/operators/onnx__LSTM.html
type lstm struct {
	recurrent
	coupled bool // f is 1-i
}

func newLSTM(a *Args) (Op, error) {
	r, err := newRecurrent(a, 4, []string{"Sigmoid", "Tanh", "Tanh"})
	return lstm{r, a.Bool("input_forget", false)}, err
}

// Expand builds the body.
func (o lstm) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) { return o.expand(b, n, 2, o) }

func (lstm) prepare(b *Builder, w *cellWeights) *ir.Value {
	if w.wb == nil {
		return w.x
	}
	return b.Add(w.x, b.Add(w.wb, w.rb))
}

func (o lstm) step(b *Builder, w *cellWeights, x *ir.Value, state []*ir.Value) []*ir.Value {
	h, c := state[0], state[1]
	z := b.Add(x, b.MatMul(h, w.r))
	peep := func(gate int, z, c *ir.Value) *ir.Value {
		if w.peep == nil {
			return z
		}
		return b.Add(z, b.Mul(c, w.part(b, w.peep, gate)))
	}
	i := w.gate(b, 0, peep(0, w.part(b, z, 0), c))
	f := b.Sub(b.Scalar(i, 1), i)
	if !o.coupled {
		f = w.gate(b, 0, peep(2, w.part(b, z, 2), c))
	}
	next := b.Add(b.Mul(f, c), b.Mul(i, w.gate(b, 1, w.part(b, z, 3))))
	out := w.gate(b, 0, peep(1, w.part(b, z, 1), next))
	return ir.In(b.Mul(out, w.acts[2](b, next)), next)
}
