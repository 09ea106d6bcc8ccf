package ir

import (
	"iter"
	"slices"
)

// A Graph is a list of nodes in topological order with its inputs, outputs
// and initializers. A sub-graph may use values of the graphs around it.
type Graph struct {
	Name     string
	Doc      string
	Metadata Metadata
	// Inputs in order. An initializer that is also listed here is a default
	// that the caller may replace.
	Inputs []*Value
	// Outputs in order.
	Outputs []*Value
	// Initializers in file order; each has Data.
	Initializers []*Value
	// Annotated lists values that have a value_info entry, in file order.
	Annotated []*Value
	Extra     any

	first, last *Node
	count       int
	parent      *Node // the node whose attribute holds this graph
}

// NewGraph makes an empty graph.
func NewGraph(name string) *Graph { return &Graph{Name: name} }

// Parent is the node whose attribute holds g, nil for a main graph or a
// function's body. SetParent is for whoever attaches g to a node.
func (g *Graph) Parent() *Node { return g.parent }

// SetParent records the node whose attribute holds g.
func (g *Graph) SetParent(n *Node) { g.parent = n }

// First is the first node, nil in an empty graph.
func (g *Graph) First() *Node { return g.first }

// Last is the last node, nil in an empty graph.
func (g *Graph) Last() *Node { return g.last }

// Len is the number of nodes.
func (g *Graph) Len() int { return g.count }

// Nodes walks the list in order. Any node may be removed, and nodes may be
// inserted anywhere, while walking; those inserted after the current node are
// visited. (A removed node keeps its links, so that a walk finds its way back.)
func (g *Graph) Nodes() iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		for n := g.first; n != nil; n = n.next {
			if n.graph == g && !yield(n) {
				return
			}
		}
	}
}

// Backward walks the list from its end, with the same freedom as Nodes.
func (g *Graph) Backward() iter.Seq[*Node] {
	return func(yield func(*Node) bool) {
		for n := g.last; n != nil; n = n.prev {
			if n.graph == g && !yield(n) {
				return
			}
		}
	}
}

// NewValue makes a value of g that nothing produces yet.
func (g *Graph) NewValue(name string, t Type) *Value {
	return &Value{Name: name, Type: t, graph: g}
}

// AddInput appends a graph input.
func (g *Graph) AddInput(name string, t Type) *Value {
	v := g.NewValue(name, t)
	g.Inputs = append(g.Inputs, v)
	return v
}

// AddInitializer appends an initializer.
func (g *Graph) AddInitializer(name string, d Data) *Value {
	v := g.NewValue(name, nil)
	v.Data = d
	g.Initializers = append(g.Initializers, v)
	return v
}

// RemoveInitializer takes v off the lists of initializers and inputs; nothing
// may use it.
func (g *Graph) RemoveInitializer(v *Value) {
	if len(v.uses) > 0 {
		panic("ir: RemoveInitializer of a used value")
	}
	drop := func(w *Value) bool { return w == v }
	g.Initializers = slices.DeleteFunc(g.Initializers, drop)
	g.Inputs = slices.DeleteFunc(g.Inputs, drop)
	g.Annotated = slices.DeleteFunc(g.Annotated, drop)
	v.graph = nil
}

// Append puts n, which must be in no graph, at the end.
func (g *Graph) Append(n *Node) { g.insert(n, g.last, nil) }

// InsertBefore puts n before at, or at the end where at is nil.
func (g *Graph) InsertBefore(n, at *Node) {
	if at == nil {
		g.Append(n)
		return
	}
	g.insert(n, at.prev, at)
}

// InsertAfter puts n after at, or at the front where at is nil.
func (g *Graph) InsertAfter(n, at *Node) {
	if at == nil {
		g.insert(n, nil, g.first)
		return
	}
	g.insert(n, at, at.next)
}

func (g *Graph) insert(n, prev, next *Node) {
	if n.graph != nil {
		panic("ir: insert of a node that is in a graph")
	}
	n.graph, n.prev, n.next = g, prev, next
	if prev == nil {
		g.first = n
	} else {
		prev.next = n
	}
	if next == nil {
		g.last = n
	} else {
		next.prev = n
	}
	for _, v := range n.outputs {
		if v != nil {
			v.graph = g
		}
	}
	for _, sub := range n.Subgraphs() {
		sub.parent = n
	}
	g.count++
}

// Move puts a node of g before at (at the end where at is nil).
func (g *Graph) Move(n, at *Node) {
	if n == at || n.next == at && at != nil {
		return
	}
	g.unlink(n)
	g.InsertBefore(n, at)
}

func (g *Graph) unlink(n *Node) {
	if n.prev == nil {
		g.first = n.next
	} else {
		n.prev.next = n.next
	}
	if n.next == nil {
		g.last = n.prev
	} else {
		n.next.prev = n.prev
	}
	n.graph = nil
	g.count--
}

// Remove takes n out and drops its uses of other values, those of nodes in its
// sub-graphs too. Nothing may use its outputs.
func (g *Graph) Remove(n *Node) {
	for _, v := range n.outputs {
		if v != nil && !v.Unused() {
			panic("ir: Remove of " + n.String() + ": output " + v.Name + " is used")
		}
	}
	for _, sub := range n.Subgraphs() {
		sub.release()
	}
	n.TruncateInputs(0)
	for _, v := range n.outputs {
		if v != nil {
			g.Annotated = slices.DeleteFunc(g.Annotated, func(w *Value) bool { return w == v })
			v.graph = nil
		}
	}
	g.unlink(n)
}

// release drops the uses that g's nodes make of any value.
func (g *Graph) release() {
	for n := range g.Nodes() {
		for i := range n.inputs {
			n.SetInput(i, nil)
		}
		for _, sub := range n.Subgraphs() {
			sub.release()
		}
	}
}

func (g *Graph) hasInput(v *Value) bool  { return slices.Contains(g.Inputs, v) }
func (g *Graph) hasOutput(v *Value) bool { return slices.Contains(g.Outputs, v) }

// Index maps the names of all values of g (not of its sub-graphs) to them.
func (g *Graph) Index() map[string]*Value {
	idx := make(map[string]*Value)
	for _, list := range [][]*Value{g.Inputs, g.Initializers} {
		for _, v := range list {
			idx[v.Name] = v
		}
	}
	for n := range g.Nodes() {
		for _, v := range n.outputs {
			if v != nil {
				idx[v.Name] = v
			}
		}
	}
	return idx
}

// Prune removes nodes none of whose outputs is used, from the end, and then,
// where initializers is set, initializers that nothing uses and that are not
// inputs. It returns how many nodes and initializers went. keep, which may be
// nil, spares nodes.
func (g *Graph) Prune(initializers bool, keep func(*Node) bool) int {
	removed := 0
	out := make(map[*Value]bool, len(g.Outputs))
	for _, v := range g.Outputs {
		out[v] = true
	}
	for n := range g.Backward() {
		used := slices.ContainsFunc(n.outputs, func(v *Value) bool {
			return v != nil && (len(v.uses) > 0 || out[v])
		})
		if used || keep != nil && keep(n) {
			continue
		}
		g.Remove(n)
		removed++
	}
	if !initializers {
		return removed
	}
	in := make(map[*Value]bool, len(g.Inputs))
	for _, v := range g.Inputs {
		in[v] = true
	}
	before := len(g.Initializers)
	g.Initializers = slices.DeleteFunc(g.Initializers, func(v *Value) bool {
		return len(v.uses) == 0 && !in[v] && !out[v]
	})
	return removed + before - len(g.Initializers)
}
