package testmodel_test

import (
	"bytes"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

var quantizations = []struct {
	name string
	how  testmodel.Quantization
	op   string
	node string // of the query of layer 0
	off  float64
}{
	{"int8, dynamic", testmodel.DynamicInt8, "MatMulInteger", `^/bert/encoder/layer\.0/attention/self/query/MatMul_quant$`, 0.1},
	{"int8 weights", testmodel.WeightInt8, "DequantizeLinear", `^onnx::MatMul_\d+_DequantizeLinear$`, 0.05},
	{"int4 blocks", testmodel.BlockInt4, "MatMulNBits", `^/bert/encoder/layer\.0/attention/self/query/MatMul_Q4$`, 0.5},
}

// Quantized models compute nearly what the float model does, in ONNX Runtime,
// and the same in bonnx where it has the operators.
func TestORTQuantize(t *testing.T) {
	ort.Available(t)
	c := testmodel.SmallEncoder
	c.Head = testmodel.Linear
	// In a batch of 2 x 6 an activation lies so near the middle of two levels that
	// portable kernels round it to the other one: a whole level is no rounding.
	feed := encoderFeed(c, 3, 7)
	float := inORT(t, build(t, family{model: c.Model}), feed)
	for _, q := range quantizations {
		t.Run(q.name, func(t *testing.T) {
			m, err := testmodel.Quantize(build(t, family{model: c.Model}), q.how)
			if err != nil {
				t.Fatal(err)
			}
			named := false
			for n := range m.Graph.Nodes() {
				named = named || n.OpType == q.op && regexp.MustCompile(q.node).MatchString(n.Name)
				if n.Is("MatMul") && n.Input(1).IsInitializer() {
					t.Errorf("%v is float", n)
				}
			}
			if !named {
				t.Errorf("no %s is called %s", q.op, q.node)
			}
			want := exactly(t, m, feed)
			testutil.Close(t, "quantized", want["logits"], float["logits"], q.off, 0)
			if testutil.Compare(want["logits"], float["logits"], 1e-5, 0) == nil {
				t.Error("quantized and float are the same")
			}
			for name, got := range run(t, m, feed) {
				testutil.Close(t, name, got, want[name], 1e-3, 1e-3)
			}
		})
	}
}

// Adapters on all layers of a quantized model are found under the float
// model's paths, have the gradients that ONNX Runtime computes, merge into
// floats or integers again, and come off again.
func TestORTQuantizedAdapters(t *testing.T) {
	ort.Available(t)
	c := testmodel.SmallEncoder
	c.Head = testmodel.Linear
	feed := encoderFeed(c, 2, 6)
	float := build(t, family{model: c.Model})
	paths := func(m *ir.Model) []string {
		found, err := rewrite.Find(m)
		if err != nil {
			t.Fatal(err)
		}
		return found.Paths()
	}
	for _, q := range quantizations {
		t.Run(q.name, func(t *testing.T) {
			m, err := testmodel.Quantize(build(t, family{model: c.Model}), q.how)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := paths(m), paths(float); !slices.Equal(got, want) {
				t.Errorf("paths %q, want %q", got, want)
			}
			base := marshal(t, m)
			everywhere(t, m)
			sameGradients(t, m, feed)
			adapted := run(t, m, feed)["logits"]
			testutil.Close(t, "in ONNX Runtime", exactly(t, m, feed)["logits"], adapted, 1e-3, 1e-3)
			for _, again := range []bool{false, true} {
				merged := m.Clone()
				if _, err := rewrite.MergeWith(merged, rewrite.MergeOptions{Requantize: again}); err != nil {
					t.Fatal(err)
				}
				got := run(t, merged, feed)["logits"]
				off := 1e-4
				switch {
				case again:
					off = 3 * q.off
				case q.how == testmodel.DynamicInt8:
					off = q.off // inputs are not rounded any more
				}
				testutil.Close(t, "merged", got, adapted, off, 1e-4)
				testutil.Close(t, "merged, in ONNX Runtime", exactly(t, merged, feed)["logits"], got, 1e-3, 1e-3)
			}
			if err := rewrite.Strip(m); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(marshal(t, m), base) {
				t.Error("strip does not give the base back")
			}
		})
	}
}

// GenAI's blocks are of 32, and its products may round their inputs to 8 bits;
// bonnx does not, and is held to ONNX Runtime where that does not either.
func TestORTQuantizeGenAI(t *testing.T) {
	ort.Available(t)
	c := testmodel.SmallGenAI
	c.Hidden = 64
	m, err := testmodel.Quantize(build(t, family{model: c.Model}), testmodel.GenAIInt4)
	if err != nil {
		t.Fatal(err)
	}
	products := 0
	for n := range m.Graph.Nodes() {
		if n.OpType != "MatMulNBits" {
			continue
		}
		products++
		if n.Attr("block_size").Value != ir.Int(32) || n.Attr("accuracy_level").Value != ir.Int(4) {
			t.Errorf("%v: got %v", n, n.Attrs)
		}
		n.SetAttr("accuracy_level", ir.Int(1))
	}
	if want := len(genaiPaths(c.Layers, "q_proj", "k_proj", "v_proj")); products != want {
		t.Errorf("%d products, want %d", products, want)
	}
	feed := genaiFeed(c, 2, 5, 0)
	want := exactly(t, m, feed)
	for name, got := range run(t, m, feed) {
		testutil.Close(t, name, got, want[name], 1e-3, 1e-3)
	}
}

// exactly runs a model in ONNX Runtime as it stands: from level Extended on, it
// quantizes inputs too, where weights are int8.
func exactly(t *testing.T, m *ir.Model, f feed) map[string]*tensor.Tensor {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := onnx.Save(path, m, onnx.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := ort.TryRun(t, path, f, ort.Options{Level: ort.Basic})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// Weights that two products share are quantized once.
func TestQuantizeShared(t *testing.T) {
	m := build(t, family{model: testmodel.SmallEncoder.Model})
	var first *ir.Value
	for n := range m.Graph.Nodes() {
		if !n.Is("MatMul") || !n.Input(1).IsInitializer() {
			continue
		}
		if first == nil {
			first = n.Input(1)
		} else if n.Input(1).Data.Shape().Equal(first.Data.Shape()) {
			n.SetInput(1, first)
			break
		}
	}
	before := len(m.Graph.Initializers)
	m, err := testmodel.Quantize(m, testmodel.BlockInt4)
	if err != nil {
		t.Fatal(err)
	}
	// 12 products, of which two share a weight: 11 pairs for 12 weights.
	if got := len(m.Graph.Initializers); got != before-12+22 {
		t.Errorf("%d initializers, had %d", got, before)
	}
}
