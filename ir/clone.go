package ir

import "slices"

// Clone copies a model deeply; constants and what readers keep in Extra are
// shared, as they do not change.
func (m *Model) Clone() *Model {
	c := *m
	c.Opsets = slices.Clone(m.Opsets)
	c.Metadata = slices.Clone(m.Metadata)
	if m.Graph != nil {
		c.Graph = m.Graph.clone(map[*Value]*Value{}, nil)
	}
	c.Functions = make([]*Function, len(m.Functions))
	for i, f := range m.Functions {
		d := *f
		d.Opsets, d.Metadata = slices.Clone(f.Opsets), slices.Clone(f.Metadata)
		d.Body = f.Body.clone(map[*Value]*Value{}, nil)
		d.Attrs = slices.Clone(f.Attrs)
		d.Defaults = cloneAttrs(f.Defaults, nil, nil)
		c.Functions[i] = &d
	}
	return &c
}

// clone copies g; seen maps values already copied, those of outer graphs too.
// A value that seen does not know and that is not g's own stays shared.
func (g *Graph) clone(seen map[*Value]*Value, parent *Node) *Graph {
	c := &Graph{Name: g.Name, Doc: g.Doc, Metadata: slices.Clone(g.Metadata), Extra: g.Extra, parent: parent}
	own := func(v *Value) *Value {
		if v == nil {
			return nil
		}
		if w, ok := seen[v]; ok {
			return w
		}
		w := &Value{Name: v.Name, Type: v.Type, Doc: v.Doc, Metadata: slices.Clone(v.Metadata), Data: v.Data, Extra: v.Extra, graph: c}
		seen[v] = w
		return w
	}
	list := func(vs []*Value) []*Value {
		out := make([]*Value, len(vs))
		for i, v := range vs {
			if v.graph != g && v.graph != nil {
				out[i] = outer(seen, v)
				continue
			}
			out[i] = own(v)
		}
		return out
	}
	c.Inputs, c.Initializers = list(g.Inputs), list(g.Initializers)
	for n := range g.Nodes() {
		for _, v := range n.outputs {
			own(v)
		}
	}
	for n := range g.Nodes() {
		c.Append(n.clone(seen, own))
	}
	c.Outputs, c.Annotated = list(g.Outputs), list(g.Annotated)
	return c
}

func outer(seen map[*Value]*Value, v *Value) *Value {
	if w, ok := seen[v]; ok {
		return w
	}
	return v
}

// clone copies n, whose outputs seen has; own maps its inputs.
func (n *Node) clone(seen map[*Value]*Value, own func(*Value) *Value) *Node {
	d := &Node{Name: n.Name, OpType: n.OpType, Domain: n.Domain, Overload: n.Overload, Doc: n.Doc,
		Metadata: slices.Clone(n.Metadata), Extra: n.Extra, Tag: n.Tag}
	for i, v := range n.inputs {
		if v != nil && v.graph != n.graph {
			d.SetInput(i, outer(seen, v))
			continue
		}
		d.SetInput(i, own(v))
	}
	for i, v := range n.outputs {
		d.SetOutput(i, own(v))
	}
	d.Attrs = cloneAttrs(n.Attrs, seen, d)
	return d
}

func cloneAttrs(attrs []*Attr, seen map[*Value]*Value, parent *Node) []*Attr {
	if seen == nil {
		seen = map[*Value]*Value{}
	}
	out := make([]*Attr, len(attrs))
	for i, a := range attrs {
		b := *a
		switch v := a.Value.(type) {
		case GraphAttr:
			b.Value = GraphAttr{v.Graph.clone(seen, parent)}
		case GraphsAttr:
			gs := make(GraphsAttr, len(v))
			for j, g := range v {
				gs[j] = g.clone(seen, parent)
			}
			b.Value = gs
		}
		out[i] = &b
	}
	return out
}

// Copy copies the nodes of src, in order, to where b builds, and maps values:
// seen holds the replacements of values from outside (a body's inputs, say)
// and receives those of the copies. Names are fresh. Initializers of src that
// seen does not have become initializers of b's graph.
func (b *Builder) Copy(src *Graph, seen map[*Value]*Value) {
	for _, v := range src.Initializers {
		if seen[v] == nil {
			seen[v] = b.Graph.AddInitializer(b.names.Fresh(b.Prefix+v.Name), v.Data)
		}
	}
	for n := range src.Nodes() {
		for _, v := range n.outputs {
			if v != nil {
				seen[v] = b.Graph.NewValue(b.names.Fresh(b.Prefix+v.Name), v.Type)
			}
		}
		d := n.clone(seen, func(v *Value) *Value { return outer(seen, v) })
		d.Name = b.names.Fresh(b.Prefix + n.Name)
		b.Graph.InsertBefore(d, b.Before)
		if b.OnNode != nil && b.err == nil {
			b.Fail(b.OnNode(d))
		}
	}
}
