package rewrite

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/ir"
)

// maxInlined bounds what inlining may grow a model to.
const maxInlined = 1 << 20

// Inline puts the bodies of the model's functions in the place of their calls,
// so that their layers are layers of the graph: each call's own, with a path
// under the call's. It returns how many calls there were. A function that
// imports another version of a domain than the model does is an error.
func Inline(m *ir.Model) (calls int, err error) {
	if m == nil || m.Graph == nil || len(m.Functions) == 0 {
		return 0, nil
	}
	err = edit(m, func(c *ir.Model) error {
		in := &inliner{model: c, names: ir.NewNames(c), over: map[*ir.Function]bool{}}
		for _, f := range c.Functions {
			err := in.imports(f)
			if err == nil {
				err = in.ends(f)
			}
			if err != nil {
				return fmt.Errorf("function %q: %w", f.Name, err)
			}
		}
		if err := in.graph(c.Graph); err != nil {
			return err
		}
		c.Functions, calls = nil, in.calls
		return nil
	})
	return calls, err
}

type inliner struct {
	model        *ir.Model
	names        *ir.Names
	calls, nodes int
	over         map[*ir.Function]bool // whether the walk through a function has ended
}

// imports takes over what f imports.
func (in *inliner) imports(f *ir.Function) error {
	for _, o := range f.Opsets {
		switch v := in.model.Opset(o.Domain); {
		case v == 0:
			in.model.SetOpset(o.Domain, o.Version)
		case v != o.Version:
			return fmt.Errorf("it is of operator set %d of %q, the model of %d: its operators may mean something else there", o.Version, o.Domain, v)
		}
	}
	return nil
}

// ends is an error where f calls itself, through others or not.
func (in *inliner) ends(f *ir.Function) error {
	switch over, seen := in.over[f]; {
	case over:
		return nil
	case seen:
		return errors.New("it calls itself")
	}
	in.over[f] = false
	defer func() { in.over[f] = true }()
	var walk func(g *ir.Graph) error
	walk = func(g *ir.Graph) error {
		for n := range g.Nodes() {
			if called := in.function(n); called != nil {
				if err := in.ends(called); err != nil {
					return err
				}
			}
			for _, sub := range n.Subgraphs() {
				if err := walk(sub); err != nil {
					return err
				}
			}
		}
		return nil
	}
	return walk(f.Body)
}

func (in *inliner) graph(g *ir.Graph) error {
	for n := g.First(); n != nil; {
		f := in.function(n)
		if f == nil {
			for _, sub := range n.Subgraphs() {
				if err := in.graph(sub); err != nil {
					return err
				}
			}
			n = n.Next()
			continue
		}
		prev := n.Prev()
		if err := in.call(g, n, f); err != nil {
			return fmt.Errorf("%v: %w", n, err)
		}
		if n = g.First(); prev != nil { // the body may call functions too
			n = prev.Next()
		}
	}
	return nil
}

func (in *inliner) function(n *ir.Node) *ir.Function {
	for _, f := range in.model.Functions {
		if f.Name == n.OpType && ir.CanonicalDomain(f.Domain) == ir.CanonicalDomain(n.Domain) && f.Overload == n.Overload {
			return f
		}
	}
	return nil
}

func (in *inliner) call(g *ir.Graph, n *ir.Node, f *ir.Function) error {
	if len(n.Inputs()) > len(f.Body.Inputs) || len(n.Outputs()) > len(f.Body.Outputs) {
		return fmt.Errorf("%d inputs and %d outputs for a function of %d and %d", len(n.Inputs()), len(n.Outputs()), len(f.Body.Inputs), len(f.Body.Outputs))
	}
	if in.calls, in.nodes = in.calls+1, in.nodes+f.Body.Len()+1; in.nodes > maxInlined {
		return fmt.Errorf("inlining functions makes more than %d nodes", maxInlined)
	}
	b := ir.NewBuilder(g, in.names)
	b.Before, b.Prefix = n, label(n)+"/"
	for i, v := range b.Call(n, f) {
		switch {
		case n.Output(i) == nil:
		case v == nil:
			return fmt.Errorf("output %d is an input that the call leaves out", i)
		default:
			in.stand(g, n, i, v)
		}
	}
	g.Remove(n)
	return b.Err()
}

// stand makes v what output i of n was.
func (in *inliner) stand(g *ir.Graph, n *ir.Node, i int, v *ir.Value) {
	y := n.Output(i)
	if !y.IsOutput() {
		y.ReplaceUses(v)
		return
	}
	n.SetOutput(i, nil)
	id := ir.NewNode("", "Identity", v) // so that the output keeps its name
	id.Name = in.names.Fresh(label(n) + "/Identity")
	id.SetOutput(0, y)
	g.InsertBefore(id, n)
}
