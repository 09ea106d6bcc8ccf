package ops_test

import (
	"testing"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// oldModel is one node of an old opset over x float32 (2,3,4).
func oldModel(opset int64, op string, attrs []*ir.Attr, extra ...*tensor.Tensor) *ir.Model {
	g := ir.NewGraph("g")
	m := &ir.Model{IRVersion: 8, Opsets: []ir.Opset{{Version: opset}}, Graph: g}
	in := ir.In(g.AddInput("x", ir.Tensor(tensor.Float32, ir.Fixed(2), ir.Fixed(3), ir.Fixed(4))))
	for i, t := range extra {
		in = append(in, g.AddInitializer(string(rune('a'+i)), ir.Dense(t)))
	}
	n := ir.NewNode("", op, in...)
	n.Name, n.Attrs = "n", attrs
	y := g.NewValue("y", ir.Tensor(tensor.Float32))
	n.SetOutput(0, y)
	g.Append(n)
	g.Outputs = []*ir.Value{y}
	return m
}

func opNames(g *ir.Graph) string {
	s := ""
	for n := range g.Nodes() {
		s += " " + n.OpType
	}
	return s
}

func TestCanonicalLifts(t *testing.T) {
	cases := []struct {
		name    string
		opset   int64
		op      string
		attrs   []*ir.Attr
		want    string // operators afterwards
		inputs  int    // of the operator itself
		removed string // an attribute that must be gone
	}{
		{"softmax over two axes", 11, "Softmax", []*ir.Attr{ir.A("axis", ir.Int(1))}, " Shape Flatten Softmax Reshape", 1, ""},
		{"softmax over the last", 11, "Softmax", []*ir.Attr{ir.A("axis", ir.Int(2))}, " Softmax", 1, ""},
		{"softmax today", 13, "Softmax", nil, " Softmax", 1, ""},
		{"unsqueeze", 11, "Unsqueeze", []*ir.Attr{ir.A("axes", ir.Ints{0})}, " Unsqueeze", 2, "axes"},
		{"reduce sum", 12, "ReduceSum", []*ir.Attr{ir.A("axes", ir.Ints{1})}, " ReduceSum", 2, "axes"},
		{"reduce mean", 17, "ReduceMean", []*ir.Attr{ir.A("axes", ir.Ints{1})}, " ReduceMean", 2, "axes"},
		{"slice", 9, "Slice", []*ir.Attr{ir.A("starts", ir.Ints{0}), ir.A("ends", ir.Ints{1})}, " Slice", 3, "ends"},
		{"clip", 6, "Clip", []*ir.Attr{ir.A("max", ir.Float(6))}, " Clip", 3, "max"},
		{"pad", 9, "Pad", []*ir.Attr{ir.A("pads", ir.Ints{0, 0, 0, 1, 1, 1}), ir.A("value", ir.Float(2))}, " Pad", 3, "pads"},
		{"dropout", 7, "Dropout", []*ir.Attr{ir.A("ratio", ir.Float(0.1))}, " Identity", 1, ""},
		{"consumed inputs", 1, "Relu", []*ir.Attr{ir.A("consumed_inputs", ir.Ints{0})}, " Relu", 1, "consumed_inputs"},
		{"cast by name", 1, "Cast", []*ir.Attr{ir.A("to", ir.String("DOUBLE"))}, " Cast", 1, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := oldModel(c.opset, c.op, c.attrs)
			got, err := ops.Canonical(m)
			if err != nil {
				t.Fatal(err)
			}
			if s := opNames(got.Graph); s != c.want {
				t.Errorf("operators%s, want%s", s, c.want)
			}
			if v := got.Opset(""); v != ops.CanonicalOpset {
				t.Errorf("opset %d", v)
			}
			for n := range got.Graph.Nodes() {
				if n.OpType == c.op && (len(n.Inputs()) != c.inputs || c.removed != "" && n.Attr(c.removed) != nil) {
					t.Errorf("%v has %d inputs, want %d; attributes %v", n, len(n.Inputs()), c.inputs, n.Attrs)
				}
			}
			if s := opNames(m.Graph); s != " "+c.op {
				t.Errorf("the original changed: %s", s)
			}
		})
	}
}

func TestCanonicalOldBroadcast(t *testing.T) {
	m := oldModel(6, "Add", []*ir.Attr{ir.A("broadcast", ir.Int(1)), ir.A("axis", ir.Int(1))}, tensor.New(tensor.Float32, 3))
	got, err := ops.Canonical(m)
	if err != nil {
		t.Fatal(err)
	}
	if s := opNames(got.Graph); s != " Unsqueeze Add" {
		t.Errorf("operators%s", s)
	}
}

func TestCanonicalInlinesFunctions(t *testing.T) {
	body := ir.NewGraph("")
	x := body.NewValue("p", nil)
	body.Inputs = []*ir.Value{x}
	n := ir.NewNode("", "LeakyRelu", x)
	n.Attrs = []*ir.Attr{{Name: "alpha", RefAttr: "slope"}}
	y := body.NewValue("q", nil)
	n.SetOutput(0, y)
	body.Append(n)
	body.Outputs = []*ir.Value{y}
	m := oldModel(18, "Leaky", []*ir.Attr{ir.A("slope", ir.Float(0.25))})
	m.Graph.First().Domain = "mine"
	m.Opsets = append(m.Opsets, ir.Opset{Domain: "mine", Version: 1})
	m.Functions = []*ir.Function{{Domain: "mine", Name: "Leaky", Attrs: []string{"slope"}, Opsets: []ir.Opset{{Version: 18}}, Body: body}}
	got, err := ops.Canonical(m)
	if err != nil {
		t.Fatal(err)
	}
	if s := opNames(got.Graph); s != " LeakyRelu Identity" {
		t.Fatalf("operators%s", s)
	}
	if a := got.Graph.First().Attr("alpha"); a == nil || a.Value != ir.Float(0.25) || a.RefAttr != "" {
		t.Errorf("alpha is %+v", a)
	}
	if got.Graph.Outputs[0].Name != "y" || len(got.Functions) != 0 {
		t.Errorf("output %q, %d functions", got.Graph.Outputs[0].Name, len(got.Functions))
	}
}

func TestCanonicalRefusesTheFuture(t *testing.T) {
	if _, err := ops.Canonical(oldModel(ops.NewestOpset+1, "Relu", nil)); err == nil {
		t.Error("an unknown opset was accepted")
	}
}
