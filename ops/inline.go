package ops

import (
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/ir"
)

// inline replaces a call of a model-local function by the function's body. The
// body's nodes follow n, so that the walk which met n lifts them next.
func (l *lifter) inline(n *ir.Node, f *ir.Function) error {
	if len(n.Inputs()) > len(f.Body.Inputs) || len(n.Outputs()) > len(f.Body.Outputs) {
		return fmt.Errorf("%d inputs and %d outputs for a function of %d and %d", len(n.Inputs()), len(n.Outputs()), len(f.Body.Inputs), len(f.Body.Outputs))
	}
	if l.inlined += f.Body.Len(); l.inlined > maxNodes {
		return fmt.Errorf("inlining functions makes more than %d nodes", maxNodes)
	}
	for _, o := range f.Opsets {
		if l.model.Opset(o.Domain) == 0 {
			l.model.SetOpset(o.Domain, o.Version)
		}
	}
	version := f.Opset("")
	if version == 0 {
		version = l.target
	}
	g := n.Graph()
	b := ir.NewBuilder(g, l.names)
	b.Before = n.Next()
	b.Prefix = n.Name + "/"
	b.OnNode = func(d *ir.Node) error {
		l.version[d] = version
		l.resolve(d, n, f)
		return nil
	}
	seen := map[*ir.Value]*ir.Value{}
	for i, v := range f.Body.Inputs {
		seen[v] = n.Input(i)
	}
	b.Copy(f.Body, seen)
	for i, v := range f.Body.Outputs {
		if y := n.Output(i); y != nil {
			l.stand(n, i, seen[v], b.Before)
		}
	}
	g.Remove(n)
	return nil
}

// stand makes v what output i of n was; end follows the copied body.
func (l *lifter) stand(n *ir.Node, i int, v *ir.Value, end *ir.Node) {
	y := n.Output(i)
	if !y.IsOutput() {
		y.ReplaceUses(v)
		return
	}
	n.SetOutput(i, nil)
	id := ir.NewNode("", "Identity", v)
	id.Name = l.names.Fresh(n.Name + "/Identity")
	id.SetOutput(0, y)
	n.Graph().InsertBefore(id, end)
	l.version[id] = l.target
}

// resolve replaces references to the function's attributes, in d and in its
// sub-graphs, by the values that the call gives or else the defaults, and
// makes names in sub-graphs fresh.
func (l *lifter) resolve(d, call *ir.Node, f *ir.Function) {
	d.Attrs = slices.DeleteFunc(d.Attrs, func(a *ir.Attr) bool {
		if a.RefAttr == "" {
			return false
		}
		a.Value = referred(a.RefAttr, call, f)
		a.RefAttr = ""
		return a.Value == nil
	})
	for _, sub := range d.Subgraphs() {
		for _, list := range [][]*ir.Value{sub.Inputs, sub.Initializers} {
			for _, v := range list {
				v.Name = l.names.Fresh(v.Name)
			}
		}
		for m := range sub.Nodes() {
			for _, v := range m.Outputs() {
				if v != nil {
					v.Name = l.names.Fresh(v.Name)
				}
			}
			l.resolve(m, call, f)
		}
	}
}

func referred(name string, call *ir.Node, f *ir.Function) ir.AttrValue {
	if a := call.Attr(name); a != nil {
		return a.Value
	}
	for _, a := range f.Defaults {
		if a.Name == name {
			return a.Value
		}
	}
	return nil
}
