// Package autodiff appends to a graph the nodes that compute the gradients of
// a scalar loss: reverse mode, as a rewrite of canonical nodes.
package autodiff

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// Gradient appends, where b builds, the backward pass of loss with respect to
// params and returns their gradients, in order, each of its parameter's
// shape. The graph must be canonical and b's analysis up to date. loss must be
// a float scalar (rank 0 or one element). Only nodes on a path from a
// parameter to the loss get a gradient; one of these without a gradient of its
// own is an error that names it. A parameter that does not reach the loss gets
// a nil gradient.
func Gradient(b *ops.Builder, loss *ir.Value, params []*ir.Value) ([]*ir.Value, error) {
	if !b.Fact(loss).DType.IsFloat() {
		return nil, fmt.Errorf("loss %q is %v, not a float", loss.Name, b.Fact(loss))
	}
	if err := unroll(b, loss, params); err != nil {
		return nil, err
	}
	d := &differ{b: b, parts: map[*ir.Value][]*ir.Value{}, active: activeValues(loss.Graph(), params)}
	path := d.path([]*ir.Value{loss}, loss.Graph())
	if prefix := b.Prefix; prefix == "" {
		b.Prefix = "grad/"
		defer func() { b.Prefix = prefix }()
	}
	d.add(loss, d.one(loss))
	for _, n := range path {
		if err := d.node(n); err != nil {
			return nil, err
		}
	}
	out := make([]*ir.Value, len(params))
	for i, p := range params {
		out[i] = d.total(p)
	}
	return out, b.Err()
}

type differ struct {
	b      *ops.Builder
	parts  map[*ir.Value][]*ir.Value // gradients collected so far
	active map[*ir.Value]bool        // values that depend on a parameter
	loose  bool                      // what is of no known type is a float
}

// activeValues are the parameters and all that g's nodes compute from them.
func activeValues(g *ir.Graph, params []*ir.Value) map[*ir.Value]bool {
	active := map[*ir.Value]bool{}
	for _, v := range params {
		active[v] = true
	}
	for n := range g.Nodes() {
		reads := false
		read(n, func(v *ir.Value) { reads = reads || active[v] })
		for _, o := range n.Outputs() {
			if o != nil && reads {
				active[o] = true
			}
		}
	}
	return active
}

// read visits what a node reads, by its sub-graphs too.
func read(n *ir.Node, visit func(v *ir.Value)) {
	for _, v := range n.Inputs() {
		if v != nil {
			visit(v)
		}
	}
	ops.Captured(n, visit)
}

// path lists the nodes of g between the parameters and the values to, consumers
// first.
func (d *differ) path(to []*ir.Value, g *ir.Graph) []*ir.Node {
	wanted := map[*ir.Node]bool{}
	want := func(v *ir.Value) {
		if d.active[v] && v.Producer() != nil && d.isFloat(v) {
			wanted[v.Producer()] = true
		}
	}
	for _, v := range to {
		want(v)
	}
	var path []*ir.Node
	for n := range g.Backward() {
		if wanted[n] {
			path = append(path, n)
			read(n, want)
		}
	}
	return path
}

func (d *differ) isFloat(v *ir.Value) bool {
	t := d.b.Fact(v).DType
	return t.IsFloat() || d.loose && t == tensor.Undefined
}

// one is the gradient of the loss with respect to itself.
func (d *differ) one(loss *ir.Value) *ir.Value {
	f := d.b.Fact(loss)
	if s, ok := f.Shape(); ok {
		t := tensor.New(f.DType, s...)
		switch f.DType {
		case tensor.Float32:
			for i := range tensor.Data[float32](t) {
				tensor.Data[float32](t)[i] = 1
			}
			return d.b.Const("one", t)
		case tensor.Float64:
			for i := range tensor.Data[float64](t) {
				tensor.Data[float64](t)[i] = 1
			}
			return d.b.Const("one", t)
		}
	}
	return d.b.ExpandLike(d.b.Scalar(loss, 1), loss)
}

func (d *differ) add(v, g *ir.Value) { d.parts[v] = append(d.parts[v], g) }

// total sums what was collected for v, nil where nothing flows.
func (d *differ) total(v *ir.Value) *ir.Value {
	gs := d.parts[v]
	if len(gs) == 0 {
		return nil
	}
	sum := gs[0]
	for _, g := range gs[1:] {
		sum = d.b.Add(sum, g)
	}
	d.parts[v] = []*ir.Value{sum}
	return sum
}

func (d *differ) node(n *ir.Node) error {
	grads := make([]*ir.Value, len(n.Outputs()))
	flows := false
	for i, v := range n.Outputs() {
		if v != nil && d.isFloat(v) {
			grads[i] = d.total(v)
			flows = flows || grads[i] != nil
		}
	}
	if !flows {
		return nil
	}
	needs := make([]bool, len(n.Inputs()))
	for i, v := range n.Inputs() {
		needs[i] = v != nil && d.active[v] && d.isFloat(v)
	}
	if n.Is("If") {
		if err := d.branches(n, grads); err != nil {
			return fmt.Errorf("%v: gradient: %w", n, err)
		}
		return nil
	}
	op, ok := d.b.Analysis.Op(n).(ops.Differentiable)
	if !ok {
		return fmt.Errorf("%v has no gradient, and lies between a trained parameter and the loss", n)
	}
	gb := ops.NewGradBuilder(d.b, n, grads, needs)
	if err := op.Grad(gb); err != nil {
		return fmt.Errorf("%v: gradient: %w", n, err)
	}
	if err := d.b.Err(); err != nil {
		return fmt.Errorf("%v: gradient: %w", n, err)
	}
	for i, g := range gb.Results() {
		if g != nil && needs[i] {
			d.add(n.Input(i), g)
		}
	}
	return nil
}
