package fuse_test

import (
	"testing"

	"github.com/bonnx/bonnx/autodiff"
	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// pairModel is x (3,4) float32, quantized and back, and so y.
func pairModel(scale, zero *tensor.Tensor, again *tensor.Tensor, axis int64) *ir.Model {
	g := ir.NewGraph("pair")
	m := &ir.Model{IRVersion: 8, Graph: g, Opsets: []ir.Opset{{Version: 19}}}
	b := ir.NewBuilder(g, ir.NewNames(m))
	x := g.AddInput("x", ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(4)))
	s, z := b.Const("scale", scale), b.Const("zero", zero)
	q := b.Op("QuantizeLinear", ir.In(x, s, z), ir.A("axis", ir.Int(axis)))
	y := b.Op("DequantizeLinear", ir.In(q, b.Const("again", again), z), ir.A("axis", ir.Int(axis)))
	y.Name, y.Type = "y", &ir.TensorType{Elem: tensor.Float32}
	g.Outputs = []*ir.Value{y}
	return m
}

// TestQuantizedActivation: a pair rounds as before and passes gradients on
// where nothing is cut off.
func TestQuantizedActivation(t *testing.T) {
	x := tensor.FromSlice([]float32{-9, -1.2, 0.3, 9, 0, 2.5, -2.6, 0.26, 6.3, -6.5, 31, -32}, 3, 4)
	for _, c := range []struct {
		name        string
		scale, zero *tensor.Tensor
		axis        int64
		inside      []bool
	}{
		// int8 holds [-128, 127] steps of 0.05, the zero being 3: [-6.575, 6.225]
		{"one scale", tensor.Scalar(float32(0.05)), tensor.Scalar(int8(3)), 1,
			[]bool{false, true, true, false, true, true, true, true, false, true, false, false}},
		{"by column", tensor.FromSlice([]float32{0.05, 0.05, 0.5, 1}, 4), tensor.FromSlice([]int8{3, 3, 0, 0}, 4), 1,
			[]bool{false, true, true, true, true, true, true, true, false, true, true, true}},
	} {
		set := ops.Standard()
		plain := pairModel(c.scale, c.zero, c.scale.Clone(), c.axis)
		raised := pairModel(c.scale, c.zero, c.scale.Clone(), c.axis)
		if err := fuse.Raise(raised, set, fuse.Options{}); err != nil {
			t.Fatal(err)
		}
		if n := raised.Graph.Outputs[0].Producer(); n.OpType != "FakeQuantize" {
			t.Fatalf("%s: made by %v", c.name, n)
		}
		lowered := raised.Clone()
		if err := fuse.Lower(lowered, set); err != nil {
			t.Fatal(err)
		}
		run := func(m *ir.Model, want ...*ir.Value) *tensor.Tensor {
			t.Helper()
			out, err := opcheck.Run(set, m, map[*ir.Value]*tensor.Tensor{m.Graph.Inputs[0]: x}, want)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			return out[0]
		}
		want := run(plain, plain.Graph.Outputs[0])
		for what, m := range map[string]*ir.Model{"raised": raised, "lowered": lowered} {
			if got := run(m, m.Graph.Outputs[0]); !got.Equal(want) {
				t.Errorf("%s: %s: got %v, want %v", c.name, what, tensor.Data[float32](got), tensor.Data[float32](want))
			}
		}
		an, err := set.Analyze(raised, ops.AnalyzeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b := ops.NewBuilder(an, raised.Graph, ir.NewNames(raised))
		loss := b.Op("ReduceSum", ir.In(raised.Graph.Outputs[0]), ir.A("keepdims", ir.Int(0)))
		grads, err := autodiff.Gradient(b, loss, raised.Graph.Inputs)
		if err != nil || grads[0] == nil {
			t.Fatalf("%s: gradient %v, error %v", c.name, grads, err)
		}
		for i, g := range tensor.Data[float32](run(raised, grads[0])) {
			if (g == 1) != c.inside[i] || (g == 0) == c.inside[i] {
				t.Errorf("%s: gradient %d at %v is %v", c.name, i, tensor.Data[float32](x)[i], g)
			}
		}
	}
}

// TestQuantizedActivationRefuses pairs of different steps.
func TestQuantizedActivationRefuses(t *testing.T) {
	m := pairModel(tensor.Scalar(float32(0.05)), tensor.Scalar(int8(3)), tensor.Scalar(float32(0.06)), 1)
	if err := fuse.Raise(m, ops.Standard(), fuse.Options{}); err != nil {
		t.Fatal(err)
	}
	if n := m.Graph.Outputs[0].Producer(); n.OpType != "DequantizeLinear" {
		t.Errorf("made by %v", n)
	}
}

// integerModel is relu(x) (n,4) times an int8 W (4,3), as ONNX Runtime's
// quantize_dynamic writes it.
func integerModel(scale, zero *tensor.Tensor, swap bool) *ir.Model {
	g := ir.NewGraph("integers")
	m := &ir.Model{IRVersion: 8, Graph: g, Opsets: []ir.Opset{{Version: 18}}}
	b := ir.NewBuilder(g, ir.NewNames(m))
	x := g.AddInput("x", ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(4)))
	q := b.Node("", "DynamicQuantizeLinear", ir.In(x), 3)
	w := b.Const("w", tensor.FromSlice([]int8{1, -2, 3, 40, 5, -60, 7, 8, 9, -10, 11, 127}, 4, 3))
	p := b.Op("MatMulInteger", ir.In(q[0], w, q[2], b.Const("wz", zero)))
	f := b.Op("Cast", ir.In(p), ir.A("to", ir.Int(tensor.Float32)))
	s := b.Op("Mul", ir.In(q[1], b.Const("ws", scale)))
	in := ir.In(f, s)
	if swap {
		in = ir.In(s, f)
	}
	y := b.Op("Mul", in)
	y.Name, y.Type = "y", &ir.TensorType{Elem: tensor.Float32}
	g.Outputs = []*ir.Value{y}
	return m
}

// TestIntegerProduct: the product of floats is the one of integers within
// rounding, and its gradient is that of x W.
func TestIntegerProduct(t *testing.T) {
	x := tensor.FromSlice([]float32{-0.9, -1.2, 0.3, 0.9, 0, 2.5, -2.6, 0.26, 1.3, -0.5, 3, -2}, 3, 4)
	set := ops.Standard()
	for _, c := range []struct {
		name        string
		scale, zero *tensor.Tensor
		swap        bool
	}{
		{"one scale", tensor.Scalar(float32(0.05)), tensor.Scalar(int8(0)), false},
		{"swapped", tensor.Scalar(float32(0.05)), tensor.Scalar(int8(3)), true},
		{"by column", tensor.FromSlice([]float32{0.05, 0.5, 1}, 3), tensor.FromSlice([]int8{3, 0, -4}, 3), false},
	} {
		plain, err := ops.Canonical(integerModel(c.scale, c.zero, c.swap))
		if err != nil {
			t.Fatal(err)
		}
		m := plain.Clone()
		if err := fuse.Raise(m, set, fuse.Options{}); err != nil {
			t.Fatal(err)
		}
		if n := m.Graph.Outputs[0].Producer(); n.OpType != "MatMul" {
			t.Fatalf("%s: made by %v", c.name, n)
		}
		run := func(m *ir.Model, want *ir.Value) *tensor.Tensor {
			t.Helper()
			out, err := opcheck.Run(set, m, map[*ir.Value]*tensor.Tensor{m.Graph.Inputs[0]: x}, []*ir.Value{want})
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			return out[0]
		}
		testutil.Close(t, c.name, run(m, m.Graph.Outputs[0]), run(plain, plain.Graph.Outputs[0]), 1e-4, 1e-5)
		an, err := set.Analyze(m, ops.AnalyzeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b := ops.NewBuilder(an, m.Graph, ir.NewNames(m))
		loss := b.Op("ReduceSum", ir.In(m.Graph.Outputs[0]), ir.A("keepdims", ir.Int(0)))
		grads, err := autodiff.Gradient(b, loss, m.Graph.Inputs)
		if err != nil || grads[0] == nil {
			t.Fatalf("%s: gradient %v, error %v", c.name, grads, err)
		}
		w, err := tensor.Dequantize(tensor.FromSlice([]int8{1, -2, 3, 40, 5, -60, 7, 8, 9, -10, 11, 127}, 4, 3), c.scale, c.zero, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		want := tensor.New(tensor.Float32, 3, 4)
		for i := range 12 { // every row of x gets the sums of W's rows
			for j := range 3 {
				tensor.Data[float32](want)[i] += tensor.Data[float32](w)[i%4*3+j]
			}
		}
		testutil.Close(t, c.name+", gradient", run(m, grads[0]), want, 1e-4, 1e-5)
	}
}
