package ops_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// sequenceModels are y made of x float32 (2,6) by way of lists, as exporters
// write chunk, unbind, stack and lists that grow.
func sequenceModels() map[string]func(b *ir.Builder, x *ir.Value) *ir.Value {
	at := func(b *ir.Builder, seq *ir.Value, i int64) *ir.Value {
		return b.Op("SequenceAt", ir.In(seq, b.Const("at", tensor.Scalar(i))))
	}
	return map[string]func(b *ir.Builder, x *ir.Value) *ir.Value{
		"chunks": func(b *ir.Builder, x *ir.Value) *ir.Value {
			seq := b.Op("SplitToSequence", ir.In(x, b.Const("size", tensor.Scalar(int64(4)))), intAttr("axis", 1))
			return b.Op("MatMul", ir.In(at(b, seq, 0), b.Op("Concat", ir.In(at(b, seq, -1), at(b, seq, 1)), intAttr("axis", 0))))
		},
		"sizes": func(b *ir.Builder, x *ir.Value) *ir.Value {
			seq := b.Op("SplitToSequence", ir.In(x, b.Ints(1, 3, 2)), intAttr("axis", 1))
			return b.Op("Mul", ir.In(at(b, seq, 1), at(b, seq, 0)))
		},
		"unbind, stack": func(b *ir.Builder, x *ir.Value) *ir.Value {
			seq := b.Op("SplitToSequence", ir.In(x), intAttr("axis", 0), intAttr("keepdims", 0))
			both := b.Op("SequenceConstruct", ir.In(at(b, seq, 1), at(b, seq, 0), at(b, seq, 1)))
			return b.Op("ConcatFromSequence", ir.In(both), intAttr("axis", 1), intAttr("new_axis", 1))
		},
		"grown": func(b *ir.Builder, x *ir.Value) *ir.Value {
			seq := b.Op("SequenceEmpty", nil)
			seq = b.Op("SequenceInsert", ir.In(seq, x))
			seq = b.Op("SequenceInsert", ir.In(seq, b.Op("Neg", ir.In(x)), b.Const("at", tensor.Scalar(int64(0)))))
			seq = b.Op("SequenceInsert", ir.In(seq, b.Op("Exp", ir.In(x))))
			seq = b.Op("SequenceErase", ir.In(seq, b.Const("at", tensor.Scalar(int64(1)))))
			n := b.Op("Cast", ir.In(b.Op("SequenceLength", ir.In(seq))), intAttr("to", int64(tensor.Float32)))
			return b.Op("Mul", ir.In(b.Op("ConcatFromSequence", ir.In(seq), intAttr("axis", 0)), n))
		},
	}
}

func sequenceModel(make func(b *ir.Builder, x *ir.Value) *ir.Value) *ir.Model {
	g := ir.NewGraph("sequences")
	m := &ir.Model{IRVersion: 8, Opsets: []ir.Opset{{Version: 17}}, Graph: g}
	b := ir.NewBuilder(g, ir.NewNames(m))
	y := make(b, g.AddInput("x", ir.Tensor(tensor.Float32, ir.Fixed(2), ir.Fixed(6))))
	y.Name, y.Type = "y", &ir.TensorType{Elem: tensor.Float32}
	g.Outputs = []*ir.Value{y}
	return m
}

// TestSequencesGo: nothing but tensors is left of lists.
func TestSequencesGo(t *testing.T) {
	for name, make := range sequenceModels() {
		c, err := ops.Canonical(sequenceModel(make))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s := opNames(c.Graph); strings.Contains(s, "Sequence") {
			t.Errorf("%s: left are%s", name, s)
		}
	}
}

func TestORTSequences(t *testing.T) {
	ort.Available(t)
	x := testutil.Random(1, 2, 6)
	for name, make := range sequenceModels() {
		path := filepath.Join(t.TempDir(), "model.onnx")
		if err := onnx.Save(path, sequenceModel(make), onnx.SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		want := ort.Run(t, path, map[string]*tensor.Tensor{"x": x})["y"]
		got := runCanonical(t, sequenceModel(make), map[string]*tensor.Tensor{"x": x})
		testutil.Close(t, name, got, want, 1e-6, 1e-6)
	}
}

// A list that data makes is an error that says what is missing.
func TestSequenceOfUnknownLength(t *testing.T) {
	m := sequenceModel(func(b *ir.Builder, x *ir.Value) *ir.Value {
		n := b.Op("Cast", ir.In(b.Op("ReduceMax", ir.In(x), intAttr("keepdims", 0))), intAttr("to", int64(tensor.Int64)))
		seq := b.Op("SplitToSequence", ir.In(x, n), intAttr("axis", 1))
		return b.Op("SequenceAt", ir.In(seq, b.Const("at", tensor.Scalar(int64(0)))))
	})
	c, err := ops.Canonical(m)
	if err == nil {
		_, err = ops.Standard().Analyze(c, ops.AnalyzeOptions{})
	}
	if err == nil || !strings.Contains(err.Error(), "SplitToSequence") || !strings.Contains(err.Error(), "depends on data") {
		t.Errorf("got %v", err)
	}
}
