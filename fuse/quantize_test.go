package fuse_test

import (
	"testing"

	"github.com/bonnx/bonnx/autodiff"
	"github.com/bonnx/bonnx/fuse"
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

// quantizedLinear is y (2,3) of x (2,4) by the weight w (4,3), int8 in steps of
// 0.1, in one of the ways that quantized models are written.
func quantizedLinear(how string, w *tensor.Tensor) *ir.Model {
	g := ir.NewGraph(how)
	m := &ir.Model{IRVersion: 8, Graph: g, Opsets: []ir.Opset{{Version: 17}, {Domain: "com.microsoft", Version: 1}}}
	b := ir.NewBuilder(g, ir.NewNames(m))
	x := g.AddInput("x", ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(4)))
	scalar := func(v float32) *ir.Value { return b.Const("c", tensor.Scalar(v)) }
	zero, wz := b.Const("z", tensor.Scalar(uint8(128))), b.Const("z", tensor.Scalar(int8(0)))
	weight, ws := b.Const("w", w), scalar(0.1)
	var y *ir.Value
	switch how {
	case "QLinearMatMul":
		xs, ys := scalar(0.05), scalar(0.1)
		q := b.Op("QuantizeLinear", ir.In(x, xs, zero))
		p := b.Op("QLinearMatMul", ir.In(q, xs, zero, weight, ws, wz, ys, zero))
		y = b.Op("DequantizeLinear", ir.In(p, ys, zero))
	case "MatMulInteger": // as quantize_dynamic writes it
		q := b.Node("", "DynamicQuantizeLinear", ir.In(x), 3)
		p := b.Op("Cast", ir.In(b.Op("MatMulInteger", ir.In(q[0], weight, q[2], wz))), ir.A("to", ir.Int(tensor.Float32)))
		y = b.Op("Mul", ir.In(p, b.Op("Mul", ir.In(q[1], ws))))
	case "DynamicQuantizeMatMul":
		y = b.Node("com.microsoft", how, ir.In(x, weight, ws, wz), 1)[0]
	}
	y.Name, y.Type = "y", &ir.TensorType{Elem: tensor.Float32}
	g.Outputs = []*ir.Value{y}
	return m
}

// TestQuantizedLinearGradient: the gradient of a quantized layer is that of the
// dequantized weight.
func TestQuantizedLinearGradient(t *testing.T) {
	w := tensor.FromSlice([]int8{3, -2, 7, 0, 5, -9, 4, 4, -1, 6, 2, 8}, 4, 3)
	x := tensor.FromSlice([]float32{0.3, -1, 0.8, 0.1, 1.2, 0.4, -0.6, 0.9}, 2, 4)
	for _, how := range []string{"QLinearMatMul", "DynamicQuantizeMatMul", "MatMulInteger"} {
		set := ops.Standard()
		m, err := ops.Canonical(quantizedLinear(how, w))
		if err != nil {
			t.Fatal(err)
		}
		before, err := opcheck.Run(set, m, map[*ir.Value]*tensor.Tensor{m.Graph.Inputs[0]: x}, m.Graph.Outputs)
		if err != nil {
			t.Fatal(err)
		}
		if err := fuse.Raise(m, set, fuse.Options{}); err != nil {
			t.Fatal(err)
		}
		after, err := opcheck.Run(set, m, map[*ir.Value]*tensor.Tensor{m.Graph.Inputs[0]: x}, m.Graph.Outputs)
		if err != nil {
			t.Fatal(err)
		}
		opcheck.Close(t, how, after[0], before[0], 1e-6)
		an, err := set.Analyze(m, ops.AnalyzeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b := ops.NewBuilder(an, m.Graph, ir.NewNames(m))
		loss := b.Op("ReduceSum", ir.In(m.Graph.Outputs[0]), ir.A("keepdims", ir.Int(0)))
		grads, err := autodiff.Gradient(b, loss, m.Graph.Inputs)
		if err != nil || grads[0] == nil {
			t.Fatalf("%s: gradient %v, error %v", how, grads, err)
		}
		out, err := opcheck.Run(set, m, map[*ir.Value]*tensor.Tensor{m.Graph.Inputs[0]: x}, grads)
		if err != nil {
			t.Fatal(err)
		}
		for i, got := range tensor.Data[float32](out[0]) {
			row := tensor.Data[int8](w)[i%4*3:][:3]
			if want := 0.1 * float32(int(row[0])+int(row[1])+int(row[2])); got < want-1e-5 || got > want+1e-5 {
				t.Errorf("%s: gradient %d is %g, want %g", how, i, got, want)
			}
		}
	}
}
