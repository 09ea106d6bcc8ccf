package ops_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// recurrentCases have few steps, which are written out, or many, which become
// a Scan.
func recurrentCases() []opcheck.Case {
	const b, in, h = 2, 3, 2
	cell := func(gates, dirs, states, steps int, lengths bool) []*tensor.Tensor {
		list := []*tensor.Tensor{random(1, steps, b, in), random(2, dirs, gates*h, in), random(3, dirs, gates*h, h), random(4, dirs, 2*gates*h), nil}
		if lengths {
			list[4] = i32(int32(steps), int32(steps-1))
		}
		for k := range states {
			list = append(list, random(uint64(5+k), dirs, b, h))
		}
		return list
	}
	size, both := intAttr("hidden_size", h), ir.A("direction", ir.String("bidirectional"))
	reverse := ir.A("direction", ir.String("reverse"))
	acts := func(names ...string) *ir.Attr { return ir.A("activations", ir.Strings(names)) }
	return []opcheck.Case{
		{Op: "RNN", Name: "both", Attrs: []*ir.Attr{size, both}, Outputs: 2, Inputs: cell(1, 2, 1, 3, true)},
		{Op: "RNN", Name: "relu, no bias", Attrs: []*ir.Attr{size, acts("Affine"), ir.A("activation_alpha", ir.Floats{0.5}), ir.A("activation_beta", ir.Floats{0.1})},
			Outputs: 2, Inputs: cell(1, 1, 0, 3, false)[:3]},
		{Op: "GRU", Name: "reverse", Attrs: []*ir.Attr{size, reverse}, Outputs: 2, Inputs: cell(3, 1, 1, 3, true)},
		{Op: "GRU", Name: "product first", Attrs: []*ir.Attr{size, both, intAttr("linear_before_reset", 1)}, Outputs: 2, Inputs: cell(3, 2, 1, 3, false)},
		{Op: "GRU", Name: "many", Attrs: []*ir.Attr{size, both}, Outputs: 2, Inputs: cell(3, 2, 1, 18, true)},
		{Op: "LSTM", Name: "both", Attrs: []*ir.Attr{size, both}, Outputs: 3, Inputs: cell(4, 2, 2, 3, true)},
		{Op: "LSTM", Name: "peepholes, clip", Attrs: []*ir.Attr{size, floatAttr("clip", 0.6)}, Outputs: 3,
			Inputs: append(cell(4, 1, 2, 3, false), random(7, 1, 3*h))},
		{Op: "LSTM", Name: "coupled", Attrs: []*ir.Attr{size, intAttr("input_forget", 1), acts("HardSigmoid", "Softsign", "Tanh")}, Outputs: 3,
			Inputs: cell(4, 1, 2, 3, false)},
		{Op: "LSTM", Name: "many", Attrs: []*ir.Attr{size, reverse}, Outputs: 3, Inputs: cell(4, 1, 2, 18, true)},
	}
}

// stateCases are uses of the operators of opset 27 that carry a state.
func stateCases() []opcheck.Case {
	heads := []*ir.Attr{intAttr("q_num_heads", 4), intAttr("kv_num_heads", 2)}
	rule := func(r string) []*ir.Attr { return append([]*ir.Attr{ir.A("update_rule", ir.String(r))}, heads...) }
	q, k, v := random(1, 2, 3, 8), random(2, 2, 3, 4), random(3, 2, 3, 6)
	state, decay, beta := random(4, 2, 2, 2, 3), random(5, 2, 3, 4), random(6, 2, 3, 2)
	cases := []opcheck.Case{
		{Op: "LinearAttention", Name: "linear", Attrs: rule("linear"), Inputs: []*tensor.Tensor{q, k, v, state}},
		{Op: "LinearAttention", Name: "gated by head", Attrs: rule("gated"), Inputs: []*tensor.Tensor{q, k, v, nil, random(5, 2, 3, 2)}},
		{Op: "LinearAttention", Name: "delta", Attrs: rule("delta"), Inputs: []*tensor.Tensor{q, k, v, nil, nil, beta}},
		{Op: "LinearAttention", Name: "gated delta", Attrs: heads, Inputs: []*tensor.Tensor{q, k, v, state, decay, beta}},
		{Op: "CausalConvWithState", Name: "silu", Attrs: []*ir.Attr{ir.A("activation", ir.String("silu"))},
			Inputs: []*tensor.Tensor{random(1, 2, 3, 5), random(2, 3, 1, 4), random(3, 3), random(4, 2, 3, 3)}},
		{Op: "CausalConvWithState", Name: "no state", Inputs: []*tensor.Tensor{random(1, 2, 3, 5), random(2, 3, 1, 4)}},
	}
	for i := range cases {
		cases[i].Opset, cases[i].Outputs = 27, 2
	}
	return cases
}

func TestRecurrentGradients(t *testing.T) {
	for _, c := range append(recurrentCases(), stateCases()...) {
		opcheck.GradientKnown(t, c) // the number of steps must be
	}
}

// TestRecurrentSteps: steps written out give what a Scan gives, whose number
// is not known when it is built.
func TestRecurrentSteps(t *testing.T) {
	for _, c := range recurrentCases() {
		want, err := opcheck.Eval(c) // known shapes
		if err != nil {
			t.Fatal(err)
		}
		opcheck.Forward(t, c, 1e-12, want...)
	}
}

// TestRecurrentLayout compares the layout that has the batch first.
func TestRecurrentLayout(t *testing.T) {
	c := recurrentCases()[5]
	want, err := opcheck.Eval(c)
	if err != nil {
		t.Fatal(err)
	}
	swap := func(x *tensor.Tensor, perm ...int64) *tensor.Tensor {
		out, err := opcheck.Eval(opcheck.Case{Op: "Transpose", Attrs: []*ir.Attr{ints("perm", perm...)}, Inputs: []*tensor.Tensor{x}})
		if err != nil {
			t.Fatal(err)
		}
		return out[0]
	}
	c.Attrs = append(c.Attrs, intAttr("layout", 1))
	for _, i := range []int{0, 5, 6} {
		c.Inputs[i] = swap(c.Inputs[i], 1, 0, 2)
	}
	opcheck.Forward(t, c, 1e-12, swap(want[0], 2, 0, 1, 3), swap(want[1], 1, 0, 2), swap(want[2], 1, 0, 2))
}

func TestORTRecurrent(t *testing.T) {
	ort.Available(t)
	for _, c := range recurrentCases() {
		t.Run(c.Op+" "+c.Name, func(t *testing.T) { inORT(t, single(t, c)) })
	}
}
