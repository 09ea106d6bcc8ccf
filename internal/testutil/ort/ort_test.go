package ort_test

import (
	"os"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/tensor"
)

// The oracle itself is held to what PyTorch computes.
func TestORTReferenceLogits(t *testing.T) {
	cases := []struct {
		name, model, ids, logits string
		vocab                    int
	}{
		{"stories260k opset 14", "stories260k/stories260K_op14.onnx", "stories260k/stories260K.ref_ids_2x32.i64", "stories260k/stories260K.ref_logits_2x32x512.f32", 512},
		{"stories260k opset 17", "stories260k/stories260K_op17.onnx", "stories260k/stories260K.ref_ids_2x32.i64", "stories260k/stories260K.ref_logits_2x32x512.f32", 512},
		{"babyllama", "babyllama/babyllama_op17.onnx", "babyllama/babyllama.ref_ids_2x32.i64", "babyllama/babyllama.ref_logits_2x32x105.f32", 105},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			ids := raw(t, c.ids, tensor.Int64, 2, 32)
			want := raw(t, c.logits, tensor.Float32, 2, 32, c.vocab)
			model := testutil.Shared(t, "models/"+c.model)
			for _, level := range []ort.Level{"", ort.Disabled} {
				got, err := ort.TryRun(t, model, map[string]*tensor.Tensor{"input_ids": ids}, ort.Options{Level: level})
				if err != nil {
					t.Fatal(err)
				}
				testutil.Close(t, "logits at level "+string(level), got["logits"], want, 1e-4, 0)
			}
		})
	}
}

func raw(t *testing.T, rel string, d tensor.DType, shape ...int) *tensor.Tensor {
	t.Helper()
	b, err := os.ReadFile(testutil.Shared(t, "models/"+rel))
	if err != nil {
		t.Fatal(err)
	}
	x, err := tensor.FromBytes(d, shape, b)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// sum = x + y, with sum fed back as x: running totals.
func TestORTSteps(t *testing.T) {
	const steps = 4
	y := testutil.Random(1, steps, 3, 4, 5)
	start := testutil.Random(2, 3, 4, 5)
	recorded, state := ort.RunSteps(t, ort.Steps{
		Model:   testutil.Shared(t, "onnx-node-tests/node/test_add/model.onnx"),
		Batches: map[string]*tensor.Tensor{"y": y},
		State:   map[string]*tensor.Tensor{"x": start},
		Carry:   map[string]string{"sum": "x"},
		Record:  []string{"sum"},
	})
	want := tensor.New(tensor.Float32, steps, 3, 4, 5)
	total := tensor.Data[float32](start.Clone())
	for i, v := range tensor.Data[float32](y) {
		total[i%len(total)] += v
		tensor.Data[float32](want)[i] = total[i%len(total)]
	}
	testutil.Close(t, "sum", recorded["sum"], want, 0, 0)
	testutil.Close(t, "x at the end", state["x"], tensor.FromSlice(total, 3, 4, 5), 0, 0)
}

func TestORTDescribe(t *testing.T) {
	in, out, err := ort.Describe(t, testutil.Shared(t, "models/stories260k/stories260K_op17.onnx"), "")
	if err != nil {
		t.Fatal(err)
	}
	if len(in) != 1 || in[0].Name != "input_ids" || in[0].Type != "int64" || strings.Join(in[0].Shape, " ") != "batch seq" {
		t.Errorf("inputs: got %+v, want one int64 input_ids [batch seq]", in)
	}
	if len(out) != 1 || out[0].Name != "logits" || strings.Join(out[0].Shape, " ") != "batch seq 512" {
		t.Errorf("outputs: got %+v, want one logits [batch seq 512]", out)
	}
}

func TestORTError(t *testing.T) {
	_, err := ort.TryRun(t, "absent.onnx", nil, ort.Options{})
	if err == nil || !strings.Contains(err.Error(), "absent.onnx") {
		t.Errorf("got error %v, want one that names absent.onnx", err)
	}
	// A failed request must not end the server.
	if _, _, err := ort.Describe(t, testutil.Shared(t, "models/structure/mnist-8.onnx"), ort.Basic); err != nil {
		t.Error(err)
	}
}
