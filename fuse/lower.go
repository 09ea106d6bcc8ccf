package fuse

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

// Lower replaces every composite operator of a canonical model by standard
// ones, and drops the import of their domain. What bodies have in common is
// computed once; the model's own initializers all stay apart. Composites inside of sub-graphs
// are an error: what Raise and gradients make is in the main graph.
func Lower(m *ir.Model, set *ops.Set) error {
	a, err := set.Analyze(m, ops.AnalyzeOptions{})
	if err != nil {
		return err
	}
	r := newRewriter(m, a, Options{Mutable: initializersOf(m.Graph)})
	for again, round := true, 0; again; round++ { // a body may hold composites
		if again = false; round > maxNesting {
			return errors.New("composite operators expand without end")
		}
		for n := range m.Graph.Nodes() {
			if n.Domain != ops.Domain {
				continue
			}
			again = true
			if err := r.lower(n); err != nil {
				return fmt.Errorf("%v: %w", n, err)
			}
		}
	}
	r.dedupe() // bodies repeat tables, scalars and W' of forward and backward
	r.prune()
	var left *ir.Node
	m.Graphs(func(g *ir.Graph) bool {
		for n := range g.Nodes() {
			if n.Domain == ops.Domain {
				left = n
			}
		}
		return left == nil
	})
	if left != nil {
		return fmt.Errorf("%v: stands in a sub-graph, where it cannot be spelled out", left)
	}
	m.Opsets = slices.DeleteFunc(m.Opsets, func(o ir.Opset) bool { return o.Domain == ops.Domain })
	return nil
}

// initializersOf tells which values are initializers of g as it is now.
func initializersOf(g *ir.Graph) func(*ir.Value) bool {
	have := map[*ir.Value]bool{}
	for _, v := range g.Initializers {
		have[v] = true
	}
	return func(v *ir.Value) bool { return have[v] }
}

// maxNesting bounds how deep bodies of composites are nested.
const maxNesting = 8

// lower puts the body of one composite in its place.
func (r *rewriter) lower(n *ir.Node) error {
	c, ok := r.a.Op(n).(ops.Composite)
	if !ok {
		return errors.New("has no form in standard operators")
	}
	b := ops.NewBuilder(r.a, r.g, r.names)
	b.Before, b.Tag, b.Prefix = n, n.Tag, prefixOf(n.Name)
	outs, err := c.Expand(b, n)
	if err == nil {
		err = b.Err()
	}
	if err != nil {
		return err
	}
	made := map[*ir.Value]*ir.Value{}
	for i, old := range n.Outputs() {
		if old == nil {
			continue
		}
		if i >= len(outs) || outs[i] == nil {
			return fmt.Errorf("its body has no output %d", i)
		}
		r.takeOver(b, n, old, outs[i], made)
	}
	r.g.Remove(n)
	return b.Err()
}

// takeOver makes v's producer produce old, so that names and outputs stay; it
// notes that in made. Where v is not of the body, or has become another output
// already, an Identity copies it.
func (r *rewriter) takeOver(b *ops.Builder, n *ir.Node, old, v *ir.Value, made map[*ir.Value]*ir.Value) {
	n.SetOutput(old.Index(), nil)
	src := v
	if first := made[v]; first != nil {
		src = first
	}
	if src != v || slices.Contains(n.Inputs(), v) || v.Producer() == nil || r.kept(v) {
		v = b.Op("Identity", ir.In(src))
	}
	made[v] = old
	p, i := v.Producer(), v.Index()
	p.SetOutput(i, nil)
	v.ReplaceUses(old)
	p.SetOutput(i, old)
}
