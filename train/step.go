package train

import (
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/autodiff"
	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// graph is a canonical, raised copy of a model that is being given a loss,
// gradients and an optimizer. One order holds for running and for export:
// Canonical, InFloat32, fuse.Raise, loss, autodiff, clipping, optimizer.
type graph struct {
	model  *ir.Model
	b      *ops.Builder
	index  map[string]*ir.Value
	params []*param
	loss   loss

	recompute bool // what the backward pass reads of the forward pass
}

// newGraph copies m and attaches the loss. params become mutable: nothing of
// them is folded.
func newGraph(m *ir.Model, set *ops.Set, names []string, c LossConfig) (*graph, error) {
	g, err := newRaised(m, set, names)
	if err != nil {
		return nil, err
	}
	g.b.Prefix = "loss/"
	if g.loss, err = attachLoss(g.b, c); err != nil {
		return nil, err
	}
	g.b.Prefix = ""
	return g, nil
}

// newRaised is the copy of m, canonical and raised, that a loss attaches to.
func newRaised(m *ir.Model, set *ops.Set, names []string) (*graph, error) {
	cm, err := ops.Canonical(m)
	if err != nil {
		return nil, err
	}
	InFloat32(cm)
	mutable := map[string]bool{}
	for _, n := range names {
		mutable[n] = true
	}
	isMutable := func(v *ir.Value) bool { return mutable[v.Name] }
	if err := fuse.Raise(cm, set, fuse.Options{Mutable: isMutable}); err != nil {
		return nil, err
	}
	if cm.Opset(ops.Domain) == 0 {
		cm.SetOpset(ops.Domain, 1)
	}
	an, err := set.Analyze(cm, ops.AnalyzeOptions{Mutable: isMutable})
	if err != nil {
		return nil, err
	}
	g := &graph{model: cm, b: ops.NewBuilder(an, cm.Graph, ir.NewNames(cm)), index: cm.Graph.Index()}
	for _, n := range names {
		v := g.index[n]
		if v == nil || !v.IsInitializer() {
			return nil, fmt.Errorf("parameter %q is not an initializer of the model", n)
		}
		if d := v.Data.DType(); d != tensor.Float32 && d != tensor.Float64 {
			return nil, fmt.Errorf("parameter %q is %v; only float32 and float64 train", n, d)
		}
		g.params = append(g.params, &param{value: v})
	}
	return g, nil
}

// settled is m as it computes outside of training: no Dropout drops anything.
func settled(m *ir.Model) *ir.Model {
	const trainingMode = 2 // the input
	drops := func(n *ir.Node) bool { return n.Is("Dropout") && n.Input(trainingMode) != nil }
	found := false
	m.Graphs(func(g *ir.Graph) bool {
		for n := range g.Nodes() {
			found = found || drops(n)
		}
		return !found
	})
	if !found {
		return m
	}
	m = m.Clone()
	m.Graphs(func(g *ir.Graph) bool {
		for n := range g.Nodes() {
			if drops(n) {
				n.SetInput(trainingMode, nil)
			}
		}
		return true
	})
	return m
}

// differentiate appends the backward pass of v.
func (g *graph) differentiate(v *ir.Value) error {
	values := make([]*ir.Value, len(g.params))
	for i, p := range g.params {
		values[i] = p.value
	}
	last := g.b.Graph.Last()
	grads, err := autodiff.Gradient(g.b, v, values)
	if err != nil {
		return err
	}
	if g.recompute {
		if err := recompute(g.b, last); err != nil {
			return err
		}
	}
	for i, p := range g.params {
		if p.grad = grads[i]; p.grad == nil {
			return fmt.Errorf("parameter %q does not reach the loss (%s)", p.value.Name, g.loss.from)
		}
	}
	return nil
}

// scalarInput adds a graph input of rank 0.
func (g *graph) scalarInput(name string, d tensor.DType) *ir.Value {
	t := ir.Tensor(d)
	v := g.b.Graph.AddInput(g.b.Names().Fresh(name), t)
	g.b.Analysis.Set(v, ops.FromType(t))
	return v
}

// optimize appends clipping and the optimizer and returns the norm of the
// gradients. slot makes the optimizer's state for a parameter.
func (g *graph) optimize(c OptimConfig, slot func(p *param, suffix string) *ir.Value) *ir.Value {
	g.b.Prefix = "optimizer/"
	defer func() { g.b.Prefix = "" }()
	lr := g.scalarInput(LearningRateInput, tensor.Float32)
	step := g.scalarInput(StepInput, tensor.Int64)
	for _, p := range g.params {
		for _, s := range optimizers[c.Optimizer].suffixes(c) {
			p.slots = append(p.slots, slot(p, s))
		}
	}
	norm := clip(g.b, c, g.params)
	update(g.b, c, g.params, lr, step)
	return norm
}

// zeroState is an initializer of zeros beside a parameter.
func (g *graph) zeroState(p *param, suffix string) *ir.Value {
	d := p.value.Data
	return g.b.Graph.AddInitializer(g.b.Names().Fresh(p.value.Name+"."+suffix), &zeros{d.DType(), d.Shape()})
}

// zeros is a constant of zeros. It takes no memory beside the state that is
// made of it.
type zeros struct {
	dtype tensor.DType
	shape tensor.Shape
}

func (z *zeros) DType() tensor.DType             { return z.dtype }
func (z *zeros) Shape() tensor.Shape             { return z.shape }
func (z *zeros) Tensor() (*tensor.Tensor, error) { return tensor.New(z.dtype, z.shape...), nil }

// name gives a value a name of its own to be found by.
func (g *graph) name(v *ir.Value, name string) string {
	v.Name = g.b.Names().Fresh(name)
	return v.Name
}

// setOutputs makes values the graph's only outputs, typed.
func (g *graph) setOutputs(vs ...*ir.Value) {
	g.b.Graph.Outputs = vs
	for _, v := range vs {
		v.Type = g.b.Fact(v).Type()
	}
}

// states lists the state of the optimizer: parameters and slots with what they
// become.
func (g *graph) states(visit func(from, to *ir.Value)) {
	for _, p := range g.params {
		visit(p.value, p.updated[0])
		for i, s := range p.slots {
			visit(s, p.updated[1+i])
		}
	}
}

// inputs lists what the graph can be fed, and which of that its outputs do not
// depend on.
func (g *graph) inputs() (ports []Port, unused map[string]bool) {
	gr := g.b.Graph
	used := map[*ir.Value]bool{}
	for _, v := range gr.Outputs {
		used[v] = true
	}
	for n := range gr.Backward() {
		if !slices.ContainsFunc(n.Outputs(), func(v *ir.Value) bool { return used[v] }) {
			continue
		}
		reads(n, func(v *ir.Value) { used[v] = v != nil })
	}
	unused = map[string]bool{}
	for _, v := range gr.Inputs {
		if v.Data == nil {
			ports = append(ports, Port{v.Name, v.Type})
			unused[v.Name] = !used[v]
		}
	}
	return ports, unused
}

// reads visits what a node and its sub-graphs read.
func reads(n *ir.Node, visit func(*ir.Value)) {
	for _, v := range n.Inputs() {
		visit(v)
	}
	for _, sub := range n.Subgraphs() {
		for inner := range sub.Nodes() {
			reads(inner, visit)
		}
		for _, v := range sub.Outputs {
			visit(v)
		}
	}
}
