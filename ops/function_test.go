package ops_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// TestFunctionsInside: operators that have a body are spelled out in branches
// and in model-local functions too, and outputs keep their names.
func TestFunctionsInside(t *testing.T) {
	x := float32s(1, 2, 3, 4)
	want, err := opcheck.Eval(opcheck.Case{Domain: microsoft, Op: "QuickGelu", Inputs: []*tensor.Tensor{x}})
	if err != nil {
		t.Fatal(err)
	}
	branch := func() *ir.Model { // of an If that the input decides
		m := ifModel(nil)
		for _, sub := range m.Graph.First().Subgraphs() {
			n := sub.First()
			n.Domain, n.OpType = microsoft, "QuickGelu"
			n.TruncateInputs(1)
		}
		return m
	}
	function := func() *ir.Model {
		m := oldModel(17, "Mine", nil)
		m.Graph.First().Domain = "local"
		body := ir.NewGraph("Mine")
		in := body.AddInput("a", nil)
		n := ir.NewNode(microsoft, "QuickGelu", in)
		n.SetOutput(0, body.NewValue("b", nil))
		body.Append(n)
		body.Outputs = []*ir.Value{n.Output(0)}
		m.Functions = []*ir.Function{{Domain: "local", Name: "Mine", Body: body, Opsets: []ir.Opset{{Version: 17}, {Domain: microsoft, Version: 1}}}}
		m.SetOpset("local", 1)
		return m
	}
	for name, make := range map[string]func() *ir.Model{"branch": branch, "function": function} {
		m := make()
		m.SetOpset(microsoft, 1)
		c, err := ops.Canonical(m)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c.Graphs(func(g *ir.Graph) bool {
			for n := range g.Nodes() {
				if n.Domain != "" {
					t.Errorf("%s: %v is left", name, n)
				}
			}
			return true
		})
		if got := c.Graph.Outputs[0].Name; got != "y" {
			t.Errorf("%s: the output is called %q", name, got)
		}
		for _, cond := range []bool{true, false} {
			got := runCanonical(t, m, map[string]*tensor.Tensor{"x": x, "c": tensor.Scalar(cond)})
			opcheck.Close(t, name, got, want[0], 1e-7)
		}
	}
}
