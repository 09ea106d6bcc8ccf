package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// recurrent is what RNN, GRU and LSTM share. With D directions, S steps, a batch
// of B and G gates of H elements:
//
//	X (S,B,I), W (D,G*H,I), R (D,G*H,H) [, bias (D,2*G*H), lengths (B),
//	initial state (D,B,H) ...] -> Y (S,D,B,H) [, last state (D,B,H) ...]
//
// With layout 1 the batch comes first everywhere. Steps beyond a row's length
// leave its state alone and give 0. A few steps of a known number are written
// one after the other, else they are the body of a Scan.
type recurrent struct {
	function
	gates      int
	hidden     int
	reversed   []bool // of each direction
	batchFirst bool
	clip       float64
	acts       [][]activationOf // of each direction
}

// A cell makes the next state of one direction.
type cell interface {
	// prepare computes what all steps share, and adds it to the projected input
	// where it can.
	prepare(b *Builder, w *cellWeights) *ir.Value
	step(b *Builder, w *cellWeights, x *ir.Value, state []*ir.Value) []*ir.Value
}

// cellWeights are the weights of a direction.
type cellWeights struct {
	x      *ir.Value // X W^T (S,B,G*H)
	r      *ir.Value // R^T (H,G*H)
	zr, rh *ir.Value // and its parts for GRU: (H,2*H) and (H,H)
	wb, rb *ir.Value // (G*H), nil without a bias
	peep   *ir.Value // (3*H) of LSTM, nil without
	acts   []activationOf
	clip   float64
	hidden int
}

type activationOf func(b *Builder, x *ir.Value) *ir.Value

// recurrentActivations make the activations that the operators may have, with
// alpha and beta and what these are by default.
var recurrentActivations = map[string]struct {
	alpha, beta float64
	of          func(b *Builder, x *ir.Value, alpha, beta float64) *ir.Value
}{
	"Relu": {of: plain("Relu")}, "Tanh": {of: plain("Tanh")}, "Sigmoid": {of: plain("Sigmoid")},
	"Softsign": {of: plain("Softsign")}, "Softplus": {of: plain("Softplus")},
	"LeakyRelu": {alpha: 0.01, of: withAlpha("LeakyRelu")}, "ThresholdedRelu": {alpha: 1, of: withAlpha("ThresholdedRelu")},
	"Elu": {alpha: 1, of: withAlpha("Elu")},
	"HardSigmoid": {0.2, 0.5, func(b *Builder, x *ir.Value, alpha, beta float64) *ir.Value {
		return b.Op("HardSigmoid", ir.In(x), ir.A("alpha", ir.Float(alpha)), ir.A("beta", ir.Float(beta)))
	}},
	"Affine": {1, 0, func(b *Builder, x *ir.Value, alpha, beta float64) *ir.Value {
		return b.Add(b.Mul(x, b.Scalar(x, alpha)), b.Scalar(x, beta))
	}},
	"ScaledTanh": {1, 1, func(b *Builder, x *ir.Value, alpha, beta float64) *ir.Value {
		return b.Mul(b.Op("Tanh", ir.In(b.Mul(x, b.Scalar(x, beta)))), b.Scalar(x, alpha))
	}},
}

func plain(op string) func(*Builder, *ir.Value, float64, float64) *ir.Value {
	return func(b *Builder, x *ir.Value, _, _ float64) *ir.Value { return b.Op(op, ir.In(x)) }
}

func withAlpha(op string) func(*Builder, *ir.Value, float64, float64) *ir.Value {
	return func(b *Builder, x *ir.Value, alpha, _ float64) *ir.Value {
		return b.Op(op, ir.In(x), ir.A("alpha", ir.Float(alpha)))
	}
}

// newRecurrent reads the attributes; defaults are the activations of one
// direction.
func newRecurrent(a *Args, gates int, defaults []string) (recurrent, error) {
	o := recurrent{gates: gates, hidden: a.Int("hidden_size", 0), batchFirst: a.Bool("layout", false), clip: a.Float("clip", 0)}
	a.Skip("output_sequence")
	switch d := a.String("direction", "forward"); d {
	case "forward":
		o.reversed = []bool{false}
	case "reverse":
		o.reversed = []bool{true}
	case "bidirectional":
		o.reversed = []bool{false, true}
	default:
		return o, fmt.Errorf("direction is %q", d)
	}
	if o.hidden <= 0 {
		return o, fmt.Errorf("hidden_size is %d", o.hidden)
	}
	names, alphas, betas := a.Strings("activations"), a.Floats("activation_alpha"), a.Floats("activation_beta")
	for range o.reversed {
		if a.Node.Attr("activations") == nil {
			names = append(names, defaults...)
		}
	}
	if len(names) != len(defaults)*len(o.reversed) {
		return o, fmt.Errorf("%d activations, want %d", len(names), len(defaults)*len(o.reversed))
	}
	var list []activationOf
	for i, name := range names {
		row, ok := recurrentActivations[name]
		if !ok {
			return o, fmt.Errorf("activation %q", name)
		}
		if i < len(alphas) {
			row.alpha = decimal(float64(alphas[i]))
		}
		if i < len(betas) {
			row.beta = decimal(float64(betas[i]))
		}
		list = append(list, func(b *Builder, x *ir.Value) *ir.Value { return row.of(b, x, row.alpha, row.beta) })
	}
	for d := range o.reversed {
		o.acts = append(o.acts, list[d*len(defaults):][:len(defaults)])
	}
	return o, nil
}

// expand builds the body from the inputs after lengths: states many initial
// states, then peepholes.
func (o recurrent) expand(b *Builder, n *ir.Node, states int, c cell) ([]*ir.Value, error) {
	x := n.Input(0)
	if o.batchFirst {
		x = b.Transpose(x, 1, 0, 2)
	}
	ys, last := make([]*ir.Value, len(o.reversed)), make([][]*ir.Value, states)
	for d, reversed := range o.reversed {
		w := o.weights(b, n, x, d, 5+states)
		xs := c.prepare(b, w)
		init := make([]*ir.Value, states)
		for k := range init {
			init[k] = o.initial(b, n.Input(5+k), x, d)
		}
		y, end, err := b.recur(xs, n.Input(4), init, reversed, func(b *Builder, x *ir.Value, state []*ir.Value) []*ir.Value {
			return c.step(b, w, x, state)
		})
		if err != nil {
			return nil, err
		}
		ys[d] = b.Unsqueeze(y, 1)
		for k, v := range end {
			last[k] = append(last[k], b.Unsqueeze(v, 0))
		}
	}
	out := []*ir.Value{b.concat(ys, 1)}
	for _, list := range last {
		out = append(out, b.concat(list, 0))
	}
	if o.batchFirst {
		out[0] = b.Transpose(out[0], 2, 0, 1, 3)
		for k := 1; k < len(out); k++ {
			out[k] = b.Transpose(out[k], 1, 0, 2)
		}
	}
	return out, nil
}

func (o recurrent) weights(b *Builder, n *ir.Node, x *ir.Value, d, peep int) *cellWeights {
	w := &cellWeights{acts: o.acts[d], clip: o.clip, hidden: o.hidden}
	w.x = b.MatMul(x, b.Transpose(b.entryOf(n.Input(1), d), 1, 0))
	w.r = b.Transpose(b.entryOf(n.Input(2), d), 1, 0)
	if bias := n.Input(3); bias != nil {
		both := b.entryOf(bias, d)
		size := o.gates * o.hidden
		w.wb, w.rb = b.slice(both, 0, 0, size, 1), b.slice(both, 0, size, 2*size, 1)
	}
	if p := n.Input(peep); p != nil {
		w.peep = b.entryOf(p, d)
	}
	return w
}

// initial is the initial state of a direction, zeros where none is given.
func (o recurrent) initial(b *Builder, state, x *ir.Value, d int) *ir.Value {
	if state == nil {
		return b.zeros(b.Fact(x).DType, b.Join(b.Extent(x, 1), b.Ints(o.hidden)))
	}
	if o.batchFirst {
		state = b.Transpose(state, 1, 0, 2)
	}
	return b.entryOf(state, d)
}

// gate is the activation of what is clipped first.
func (w *cellWeights) gate(b *Builder, act int, z *ir.Value) *ir.Value {
	if w.clip > 0 {
		z = b.Op("Clip", ir.In(z, b.Scalar(z, -w.clip), b.Scalar(z, w.clip)))
	}
	return w.acts[act](b, z)
}

// part is part i of the last axis in parts of H elements.
func (w *cellWeights) part(b *Builder, x *ir.Value, i int) *ir.Value {
	return b.slice(x, -1, i*w.hidden, (i+1)*w.hidden, 1)
}

// recur runs step over the first axis of xs (S,B,...) from the initial state
// and gives the first state of all steps (S,B,H), and the last state.
func (b *Builder) recur(xs, lengths *ir.Value, init []*ir.Value, reversed bool, step func(b *Builder, x *ir.Value, state []*ir.Value) []*ir.Value) (y *ir.Value, last []*ir.Value, err error) {
	if lengths != nil {
		lengths = b.Unsqueeze(b.Cast(lengths, tensor.Int64), 1)
	}
	masked := func(b *Builder, in, state []*ir.Value) []*ir.Value {
		next := step(b, in[0], state)
		y := next[0]
		if lengths != nil {
			on := b.Op("Less", ir.In(in[1], lengths))
			for k := range next {
				next[k] = b.Op("Where", ir.In(on, next[k], state[k]))
			}
			y = b.Op("Where", ir.In(on, y, b.Scalar(y, 0)))
		}
		return append(next, y)
	}
	return b.over(ir.In(xs, b.Count(b.Extent(xs, 0))), init, reversed, masked)
}
