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
	l.replace(n, f.Body, version, func(d *ir.Node) { l.resolve(d, n, f) })
	return nil
}

// splice puts the branch that an If takes, which is lifted already, in its
// place.
func (l *lifter) splice(n *ir.Node, branch *ir.Graph) {
	l.replace(n, branch, l.target, func(d *ir.Node) { l.freshInside(d) })
}

// replace puts a copy of body in the place of n; fix sees each copied node.
func (l *lifter) replace(n *ir.Node, body *ir.Graph, version int64, fix func(d *ir.Node)) {
	g := n.Graph()
	b := ir.NewBuilder(g, l.names)
	b.Before = n.Next()
	b.Prefix = n.Name + "/"
	b.OnNode = func(d *ir.Node) error {
		l.version[d] = version
		fix(d)
		return nil
	}
	seen := map[*ir.Value]*ir.Value{}
	for i, v := range body.Inputs {
		seen[v] = n.Input(i)
	}
	b.Copy(body, seen)
	for i, y := range n.Outputs() {
		if y != nil {
			l.stand(n, i, seen[body.Outputs[i]], b.Before)
		}
	}
	g.Remove(n)
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
		l.freshNames(sub)
		for m := range sub.Nodes() {
			l.resolve(m, call, f)
		}
	}
}

// freshInside makes names in the sub-graphs of a copied node fresh.
func (l *lifter) freshInside(d *ir.Node) {
	for _, sub := range d.Subgraphs() {
		l.freshNames(sub)
		for m := range sub.Nodes() {
			l.freshInside(m)
		}
	}
}

func (l *lifter) freshNames(g *ir.Graph) {
	for _, list := range [][]*ir.Value{g.Inputs, g.Initializers} {
		for _, v := range list {
			v.Name = l.names.Fresh(v.Name)
		}
	}
	for m := range g.Nodes() {
		for _, v := range m.Outputs() {
			if v != nil {
				v.Name = l.names.Fresh(v.Name)
			}
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
