package fuse_test

import (
	"testing"

	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// raised lifts and raises a model.
func raised(t *testing.T, m *ir.Model) (plain, fused *ir.Model) {
	t.Helper()
	plain, err := ops.Canonical(m)
	if err != nil {
		t.Fatal(err)
	}
	fused = plain.Clone()
	if err := fuse.Raise(fused, ops.Standard(), fuse.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := ir.Verify(fused); err != nil {
		t.Fatal(err)
	}
	return plain, fused
}

func wantOps(t *testing.T, m *ir.Model, want map[string]int) {
	t.Helper()
	got := count(m)
	for op, n := range want {
		if got[op] != n {
			t.Errorf("got %d %s, want %d", got[op], op, n)
		}
	}
}

func run(t *testing.T, m *ir.Model, ids *tensor.Tensor) *tensor.Tensor {
	t.Helper()
	out, err := opcheck.Run(ops.Standard(), m, map[*ir.Value]*tensor.Tensor{m.Graph.Inputs[0]: ids}, m.Graph.Outputs)
	if err != nil {
		t.Fatal(err)
	}
	return out[0]
}

func TestLlama(t *testing.T) {
	m, err := testmodel.Tiny.Model()
	if err != nil {
		t.Fatal(err)
	}
	plain, fused := raised(t, m)
	layers := testmodel.Tiny.Layers
	wantOps(t, fused, map[string]int{"ai.bonnx:RMSNorm": 2*layers + 1, "ai.bonnx:GatedSiLU": layers, ":Pow": 0, ":Sqrt": 0, ":Sigmoid": 0})
	ids := testutil.RandomInts(1, 0, int64(testmodel.Tiny.Vocab), 2, 7)
	want := run(t, plain, ids)
	testutil.Close(t, "fused", run(t, fused, ids), want, 1e-5, 1e-5)
	if err := fuse.Late(fused, ops.Standard(), fuse.Options{}); err != nil {
		t.Fatal(err)
	}
	wantOps(t, fused, map[string]int{"ai.bonnx:Attention": layers, "ai.bonnx:Rotary": 2 * layers, ":Transpose": 0})
	testutil.Close(t, "late", run(t, fused, ids), want, 1e-5, 1e-5)
	if err := fuse.Lower(fused, ops.Standard()); err != nil {
		t.Fatal(err)
	}
	testutil.Close(t, "lowered", run(t, fused, ids), want, 1e-5, 1e-5)
}

// What real exporters write is recognised.
func TestExportedModels(t *testing.T) {
	for _, c := range []struct {
		path string
		want map[string]int
	}{
		{"models/stories260k/stories260K_op17.onnx", map[string]int{"ai.bonnx:Attention": 5, "ai.bonnx:Rotary": 10, "ai.bonnx:RMSNorm": 11, "ai.bonnx:GatedSiLU": 5, ":Sqrt": 0, ":Sigmoid": 0}},
		{"models/stories260k/stories260K_op14.onnx", map[string]int{"ai.bonnx:Attention": 5, "ai.bonnx:Rotary": 10, "ai.bonnx:RMSNorm": 11, "ai.bonnx:GatedSiLU": 5}},
		{"models/babyllama/babyllama_op17.onnx", map[string]int{"ai.bonnx:Attention": 5, "ai.bonnx:Rotary": 10, "ai.bonnx:RMSNorm": 11, "ai.bonnx:GatedSiLU": 5}},
		{"models/structure/optimum_tiny_classifier_op11.onnx", map[string]int{":LayerNormalization": 5, "ai.bonnx:Gelu": 2, ":Erf": 0, ":Sqrt": 0}},
		{"models/structure/random_encoder.onnx", map[string]int{":Sqrt": 0}},
		{"models/structure/dummy_transformer.onnx", map[string]int{":Sqrt": 0}},
	} {
		t.Run(c.path, func(t *testing.T) {
			m, err := onnx.Load(testutil.Shared(t, c.path))
			if err != nil {
				t.Fatal(err)
			}
			_, fused := raised(t, m)
			wantOps(t, fused, c.want)
		})
	}
}
