package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
)

// inline replaces every call of a model-local function by its body, until
// none is left. ir.Verify has refused recursion.
func inline(m *ir.Model, names *ir.Names) error {
	if len(m.Functions) == 0 {
		return nil
	}
	functions := map[string]*ir.Function{}
	for _, f := range m.Functions {
		functions[callKey(f.Domain, f.Name, f.Overload)] = f
	}
	total := 0
	for again := true; again; {
		again = false
		err := eachGraph(m.Graph, func(g *ir.Graph) error {
			for n := range g.Nodes() {
				f := functions[callKey(n.Domain, n.OpType, n.Overload)]
				if f == nil {
					continue
				}
				again = true
				if total += f.Body.Len(); total > maxNodes {
					return fmt.Errorf("inlining functions makes more than %d nodes", maxNodes)
				}
				if err := inlineCall(n, f, names); err != nil {
					return fmt.Errorf("%v: %w", n, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func callKey(domain, name, overload string) string {
	return ir.CanonicalDomain(domain) + "\x00" + name + "\x00" + overload
}

// inlineCall puts a copy of f's body in the place of n.
func inlineCall(n *ir.Node, f *ir.Function, names *ir.Names) error {
	g := n.Graph()
	if len(n.Inputs()) > len(f.Body.Inputs) || len(n.Outputs()) > len(f.Body.Outputs) {
		return fmt.Errorf("%d inputs and %d outputs for a function of %d and %d", len(n.Inputs()), len(n.Outputs()), len(f.Body.Inputs), len(f.Body.Outputs))
	}
	seen := map[*ir.Value]*ir.Value{}
	for i, v := range f.Body.Inputs {
		seen[v] = n.Input(i)
	}
	mark := n.Prev()
	b := ir.NewBuilder(g, names)
	b.Before, b.Prefix = n, n.Name+"/"
	b.Copy(f.Body, seen)
	first := g.First()
	if mark != nil {
		first = mark.Next()
	}
	for c := first; c != n; c = c.Next() {
		if err := resolveRefs(c, n, f); err != nil {
			return err
		}
	}
	for i, v := range n.Outputs() {
		if v == nil {
			continue
		}
		n.SetOutput(i, nil)
		id := ir.NewNode("", "Identity", seen[f.Body.Outputs[i]])
		id.Name = names.Fresh(b.Prefix + "Identity")
		id.SetOutput(0, v)
		g.InsertBefore(id, n)
	}
	n.TruncateOutputs(0)
	g.Remove(n)
	return nil
}

// resolveRefs gives attributes that refer to the function's the values of the
// call, else the function's defaults; one with neither is left out.
func resolveRefs(c, call *ir.Node, f *ir.Function) error {
	for _, a := range append([]*ir.Attr{}, c.Attrs...) {
		if a.RefAttr == "" {
			continue
		}
		given := call.Attr(a.RefAttr)
		if given == nil {
			for _, d := range f.Defaults {
				if d.Name == a.RefAttr {
					given = d
				}
			}
		}
		switch {
		case given == nil:
			c.RemoveAttr(a.Name)
		case given.RefAttr != "":
			a.RefAttr = given.RefAttr // of a function around the call, resolved when that is inlined
		default:
			a.Value, a.RefAttr = given.Value, ""
		}
	}
	for _, sub := range c.Subgraphs() {
		for inner := range sub.Nodes() {
			if err := resolveRefs(inner, call, f); err != nil {
				return err
			}
		}
	}
	return nil
}
