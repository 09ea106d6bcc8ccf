package ir

import (
	"strconv"

	"github.com/bonnx/bonnx/tensor"
)

// A Builder appends nodes to a graph at one place. Its first error sticks;
// after it, calls still return values, so that a caller checks Err once.
type Builder struct {
	Graph *Graph
	// Before is the node that new nodes go before; nil is the graph's end.
	Before *Node
	// Prefix starts the names of new nodes and values.
	Prefix string
	// Tag is given to new nodes.
	Tag string
	// OnNode, where set, sees each node after insertion (to infer facts, say).
	OnNode func(*Node) error

	names *Names
	err   error
}

// NewBuilder builds at the end of g, with names from s.
func NewBuilder(g *Graph, s *Names) *Builder { return &Builder{Graph: g, names: s} }

// Names is the authority that the builder takes names from.
func (b *Builder) Names() *Names { return b.names }

// Err is the first error.
func (b *Builder) Err() error { return b.err }

// Fail records err where it is the first.
func (b *Builder) Fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// A makes an attribute; In a list of inputs. Both only make calls readable.
func A(name string, v AttrValue) *Attr { return &Attr{Name: name, Value: v} }

// In is its arguments as a slice.
func In(v ...*Value) []*Value { return v }

// Op adds a node of the standard domain with one output.
func (b *Builder) Op(opType string, in []*Value, attrs ...*Attr) *Value {
	return b.Node("", opType, in, 1, attrs...)[0]
}

// Node adds a node with the given number of outputs.
func (b *Builder) Node(domain, opType string, in []*Value, outputs int, attrs ...*Attr) []*Value {
	n := NewNode(domain, opType, in...)
	n.Name = b.names.Fresh(b.Prefix + opType)
	n.Attrs = attrs
	n.Tag = b.Tag
	for i := range outputs {
		n.SetOutput(i, b.Graph.NewValue(b.names.Fresh(n.Name+"_output_"+strconv.Itoa(i)), nil))
	}
	b.Graph.InsertBefore(n, b.Before)
	if b.OnNode != nil && b.err == nil {
		b.Fail(b.OnNode(n))
	}
	return n.outputs
}

// Const adds an initializer.
func (b *Builder) Const(name string, t *tensor.Tensor) *Value {
	return b.Graph.AddInitializer(b.names.Fresh(b.Prefix+name), Dense(t))
}

// Ints adds an int64 vector as an initializer.
func (b *Builder) Ints(v ...int) *Value { return b.Const("ints", tensor.Ints(v...)) }
