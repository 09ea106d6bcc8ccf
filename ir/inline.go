package ir

import "slices"

// Call copies the body of the function f, which n calls, as Body does.
// References to the function's attributes become the values that n gives, or
// else the defaults.
func (b *Builder) Call(n *Node, f *Function) []*Value {
	return b.body(n, f.Body, func(d *Node) { d.resolve(n, f) })
}

// Body copies a body, whose inputs and outputs are those of n, to where b
// builds, and returns what n's outputs become: nil for those that n leaves out.
// Names are fresh, in sub-graphs too.
func (b *Builder) Body(n *Node, body *Graph) []*Value { return b.body(n, body, func(*Node) {}) }

func (b *Builder) body(n *Node, body *Graph, fix func(*Node)) []*Value {
	on := b.OnNode
	defer func() { b.OnNode = on }()
	b.OnNode = func(d *Node) error {
		d.freshInside(b.names)
		fix(d)
		if on != nil {
			return on(d)
		}
		return nil
	}
	seen := map[*Value]*Value{}
	for i, v := range body.Inputs {
		seen[v] = n.Input(i)
	}
	b.Copy(body, seen)
	out := make([]*Value, len(n.Outputs()))
	for i, y := range n.Outputs() {
		if y != nil {
			out[i] = seen[body.Outputs[i]]
		}
	}
	return out
}

// resolve replaces references to the attributes of f, in n and in its
// sub-graphs.
func (n *Node) resolve(call *Node, f *Function) {
	n.Attrs = slices.DeleteFunc(n.Attrs, func(a *Attr) bool {
		if a.RefAttr == "" {
			return false
		}
		a.Value = f.given(a.RefAttr, call)
		a.RefAttr = ""
		return a.Value == nil
	})
	for _, sub := range n.Subgraphs() {
		for m := range sub.Nodes() {
			m.resolve(call, f)
		}
	}
}

// given is the value of an attribute of f in a call of it, nil where it has
// none.
func (f *Function) given(name string, call *Node) AttrValue {
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

// freshInside names anew what the sub-graphs of n define.
func (n *Node) freshInside(names *Names) {
	for _, g := range n.Subgraphs() {
		for _, list := range [][]*Value{g.Inputs, g.Initializers} {
			for _, v := range list {
				v.Name = names.Fresh(v.Name)
			}
		}
		for m := range g.Nodes() {
			for _, v := range m.outputs {
				if v != nil {
					v.Name = names.Fresh(v.Name)
				}
			}
			m.freshInside(names)
		}
	}
}
