package onnxgo

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	gorgonia "gorgonia.org/tensor"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// A leaf is a value that no operation makes, and what it was compiled as.
type leaf struct {
	node *Node
	// rivals are all such nodes of its name. A value_info that repeats an
	// input makes a second one, which operations then take in, while
	// Model.SetInput sets the first.
	rivals []*Node
	name   string // of the graph's value
	fed    bool   // an input: its tensor is read at every run

	from *Node // of constants: the node that had the tensor
	at   int   // of constants: when it was set

	elem tensor.DType // of inputs
	rank int          // of inputs
}

// source is the node whose tensor counts: the one set last.
func (l *leaf) source() *Node {
	from := l.node
	for _, n := range l.rivals {
		if n.value != nil && (from.value == nil || n.setAt > from.setAt) {
			from = n
		}
	}
	return from
}

// program is the compiled form of a backend's notes.
type program struct {
	compiled *runtime.Program
	session  *runtime.Session
	leaves   []leaf
	results  []*Node // of each output
}

// irVersion suits the opset up to which onnx-go reads files, and lets
// initializers be constants.
const irVersion = 8

// A compiler makes a graph of a backend's notes.
type compiler struct {
	b      *Backend
	model  *ir.Model
	names  map[string]bool
	values map[*Node]*ir.Value
	used   map[*Node]bool     // taken in by some operation
	rivals map[string][]*Node // by name, nodes that no operation makes
	leaves []leaf
}

// compile makes a program of the notes as they are now.
func (b *Backend) compile() (*program, error) {
	c := &compiler{b: b, names: map[string]bool{}, values: map[*Node]*ir.Value{}, used: map[*Node]bool{}, rivals: map[string][]*Node{}}
	c.model = &ir.Model{IRVersion: irVersion, ProducerName: "onnx-go", Graph: ir.NewGraph("onnx-go")}
	c.model.SetOpset("", b.opset)
	for _, n := range b.nodes {
		if n.named && !n.made {
			c.rivals[n.name] = append(c.rivals[n.name], n)
		}
	}
	for i, op := range b.calls {
		if err := c.call(i, op); err != nil {
			return nil, err
		}
	}
	p := &program{leaves: c.leaves, results: c.outputs()}
	var err error
	if p.compiled, err = runtime.Compile(c.model, runtime.Options{Set: b.set, Threads: b.threads}); err != nil {
		return nil, err
	}
	if p.session, err = p.compiled.NewSession(); err != nil {
		p.compiled.Close()
		return nil, err
	}
	return p, nil
}

// gather reads the tensors of the inputs. ok is false where the program no
// longer fits: a constant was set anew, or an input has another rank or type.
func (p *program) gather(begun int) (feeds map[string]*tensor.Tensor, ok bool, err error) {
	feeds = map[string]*tensor.Tensor{}
	for i := range p.leaves {
		l := &p.leaves[i]
		from := l.source()
		if from.setAt > begun != l.fed || !l.fed && (from != l.from || from.setAt != l.at) {
			return nil, false, nil
		}
		if !l.fed {
			continue
		}
		t, err := from.read()
		if err != nil {
			return nil, false, fmt.Errorf("%v: %w", l.node, err)
		}
		if t.DType() != l.elem || t.Rank() != l.rank {
			return nil, false, nil
		}
		feeds[l.name] = t
	}
	return feeds, true, nil
}

// call appends one operation.
func (c *compiler) call(i int, op *call) error {
	n := ir.NewNode("", op.Name)
	n.Name = fmt.Sprintf("%s_%d", op.Name, i)
	if err := attributes(n, op.Attributes); err != nil {
		return fmt.Errorf("%v: %w", n, err)
	}
	in, err := c.inputs(op)
	if err != nil {
		return fmt.Errorf("%v: %w", n, err)
	}
	for p, v := range in {
		n.SetInput(p, v)
	}
	for p, to := range op.out {
		if to.absent() {
			continue
		}
		v := c.values[to]
		if v == nil {
			v = c.value(to)
		}
		n.SetOutput(p, v)
	}
	if len(n.Outputs()) > 0 {
		c.model.Graph.Append(n)
	}
	return nil
}

// inputs are the values that an operation takes in, by position, those that
// the file leaves out at the end cut off. For a node without inputs onnx-go
// makes one up.
func (c *compiler) inputs(op *call) ([]*ir.Value, error) {
	nodes := c.b.linked(op)
	if len(nodes) == 1 && !nodes[0].made && nodes[0].value == nil && strings.HasSuffix(nodes[0].name, "/input") {
		return nil, nil
	}
	for len(nodes) > 0 && nodes[len(nodes)-1].absent() {
		nodes = nodes[:len(nodes)-1]
	}
	in := make([]*ir.Value, len(nodes))
	for p, n := range nodes {
		var err error
		if in[p], err = c.take(n); err != nil {
			return nil, fmt.Errorf("input %d: %w", p, err)
		}
	}
	return in, nil
}

// linked are the nodes that an operation takes in. All that it makes are
// linked to them; the node for outputs left out is so for many operations.
func (b *Backend) linked(op *call) []*Node {
	for _, to := range op.out {
		if to.absent() {
			continue
		}
		var in []*Node
		for n := b.links[link{to.id, 0}]; n != nil; n = b.links[link{to.id, len(in)}] {
			in = append(in, n)
		}
		return in
	}
	return nil
}

// take is the value of a node that an operation takes in, nil where the
// operation does without.
func (c *compiler) take(n *Node) (*ir.Value, error) {
	if n.absent() {
		return nil, nil
	}
	c.used[n] = true
	if v := c.values[n]; v != nil {
		return v, nil
	}
	if n.made {
		return c.value(n), nil
	}
	return c.leaf(n)
}

// leaf makes an input or constant of a node that no operation makes. It is an
// input where its tensor was set after the file was decoded.
func (c *compiler) leaf(n *Node) (*ir.Value, error) {
	l := leaf{node: n, name: c.fresh(n)}
	if n.named {
		l.rivals = c.rivals[n.name]
	}
	l.from = l.source()
	t, err := l.from.read()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", n, err)
	}
	l.at, l.fed = l.from.setAt, l.from.setAt > c.b.begun
	l.elem, l.rank = t.DType(), t.Rank()
	var v *ir.Value
	if l.fed {
		v = c.model.Graph.AddInput(l.name, ir.Tensor(l.elem, make([]ir.Dim, l.rank)...))
	} else {
		v = c.model.Graph.AddInitializer(l.name, ir.Dense(t))
	}
	c.values[n] = v
	c.leaves = append(c.leaves, l)
	return v, nil
}

// value makes the value of a node.
func (c *compiler) value(n *Node) *ir.Value {
	v := c.model.Graph.NewValue(c.fresh(n), unknown())
	c.values[n] = v
	return v
}

// fresh is the node's name, or another where that is empty or taken.
func (c *compiler) fresh(n *Node) string {
	name := n.name
	for i := n.id; name == "" || c.names[name]; i++ {
		name = fmt.Sprintf("%s#%d", n.name, i)
	}
	c.names[name] = true
	return name
}

// outputs chooses the graph's outputs. onnx-go does not tell; they are among
// the values that no operation takes in, and those of them that are an
// operation's first result or that the file declares (before any edge came)
// are computed always, others when asked for.
func (c *compiler) outputs() []*Node {
	var out []*Node
	for _, op := range c.b.calls {
		for p, n := range op.out {
			end := !c.used[n] && (p == 0 || n.early)
			if v := c.values[n]; v != nil && !n.absent() && (end || c.b.wanted[n]) {
				c.model.Graph.Outputs = append(c.model.Graph.Outputs, v)
				out = append(out, n)
			}
		}
	}
	return out
}

// attributes copies an operation's attributes, in the order of their names.
func attributes(n *ir.Node, from map[string]any) error {
	for _, name := range slices.Sorted(maps.Keys(from)) {
		v, err := attribute(from[name])
		if err != nil {
			return fmt.Errorf("attribute %q: %w", name, err)
		}
		if v != nil {
			n.SetAttr(name, v)
		}
	}
	return nil
}

// attribute is an attribute's value, nil for one without a type.
func attribute(x any) (ir.AttrValue, error) {
	switch x := x.(type) {
	case struct{}:
		return nil, nil
	case float32:
		return ir.Float(x), nil
	case int64:
		return ir.Int(x), nil
	case string:
		return ir.String(x), nil
	case []float32:
		return ir.Floats(x), nil
	case []int64:
		return ir.Ints(x), nil
	case []string:
		return ir.Strings(x), nil
	case gorgonia.Tensor:
		t, err := toTensor(x)
		if err != nil {
			return nil, err
		}
		return ir.TensorAttr{Data: ir.Dense(t)}, nil
	}
	return nil, fmt.Errorf("a value of type %T", x)
}

// unknown is the type of a value of which onnx-go tells nothing that could be
// relied on: it drops the symbolic extents of a shape, so that the rest seems
// to be all of it.
func unknown() ir.Type { return &ir.TensorType{} }
