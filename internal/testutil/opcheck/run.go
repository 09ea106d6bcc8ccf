package opcheck

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// Run evaluates values of a graph by running its nodes one by one.
func Run(set *ops.Set, m *ir.Model, feeds map[*ir.Value]*tensor.Tensor, want []*ir.Value) ([]*tensor.Tensor, error) {
	got := map[*ir.Value]*tensor.Tensor{}
	for v, t := range feeds {
		got[v] = t
	}
	for _, v := range m.Graph.Initializers {
		t, err := v.Data.Tensor()
		if err != nil {
			return nil, err
		}
		got[v] = t
	}
	r := &runner{set, m, got, ops.NewFrame(nil, rand.New(rand.NewPCG(1, 2)), 0, nil)}
	if err := r.nodes(m.Graph); err != nil {
		return nil, err
	}
	res := make([]*tensor.Tensor, len(want))
	for i, v := range want {
		if res[i] = got[v]; res[i] == nil {
			return nil, fmt.Errorf("%q was not computed", v.Name)
		}
	}
	return res, nil
}

// runner is one run; it is what operators with sub-graphs run them by.
type runner struct {
	set   *ops.Set
	model *ir.Model
	vals  map[*ir.Value]*tensor.Tensor
	frame *ops.Frame
}

func (r *runner) nodes(g *ir.Graph) error {
	for n := range g.Nodes() {
		op, err := r.set.Parse(n, r.model.Opset(n.Domain))
		if err != nil {
			return err
		}
		in := make([]*tensor.Tensor, len(n.Inputs()))
		for i, v := range n.Inputs() {
			in[i] = r.vals[v]
		}
		var out []*tensor.Tensor
		if d, ok := op.(ops.Dynamic); ok {
			out, err = d.RunDynamic(r, in)
		} else {
			out, err = ops.Eval(op, in, len(n.Outputs()))
		}
		if err != nil {
			return fmt.Errorf("%v: %w", n, err)
		}
		for i, v := range n.Outputs() {
			if v != nil {
				r.vals[v] = out[i]
			}
		}
	}
	return nil
}

// Frame is the run's frame.
func (r *runner) Frame() *ops.Frame { return r.frame }

// RunGraph runs a sub-graph.
func (r *runner) RunGraph(g *ir.Graph, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	for i, v := range g.Inputs {
		r.vals[v] = in[i]
	}
	for _, v := range g.Initializers {
		t, err := v.Data.Tensor()
		if err != nil {
			return nil, err
		}
		r.vals[v] = t
	}
	if err := r.nodes(g); err != nil {
		return nil, err
	}
	out := make([]*tensor.Tensor, len(g.Outputs))
	for i, v := range g.Outputs {
		out[i] = r.vals[v]
	}
	return out, nil
}

// Close compares two tensors: shape and dtype exactly, floats within
// tol*(1+|want|), the rest bit for bit.
func Close(t *testing.T, what string, got, want *tensor.Tensor, tol float64) {
	t.Helper()
	if got.DType() != want.DType() || !got.Shape().Equal(want.Shape()) {
		t.Errorf("%s: got %v, want %v", what, got, want)
		return
	}
	g, ok := floats(got)
	if !ok {
		if !got.Equal(want) {
			t.Errorf("%s: got %v, want %v", what, got.Bytes(), want.Bytes())
		}
		return
	}
	w, _ := floats(want)
	for i := range g {
		same := g[i] == w[i] || math.IsNaN(g[i]) && math.IsNaN(w[i])
		if !same && !(math.Abs(g[i]-w[i]) <= tol*(1+math.Abs(w[i]))) {
			t.Errorf("%s: element %d: got %g, want %g", what, i, g[i], w[i])
			return
		}
	}
}

func floats(t *tensor.Tensor) ([]float64, bool) {
	switch t.DType() {
	case tensor.Float64:
		return tensor.Data[float64](t), true
	case tensor.Float32:
		s := tensor.Data[float32](t)
		out := make([]float64, len(s))
		for i, x := range s {
			out[i] = float64(x)
		}
		return out, true
	}
	return nil, false
}
