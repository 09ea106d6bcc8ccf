package onnxgo_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	onnxgo "github.com/owulveryck/onnx-go"
	gorgonia "gorgonia.org/tensor"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	backend "github.com/bonnx/bonnx/runtime/onnxgo"
	"github.com/bonnx/bonnx/tensor"
)

// newModel is a model of the opset that onnx-go knows, with a builder for its
// nodes.
func newModel(opset int64) (*ir.Model, *ir.Builder) {
	m := &ir.Model{IRVersion: 8, Graph: ir.NewGraph("g")}
	m.SetOpset("", opset)
	return m, ir.NewBuilder(m.Graph, ir.NewNames(m))
}

// floats is a float32 type; extents below 0 are symbolic.
func floats(dims ...int) *ir.TensorType {
	t := ir.Tensor(tensor.Float32)
	for _, n := range dims {
		d := ir.Fixed(int64(n))
		if n < 0 {
			d = ir.Symbol("n")
		}
		t.Dims = append(t.Dims, d)
	}
	return t
}

// output makes v an output of the type.
func output(m *ir.Model, v *ir.Value, t ir.Type) {
	v.Type = t
	m.Graph.Outputs = append(m.Graph.Outputs, v)
}

// decode writes the model and has onnx-go read it into a backend.
func decode(t *testing.T, m *ir.Model, options ...backend.Option) (*backend.Backend, *onnxgo.Model) {
	t.Helper()
	data, err := onnx.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	b := backend.New(append(options, backend.WithThreads(1))...)
	t.Cleanup(b.Close)
	om := onnxgo.NewModel(b)
	if err := om.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	return b, om
}

// run sets the inputs and returns the elements of output 0.
func run(t *testing.T, b *backend.Backend, m *onnxgo.Model, in ...gorgonia.Tensor) []float32 {
	t.Helper()
	for i, x := range in {
		if err := m.SetInput(i, x); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Run(); err != nil {
		t.Fatal(err)
	}
	out, err := m.GetOutputTensors()
	if err != nil {
		t.Fatal(err)
	}
	return data(t, out[0])
}

func data(t *testing.T, x gorgonia.Tensor) []float32 {
	t.Helper()
	switch d := x.Data().(type) {
	case []float32:
		return d
	case float32:
		return []float32{d}
	}
	t.Fatalf("got %v", x)
	return nil
}

func dense(v []float32, shape ...int) *gorgonia.Dense {
	return gorgonia.New(gorgonia.WithShape(shape...), gorgonia.WithBacking(slices.Clone(v)))
}

func expect(t *testing.T, what string, got []float32, want ...float32) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// linear is y = Relu(x W + c), x (n, 2), with h = x W between.
func linear() *ir.Model {
	m, b := newModel(9)
	x := m.Graph.AddInput("x", floats(-1, 2))
	w := b.Const("w", tensor.FromSlice([]float32{1, 2, 3, 4, 5, 6}, 2, 3))
	c := b.Const("c", tensor.FromSlice([]float32{0, 0, -30}, 3))
	h := b.Op("MatMul", ir.In(x, w))
	h.Name = "h"
	y := b.Op("Relu", ir.In(b.Op("Add", ir.In(h, c))))
	y.Name = "y"
	output(m, y, floats(-1, 3))
	return m
}

func TestRunFile(t *testing.T) {
	b, m := decode(t, linear())
	expect(t, "one row", run(t, b, m, dense([]float32{1, 1}, 1, 2)), 5, 7, 0)
	expect(t, "another", run(t, b, m, dense([]float32{2, 0}, 1, 2)), 2, 4, 0)
	expect(t, "two rows", run(t, b, m, dense([]float32{1, 1, 10, 0}, 2, 2)), 5, 7, 0, 10, 20, 0)
	if err := b.RunContext(canceled()); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// A result stays what it is when the model is run again.
func TestResultsAreKept(t *testing.T) {
	b, m := decode(t, linear())
	first := run(t, b, m, dense([]float32{1, 1}, 1, 2))
	run(t, b, m, dense([]float32{9, 9}, 1, 2))
	expect(t, "first result", first, 5, 7, 0)
}

func TestValuesBetween(t *testing.T) {
	b, m := decode(t, linear())
	run(t, b, m, dense([]float32{1, 1}, 1, 2))
	n, ok := m.GetNodeByName("h")
	if !ok {
		t.Fatal("no node h")
	}
	h := n.(onnxgo.DataCarrier)
	expect(t, "h", data(t, h.GetTensor()), 5, 7, 9)
	expect(t, "y after that", run(t, b, m, dense([]float32{0, 1}, 1, 2)), 4, 5, 0)
	expect(t, "h of that run", data(t, h.GetTensor()), 4, 5, 6)
}

func TestWeightSetAnew(t *testing.T) {
	b, m := decode(t, linear())
	x := dense([]float32{1, 1}, 1, 2)
	run(t, b, m, x)
	w, _ := m.GetNodeByName("w")
	if err := w.(onnxgo.DataCarrier).SetTensor(dense([]float32{1, 0, 0, 0, 1, 40}, 2, 3)); err != nil {
		t.Fatal(err)
	}
	expect(t, "new weight", run(t, b, m, x), 1, 1, 10)
}

// How gorgonia lays out a tensor does not matter.
func TestLayouts(t *testing.T) {
	transposed := dense([]float32{1, 10, 2, 20}, 2, 2)
	if err := transposed.T(); err != nil {
		t.Fatal(err)
	}
	columns, err := dense([]float32{7, 1, 2, 7, 10, 20}, 2, 3).Slice(nil, span{1, 3})
	if err != nil {
		t.Fatal(err)
	}
	columnMajor := gorgonia.New(gorgonia.WithShape(2, 2), gorgonia.AsFortran([]float32{1, 2, 10, 20}))
	for name, x := range map[string]gorgonia.Tensor{
		"dense": dense([]float32{1, 2, 10, 20}, 2, 2), "transposed": transposed, "columns": columns, "column-major": columnMajor,
	} {
		b, m := decode(t, linear())
		expect(t, name, run(t, b, m, x), 9, 12, 0, 90, 120, 120)
	}
}

type span struct{ start, end int }

func (s span) Start() int { return s.start }
func (s span) End() int   { return s.end }
func (s span) Step() int  { return 1 }

// The graph has one edge between two nodes, whatever an operation takes in.
func TestInputTakenTwice(t *testing.T) {
	m, b := newModel(9)
	x, z := m.Graph.AddInput("x", floats(2)), m.Graph.AddInput("z", floats(2))
	xx := b.Op("Mul", ir.In(x, x))
	output(m, b.Op("Concat", ir.In(z, xx, z), ir.A("axis", ir.Int(0))), floats(6))
	bk, om := decode(t, m)
	expect(t, "z, x x, z", run(t, bk, om, dense([]float32{2, 3}, 2), dense([]float32{5, 6}, 2)), 5, 6, 4, 9, 5, 6)
}

// Inputs and outputs that a file leaves out are all one node, named "".
func TestLeftOut(t *testing.T) {
	m, b := newModel(11)
	x := m.Graph.AddInput("x", floats(3))
	clipped := b.Op("Clip", ir.In(x, nil, b.Const("max", tensor.Scalar[float32](2))))
	twice := b.Op("Clip", ir.In(clipped, b.Const("min", tensor.Scalar[float32](-1)), nil))
	output(m, twice, floats(3))
	bk, om := decode(t, m, backend.WithOpset(11))
	expect(t, "clipped", run(t, bk, om, dense([]float32{-5, 1, 5}, 3)), -1, 1, 2)
}

// For a node without inputs onnx-go makes one up.
func TestNodeWithoutInputs(t *testing.T) {
	m, b := newModel(9)
	x := m.Graph.AddInput("x", floats(2))
	c := b.Op("Constant", nil, ir.A("value", ir.TensorAttr{Data: ir.Dense(tensor.FromSlice([]float32{1, 2}, 2))}))
	output(m, b.Op("Add", ir.In(x, c)), floats(2))
	bk, om := decode(t, m)
	expect(t, "sum", run(t, bk, om, dense([]float32{10, 20}, 2)), 11, 22)
}

// A value_info that repeats an input or output makes a second node.
func TestRepeatedDeclarations(t *testing.T) {
	m := linear()
	m.Graph.Annotated = []*ir.Value{m.Graph.Inputs[0], m.Graph.Outputs[0], m.Graph.Index()["h"]}
	m.Graph.Index()["h"].Type = floats(-1, 3)
	b, om := decode(t, m)
	expect(t, "y", run(t, b, om, dense([]float32{1, 1}, 1, 2)), 5, 7, 0)
	expect(t, "y again", run(t, b, om, dense([]float32{2, 0}, 1, 2)), 2, 4, 0)
}

// Counts and axes given as floats are taken where they are whole numbers.
func TestOtherElementTypes(t *testing.T) {
	m, b := newModel(9)
	x := m.Graph.AddInput("x", floats(2, 2))
	shape := m.Graph.AddInput("shape", ir.Tensor(tensor.Int64, ir.Fixed(1)))
	output(m, b.Op("Reshape", ir.In(x, shape)), floats(4))
	bk, om := decode(t, m)
	expect(t, "flat", run(t, bk, om, dense([]float32{1, 2, 3, 4}, 2, 2), dense([]float32{-1}, 1)), 1, 2, 3, 4)
	expect(t, "Go's int", run(t, bk, om, dense([]float32{1, 2, 3, 4}, 2, 2), gorgonia.New(gorgonia.WithBacking([]int{4}))), 1, 2, 3, 4)
	if err := om.SetInput(1, dense([]float32{1.5}, 1)); err != nil {
		t.Fatal(err)
	}
	if err := bk.Run(); err == nil || !strings.Contains(err.Error(), `value "shape"`) {
		t.Errorf("got %v, want an error that names the input", err)
	}
}

func TestUnknownOperator(t *testing.T) {
	m, b := newModel(9)
	x := m.Graph.AddInput("x", floats(2))
	output(m, b.Op("Frobnicate", ir.In(x)), floats(2))
	bk, om := decode(t, m)
	if err := om.SetInput(0, dense([]float32{1, 2}, 2)); err != nil {
		t.Fatal(err)
	}
	err := bk.Run()
	missing, ok := err.(*onnxgo.ErrNotImplemented) //nolint:errorlint // by type, unwrapped, as onnx-go looks for it
	if !ok || missing.Operator != "Frobnicate" {
		t.Errorf("got %T %v, want *onnx.ErrNotImplemented of Frobnicate", err, err)
	}
}

func TestErrorsNameNodeAndValue(t *testing.T) {
	m, b := newModel(9)
	x := m.Graph.AddInput("x", floats(2))
	output(m, b.Op("Add", ir.In(x, b.Const("c", tensor.FromSlice([]float32{1, 2, 3}, 3)))), floats(2))
	bk, om := decode(t, m)
	if err := om.SetInput(0, dense([]float32{1, 2}, 2)); err != nil {
		t.Fatal(err)
	}
	if err := bk.Run(); err == nil || !strings.Contains(err.Error(), `"Add_0" (Add)`) {
		t.Errorf("got %v, want an error that names the node", err)
	}
}

// Graphs that no file of sense describes are refused.
func TestMalformedGraphs(t *testing.T) {
	relu := onnxgo.Operation{Name: "Relu"}
	loop := backend.New()
	n := loop.NewNode()
	loop.AddNode(n)
	loop.SetWeightedEdge(loop.NewWeightedEdge(n, n, 0))
	if err := loop.ApplyOperation(relu, n); err == nil {
		t.Error("a value made of itself is taken")
	}
	twice := backend.New()
	x := twice.NewNode()
	if x.ID() != 0 {
		t.Errorf("first node has ID %d, want 0", x.ID())
	}
	twice.AddNode(x)
	y := twice.NewNode()
	twice.AddNode(y)
	twice.SetWeightedEdge(twice.NewWeightedEdge(y, x, 0))
	if err := twice.ApplyOperation(relu, y); err != nil {
		t.Fatal(err)
	}
	if err := twice.Run(); err == nil || !strings.Contains(err.Error(), "no tensor") {
		t.Errorf("run without input: got %v", err)
	}
	if err := twice.ApplyOperation(relu, y); err == nil {
		t.Error("a value made twice is taken")
	}
}

// onnxFile is the content of a file, for the example.
func onnxFile() []byte {
	data, err := onnx.Marshal(linear())
	if err != nil {
		panic(err)
	}
	return data
}
