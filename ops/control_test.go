package ops_test

import (
	"strings"
	"testing"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// ifModel is y = cond ? relu(x) : x+x, in sub-graphs that capture x. Without
// cond the condition is a graph input.
func ifModel(cond *bool) *ir.Model {
	m := oldModel(17, "If", nil)
	g, n := m.Graph, m.Graph.First()
	x := g.Inputs[0]
	branch := func(name, op string, in ...*ir.Value) *ir.Graph {
		sub := ir.NewGraph(name)
		b := ir.NewBuilder(sub, ir.NewNames(m))
		b.Prefix = name
		sub.Outputs = []*ir.Value{b.Op(op, in)}
		return sub
	}
	if cond != nil {
		n.SetInput(0, g.AddInitializer("c", ir.Dense(tensor.Scalar(*cond))))
	} else {
		n.SetInput(0, g.AddInput("c", ir.Tensor(tensor.Bool)))
	}
	n.SetAttr("then_branch", ir.GraphAttr{Graph: branch("then", "Relu", x)})
	n.SetAttr("else_branch", ir.GraphAttr{Graph: branch("else", "Add", x, x)})
	for _, sub := range n.Subgraphs() {
		sub.SetParent(n)
	}
	return m
}

func TestIf(t *testing.T) {
	x := tensor.New(tensor.Float32, 2, 3, 4)
	tensor.Data[float32](x)[0] = -1
	for _, cond := range []bool{true, false} {
		want := float32(-2)
		if cond {
			want = 0
		}
		y := runCanonical(t, ifModel(nil), map[string]*tensor.Tensor{"x": x, "c": tensor.Scalar(cond)})
		if got := tensor.Data[float32](y)[0]; got != want {
			t.Errorf("condition %v: got %g, want %g", cond, got, want)
		}
		y = runCanonical(t, ifModel(&cond), map[string]*tensor.Tensor{"x": x})
		if got := tensor.Data[float32](y)[0]; got != want {
			t.Errorf("constant condition %v: got %g, want %g", cond, got, want)
		}
		c, err := ops.Canonical(ifModel(&cond))
		if err != nil {
			t.Fatal(err)
		}
		if s := opNames(c.Graph); strings.Contains(s, "If") {
			t.Errorf("constant condition %v: operators%s", cond, s)
		}
	}
}

// loopModel adds x to a sum, trips times, and stacks the sums.
func loopModel(trips int64) *ir.Model {
	m := oldModel(17, "Loop", nil, tensor.Scalar(trips))
	g, n := m.Graph, m.Graph.First()
	x, count := g.Inputs[0], g.Initializers[0]
	zero := g.AddInitializer("zero", ir.Dense(tensor.New(tensor.Float32, 2, 3, 4)))
	body := ir.NewGraph("body")
	body.AddInput("i", ir.Tensor(tensor.Int64))
	on := body.AddInput("on", ir.Tensor(tensor.Bool))
	sum := body.AddInput("sum", ir.Tensor(tensor.Float32, ir.Fixed(2), ir.Fixed(3), ir.Fixed(4)))
	b := ir.NewBuilder(body, ir.NewNames(m))
	next := b.Op("Add", ir.In(sum, x))
	body.Outputs = []*ir.Value{b.Op("Identity", ir.In(on)), next, b.Op("Identity", ir.In(next))}
	n.SetInput(0, count)
	n.SetInput(1, nil)
	n.SetInput(2, zero)
	n.SetAttr("body", ir.GraphAttr{Graph: body})
	body.SetParent(n)
	n.SetOutput(1, g.NewValue("sums", &ir.TensorType{Elem: tensor.Float32}))
	g.Outputs = []*ir.Value{n.Output(1)}
	return m
}

func TestLoop(t *testing.T) {
	x := tensor.New(tensor.Float32, 2, 3, 4)
	tensor.Data[float32](x)[5] = 2
	y := runCanonical(t, loopModel(3), map[string]*tensor.Tensor{"x": x})
	if s := y.Shape(); !s.Equal(tensor.Shape{3, 2, 3, 4}) || tensor.Data[float32](y)[2*24+5] != 6 {
		t.Errorf("three times: got %v", y)
	}
	y = runCanonical(t, loopModel(0), map[string]*tensor.Tensor{"x": x})
	if s := y.Shape(); !s.Equal(tensor.Shape{0, 2, 3, 4}) {
		t.Errorf("never: got %v", y)
	}
}

func TestScanBackward(t *testing.T) {
	m := oldModel(17, "Scan", nil)
	g, n := m.Graph, m.Graph.First()
	zero := g.AddInitializer("zero", ir.Dense(tensor.New(tensor.Float32, 2, 4)))
	body := ir.NewGraph("body")
	sum := body.AddInput("sum", ir.Tensor(tensor.Float32, ir.Fixed(2), ir.Fixed(4)))
	x := body.AddInput("xt", ir.Tensor(tensor.Float32, ir.Fixed(2), ir.Fixed(4)))
	b := ir.NewBuilder(body, ir.NewNames(m))
	next := b.Op("Add", ir.In(sum, x))
	body.Outputs = []*ir.Value{next, b.Op("Identity", ir.In(next))}
	n.SetInput(1, n.Input(0))
	n.SetInput(0, zero)
	n.Attrs = []*ir.Attr{num("num_scan_inputs", 1), ints("scan_input_axes", 1), ints("scan_input_directions", 1),
		ints("scan_output_axes", -1), ints("scan_output_directions", 1), ir.A("body", ir.GraphAttr{Graph: body})}
	body.SetParent(n)
	n.SetOutput(1, g.NewValue("sums", &ir.TensorType{Elem: tensor.Float32}))
	g.Outputs = []*ir.Value{n.Output(1)}
	in := tensor.New(tensor.Float32, 2, 3, 4)
	for i := range tensor.Data[float32](in) {
		tensor.Data[float32](in)[i] = float32(i)
	}
	y := runCanonical(t, m, map[string]*tensor.Tensor{"x": in})
	// Element (0,0) of the sums from the end: 0+4+8, 4+8, 8.
	if d := tensor.Data[float32](y); !y.Shape().Equal(tensor.Shape{2, 4, 3}) || d[0] != 12 || d[1] != 12 || d[2] != 8 {
		t.Errorf("got %v %v", y, d[:3])
	}
}
