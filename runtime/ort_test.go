package runtime_test

import (
	"context"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// genAI are models as the builder of ONNX Runtime GenAI writes them: fused
// operators, caches of keys and values, 16-bit weights.
var genAI = []struct {
	file     string
	abs, rel float64 // 16-bit models round in every node, here and there in other places
	past     func(batch, n int) map[string]*tensor.Tensor
}{
	{"genai_tiny_gpt2_fp32.onnx", 2e-6, 1e-5, func(batch, n int) map[string]*tensor.Tensor {
		return pastOf(tensor.Float32, []string{"past_0", "past_1", "past_2", "past_3", "past_4"}, 2, batch, 4, n, 8)
	}},
	{"genai_tiny_gpt2_fp16.onnx", 6e-4, 2e-3, func(batch, n int) map[string]*tensor.Tensor {
		return pastOf(tensor.Float16, []string{"past_0", "past_1", "past_2", "past_3", "past_4"}, 2, batch, 4, n, 8)
	}},
	{"genai_tiny_qwen_gqa_fp16.onnx", 6e-4, 2e-3, func(batch, n int) map[string]*tensor.Tensor {
		return pastOf(tensor.Float16, []string{"past_key_values.0.key", "past_key_values.0.value", "past_key_values.1.key", "past_key_values.1.value"}, batch, 2, n, 16)
	}},
}

func pastOf(d tensor.DType, names []string, shape ...int) map[string]*tensor.Tensor {
	m := map[string]*tensor.Tensor{}
	for i, name := range names {
		t, err := testutil.Random(uint64(40+i), shape...).Cast(d)
		if err != nil {
			panic(err)
		}
		m[name] = t
	}
	return m
}

// TestORTGenAI runs a prompt and a step with a cache, of one session, against
// ONNX Runtime.
func TestORTGenAI(t *testing.T) {
	ort.Available(t)
	for _, c := range genAI {
		t.Run(c.file, func(t *testing.T) {
			path := testutil.Shared(t, "models/structure/"+c.file)
			m, err := onnx.Load(path)
			if err != nil {
				t.Fatal(err)
			}
			defer onnx.Close(m)
			p, err := runtime.Compile(m, runtime.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			s, err := p.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			for _, size := range [][3]int{{1, 5, 0}, {2, 4, 0}, {2, 1, 6}, {1, 3, 4}} {
				batch, seq, before := size[0], size[1], size[2]
				feeds := c.past(batch, before)
				for _, port := range p.Inputs() {
					if in := tokens(port.Name, batch, seq, before); in != nil {
						feeds[port.Name] = cast(t, in, port)
					}
				}
				want := ort.Run(t, path, feeds)
				got, err := s.Run(context.Background(), feeds)
				if err != nil {
					t.Fatalf("%v: %v", size, err)
				}
				for i, port := range p.Outputs() {
					if err := testutil.Compare(got[i], want[port.Name], c.abs, c.rel); err != nil {
						t.Errorf("batch %d of %d after %d: %s: %v", batch, seq, before, port.Name, err)
					}
				}
			}
		})
	}
}

// tokens is what the model takes beside the cache, nil for the cache.
func tokens(name string, batch, seq, before int) *tensor.Tensor {
	ids := testutil.RandomInts(9, 0, 999, batch, seq)
	switch name {
	case "input_ids":
	case "position_ids":
		for i := range tensor.Data[int64](ids) {
			tensor.Data[int64](ids)[i] = int64(before + i%seq)
		}
	case "attention_mask":
		ids = testutil.RandomInts(9, 1, 2, batch, before+seq)
	default:
		return nil
	}
	return ids
}

func cast(t *testing.T, x *tensor.Tensor, port runtime.Port) *tensor.Tensor {
	t.Helper()
	y, err := x.Cast(elemOf(port.Type))
	if err != nil {
		t.Fatal(err)
	}
	return y
}

func elemOf(t ir.Type) tensor.DType { return t.(*ir.TensorType).Elem }
