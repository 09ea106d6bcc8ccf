package bonnx

import (
	"context"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/train"
)

// inBody is a model whose only layer but the head is in the body of a Loop of
// three turns, or of a Scan over three rows: h becomes h + tanh(h W).
func inBody(op string) *ir.Model {
	m := &ir.Model{IRVersion: 8, Graph: ir.NewGraph(op)}
	m.SetOpset("", 17)
	scalar := func(name string, t *tensor.Tensor) *ir.Value { return m.Graph.AddInitializer(name, ir.Dense(t)) }
	x := m.Graph.AddInput("x", ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(4)))
	w := m.Graph.AddInitializer("cell.proj.weight", ir.Dense(testutil.Random(1, 4, 4)))
	head := m.Graph.AddInitializer("head.weight", ir.Dense(testutil.Random(2, 4, 2)))
	names := ir.NewNames(m)
	body := ir.NewGraph("body")
	state := func(h *ir.Value) *ir.Value {
		b := ir.NewBuilder(body, names)
		b.Prefix = "/cell/proj/"
		y := b.Op("MatMul", ir.In(h, w))
		b.Prefix = "/cell/"
		return b.Op("Add", ir.In(h, b.Op("Tanh", ir.In(y))))
	}
	b := ir.NewBuilder(m.Graph, names)
	hidden := ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
	var h *ir.Value
	if op == "Loop" {
		body.AddInput("turn", ir.Tensor(tensor.Int64))
		on := body.AddInput("on", ir.Tensor(tensor.Bool))
		in := body.AddInput("h_in", hidden)
		inner := ir.NewBuilder(body, names)
		body.Outputs = []*ir.Value{inner.Op("Identity", ir.In(on)), state(in)}
		h = b.Op("Loop", ir.In(scalar("turns", tensor.Scalar[int64](3)), scalar("go", tensor.Scalar(true)), x), ir.A("body", ir.GraphAttr{Graph: body}))
	} else {
		in := body.AddInput("h_in", hidden)
		body.AddInput("row", ir.Tensor(tensor.Float32, ir.Fixed(4)))
		body.Outputs = []*ir.Value{state(in)}
		rows := m.Graph.AddInitializer("rows", ir.Dense(testutil.Random(3, 3, 4)))
		h = b.Op("Scan", ir.In(x, rows), ir.A("body", ir.GraphAttr{Graph: body}), ir.A("num_scan_inputs", ir.Int(1)))
	}
	b.Prefix = "/head/"
	y := b.Op("MatMul", ir.In(h, head))
	y.Name, y.Type = "y", ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(2))
	m.Graph.Outputs = []*ir.Value{y}
	return m
}

// TestTargetsInBodies trains, merges and takes off an adapter on a layer in the
// body of a Loop and of a Scan.
func TestTargetsInBodies(t *testing.T) {
	for _, op := range []string{"Loop", "Scan"} {
		t.Run(op, func(t *testing.T) {
			base := newModel(inBody(op), op)
			m, err := New(base, "", BoneConfig{R: 2, TargetModules: everyLinearLayer})
			if err != nil {
				t.Fatal(err)
			}
			if l := m.LayerStatus(); len(l) != 1 || l[0].Name != "cell.proj" {
				t.Fatalf("targets are %+v", l)
			}
			x := testutil.Random(4, 8, 4)
			batch := Batch{Feeds: map[string]*tensor.Tensor{"x": x, "labels": testutil.Random(5, 8, 2)}}
			c := TrainConfig{Steps: 60, LR: 0.03}
			c.Task = train.Regression
			s, err := m.Train(context.Background(), func(yield func(Batch, error) bool) { yield(batch, nil) }, c)
			if err != nil {
				t.Fatal(err)
			}
			if !(s.LossLast < 0.8*s.LossFirst) {
				t.Errorf("loss %g -> %g", s.LossFirst, s.LossLast)
			}
			run := func(x *Model, err error) *tensor.Tensor {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				out, err := x.Run(context.Background(), map[string]*tensor.Tensor{"x": batch.Feeds["x"]}, 1)
				if err != nil {
					t.Fatal(err)
				}
				return out["y"]
			}
			adapted := run(m.Model(SaveOptions{}))
			testutil.Close(t, "weight form", run(m.Model(SaveOptions{Form: "weight"})), adapted, 1e-5, 1e-5)
			testutil.Close(t, "merged", run(m.MergeAndUnload()), adapted, 1e-5, 1e-5)
			if !run(m.Unload()).Equal(run(base, nil)) {
				t.Error("unloaded, it is not the base")
			}
		})
	}
}
