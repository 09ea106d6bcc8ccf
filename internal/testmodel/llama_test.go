package testmodel_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/ir"
)

func TestLlama(t *testing.T) {
	cases := []struct {
		name   string
		config testmodel.Llama
		want   int // parameters that training changes
	}{
		{"tiny", testmodel.Tiny, 40*16*2 + 2*(4*16*16+3*16*24+2*16) + 16},
		{"demo", testmodel.Demo, 256*96*2 + 3*(4*96*96+3*96*256+2*96) + 96},
		{"opset 18", testmodel.Llama{Vocab: 8, Dim: 4, Heads: 1, Hidden: 6, Layers: 1, Context: 8, Opset: 18}, 8*4*2 + 4*4*4 + 3*4*6 + 2*4 + 4},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m, err := c.config.Model()
			if err != nil {
				t.Fatal(err)
			}
			got := 0
			for _, w := range testmodel.Weights(m) {
				got += w.Data.Shape().Size()
			}
			if got != c.want {
				t.Errorf("got %d parameters, want %d", got, c.want)
			}
			if linear := countMatMuls(m); linear != 7*c.config.Layers+1 {
				t.Errorf("got %d MatMuls with a constant weight, want %d", linear, 7*c.config.Layers+1)
			}
		})
	}
	if _, err := (testmodel.Llama{Vocab: 8, Dim: 6, Heads: 2, Opset: 17}).Model(); err == nil {
		t.Error("a head of 3 cannot be rotated by halves, and yet there was no error")
	}
}

func countMatMuls(m *ir.Model) int {
	n := 0
	for node := range m.Graph.Nodes() {
		if node.OpType == "MatMul" && node.Input(1).IsInitializer() {
			n++
		}
	}
	return n
}
