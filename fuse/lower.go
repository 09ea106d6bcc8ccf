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
// computed once; the model's own initializers all stay apart.
func Lower(m *ir.Model, set *ops.Set) error {
	a, err := set.Analyze(m, ops.AnalyzeOptions{})
	if err != nil {
		return err
	}
	r := newRewriter(m, a, Options{Mutable: initializersOf(m.Graph)})
	for again, round := true, 0; again; round++ { // a body may hold composites
		if round > maxNesting {
			return errors.New("composite operators expand without end")
		}
		if again, err = r.lowerGraph(m.Graph); err != nil {
			return err
		}
	}
	r.dedupe() // bodies repeat tables, scalars and W' of forward and backward
	r.prune()
	m.Opsets = slices.DeleteFunc(m.Opsets, func(o ir.Opset) bool { return o.Domain == ops.Domain })
	return nil
}

// lowerGraph lowers the nodes of g and, what gradients of branches have, those
// of its sub-graphs; it reports whether there were any.
func (r *rewriter) lowerGraph(g *ir.Graph) (bool, error) {
	some := false
	for n := range g.Nodes() {
		for _, sub := range n.Subgraphs() {
			r.a.Body(sub)
			inner, err := r.lowerGraph(sub)
			if err != nil {
				return false, err
			}
			some = some || inner
		}
		if n.Domain != ops.Domain {
			continue
		}
		some = true
		if err := r.lower(n); err != nil {
			return false, fmt.Errorf("%v: %w", n, err)
		}
	}
	return some, nil
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
	b := ops.NewBuilder(r.a, n.Graph(), r.names)
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
	n.Graph().Remove(n)
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
