package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
)

// NewestOpset is the newest opset of the standard domain that is known.
const NewestOpset = 27

// maxNodes bounds what inlining functions may grow a model to.
const maxNodes = 1 << 20

// Canonical is a private copy of m for gradients, fusions and the runtime: the
// standard domain lifted to opset CanonicalOpset or newer, model-local
// functions inlined, Constant nodes made initializers, Identity nodes that
// only rename dropped. Names of inputs, outputs and initializers stay. Other
// domains are left alone.
func Canonical(m *ir.Model) (*ir.Model, error) {
	if v := m.Opset(""); v > NewestOpset {
		return nil, fmt.Errorf("the model imports opset %d; the newest that is known is %d", v, NewestOpset)
	}
	c := m.Clone()
	names := ir.NewNames(c)
	target := max(c.Opset(""), CanonicalOpset)
	for _, f := range c.Functions {
		target = max(target, f.Opset(""))
	}
	for _, f := range c.Functions {
		from := f.Opset("")
		if from == 0 {
			from = c.Opset("")
		}
		if err := liftGraph(f.Body, from, names); err != nil {
			return nil, fmt.Errorf("function %q: %w", f.Name, err)
		}
	}
	if err := liftGraph(c.Graph, c.Opset(""), names); err != nil {
		return nil, err
	}
	if err := inline(c, names); err != nil {
		return nil, err
	}
	for _, f := range c.Functions {
		for _, o := range f.Opsets {
			if c.Opset(o.Domain) == 0 {
				c.SetOpset(o.Domain, o.Version)
			}
		}
	}
	c.Functions = nil
	c.SetOpset("", target)
	err := eachGraph(c.Graph, func(g *ir.Graph) error {
		if err := constantsToInitializers(g); err != nil {
			return err
		}
		dropIdentities(g)
		return nil
	})
	if err != nil {
		return nil, err
	}
	c.IRVersion = max(c.IRVersion, 8) // initializers need not be inputs any more
	return c, ir.Verify(c)
}

// eachGraph visits g and the graphs inside its nodes, outer first.
func eachGraph(g *ir.Graph, visit func(*ir.Graph) error) error {
	if err := visit(g); err != nil {
		return err
	}
	for n := range g.Nodes() {
		for _, sub := range n.Subgraphs() {
			if err := eachGraph(sub, visit); err != nil {
				return err
			}
		}
	}
	return nil
}

// liftGraph applies the rows of lifts that a graph of the given opset needs.
func liftGraph(g *ir.Graph, opset int64, names *ir.Names) error {
	return eachGraph(g, func(g *ir.Graph) error {
		b := ir.NewBuilder(g, names)
		for n := range g.Nodes() {
			if ir.CanonicalDomain(n.Domain) != "" {
				continue
			}
			if opset < 6 {
				n.RemoveAttr("consumed_inputs")
			}
			for _, row := range lifts[n.OpType] {
				if opset >= row.until || n.Graph() == nil {
					continue
				}
				b.Before, b.Prefix = n, n.Name+"/"
				if err := row.lift(b, n); err != nil {
					return fmt.Errorf("%v of opset %d: %w", n, opset, err)
				}
				if err := b.Err(); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// constantsToInitializers replaces Constant nodes.
func constantsToInitializers(g *ir.Graph) error {
	for n := range g.Nodes() {
		if !n.Is("Constant") || len(n.Outputs()) != 1 || n.Output(0) == nil {
			continue
		}
		d, err := constantOf(n)
		if err != nil {
			return fmt.Errorf("%v: %w", n, err)
		}
		v := n.Output(0)
		n.SetOutput(0, nil)
		n.TruncateOutputs(0)
		g.Remove(n)
		v.Data = d
		g.Initializers = append(g.Initializers, v)
	}
	return nil
}

// dropIdentities lets the readers of an Identity read its input. One whose
// output is the graph's stays: it gives the output its name.
func dropIdentities(g *ir.Graph) {
	for n := range g.Nodes() {
		if !n.Is("Identity") || n.Input(0) == nil || n.Output(0) == nil || n.Output(0).IsOutput() {
			continue
		}
		n.Output(0).ReplaceUses(n.Input(0))
		g.Remove(n)
	}
}
