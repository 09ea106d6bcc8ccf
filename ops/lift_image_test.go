package ops_test

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// TestLiftResize: before opset 11 a place between two elements was the first
// along axes that grow, the second along those that shrink.
func TestLiftResize(t *testing.T) {
	for _, c := range []struct {
		rows, columns float32
		mode          string
		nodes         int // where the scales are constant
		want          []float64
		shape         []int
	}{
		{1, 3, "nearest", 1, []float64{0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3}, []int{1, 12}},
		{1, 0.6, "nearest", 1, []float64{0, 2}, []int{1, 2}},
		{2, 0.6, "nearest", 2, []float64{0, 2, 0, 2}, []int{2, 2}},
		{1, 0.5, "linear", 1, []float64{0, 2}, []int{1, 2}},
	} {
		for _, fed := range []bool{false, true} {
			g := ir.NewGraph("g")
			m := &ir.Model{IRVersion: 8, Opsets: []ir.Opset{{Version: 10}}, Graph: g}
			x := g.AddInput("x", ir.Tensor(tensor.Float64, ir.Symbol("h"), ir.Symbol("w")))
			scales := tensor.FromSlice([]float32{c.rows, c.columns}, 2)
			var s *ir.Value
			if fed {
				s = g.AddInput("scales", ir.Tensor(tensor.Float32, ir.Fixed(2)))
			} else {
				s = g.AddInitializer("scales", ir.Dense(scales))
			}
			n := ir.NewNode("", "Resize", x, s)
			n.SetAttr("mode", ir.String(c.mode))
			n.SetOutput(0, g.NewValue("y", ir.Tensor(tensor.Float64, ir.Symbol("a"), ir.Symbol("b"))))
			g.Append(n)
			g.Outputs = []*ir.Value{n.Output(0)}
			what := fmt.Sprintf("%s by %v and %v, fed %v", c.mode, c.rows, c.columns, fed)
			lifted, err := ops.Canonical(m)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			resizes := 0
			for n := range lifted.Graph.Nodes() {
				if n.Is("Resize") {
					resizes++
				}
			}
			if !fed && resizes != c.nodes {
				t.Errorf("%s: %d nodes, want %d", what, resizes, c.nodes)
			}
			feeds := map[*ir.Value]*tensor.Tensor{lifted.Graph.Inputs[0]: count(1, 4)}
			if fed {
				feeds[lifted.Graph.Inputs[1]] = scales
			}
			out, err := opcheck.Run(ops.Standard(), lifted, feeds, lifted.Graph.Outputs)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if want := f64(c.shape, c.want...); !out[0].Equal(want) {
				t.Errorf("%s: got %v %v, want %v %v", what, out[0], tensor.Data[float64](out[0]), want, c.want)
			}
		}
	}
}
