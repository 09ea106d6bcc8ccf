package ops

import "github.com/bonnx/bonnx/ir"

// rnn is the plain recurrent network: H = f(x W + h R + b). See recurrent for
// shapes.
// https://onnx.ai/onnx/operators/onnx__RNN.html
type rnn struct{ recurrent }

func newRNN(a *Args) (Op, error) {
	r, err := newRecurrent(a, 1, []string{"Tanh"})
	return rnn{r}, err
}

// Expand builds the body.
func (o rnn) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) { return o.expand(b, n, 1, o) }

func (rnn) prepare(b *Builder, w *cellWeights) *ir.Value {
	if w.wb == nil {
		return w.x
	}
	return b.Add(w.x, b.Add(w.wb, w.rb))
}

func (rnn) step(b *Builder, w *cellWeights, x *ir.Value, state []*ir.Value) []*ir.Value {
	return ir.In(w.gate(b, 0, b.Add(x, b.MatMul(state[0], w.r))))
}
