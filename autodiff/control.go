package autodiff

import (
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

// unroll replaces the operators on the way to the loss that run a body
// repeatedly by copies of the body.
func unroll(b *ops.Builder, loss *ir.Value, params []*ir.Value) error {
	for {
		d := &differ{b: b, active: activeValues(loss.Graph(), params)}
		at := slices.IndexFunc(d.path([]*ir.Value{loss}, loss.Graph()), func(n *ir.Node) bool { return unrollable(b, n) })
		if at < 0 {
			return nil
		}
		n := d.path([]*ir.Value{loss}, loss.Graph())[at]
		if err := unrollOne(b, n); err != nil {
			return fmt.Errorf("%v: gradient: %w", n, err)
		}
	}
}

func unrollable(b *ops.Builder, n *ir.Node) bool {
	_, ok := b.Analysis.Op(n).(ops.Unroller)
	return ok
}

func unrollOne(b *ops.Builder, n *ir.Node) error {
	before, prefix := b.Before, b.Prefix
	defer func() { b.Before, b.Prefix = before, prefix }()
	b.Before, b.Prefix = n, n.Name+"/"
	outs, err := b.Analysis.Op(n).(ops.Unroller).Unroll(b, n)
	if err != nil {
		return err
	}
	for i, y := range n.Outputs() {
		if y == nil {
			continue
		}
		id := ir.NewNode("", "Identity", outs[i]) // so that y keeps its name
		id.Name = b.Names().Fresh(b.Prefix + "Identity")
		n.SetOutput(i, nil)
		id.SetOutput(0, y)
		n.Graph().InsertBefore(id, n)
		if err := b.Analysis.Node(id); err != nil {
			return err
		}
	}
	n.Graph().Remove(n)
	return b.Err()
}

// branches differentiates an If: another If whose branches compute again what
// the taken one computes, and from it the gradients of all that either of them
// reads from around.
func (d *differ) branches(n *ir.Node, grads []*ir.Value) error {
	var reads []*ir.Value
	ops.Captured(n, func(v *ir.Value) {
		if d.active[v] && d.isFloat(v) && !slices.Contains(reads, v) {
			reads = append(reads, v)
		}
	})
	if len(reads) == 0 {
		return nil
	}
	var attrs []*ir.Attr
	for _, a := range n.Attrs {
		g, ok := a.Value.(ir.GraphAttr)
		if !ok {
			continue
		}
		back, err := d.branch(g.Graph, grads, reads)
		if err != nil {
			return err
		}
		attrs = append(attrs, ir.A(a.Name, ir.GraphAttr{Graph: back}))
	}
	for i, v := range d.b.Node("", "If", ir.In(n.Input(0)), len(reads), attrs...) {
		d.b.Analysis.Set(v, d.b.Fact(reads[i]).WithoutValue())
		d.add(reads[i], v)
	}
	return d.b.Err()
}

// branch is a branch that gives the gradients of reads.
func (d *differ) branch(of *ir.Graph, grads, reads []*ir.Value) (*ir.Graph, error) {
	g := ir.NewGraph(d.b.Names().Fresh(of.Name + "_grad"))
	b := ops.NewBuilder(d.b.Analysis, g, d.b.Names())
	b.Prefix = d.b.Prefix
	seen := map[*ir.Value]*ir.Value{}
	b.Copy(of, seen)
	inner := &differ{b: b, parts: map[*ir.Value][]*ir.Value{}, active: activeValues(g, reads)}
	var seeds []*ir.Value
	for i, v := range of.Outputs {
		if seen[v] != nil {
			v = seen[v]
		}
		if i < len(grads) && grads[i] != nil && inner.isFloat(v) {
			inner.add(v, grads[i])
			seeds = append(seeds, v)
		}
	}
	for _, n := range inner.path(seeds, g) {
		if unrollable(b, n) {
			return nil, fmt.Errorf("%v: loops inside of branches have no gradient", n)
		}
		if err := inner.node(n); err != nil {
			return nil, err
		}
	}
	for _, v := range reads {
		t := inner.total(v)
		if t == nil {
			t = b.ZerosLike(v)
		}
		if t.Graph() != g || t.Producer() == nil || slices.Contains(g.Outputs, t) {
			t = b.Op("Identity", ir.In(t))
		}
		t.Type = ops.Of(b.Fact(t).DType, make([]ir.Dim, max(0, b.Fact(v).Rank()))...).Type()
		g.Outputs = append(g.Outputs, t)
	}
	g.Prune(true, nil)
	return g, b.Err()
}
