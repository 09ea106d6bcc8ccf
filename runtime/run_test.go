package runtime_test

import (
	"context"
	"testing"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

func TestTinyLlamaRuns(t *testing.T) {
	m, err := testmodel.Tiny.Model()
	if err != nil {
		t.Fatal(err)
	}
	p, err := runtime.Compile(m, runtime.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s, err := p.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	for _, shape := range [][2]int{{1, 5}, {3, 9}, {1, 5}} {
		ids := tensor.New(tensor.Int64, shape[0], shape[1])
		out, err := s.Run(context.Background(), map[string]*tensor.Tensor{"input_ids": ids})
		if err != nil {
			t.Fatal(err)
		}
		if want := (tensor.Shape{shape[0], shape[1], testmodel.Tiny.Vocab}); !out[0].Shape().Equal(want) {
			t.Errorf("logits %v, want %v", out[0].Shape(), want)
		}
	}
}
