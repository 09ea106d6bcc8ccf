package ir

import (
	"fmt"
	"slices"
)

// A Node is one application of an operator.
type Node struct {
	Name     string
	OpType   string
	Domain   string
	Overload string
	Doc      string
	Attrs    []*Attr
	Metadata Metadata
	Extra    any

	// Tag groups nodes for passes inside the runtime (recomputed nodes, say);
	// it is not written to files.
	Tag string

	inputs     []*Value // nil where an optional input is left out
	usePos     []int    // position of input i in inputs[i].uses
	outputs    []*Value // nil where an optional output is left out
	graph      *Graph
	prev, next *Node
}

// Graph is the graph that the node is in, nil before insertion and after removal.
func (n *Node) Graph() *Graph { return n.graph }

// Inputs are the values read; nil entries are inputs left out. Do not change
// the slice: SetInput keeps use lists right.
func (n *Node) Inputs() []*Value { return n.inputs }

// Outputs are the values produced; nil entries are outputs left out.
func (n *Node) Outputs() []*Value { return n.outputs }

// Input is input i, nil where it is left out or beyond the end.
func (n *Node) Input(i int) *Value {
	if i < 0 || i >= len(n.inputs) {
		return nil
	}
	return n.inputs[i]
}

// Output is output i, nil where it is left out or beyond the end.
func (n *Node) Output(i int) *Value {
	if i < 0 || i >= len(n.outputs) {
		return nil
	}
	return n.outputs[i]
}

// Prev and Next walk the graph's list.
func (n *Node) Prev() *Node { return n.prev }

// Next is the following node, nil at the end.
func (n *Node) Next() *Node { return n.next }

// Attr finds an attribute by name, nil where absent.
func (n *Node) Attr(name string) *Attr {
	for _, a := range n.Attrs {
		if a.Name == name {
			return a
		}
	}
	return nil
}

// SetAttr replaces or appends an attribute.
func (n *Node) SetAttr(name string, v AttrValue) {
	if a := n.Attr(name); a != nil {
		*a = Attr{Name: name, Value: v, Doc: a.Doc}
		return
	}
	n.Attrs = append(n.Attrs, &Attr{Name: name, Value: v})
}

// RemoveAttr removes an attribute where present.
func (n *Node) RemoveAttr(name string) {
	n.Attrs = slices.DeleteFunc(n.Attrs, func(a *Attr) bool { return a.Name == name })
}

// SetInput makes input i read v (nil leaves it out), growing the list where
// i is one past its end.
func (n *Node) SetInput(i int, v *Value) {
	if i == len(n.inputs) {
		n.inputs = append(n.inputs, nil)
		n.usePos = append(n.usePos, 0)
	}
	if old := n.inputs[i]; old != nil {
		old.dropUse(n, i)
	}
	n.inputs[i] = v
	if v != nil {
		v.addUse(n, i)
	}
}

// TruncateInputs keeps the first k inputs.
func (n *Node) TruncateInputs(k int) {
	for i := k; i < len(n.inputs); i++ {
		n.SetInput(i, nil)
	}
	n.inputs, n.usePos = n.inputs[:k], n.usePos[:k]
}

// SetOutput makes v, which must have no producer, output i of n, growing the
// list as needed; the value that was there loses its producer. nil leaves the
// output out.
func (n *Node) SetOutput(i int, v *Value) {
	for len(n.outputs) <= i {
		n.outputs = append(n.outputs, nil)
	}
	if old := n.outputs[i]; old != nil {
		old.producer, old.index = nil, 0
	}
	n.outputs[i] = v
	if v == nil {
		return
	}
	if v.producer != nil {
		panic("ir: SetOutput with a value that has a producer")
	}
	v.producer, v.index = n, i
	if n.graph != nil {
		v.graph = n.graph
	}
}

// TruncateOutputs drops outputs from k on; nothing may use them.
func (n *Node) TruncateOutputs(k int) {
	for i := k; i < len(n.outputs); i++ {
		n.SetOutput(i, nil)
	}
	n.outputs = n.outputs[:k]
}

// Subgraphs are the graphs in n's attributes, in order.
func (n *Node) Subgraphs() []*Graph {
	var subs []*Graph
	for _, a := range n.Attrs {
		switch v := a.Value.(type) {
		case GraphAttr:
			subs = append(subs, v.Graph)
		case GraphsAttr:
			subs = append(subs, v...)
		}
	}
	return subs
}

// Is reports whether n is that operator of the standard domain.
func (n *Node) Is(opType string) bool {
	return n != nil && n.OpType == opType && CanonicalDomain(n.Domain) == ""
}

// String names the node in messages: node "/layers.0/MatMul" (MatMul), or by
// its first output where it has no name.
func (n *Node) String() string {
	op := n.OpType
	if d := CanonicalDomain(n.Domain); d != "" {
		op = d + "." + op
	}
	if n.Name != "" {
		return fmt.Sprintf("node %q (%s)", n.Name, op)
	}
	for _, o := range n.outputs {
		if o != nil {
			return fmt.Sprintf("node of %q (%s)", o.Name, op)
		}
	}
	return fmt.Sprintf("unnamed node (%s)", op)
}

// NewNode makes a node that is in no graph yet, with inputs set and no outputs.
func NewNode(domain, opType string, inputs ...*Value) *Node {
	n := &Node{Domain: domain, OpType: opType}
	for i, v := range inputs {
		n.SetInput(i, v)
	}
	return n
}
