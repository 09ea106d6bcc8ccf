package testmodel_test

import (
	"slices"
	"testing"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/tensor"
)

// Families in float16 compute in bonnx what they do in ONNX Runtime, within
// what float16 tells apart, and nearly what they do in float32.
func TestORTHalf(t *testing.T) {
	ort.Available(t)
	for _, f := range families() {
		if !slices.Contains([]string{"decoder with past", "merged decoder", "classifier ending in Softmax", "dynamo", "GPT-2", "GenAI", "CLIP text", "seq2seq decoder", "ViT"}, f.name) {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			m, err := testmodel.Half(build(t, f))
			if err != nil {
				t.Fatal(err)
			}
			half := feed{}
			for name, x := range f.feeds[0] {
				half[name] = as(t, x, tensor.Float32, tensor.Float16)
			}
			want, float := inORT(t, m, half), inORT(t, build(t, f), f.feeds[0])
			for name, got := range run(t, m, half) {
				testutil.Close(t, name, as(t, got, tensor.Float16, tensor.Float32), as(t, want[name], tensor.Float16, tensor.Float32), 1e-2, 1e-2)
				testutil.Close(t, name+" in float", as(t, got, tensor.Float16, tensor.Float32), float[name], 3e-2, 3e-2)
			}
		})
	}
}

// as converts x where it is of the type from.
func as(t *testing.T, x *tensor.Tensor, from, to tensor.DType) *tensor.Tensor {
	t.Helper()
	if x.DType() != from {
		return x
	}
	y, err := x.Cast(to)
	if err != nil {
		t.Fatal(err)
	}
	return y
}
