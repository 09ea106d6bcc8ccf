package testmodel_test

import (
	"regexp"
	"testing"

	"github.com/bonnx/bonnx/rewrite"
)

// Nodes and weights are called what each exporter calls them.
func TestExporterNames(t *testing.T) {
	cases := []struct {
		family, path, node, weight string
		layers                     int // of that path
	}{
		{"decoder with past", "model.layers.0.self_attn.q_proj", `^/model/layers\.0/self_attn/q_proj/MatMul$`, `^onnx::MatMul_\d+$`, 1},
		{"merged decoder", "model.layers.1.mlp.down_proj", `^/model/layers\.1/mlp/down_proj/MatMul$`, `^onnx::MatMul_\d+$`, 2},
		{"classifier ending in Softmax", "classifier", `^/classifier/Gemm$`, `^classifier\.weight$`, 1},
		{"dynamo", "bert.encoder.layer.1.attention.self.query", `^node_MatMul_\d+$`, `^val_\d+$`, 1},
		{"old TorchScript", "bert.encoder.layer.0.output.dense", `^MatMul_\d+$`, `^\d+$`, 1},
		{"GPT-2, old TorchScript", "transformer.h.0.attn.c_attn", `^Gemm_\d+$`, `^transformer\.h\.0\.attn\.c_attn\.weight$`, 1},
		{"GenAI", "model.layers.0.attn.k_proj", `^/model/layers\.0/attn/k_proj/MatMul$`, `^model\.layers\.0\.attn\.k_proj\.MatMul\.weight$`, 1},
		{"UNet", "up_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj", `/transformer_blocks\.0/ff/net\.0/proj/MatMul$`, `^onnx::MatMul_\d+$`, 1},
		{"CLIP text", "text_model.encoder.layers.0.mlp.fc1", `^/text_model/encoder/layers\.0/mlp/fc1/MatMul$`, `^onnx::MatMul_\d+$`, 1},
	}
	all := map[string]family{}
	for _, f := range families() {
		all[f.name] = f
	}
	for _, c := range cases {
		t.Run(c.family, func(t *testing.T) {
			found, err := rewrite.Find(build(t, all[c.family]))
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, l := range found.Linear {
				if l.Path != c.path {
					continue
				}
				n++
				weight := l.Node.Input(1).Name
				if !regexp.MustCompile(c.node).MatchString(l.Node.Name) || !regexp.MustCompile(c.weight).MatchString(weight) {
					t.Errorf("node %q with weight %q, want %s and %s", l.Node.Name, weight, c.node, c.weight)
				}
			}
			if n != c.layers {
				t.Errorf("%d layers of path %s, want %d", n, c.path, c.layers)
			}
		})
	}
}
