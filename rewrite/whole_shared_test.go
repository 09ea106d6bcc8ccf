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

// sharing makes a model whose parameter lin.weight (4, 4) is read in several
// places, each with the module path that its node has, and one other layer.
func sharing(w *tensor.Tensor, read func(b *gb, x, w *ir.Value) *ir.Value) *gb {
	b := newModel(17, 8)
	x := b.input("x", tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
	y := read(b, x, b.init("lin.weight", w))
	y = b.op("/out/MatMul", "MatMul", "o", ir.In(y, b.init("out.w", testutil.Random(3, 4, 4))))
	b.output(b.op("", "Relu", "y", ir.In(y)), tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
	return b
}

func flip(b *gb, name string, v *ir.Value) *ir.Value {
	return b.op(name, "Transpose", name+"_out", ir.In(v), ir.A("perm", ir.Ints{1, 0}))
}

// TestWholeReadInSeveralWays: one trained copy for all reads of a module,
// turned and kept apart where the base's values are.
func TestWholeReadInSeveralWays(t *testing.T) {
	rows := func(b *gb) *ir.Value { return b.init("rows", tensor.Ints(2, 0, 3, 1)) }
	for _, c := range []struct {
		name  string
		read  func(b *gb, x, w *ir.Value) *ir.Value
		nodes string // between copy and readers
	}{
		{"two calls", func(b *gb, x, w *ir.Value) *ir.Value {
			return b.op("/lin/MatMul_1", "MatMul", "b", ir.In(b.op("/lin/MatMul", "MatMul", "a", ir.In(x, w)), w))
		}, ""},
		{"two calls behind a node each", func(b *gb, x, w *ir.Value) *ir.Value {
			h := b.op("/lin/MatMul", "MatMul", "a", ir.In(x, flip(b, "t1", w)))
			return b.op("/lin/MatMul_1", "MatMul", "b", ir.In(h, flip(b, "t2", w)))
		}, "Identity"},
		{"embedding that multiplies too", func(b *gb, x, w *ir.Value) *ir.Value {
			e := b.op("/lin/Gather", "Gather", "e", ir.In(w, rows(b)))
			h := b.op("/MatMul", "MatMul", "a", ir.In(x, flip(b, "t1", w)))
			return b.op("/MatMul_1", "MatMul", "b", ir.In(h, e))
		}, "Transpose"},
		{"multiplies and is an embedding", func(b *gb, x, w *ir.Value) *ir.Value {
			h := b.op("/lin/MatMul", "MatMul", "a", ir.In(x, w))
			return b.op("/MatMul_1", "MatMul", "b", ir.In(h, b.op("/lin/Gather", "Gather", "e", ir.In(w, rows(b)))))
		}, ""},
	} {
		m := sharing(testutil.Random(1, 4, 4), c.read).m
		_, base := save(t, m, "m.onnx")
		cfg := config(adapter.Bone, 2)
		cfg.Init, cfg.Save, cfg.Targets = adapter.InitZero, []string{"lin"}, adapter.Modules{List: []string{"out"}}
		rep, err := rewrite.Inject(m, cfg, rewrite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(rep.Saved) != 1 || rep.Saved[0].Key != "lin.weight" {
			t.Fatalf("%s: trained whole %+v", c.name, rep.Saved)
		}
		between := ""
		for n := range m.Graph.Nodes() {
			if strings.HasPrefix(n.Name, "/lin.weight/") {
				between += n.OpType
			}
		}
		if between != c.nodes {
			t.Errorf("%s: nodes %q between, want %q", c.name, between, c.nodes)
		}
		list, err := rewrite.Adapters(m)
		if err != nil {
			t.Fatal(err)
		}
		trained := testutil.Random(8, 4, 4)
		if err := rewrite.SetBlocks(m, map[string]*tensor.Tensor{list[0].Whole[0].Value.Name: trained}); err != nil {
			t.Fatal(err)
		}
		set, err := rewrite.Extract(m, "")
		if err != nil {
			t.Fatal(err)
		}
		inBase := set.Saved[0].Tensor // PyTorch's layout, which the initializer has behind a Transpose
		if c.nodes == "" {
			inBase = turned(inBase)
		}
		feeds := map[string]*tensor.Tensor{"x": testutil.Random(9, 3, 4)}
		want := run(t, sharing(inBase, c.read).m, feeds)[0]
		testutil.Close(t, c.name, run(t, m, feeds)[0], want, 1e-6, 1e-6)
		again := m.Clone()
		if err := rewrite.Convert(again, rewrite.Options{Form: rewrite.Weighted}); err != nil {
			t.Fatal(err)
		}
		testutil.Close(t, c.name+", taken off and put on", run(t, again, feeds)[0], want, 1e-6, 1e-6)
		merged := m.Clone()
		if _, err := rewrite.Merge(merged); err != nil {
			t.Fatal(err)
		}
		testutil.Close(t, c.name+", merged", run(t, merged, feeds)[0], want, 1e-6, 1e-6)
		if n := len(merged.Graph.Initializers); n != len(sharing(inBase, c.read).m.Graph.Initializers) {
			t.Errorf("%s: %d initializers after merging", c.name, n)
		}
		path, _ := save(t, m, "m.onnx")
		for _, s := range []*ir.Model{m, load(t, path)} {
			if err := rewrite.Strip(s); err != nil {
				t.Fatal(err)
			}
			if _, got := save(t, s, "m.onnx"); !bytes.Equal(got, base) {
				t.Errorf("%s: stripped model is not the base", c.name)
			}
		}
	}
}

// TestWholeSharedUnderBlocks merges a bat on a weight that is trained whole and
// that another module shares: the sum goes into a copy, the other keeps the base.
func TestWholeSharedUnderBlocks(t *testing.T) {
	read := func(b *gb, x, w *ir.Value) *ir.Value {
		return b.op("/other/MatMul", "MatMul", "b", ir.In(b.op("/lin/MatMul", "MatMul", "a", ir.In(x, w)), w))
	}
	w := testutil.Random(1, 4, 4)
	m := sharing(w, read).m
	whole, bat := config(adapter.Bone, 2), config(adapter.Bat, 2)
	whole.Name, whole.Save, whole.Targets = "whole", []string{"lin"}, adapter.Modules{List: []string{"out"}}
	bat.Name, bat.Targets = "bat", adapter.Modules{List: []string{"lin"}}
	for _, cfg := range []adapter.Config{whole, bat} {
		if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	trained := testutil.Random(8, 4, 4)
	if err := rewrite.SetBlocks(m, map[string]*tensor.Tensor{"lin.weight.whole": trained}); err != nil {
		t.Fatal(err)
	}
	feeds := map[string]*tensor.Tensor{"x": testutil.Random(9, 3, 4)}
	y := run(t, m, feeds)[0]
	set, err := rewrite.Extract(m, "bat")
	if err != nil {
		t.Fatal(err)
	}
	want, err := set.Layer(set.Entries[0]).Merge(trained)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rewrite.Merge(m); err != nil {
		t.Fatal(err)
	}
	testutil.Close(t, "merged", run(t, m, feeds)[0], y, 1e-5, 1e-5)
	for n := range m.Graph.Nodes() {
		v := n.Input(1)
		if v == nil || !v.IsInitializer() {
			continue
		}
		got, err := v.Data.Tensor()
		if err != nil {
			t.Fatal(err)
		}
		switch n.Name {
		case "/lin/MatMul":
			testutil.Close(t, "merged weight", got, want, 1e-6, 1e-6)
		case "/other/MatMul":
			testutil.Close(t, "the other's weight", got, w, 0, 0)
		}
	}
}

// TestWholeOwners: whose a constant is, by its name and by the node's path.
func TestWholeOwners(t *testing.T) {
	for _, c := range []struct{ node, op, constant, save, want string }{
		{"/norm/Mul", "Mul", "norm.weight", "norm", "norm.weight"},
		{"/norm/Mul", "Mul", "onnx::Mul_3", "norm", "norm.weight"},
		{"/norm/Add", "Add", "onnx::Add_3", "norm", "norm.bias"},
		{"Mul_3", "Mul", "encoder.norm.weight", "norm", "encoder.norm.weight"},
		{"/enc/norm/Mul", "Mul", "norm.weight", "norm", "enc.norm.weight"},
		{"/Mul", "Mul", "model.scale.gamma", "scale", "model.scale.gamma"},
		{"/enc/layers.0/Mul", "Mul", "enc.scale", "enc", "enc.scale"},
		{"/shared/Mul", "Mul", "norm.weight", "norm", ""},
		{"/shared/Mul", "Mul", "norm.weight", "shared", "shared.weight"},
		{"/norm/Mul", "Mul", "norm.running_mean", "norm", "norm.weight"},
		{"/norm/Sub", "Sub", "norm.running_mean", "norm", ""},
		{"/norm/Sub", "Sub", "onnx::Sub_3", "norm", ""},
		{"/norm/Mul", "Mul", "norm.weight", "nor", ""},
		{"/a/norm/LayerNormalization", "LayerNormalization", "a.norm.gamma", "norm", "a.norm.weight"},
		{"Conv_3", "PRelu", "slope", "Conv_3", ""},
		{"Norm_3", "LayerNormalization", "p5", "Norm_3", "Norm_3.weight"},
		{"", "LayerNormalization", "l0.ln.w", "ln", "l0.ln.weight"},
		{"/a/norm/Mul", "Mul", "onnx::Mul_3", "a", "a.norm.weight"},
	} {
		b := newModel(17, 8)
		x := b.input("x", tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
		h := b.op(c.node, c.op, "h", ir.In(x, b.init(c.constant, testutil.Random(1, 4))))
		h = b.op("/out/MatMul", "MatMul", "o", ir.In(h, b.init("out.w", testutil.Random(3, 4, 4))))
		b.output(b.op("", "Relu", "y", ir.In(h)), tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
		cfg := config(adapter.Bone, 2)
		cfg.Save, cfg.Targets = []string{c.save}, adapter.Modules{List: []string{"out"}}
		rep, err := rewrite.Inject(b.m, cfg, rewrite.Options{})
		got := ""
		if err == nil && len(rep.Saved) == 1 {
			got = rep.Saved[0].Key
		}
		if got != c.want {
			t.Errorf("%s of %s, %s saved: %q, want %q (%v)", c.constant, c.node, c.save, got, c.want, err)
		}
	}
}

// TestWholeOfStructures names modules in what several exporters wrote.
func TestWholeOfStructures(t *testing.T) {
	for _, c := range []struct {
		file   string
		target string
		save   []string
		want   string
	}{
		{"models/structure/optimum_tiny_classifier_op11.onnx", "q_lin", []string{"classifier", "embeddings.LayerNorm"},
			"distilbert.embeddings.LayerNorm.weight distilbert.embeddings.LayerNorm.bias classifier.weight classifier.bias"},
		{"models/structure/random_decoder.onnx", "linear1", []string{"multihead_attn", "embedding"},
			"embedding.weight transformer_decoder.layers.0.multihead_attn.out_proj.weight transformer_decoder.layers.0.multihead_attn.out_proj.bias"},
		{"models/structure/mnist-8.onnx", "Times212", []string{"Convolution28"}, "Convolution28.weight"},
		{"models/structure/genai_tiny_qwen_gqa_fp16.onnx", "linear.0", []string{"l0.ln2", "norm"}, "l0.ln2.weight l0.ln2.bias norm.weight norm.bias"},
		{"models/structure/genai_tiny_gpt2_fp16.onnx", "c_fc", []string{"wte", "lm_head"}, "transformer.wte.weight lm_head.weight"},
		{stories17, "q_proj", []string{"norm", "embed_tokens", "lm_head"}, "embed_tokens.weight norm.weight lm_head.weight"},
	} {
		path := testutil.Shared(t, c.file)
		m := load(t, path)
		_, base := save(t, m, "m.onnx")
		seal(m)
		cfg := config(adapter.Bone, 1)
		cfg.Save, cfg.Targets = c.save, adapter.Modules{List: []string{c.target}}
		rep, err := rewrite.Inject(m, cfg, rewrite.Options{})
		if err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		var keys []string
		for _, s := range rep.Saved {
			keys = append(keys, s.Key)
		}
		if got := strings.Join(keys, " "); got != c.want {
			t.Errorf("%s: trained whole %s, want %s", c.file, got, c.want)
		}
		m = load(t, path)
		if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
			t.Fatal(err)
		}
		adapted, _ := save(t, m, "m.onnx")
		m = load(t, adapted)
		if err := rewrite.Strip(m); err != nil {
			t.Fatal(err)
		}
		if _, got := save(t, m, "m.onnx"); !bytes.Equal(got, base) {
			t.Errorf("%s: stripped model is not the base", c.file)
		}
	}
}
