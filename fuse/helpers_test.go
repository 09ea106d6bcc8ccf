package fuse_test

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/autodiff"
	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// sketch builds small float64 models whose batch is symbolic.
type sketch struct {
	*ir.Builder
	model *ir.Model
	feeds map[string]*tensor.Tensor
	seed  uint64
}

func newSketch() *sketch {
	g := ir.NewGraph("sketch")
	m := &ir.Model{IRVersion: 8, Graph: g, Opsets: []ir.Opset{{Version: ops.CanonicalOpset}}}
	return &sketch{Builder: ir.NewBuilder(g, ir.NewNames(m)), model: m, feeds: map[string]*tensor.Tensor{}}
}

func (s *sketch) random(shape ...int) *tensor.Tensor {
	s.seed++
	return opcheck.Random(s.seed, -1, 1, shape...)
}

// input is a graph input whose last extent is known only.
func (s *sketch) input(name string, shape ...int) *ir.Value {
	dims := make([]ir.Dim, len(shape))
	for i, n := range shape {
		dims[i] = ir.Symbol(fmt.Sprintf("%s_%d", name, i))
		if i == len(shape)-1 {
			dims[i] = ir.Fixed(int64(n))
		}
	}
	s.feeds[name] = s.random(shape...)
	return s.Graph.AddInput(name, ir.Tensor(tensor.Float64, dims...))
}

// param is a trained initializer.
func (s *sketch) param(name string, shape ...int) *ir.Value {
	return s.Graph.AddInitializer(name, ir.Dense(s.random(shape...)))
}

func (s *sketch) num(x float64) *ir.Value { return s.Const("c", tensor.Scalar(x)) }

func (s *sketch) add(x, y *ir.Value) *ir.Value { return s.Op("Add", ir.In(x, y)) }
func (s *sketch) mul(x, y *ir.Value) *ir.Value { return s.Op("Mul", ir.In(x, y)) }
func (s *sketch) div(x, y *ir.Value) *ir.Value { return s.Op("Div", ir.In(x, y)) }
func (s *sketch) mean(x *ir.Value) *ir.Value   { return s.Op("ReduceMean", ir.In(x, s.Ints(-1))) }

func (s *sketch) output(v *ir.Value) {
	v.Name, v.Type = fmt.Sprintf("y%d", len(s.Graph.Outputs)), &ir.TensorType{Elem: tensor.Float64}
	s.Graph.Outputs = append(s.Graph.Outputs, v)
}

// differentiated are names of values whose gradients are compared: the inputs
// and every initializer named p....
func differentiated(g *ir.Graph) []*ir.Value {
	vs := append([]*ir.Value{}, g.Inputs...)
	for _, v := range g.Initializers {
		if v.Name[0] == 'p' {
			vs = append(vs, v)
		}
	}
	return vs
}

func mutable(v *ir.Value) bool { return v.Name[0] == 'p' }

// evaluate appends the gradients of a function of the outputs and returns
// outputs and gradients by name.
func (s *sketch) evaluate(t *testing.T, m *ir.Model, lower bool) map[string]*tensor.Tensor {
	t.Helper()
	names := differentiate(t, m)
	if lower {
		if err := fuse.Lower(m, ops.Standard()); err != nil {
			t.Fatal(err)
		}
	}
	return s.results(t, m, names)
}

// evaluateLate is evaluate of what is run: both passes through Late.
func (s *sketch) evaluateLate(t *testing.T, m *ir.Model) map[string]*tensor.Tensor {
	t.Helper()
	names := differentiate(t, m)
	if err := fuse.Late(m, ops.Standard(), fuse.Options{Mutable: mutable}); err != nil {
		t.Fatal(err)
	}
	if err := ir.Verify(m); err != nil {
		t.Fatal(err)
	}
	return s.results(t, m, names)
}

// differentiate appends the gradients of a function of the outputs to these,
// and names them all.
func differentiate(t *testing.T, m *ir.Model) []string {
	t.Helper()
	an, err := ops.Standard().Analyze(m, ops.AnalyzeOptions{Mutable: mutable})
	if err != nil {
		t.Fatal(err)
	}
	b := ops.NewBuilder(an, m.Graph, ir.NewNames(m))
	var names []string
	var loss *ir.Value
	for _, y := range m.Graph.Outputs {
		sum := b.Op("ReduceSum", ir.In(b.Mul(y, b.Op("Sin", ir.In(y)))), ir.A("keepdims", ir.Int(0)))
		if loss == nil {
			loss = sum
		} else {
			loss = b.Add(loss, sum)
		}
		names = append(names, y.Name)
	}
	params := differentiated(m.Graph)
	grads, err := autodiff.Gradient(b, loss, params)
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range grads {
		if g != nil {
			g.Type = &ir.TensorType{Elem: tensor.Float64}
			m.Graph.Outputs, names = append(m.Graph.Outputs, g), append(names, "gradient of "+params[i].Name)
		}
	}
	return names
}

// results computes the outputs, named as told.
func (s *sketch) results(t *testing.T, m *ir.Model, names []string) map[string]*tensor.Tensor {
	t.Helper()
	feeds := map[*ir.Value]*tensor.Tensor{}
	for _, v := range m.Graph.Inputs {
		feeds[v] = s.feeds[v.Name]
	}
	got, err := opcheck.Run(ops.Standard(), m, feeds, m.Graph.Outputs)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*tensor.Tensor{}
	for i, x := range got {
		out[names[i]] = x
	}
	return out
}

// count is how many nodes of each operator a graph has.
func count(m *ir.Model) map[string]int {
	c := map[string]int{}
	for n := range m.Graph.Nodes() {
		c[n.Domain+":"+n.OpType]++
	}
	return c
}

// check raises the model, wants the operators in want and nothing else, and
// compares outputs and gradients: unfused, fused, and fused and lowered.
func (s *sketch) check(t *testing.T, want map[string]int) {
	t.Helper()
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	plain := s.evaluate(t, s.model.Clone(), false)
	raised := s.model.Clone()
	var refused []string
	o := fuse.Options{Mutable: mutable, Report: func(pass string, n *ir.Node, reason string) {
		if reason != "" {
			refused = append(refused, pass+": "+reason)
		}
	}}
	if err := fuse.Raise(raised, ops.Standard(), o); err != nil {
		t.Fatal(err)
	}
	if err := ir.Verify(raised); err != nil {
		t.Fatal(err)
	}
	got := count(raised)
	for op, n := range want {
		if got[op] != n {
			t.Fatalf("got operators %v (refused: %v), want %v", got, refused, want)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("got operators %v, want %v", got, want)
	}
	same(t, "fused", s.evaluate(t, raised.Clone(), false), plain)
	same(t, "lowered", s.evaluate(t, raised, true), plain)
	if c := count(raised); len(c) == 0 || raised.Opset(ops.Domain) != 0 {
		t.Errorf("lowered graph has operators %v and imports %s version %d", c, ops.Domain, raised.Opset(ops.Domain))
	}
}

func same(t *testing.T, what string, got, want map[string]*tensor.Tensor) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d results, want %d", what, len(got), len(want))
	}
	for name, w := range want {
		if got[name] == nil {
			t.Errorf("%s: no %s", what, name)
			continue
		}
		opcheck.Close(t, what+": "+name, got[name], w, 1e-10)
	}
}
