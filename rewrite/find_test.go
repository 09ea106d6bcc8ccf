package rewrite_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

func TestModulePath(t *testing.T) {
	const scopes = "pkg.torch.onnx.name_scopes"
	for _, c := range []struct {
		node, weight, bias, scopes string
		want                       string
		source                     rewrite.Source
	}{
		{"/layers.0/self_attn/q_proj/MatMul", "onnx::MatMul_720", "", "", "layers.0.self_attn.q_proj", rewrite.FromNode},
		{"/model/layers.0/self_attn/q_proj/MatMul", "w", "", "", "model.layers.0.self_attn.q_proj", rewrite.FromNode},
		{"/layer1/layer1.0/fc/Gemm", "w", "", "", "layer1.0.fc", rewrite.FromNode},
		{"/layers.0/k_proj/MatMul/MatMulAddFusion", "w", "", "", "layers.0.k_proj", rewrite.FromNode},
		{"fused /pooler/dense/Gemm", "w", "", "", "pooler.dense", rewrite.FromNode},
		{"MatMul_27/MatMulAddFusion", "302", "encoder.q.bias", "", "encoder.q", rewrite.FromBias},
		{"/features/features.0/features.0.0/MatMul", "w", "", "", "features.0.0", rewrite.FromNode},
		{"model/dense/MatMul", "model/dense/MatMul/ReadVariableOp:0", "", "", "model.dense", rewrite.FromNode},
		{"/attn/MatMul", "w", "attn.in_proj_bias", "", "attn.in_proj", rewrite.FromBias},
		{"/attn/MatMul", "attn.out_proj.weight", "", "", "attn.out_proj", rewrite.FromInitializer},
		{"/MatMul", "onnx::MatMul_1", "enc.lin.bias", "", "enc.lin", rewrite.FromBias},
		{"node_MatMul_61", "val_62", "encoder.query.bias", `['', 'encoder', "encoder.layer.0.query", 'linear']`, "encoder.layer.0.query", rewrite.FromScopes},
		{"node_MatMul_61", "val_62", "", `['', 'x']`, "node_MatMul_61", rewrite.FromPosition},
		{"MatMul_27", "model.layers.0.attn.q_proj.MatMul.weight", "", "", "model.layers.0.attn.q_proj", rewrite.FromInitializer},
		{"MatMul_27", "h.0.c_fc.weight_transposed", "", "", "h.0.c_fc", rewrite.FromInitializer},
		{"", "StatefulPartitionedCall/m/dense/MatMul/ReadVariableOp:0", "", "", "StatefulPartitionedCall.m.dense", rewrite.FromInitializer},
		{"MatMul_27", "302", "distilbert.q_lin.bias", "", "distilbert.q_lin", rewrite.FromBias},
		{"MatMul_27", "302", "303", "", "MatMul_27", rewrite.FromPosition},
		{"", "302", "", "", "linear.0", rewrite.FromPosition},
		{"weird[", "w", "", "['unfinished", "weird[", rewrite.FromPosition},
	} {
		b := newModel(17, 8)
		y := b.op(c.node, "MatMul", "h", ir.In(b.input("x", tensor.Float32, ir.Fixed(2)), b.init(c.weight, tensor.New(tensor.Float32, 2, 2))))
		if c.scopes != "" {
			y.Producer().Metadata.Set(scopes, c.scopes)
		}
		if c.bias != "" {
			y = b.op("", "Add", "ha", ir.In(y, b.init(c.bias, tensor.New(tensor.Float32, 2))))
		}
		b.output(y, tensor.Float32, ir.Fixed(2))
		found, err := rewrite.Find(b.m)
		if err != nil || len(found.Linear) != 1 {
			t.Fatalf("%s: %v, %+v", c.want, err, found)
		}
		if l := found.Linear[0]; l.Path != c.want || l.Source != c.source {
			t.Errorf("%q %q: path %q from %s, want %q from %s", c.node, c.weight, l.Path, l.Source, c.want, c.source)
		}
	}
}

// TestPathsAreDistinct: layers of one scope and different weights.
func TestPathsAreDistinct(t *testing.T) {
	b := newModel(17, 8)
	x := b.input("x", tensor.Float32, ir.Fixed(2))
	for i, name := range []string{"/attn/MatMul", "/attn/MatMul_1", "/attn/MatMul_2"} {
		x = b.op(name, "MatMul", "h"+name, ir.In(x, b.init("w"+name, testutil.Random(uint64(i), 2, 2))))
	}
	b.output(b.op("", "Relu", "y", ir.In(x)), tensor.Float32, ir.Fixed(2))
	found, err := rewrite.Find(b.m)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(found.Paths(), " "), "attn.MatMul attn.MatMul_1 attn.MatMul_2"; got != want {
		t.Errorf("paths %q, want %q", got, want)
	}
}

func TestHead(t *testing.T) {
	fixed := func(b *gb, name string, v ...int) *ir.Value { return b.init(name, tensor.Ints(v...)) }
	for _, c := range []struct {
		name string
		want bool
		tail func(b *gb, h *ir.Value) *ir.Value
	}{
		{"itself", true, func(_ *gb, h *ir.Value) *ir.Value { return h }},
		{"bias and softmax", true, func(b *gb, h *ir.Value) *ir.Value {
			h = b.op("", "Add", "a", ir.In(b.init("bias", tensor.New(tensor.Float32, 2)), h))
			return b.op("", "Softmax", "s", ir.In(h))
		}},
		{"reshape, gather, argmax", true, func(b *gb, h *ir.Value) *ir.Value {
			h = b.op("", "Reshape", "r", ir.In(h, fixed(b, "shape", 1, -1)))
			h = b.op("", "Gather", "g", ir.In(h, fixed(b, "at", 0)))
			return b.op("", "ArgMax", "m", ir.In(h))
		}},
		{"relu", false, func(b *gb, h *ir.Value) *ir.Value { return b.op("", "Relu", "r", ir.In(h)) }},
		{"residual", false, func(b *gb, h *ir.Value) *ir.Value { return b.op("", "Add", "a", ir.In(h, b.g.Inputs[0])) }},
		{"as indices", false, func(b *gb, h *ir.Value) *ir.Value {
			i := b.op("", "Cast", "i", ir.In(h), ir.A("to", ir.Int(tensor.Int64)))
			return b.op("", "Gather", "g", ir.In(b.init("table", tensor.New(tensor.Float32, 9, 2)), i))
		}},
	} {
		b := newModel(17, 8)
		h := b.op("/l/MatMul", "MatMul", "h", ir.In(b.input("x", tensor.Float32, ir.Fixed(2)), b.init("w", tensor.New(tensor.Float32, 2, 2))))
		b.output(c.tail(b, h), tensor.Float32, ir.Dim{})
		found, err := rewrite.Find(b.m)
		if err != nil || len(found.Linear) != 1 {
			t.Fatalf("%s: %v", c.name, err)
		}
		if got := found.Linear[0].Head; got != c.want {
			t.Errorf("%s: head %v, want %v", c.name, got, c.want)
		}
	}
}

func TestNoTargets(t *testing.T) {
	w := tensor.New(tensor.Float32, 2, 2)
	for _, c := range []struct {
		name, reason string
		computed     bool
		build        func(b *gb, x *ir.Value) *ir.Value
	}{
		{"attention", "computed", true, func(b *gb, x *ir.Value) *ir.Value { return b.op("m", "MatMul", "h", ir.In(x, x)) }},
		{"through an operator", "computed", true, func(b *gb, x *ir.Value) *ir.Value {
			return b.op("m", "MatMul", "h", ir.In(x, b.op("", "Neg", "n", ir.In(b.init("w", w)))))
		}},
		{"rank 3", "shape [2 2 1]", false, func(b *gb, x *ir.Value) *ir.Value {
			return b.op("m", "MatMul", "h", ir.In(x, b.init("w", w.Reshape(2, 2, 1))))
		}},
		{"integers", "int64", false, func(b *gb, x *ir.Value) *ir.Value {
			return b.op("m", "MatMul", "h", ir.In(x, b.init("w", tensor.New(tensor.Int64, 2, 2))))
		}},
		{"empty", "empty", false, func(b *gb, x *ir.Value) *ir.Value {
			return b.op("m", "MatMul", "h", ir.In(x, b.init("w", tensor.New(tensor.Float32, 2, 0))))
		}},
		{"convolution", "of 1x1 alone", false, func(b *gb, x *ir.Value) *ir.Value {
			return b.op("m", "Conv", "h", ir.In(x, b.init("w", w.Reshape(1, 2, 1, 2))))
		}},
		{"grouped convolution", "grouped", false, func(b *gb, x *ir.Value) *ir.Value {
			return b.op("m", "Conv", "h", ir.In(x, b.init("w", w.Reshape(4, 1, 1))), ir.A("group", ir.Int(2)))
		}},
		{"computed kernel", "computed", true, func(b *gb, x *ir.Value) *ir.Value { return b.op("m", "Conv", "h", ir.In(x, x)) }},
		{"recurrent", "not put on LSTM", false, func(b *gb, x *ir.Value) *ir.Value { return b.op("m", "LSTM", "h", ir.In(x, b.init("w", w))) }},
		{"integers in, none out", "never there in floats", false, func(b *gb, x *ir.Value) *ir.Value {
			q := tensor.New(tensor.Int8, 2, 2)
			return b.op("m", "MatMulInteger", "h", ir.In(b.op("", "Cast", "c", ir.In(x), ir.A("to", ir.Int(tensor.Int8))), b.init("w", q)))
		}},
		{"reshape that does not fit", "cannot reshape", false, func(b *gb, x *ir.Value) *ir.Value {
			r := b.op("", "Reshape", "r", ir.In(b.init("w", w), b.init("s", tensor.Ints(3, -1))))
			return b.op("m", "MatMul", "h", ir.In(x, r))
		}},
		{"bad permutation", "perm", false, func(b *gb, x *ir.Value) *ir.Value {
			r := b.op("", "Transpose", "r", ir.In(b.init("w", w)), ir.A("perm", ir.Ints{0, 7}))
			return b.op("m", "MatMul", "h", ir.In(x, r))
		}},
		{"bad cast", "element type", false, func(b *gb, x *ir.Value) *ir.Value {
			return b.op("m", "MatMul", "h", ir.In(x, b.op("", "Cast", "c", ir.In(b.init("w", w)), ir.A("to", ir.Int(999)))))
		}},
		{"missing input", "lacks an input", false, func(b *gb, x *ir.Value) *ir.Value { return b.op("m", "MatMul", "h", ir.In(x)) }},
	} {
		b := newModel(17, 8)
		b.output(c.build(b, b.input("x", tensor.Float32, ir.Dim{}, ir.Fixed(2))), tensor.Float32, ir.Dim{})
		found, err := rewrite.Find(b.m)
		if err != nil {
			t.Fatal(err)
		}
		if len(found.Linear) != 0 || len(found.Others) != 1 {
			t.Errorf("%s: %d layers, others %+v", c.name, len(found.Linear), found.Others)
			continue
		}
		if o := found.Others[0]; o.Node != "m" || !strings.Contains(o.Reason, c.reason) || o.Computed != c.computed {
			t.Errorf("%s: %+v, want reason %q", c.name, o, c.reason)
		}
	}
}

// TestSubgraph adapts a layer in the branch of an If.
func TestSubgraph(t *testing.T) {
	build := func() *gb {
		b := newModel(17, 8)
		x := b.input("x", tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
		cond := b.input("c", tensor.Bool)
		w := b.init("w", testutil.Random(1, 4, 4))
		branch := func(name string, out func(s *gb) *ir.Value) *ir.Graph {
			s := &gb{b.m, ir.NewGraph(name)}
			s.g.Outputs = []*ir.Value{out(s)}
			return s.g
		}
		yes := branch("yes", func(s *gb) *ir.Value { return s.op("/then/lin/MatMul", "MatMul", "t", ir.In(x, w)) })
		no := branch("no", func(s *gb) *ir.Value { return s.op("", "Neg", "f", ir.In(x)) })
		y := b.op("if", "If", "y", ir.In(cond), ir.A("then_branch", ir.GraphAttr{Graph: yes}), ir.A("else_branch", ir.GraphAttr{Graph: no}))
		b.output(y, tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
		return b
	}
	for _, method := range adapter.Methods() {
		m := build().m
		_, base := save(t, m, "m.onnx")
		cfg := config(method, 2)
		cfg.IncludeHead = true // what the branch gives is the model's result
		rep, err := rewrite.Inject(m, cfg, rewrite.Options{})
		if err != nil {
			t.Fatalf("%v: %v", method, err)
		}
		if got := targets(rep); got != "then.lin" {
			t.Errorf("%v: targets %q", method, got)
		}
		if err := rewrite.Strip(m); err != nil {
			t.Fatal(err)
		}
		if _, got := save(t, m, "m.onnx"); !bytes.Equal(got, base) {
			t.Errorf("%v: stripped model is not the base", method)
		}
	}
}

func TestFunctionBody(t *testing.T) {
	b := newModel(17, 8)
	b.m.SetOpset("local", 1)
	body := &gb{b.m, ir.NewGraph("")}
	in := body.g.NewValue("in", nil)
	body.g.Inputs = []*ir.Value{in}
	w := body.op("", "Constant", "w", nil, ir.A("value", ir.TensorAttr{Data: ir.Dense(tensor.New(tensor.Float32, 2, 2))}))
	body.g.Outputs = []*ir.Value{body.op("f/MatMul", "MatMul", "out", ir.In(in, w))}
	b.m.Functions = []*ir.Function{{Domain: "local", Name: "Lin", Opsets: []ir.Opset{{Version: 17}}, Body: body.g}}
	y := b.op("call", "Lin", "y", ir.In(b.input("x", tensor.Float32, ir.Fixed(2))))
	y.Producer().Domain = "local"
	b.output(y, tensor.Float32, ir.Fixed(2))
	found, err := rewrite.Find(b.m)
	if err != nil {
		t.Fatal(err)
	}
	if len(found.Linear) != 0 || len(found.Others) != 1 || !strings.Contains(found.Others[0].Reason, `inside function "Lin"`) {
		t.Errorf("found %+v", found)
	}
}
