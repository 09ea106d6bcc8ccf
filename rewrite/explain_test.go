package rewrite_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

func TestExplain(t *testing.T) {
	b := newModel(17, 8)
	two := func() *tensor.Tensor { return tensor.New(tensor.Float32, 2, 2) }
	x := b.input("x", tensor.Float32, ir.Fixed(2))
	h := b.op("/layers.0/q_proj/MatMul", "MatMul", "h0", ir.In(x, b.init("onnx::MatMul_7", two())))
	h = b.op("/layers.0/q_proj/Add", "Add", "h1", ir.In(h, b.init("layers.0.q_proj.bias", tensor.New(tensor.Float32, 2))))
	h = b.op("/layers.0/attn/MatMul", "MatMul", "h2", ir.In(h, b.init("layers.0.attn.out_proj.weight", two())))
	h = b.op("MatMul_9", "MatMul", "h3", ir.In(h, b.init("13", two())))
	h = b.op("/f/MatMul", "MatMul", "h4", ir.In(h, b.init("14", two())))
	h = b.op("/f/MatMul_1", "MatMul", "h5", ir.In(h, b.init("15", two())))
	h = b.op("/conv/LSTM", "LSTM", "h6", ir.In(h, b.init("16", two())))
	b.output(b.op("relu", "Relu", "y", ir.In(h)), tensor.Float32, ir.Fixed(2))
	for _, c := range []struct {
		name, path string // path of the first layer, "" for none
		source     rewrite.Source
		rule       string
		other      string // its reason
		nearest    string
	}{
		{"q_proj", "layers.0.q_proj", rewrite.FromNode, "the first source", "", ""},
		{"layers.0.q_proj.bias", "layers.0.q_proj", rewrite.FromNode, "the first source", "", ""},
		{"onnx::MatMul_7", "layers.0.q_proj", rewrite.FromNode, "the first source", "", ""},
		{"/layers.0/attn/MatMul", "layers.0.attn.out_proj", rewrite.FromInitializer, "names a part of", "", ""},
		{"h3", "MatMul_9", rewrite.FromPosition, "no source names a module", "", ""},
		{"f", "f.MatMul", rewrite.FromNode, "other layers are called f too", "", ""},
		{"/conv/LSTM", "", "", "", "not put on LSTM", ""},
		{"relu", "", "", "", "Relu is no linear layer", ""},
		{"k_proj", "", "", "", "", "q_proj"},
	} {
		e, err := rewrite.Explain(b.m, c.name)
		if err != nil {
			t.Fatal(err)
		}
		if c.path == "" {
			if len(e.Layers) != 0 || (c.other != "") != (len(e.Others) == 1) || c.other != "" && !strings.Contains(e.Others[0].Reason, c.other) {
				t.Errorf("%s: %+v", c.name, e)
			}
			if c.nearest != "" && !slices.Contains(e.Nearest, c.nearest) {
				t.Errorf("%s: nearest %q", c.name, e.Nearest)
			}
			continue
		}
		if len(e.Layers) == 0 {
			t.Errorf("%s: %+v", c.name, e)
			continue
		}
		l := e.Layers[0]
		if l.Path != c.path || l.Source != c.source || !strings.Contains(l.Rule, c.rule) || len(l.Candidates) != 4 || len(e.Nearest) != 0 {
			t.Errorf("%s: %+v", c.name, l)
		}
	}
	if e, err := rewrite.Explain(b.m, "f"); err != nil || len(e.Layers) != 2 {
		t.Errorf("f: %+v, %v", e, err)
	}
}
