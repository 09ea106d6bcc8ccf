package onnx

import (
	"errors"
	"testing"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

func TestAdaptLocation(t *testing.T) {
	for _, c := range []struct{ loc, src, out, want string }{
		{"model.onnx.data", "model.onnx", "model.onnx", "model.onnx.data"},
		{"weights.bin", "model.onnx", "model.onnx", "weights.bin"},
		{"model.onnx.data", "model.onnx", "out.onnx", "out.onnx.data"},
		{"model.onnx_data", "model.onnx", "out.onnx", "out.onnx_data"},
		{"model.data", "model.onnx", "out.onnx", "out.data"},
		{"weights.bin", "model.onnx", "out.onnx", "out.weights.bin"},
		{"sub/model.onnx.data", "model.onnx", "out.onnx", "sub/out.onnx.data"},
		{"sub/w", "model.onnx", "out.onnx", "sub/out.w"},
		{"w", "", "out.onnx", "out.w"},
	} {
		if got := adaptLocation(c.loc, c.src, c.out); got != c.want {
			t.Errorf("adaptLocation(%q, %q, %q): got %q, want %q", c.loc, c.src, c.out, got, c.want)
		}
	}
}

// promise is Data that nobody may read.
type promise struct{ n int }

func (promise) DType() tensor.DType   { return tensor.Float32 }
func (p promise) Shape() tensor.Shape { return tensor.Shape{p.n} }
func (promise) Tensor() (*tensor.Tensor, error) {
	return nil, errors.New("read")
}

func TestModelsPastTwoGigabytesSpill(t *testing.T) {
	m := &ir.Model{IRVersion: 8, Graph: ir.NewGraph("g")}
	for _, name := range []string{"a", "b", "c"} {
		m.Graph.AddInitializer(name, ir.Data(promise{1 << 28}))
	}
	m.Graph.AddInitializer("small", ir.Dense(tensor.New(tensor.Float32, 8)))
	l, r, err := encodeModel(m, "o.onnx", 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(l.files) != 1 || l.files[0].loc != "o.onnx.data" || l.files[0].size != 3<<30 || len(l.places) != 3 || r.n > 1000 {
		t.Errorf("got %d files, %d tensors outside, a message of %d bytes; want the three large tensors in o.onnx.data", len(l.files), len(l.places), r.n)
	}
	if _, err := Marshal(m); !errors.Is(err, errTooBig) {
		t.Errorf("Marshal: got %v, want %v", err, errTooBig)
	}
	if _, _, err := encodeModel(m, "o.onnx", -1); !errors.Is(err, errTooBig) {
		t.Errorf("inline: got %v, want %v", err, errTooBig)
	}
	// Below the limit nothing moves, and what is written is not read before.
	m.Graph.Initializers = m.Graph.Initializers[:1]
	l, r, err = encodeModel(m, "o.onnx", 0)
	if err != nil || len(l.files) != 0 || r.n < 1<<30 {
		t.Errorf("got %d files, a message of %d bytes, %v; want all in the message", len(l.files), r.n, err)
	}
}
