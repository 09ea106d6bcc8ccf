package ops_test

import (
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// runCanonical runs m's only output on feeds, by name.
func runCanonical(t *testing.T, m *ir.Model, feeds map[string]*tensor.Tensor) *tensor.Tensor {
	t.Helper()
	c, err := ops.Canonical(m)
	if err != nil {
		t.Fatal(err)
	}
	in := map[*ir.Value]*tensor.Tensor{}
	for _, v := range c.Graph.Inputs {
		if feeds[v.Name] == nil {
			t.Fatalf("input %q is not fed", v.Name)
		}
		in[v] = feeds[v.Name]
	}
	out, err := opcheck.Run(ops.Standard(), c, in, c.Graph.Outputs)
	if err != nil {
		t.Fatal(err)
	}
	return out[0]
}

func f32(shape []int, v ...float32) *tensor.Tensor { return tensor.FromSlice(v, shape...) }

// TestCanonicalKeepsOldMeaning runs operators of old opsets.
func TestCanonicalKeepsOldMeaning(t *testing.T) {
	x := tensor.New(tensor.Float32, 2, 3, 4)
	for i := range tensor.Data[float32](x) {
		tensor.Data[float32](x)[i] = float32(i)
	}
	tensor.Data[float32](x)[0] = float32(math.Inf(-1))
	for _, c := range []struct {
		name  string
		opset int64
		op    string
		attrs []*ir.Attr
		extra []*tensor.Tensor
		at    int // the element looked at
		want  float32
		size  int // of the result
	}{
		{"clip without bounds", 6, "Clip", nil, nil, 0, -math.MaxFloat32, 24},
		{"clip to 5", 10, "Clip", []*ir.Attr{ir.A("max", ir.Float(5))}, nil, 23, 5, 24},
		{"add at an axis", 6, "Add", []*ir.Attr{num("broadcast", 1), num("axis", 1)}, tensors{f32([]int{3}, 100, 200, 300)}, 23, 323, 24},
		{"add at axis 0", 6, "Sub", []*ir.Attr{num("broadcast", 1), num("axis", 0)}, tensors{f32([]int{2}, 100, 200)}, 23, -177, 24},
		{"add at the end", 6, "Add", []*ir.Attr{num("broadcast", 1)}, tensors{f32([]int{4}, 0, 0, 0, 7)}, 23, 30, 24},
		{"slice", 1, "Slice", []*ir.Attr{ints("starts", 1, -1), ints("ends", 9, 9), ints("axes", 0, 2)}, nil, 0, 15, 3},
		{"cast by name", 1, "Cast", []*ir.Attr{str("to", "FLOAT")}, nil, 3, 3, 24},
		{"dropout", 6, "Dropout", []*ir.Attr{num("is_test", 1)}, nil, 3, 3, 24},
		{"unsqueeze", 1, "Unsqueeze", []*ir.Attr{ints("axes", 0)}, nil, 3, 3, 24},
		{"reshape", 1, "Reshape", []*ir.Attr{ints("shape", 0, -1)}, nil, 13, 13, 24},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := runCanonical(t, oldModel(c.opset, c.op, c.attrs, c.extra...), map[string]*tensor.Tensor{"x": x})
			if y := tensor.Data[float32](got); len(y) != c.size || y[c.at] != c.want {
				t.Errorf("got %v elements, %g at %d; want %d, %g", len(y), y[c.at], c.at, c.size, c.want)
			}
		})
	}
}

// TestCanonicalUnknownRanks lifts what needs a rank where none is declared.
func TestCanonicalUnknownRanks(t *testing.T) {
	m := oldModel(6, "Add", []*ir.Attr{num("broadcast", 1), num("axis", 1)}, f32([]int{3}, 100, 200, 300))
	m.Graph.Inputs[0].Type = &ir.TensorType{Elem: tensor.Float32}
	got := runCanonical(t, m, map[string]*tensor.Tensor{"x": tensor.New(tensor.Float32, 2, 3, 4)})
	if y := tensor.Data[float32](got); y[4] != 200 || y[23] != 300 {
		t.Errorf("got %g and %g, want 200 and 300", y[4], y[23])
	}
}

// TestCanonicalKnowsRanks: the rank of a value inside the graph comes from
// inference, as most exporters declare none.
func TestCanonicalKnowsRanks(t *testing.T) {
	m := oldModel(12, "Softmax", []*ir.Attr{num("axis", 2)})
	b := ir.NewBuilder(m.Graph, ir.NewNames(m))
	b.Before = m.Graph.First()
	tr := b.Op("Transpose", ir.In(m.Graph.Inputs[0]), ints("perm", 0, 2, 1))
	m.Graph.Last().SetInput(0, tr)
	c, err := ops.Canonical(m)
	if err != nil {
		t.Fatal(err)
	}
	if s := opNames(c.Graph); s != " Transpose Softmax" {
		t.Errorf("operators%s", s)
	}
}

// TestCanonicalOfIR3 takes initializers off the list of inputs, where IR
// version 3 demands them.
func TestCanonicalOfIR3(t *testing.T) {
	m := oldModel(8, "Add", nil, f32([]int{4}, 1, 2, 3, 4))
	w := m.Graph.Initializers[0]
	w.Type = ir.Tensor(tensor.Float32, ir.Fixed(4))
	m.Graph.Inputs = append(m.Graph.Inputs, w)
	m.IRVersion = 3
	got := runCanonical(t, m, map[string]*tensor.Tensor{"x": tensor.New(tensor.Float32, 2, 3, 4)})
	if y := tensor.Data[float32](got); y[3] != 4 {
		t.Errorf("got %g, want 4", y[3])
	}
	if len(m.Graph.Inputs) != 2 {
		t.Error("the original changed")
	}
}

// TestCanonicalNestedFunctions inlines a function of opset 12 that calls
// another twice, in a model of opset 17.
func TestCanonicalNestedFunctions(t *testing.T) {
	fn := func(name string, opset int64, build func(b *ir.Builder, x *ir.Value) *ir.Value) *ir.Function {
		body := ir.NewGraph("")
		x := body.NewValue("x", nil)
		body.Inputs = []*ir.Value{x}
		b := ir.NewBuilder(body, ir.NewNames(&ir.Model{Graph: body}))
		body.Outputs = []*ir.Value{build(b, x)}
		return &ir.Function{Domain: "mine", Name: name, Opsets: []ir.Opset{{Version: opset}, {Domain: "mine", Version: 1}}, Body: body}
	}
	inner := fn("Inner", 12, func(b *ir.Builder, x *ir.Value) *ir.Value {
		return b.Op("Squeeze", ir.In(b.Op("Unsqueeze", ir.In(x), ints("axes", 0))), ints("axes", 0))
	})
	outer := fn("Outer", 17, func(b *ir.Builder, x *ir.Value) *ir.Value {
		y := b.Node("mine", "Inner", ir.In(x), 1)[0]
		z := b.Node("mine", "Inner", ir.In(b.Op("Identity", ir.In(y))), 1)[0]
		return b.Op("Concat", ir.In(y, z), num("axis", 0))
	})
	m := oldModel(17, "Outer", nil)
	m.Graph.First().Domain = "mine"
	m.Opsets = append(m.Opsets, ir.Opset{Domain: "mine", Version: 1})
	m.Functions = []*ir.Function{outer, inner}
	x := f32([]int{2, 3, 4}, make([]float32, 24)...)
	tensor.Data[float32](x)[5] = 5
	got := runCanonical(t, m, map[string]*tensor.Tensor{"x": x})
	if y := tensor.Data[float32](got); len(y) != 48 || y[5] != 5 || y[29] != 5 {
		t.Errorf("got %v", got)
	}
}
