package autodiff_test

import (
	"slices"
	"testing"

	"github.com/bonnx/bonnx/autodiff"
	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// TestGenAI differentiates a whole decoder of fused operators, with a cache and
// a mask: along the gradient of each matrix the loss changes as it says.
func TestGenAI(t *testing.T) {
	file, err := onnx.Load(testutil.Shared(t, "models/structure/genai_tiny_gpt2_fp32.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	defer onnx.Close(file)
	m, err := ops.Canonical(file)
	if err != nil {
		t.Fatal(err)
	}
	matrix := func(v *ir.Value) bool { return v.Data.DType() == tensor.Float32 && v.Data.Shape().Size() > 64 }
	set := ops.Standard()
	if err := fuse.Raise(m, set, fuse.Options{Mutable: matrix}); err != nil {
		t.Fatal(err)
	}
	var params []*ir.Value
	for _, v := range m.Graph.Initializers {
		if matrix(v) && len(v.Data.Shape()) == 2 {
			params = append(params, v)
		}
	}
	an, err := set.Analyze(m, ops.AnalyzeOptions{Mutable: matrix})
	if err != nil {
		t.Fatal(err)
	}
	b := ops.NewBuilder(an, m.Graph, ir.NewNames(m))
	logits := m.Graph.Outputs[slices.IndexFunc(m.Graph.Outputs, func(v *ir.Value) bool { return v.Name == "logits" })]
	labels := b.Const("labels", testutil.RandomInts(3, 0, 999, 8))
	loss := b.Op("SoftmaxCrossEntropyLoss", ir.In(b.ReshapeTo(logits, -1, 1000), labels))
	grads, err := autodiff.Gradient(b, loss, params)
	if err != nil {
		t.Fatal(err)
	}
	feeds := map[*ir.Value]*tensor.Tensor{}
	for _, v := range m.Graph.Inputs {
		feeds[v] = map[string]*tensor.Tensor{
			"input_ids": ints32(t, testutil.RandomInts(1, 0, 999, 2, 4)), "attention_mask": ints32(t, testutil.RandomInts(2, 1, 2, 2, 6)),
			"position_ids": ints32(t, tensor.FromSlice([]int64{2, 3, 4, 5, 2, 3, 4, 5}, 2, 4)),
		}[v.Name]
		if feeds[v] == nil { // a cache of two tokens
			feeds[v] = testutil.Random(7, 2, 2, 4, 2, 8)
		}
	}
	got, err := opcheck.Run(set, m, feeds, grads)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range params {
		along(t, set, m, feeds, loss, p, tensor.Data[float32](got[i]))
	}
	if len(params) < 20 {
		t.Errorf("only %d matrices", len(params))
	}
}

func ints32(t *testing.T, x *tensor.Tensor) *tensor.Tensor {
	t.Helper()
	y, err := x.Cast(tensor.Int32)
	if err != nil {
		t.Fatal(err)
	}
	return y
}
