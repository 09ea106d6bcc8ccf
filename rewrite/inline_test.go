package rewrite_test

import (
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// calling is a model of functions: Lin multiplies by a constant of its own, Block
// calls Lin and multiplies by what it is given, LeakyRelu's slope being an
// attribute of Block. It calls Block twice, and Lin in the branch of an If.
func calling(version int64) *gb {
	b := newModel(17, 8)
	b.m.SetOpset("local", 1)
	function := func(name string, inputs []string, out func(f *gb, in []*ir.Value) *ir.Value) *ir.Function {
		f := &gb{b.m, ir.NewGraph("")}
		for _, n := range inputs {
			f.g.Inputs = append(f.g.Inputs, f.g.NewValue(n, nil))
		}
		f.g.Outputs = []*ir.Value{out(f, f.g.Inputs)}
		return &ir.Function{Domain: "local", Name: name, Opsets: []ir.Opset{{Version: version}, {Domain: "local", Version: 1}}, Body: f.g}
	}
	call := func(g *gb, name, op, out string, in []*ir.Value, attrs ...*ir.Attr) *ir.Value {
		v := g.op(name, op, out, in, attrs...)
		v.Producer().Domain = "local"
		return v
	}
	lin := function("Lin", []string{"in"}, func(f *gb, in []*ir.Value) *ir.Value {
		w := f.op("", "Constant", "w", nil, ir.A("value", ir.TensorAttr{Data: ir.Dense(testutil.Random(9, 4, 4))}))
		return f.op("proj/MatMul", "MatMul", "out", ir.In(in[0], w))
	})
	block := function("Block", []string{"in", "weight"}, func(f *gb, in []*ir.Value) *ir.Value {
		h := f.op("own/MatMul", "MatMul", "h", ir.In(call(f, "lin", "Lin", "l", in[:1]), in[1]))
		y := f.op("relu", "LeakyRelu", "out", ir.In(h))
		y.Producer().Attrs = []*ir.Attr{{Name: "alpha", RefAttr: "slope"}}
		return y
	})
	block.Attrs = []string{"slope"}
	b.m.Functions = []*ir.Function{lin, block}
	x := b.input("x", tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
	c := b.input("c", tensor.Bool)
	h := call(b, "layers.0", "Block", "h0", ir.In(x, b.init("w0", testutil.Random(1, 4, 4))), ir.A("slope", ir.Float(0.5)))
	h = call(b, "layers.1", "Block", "h1", ir.In(h, b.init("w1", testutil.Random(2, 4, 4))), ir.A("slope", ir.Float(0.25)))
	branch := func(name string, out func(s *gb) *ir.Value) *ir.Graph {
		s := &gb{b.m, ir.NewGraph(name)}
		s.g.Outputs = []*ir.Value{out(s)}
		return s.g
	}
	yes := branch("yes", func(s *gb) *ir.Value { return call(s, "then", "Lin", "t", ir.In(h)) })
	no := branch("no", func(s *gb) *ir.Value { return s.op("", "Neg", "f", ir.In(h)) })
	y := b.op("if", "If", "i", ir.In(c), ir.A("then_branch", ir.GraphAttr{Graph: yes}), ir.A("else_branch", ir.GraphAttr{Graph: no}))
	b.output(call(b, "last", "Lin", "y", ir.In(y)), tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
	return b
}

// TestInline: the inlined model computes the same, and its layers take adapters.
func TestInline(t *testing.T) {
	feeds := map[string]*tensor.Tensor{"x": testutil.Random(3, 5, 4)}
	for _, c := range []bool{true, false} {
		feeds["c"] = tensor.Scalar(c)
		m := calling(17).m
		want := run(t, m, feeds)[0]
		found, err := rewrite.Find(m)
		if err != nil || len(found.Linear) != 0 || !strings.Contains(found.Others[0].Reason, `inside function "Lin"; inline functions first`) {
			t.Fatalf("functions: %+v, %v", found, err)
		}
		calls, err := rewrite.Inline(m)
		if err != nil || calls != 6 || len(m.Functions) != 0 {
			t.Fatalf("%d calls, %d functions left: %v", calls, len(m.Functions), err)
		}
		testutil.Close(t, "inlined", run(t, m, feeds)[0], want, 0, 0)
		if found, err = rewrite.Find(m); err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Join(found.Paths(), " "), "layers.0.lin.proj layers.0.own layers.1.lin.proj layers.1.own then.proj last.proj"; got != want {
			t.Errorf("paths %q, want %q", got, want)
		}
		cfg := config(adapter.Bone, 2)
		cfg.Targets = adapter.Modules{Regex: ".*"}
		rep, err := rewrite.Inject(m, cfg, rewrite.Options{})
		if err != nil || len(rep.Targets) != 6 {
			t.Fatalf("%+v, %v", rep, err)
		}
		adapted := run(t, m, feeds)[0]
		if testutil.Compare(adapted, want, 1e-3, 0) == nil {
			t.Error("the adapters change nothing")
		}
		if _, err := rewrite.Merge(m); err != nil {
			t.Fatal(err)
		}
		testutil.Close(t, "merged", run(t, m, feeds)[0], adapted, 1e-4, 1e-4)
	}
}

func TestInlineRefuses(t *testing.T) {
	if _, err := rewrite.Inline(calling(18).m); err == nil || !strings.Contains(err.Error(), `function "Lin": it is of operator set 18 of "", the model of 17`) {
		t.Errorf("another opset: %v", err)
	}
	b := calling(17)
	endless := b.m.Functions[0]
	for n := range endless.Body.Nodes() {
		if n.Is("MatMul") {
			n.OpType, n.Domain = "Block", "local"
		}
	}
	if _, err := rewrite.Inline(b.m); err == nil || !strings.Contains(err.Error(), "calls itself") {
		t.Errorf("functions that call each other: %v", err)
	}
	m := tower(17, 8).m
	if calls, err := rewrite.Inline(m); calls != 0 || err != nil {
		t.Errorf("without functions: %d, %v", calls, err)
	}
}
