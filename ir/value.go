package ir

// A Value is what a node produces, a graph takes in, or an initializer holds.
// Nodes point at values; names matter only when a file is read or written.
type Value struct {
	Name     string
	Type     Type // nil where the file says nothing
	Doc      string
	Metadata Metadata
	Data     Data // of an initializer, else nil
	Extra    any

	graph    *Graph
	producer *Node
	index    int
	uses     []Use
}

// A Use is one input slot of a node.
type Use struct {
	Node  *Node
	Index int
}

// Graph is the graph that the value belongs to.
func (v *Value) Graph() *Graph { return v.graph }

// Producer is the node that computes v, nil for inputs and initializers.
func (v *Value) Producer() *Node { return v.producer }

// Index is v's position among its producer's outputs.
func (v *Value) Index() int { return v.index }

// Uses are the input slots that read v, those of nodes in sub-graphs
// included. The slice is v's own: do not change it, and copy it before
// changing the graph.
func (v *Value) Uses() []Use { return v.uses }

// IsInitializer reports whether v holds a constant of the file.
func (v *Value) IsInitializer() bool { return v.Data != nil && v.producer == nil }

// IsInput reports whether v is an input of its graph (an initializer may be).
func (v *Value) IsInput() bool { return v.graph != nil && v.graph.hasInput(v) }

// IsOutput reports whether v is an output of its graph.
func (v *Value) IsOutput() bool { return v.graph != nil && v.graph.hasOutput(v) }

// Unused reports whether nothing reads v.
func (v *Value) Unused() bool { return len(v.uses) == 0 && !v.IsOutput() }

// TensorType is v's type where it is a tensor, else nil.
func (v *Value) TensorType() *TensorType {
	t, _ := v.Type.(*TensorType)
	return t
}

// ReplaceUses makes every node that reads v, in any graph, read w instead.
// Graph outputs stay.
func (v *Value) ReplaceUses(w *Value) {
	for len(v.uses) > 0 {
		u := v.uses[len(v.uses)-1]
		u.Node.SetInput(u.Index, w)
	}
}

func (v *Value) addUse(n *Node, i int) {
	n.usePos[i] = len(v.uses)
	v.uses = append(v.uses, Use{n, i})
}

// dropUse removes a use in constant time: the last one takes its place.
func (v *Value) dropUse(n *Node, i int) {
	pos, last := n.usePos[i], len(v.uses)-1
	moved := v.uses[last]
	v.uses[pos] = moved
	moved.Node.usePos[moved.Index] = pos
	v.uses = v.uses[:last]
}
