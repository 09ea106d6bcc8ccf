package ir

import (
	"fmt"
	"slices"
)

// A Patch describes an edit of one graph: nodes and initializers to add, uses
// to redirect, nodes to remove. Nothing changes until Apply, which does all of
// it or, where the description does not fit the graph, nothing.
type Patch struct {
	graph    *Graph
	names    *Names
	anchor   *Node
	before   bool
	nodes    []pending
	inits    []*Value
	own      map[*Value]bool
	redirect []redirect
	replaced []input
	removed  []*Node
}

type pending struct {
	node   *Node
	inputs []*Value
	anchor *Node
	before bool
}

type redirect struct {
	from, to *Value
	takeName bool
}

type input struct {
	node  *Node
	index int
	value *Value
}

// NewPatch starts an edit of g with fresh names from s. New nodes go to the
// graph's end until Before or After says otherwise.
func NewPatch(g *Graph, s *Names) *Patch {
	return &Patch{graph: g, names: s, own: map[*Value]bool{}}
}

// Before puts the nodes that follow before n, in the order they are added.
func (p *Patch) Before(n *Node) { p.anchor, p.before = n, true }

// After puts the nodes that follow after n, in the order they are added.
func (p *Patch) After(n *Node) { p.anchor, p.before = n, false }

// Fresh takes a name from the model's authority.
func (p *Patch) Fresh(base string) string { return p.names.Fresh(base) }

// Node adds a node with one output of type t (nil for unknown). The value
// returned may be an input of later nodes of the patch.
func (p *Patch) Node(name, opType string, in []*Value, t Type, attrs ...*Attr) *Value {
	n := &Node{Name: p.names.Fresh(name), OpType: opType, Attrs: attrs}
	out := p.graph.NewValue(p.names.Fresh(n.Name+"_output_0"), t)
	n.SetOutput(0, out)
	p.own[out] = true
	p.nodes = append(p.nodes, pending{n, in, p.anchor, p.before})
	return out
}

// Initializer adds a constant under a fresh name near the one given.
func (p *Patch) Initializer(name string, d Data) *Value {
	v := p.graph.NewValue(p.names.Fresh(name), nil)
	v.Data = d
	p.own[v] = true
	p.inits = append(p.inits, v)
	return v
}

// Redirect makes everything that reads old, the graph's outputs included,
// read v; the patch's own nodes keep reading old.
func (p *Patch) Redirect(old, v *Value) {
	p.redirect = append(p.redirect, redirect{old, v, false})
}

// TakeOver is Redirect where v also takes old's name and type, so that names
// seen from outside stay; old gets a fresh name.
func (p *Patch) TakeOver(old, v *Value) {
	p.redirect = append(p.redirect, redirect{old, v, true})
}

// SetInput makes input i of an existing node read v.
func (p *Patch) SetInput(n *Node, i int, v *Value) {
	p.replaced = append(p.replaced, input{n, i, v})
}

// Remove takes a node out; after the redirects nothing may use its outputs.
func (p *Patch) Remove(n *Node) { p.removed = append(p.removed, n) }

// Apply makes the edit, or returns an error and leaves the graph as it was.
func (p *Patch) Apply() error {
	if err := p.check(); err != nil {
		return err
	}
	last := map[*Node]*Node{} // the node after which the next of an After group goes
	for _, q := range p.nodes {
		for i, v := range q.inputs {
			q.node.SetInput(i, v)
		}
		switch {
		case q.anchor == nil:
			p.graph.Append(q.node)
		case q.before:
			p.graph.InsertBefore(q.node, q.anchor)
		default:
			at := q.anchor
			if l := last[at]; l != nil {
				at = l
			}
			p.graph.InsertAfter(q.node, at)
			last[q.anchor] = q.node
		}
	}
	p.graph.Initializers = append(p.graph.Initializers, p.inits...)
	for _, r := range p.redirect {
		p.applyRedirect(r)
	}
	for _, r := range p.replaced {
		r.node.SetInput(r.index, r.value)
	}
	for _, n := range p.removed {
		p.graph.Remove(n)
	}
	return nil
}

func (p *Patch) applyRedirect(r redirect) {
	for _, u := range slices.Clone(r.from.uses) {
		if !p.isNew(u.Node) {
			u.Node.SetInput(u.Index, r.to)
		}
	}
	for i, v := range p.graph.Outputs {
		if v == r.from {
			p.graph.Outputs[i] = r.to
		}
	}
	if !r.takeName {
		return
	}
	name := r.from.Name
	r.from.Name = p.names.Fresh(name + "_base")
	r.to.Name = name
	r.to.Type, r.to.Doc, r.to.Metadata, r.to.Extra = r.from.Type, r.from.Doc, r.from.Metadata, r.from.Extra
	r.from.Type, r.from.Doc, r.from.Metadata, r.from.Extra = nil, "", nil, nil
	for i, v := range p.graph.Annotated {
		if v == r.from {
			p.graph.Annotated[i] = r.to
		}
	}
}

func (p *Patch) isNew(n *Node) bool {
	return slices.ContainsFunc(p.nodes, func(q pending) bool { return q.node == n })
}

func (p *Patch) check() error {
	for _, q := range p.nodes {
		if q.anchor != nil && q.anchor.graph != p.graph {
			return fmt.Errorf("patch: %v is placed at %v, which is not in the graph", q.node, q.anchor)
		}
		for _, v := range q.inputs {
			if v != nil && !p.visible(v) {
				return fmt.Errorf("patch: %v reads %q, which is not in the graph", q.node, v.Name)
			}
		}
	}
	for _, r := range p.redirect {
		if !p.visible(r.from) || !p.visible(r.to) {
			return fmt.Errorf("patch: redirect of %q to %q: not in the graph", r.from.Name, r.to.Name)
		}
	}
	for _, r := range p.replaced {
		if r.node.graph == nil || r.index >= len(r.node.inputs) || !p.visible(r.value) {
			return fmt.Errorf("patch: input %d of %v cannot be set", r.index, r.node)
		}
	}
	return p.checkRemovals()
}

func (p *Patch) checkRemovals() error {
	gone := map[*Node]bool{}
	for _, n := range slices.Backward(p.removed) {
		if n.graph != p.graph || gone[n] {
			return fmt.Errorf("patch: %v is not in the graph", n)
		}
		gone[n] = true
	}
	moved := map[*Value]bool{}
	for _, r := range p.redirect {
		moved[r.from] = true
	}
	set := map[Use]bool{}
	for _, r := range p.replaced {
		set[Use{r.node, r.index}] = true
	}
	for n := range gone {
		for _, v := range n.outputs {
			if v == nil || moved[v] {
				continue
			}
			left := v.IsOutput() || slices.ContainsFunc(v.uses, func(u Use) bool { return !gone[u.Node] && !set[u] })
			if left {
				return fmt.Errorf("patch: %v cannot go: %q is used", n, v.Name)
			}
		}
	}
	return nil
}

// visible reports whether v is the patch's own or a value of the graph or of
// one around it.
func (p *Patch) visible(v *Value) bool {
	if p.own[v] {
		return true
	}
	for g := p.graph; g != nil; {
		if v.graph == g {
			return true
		}
		if g.parent == nil {
			return false
		}
		g = g.parent.graph
	}
	return false
}
