package extent

import (
	"errors"
	"fmt"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// A place is where the samples of the batch are in a value.
type place struct {
	kind kind
	// axis, of rows: its extent is samples*m, sample by sample. What is m rows
	// of one sample is, with a batch of one, the whole value.
	axis int
}

type kind uint8

const (
	free  kind = iota // the same whatever the batch
	rows              // one part per sample along an axis
	count             // computed from the number of samples alone, as shapes are
)

// A world is a graph that is being changed: the model itself, or the canonical
// copy in which samples are traced. Every change is made in both.
type world struct {
	model  *ir.Model
	names  *ir.Names
	visit  func(*ir.Node) error // new nodes
	number *ir.Value            // the number of samples, a vector of one
	ints   map[string]*ir.Value
}

func newWorld(m *ir.Model, visit func(*ir.Node) error) *world {
	return &world{model: m, names: ir.NewNames(m), visit: visit, ints: map[string]*ir.Value{}}
}

// tracer follows the samples through a canonical copy of a model.
type tracer struct {
	was      int64 // the batch that the file has
	copies   bool  // see traced
	an       *ops.Analysis
	places   map[*ir.Value]place
	traced   *world
	original *world
	// What values and nodes of the traced copy stand for in the file.
	values  map[*ir.Value]*ir.Value
	nodes   map[*ir.Node]*ir.Node
	changed []string
}

// newTracer readies m, whose batch inputs have the extent samples.
func newTracer(m *ir.Model, set *ops.Set, was int64) (*tracer, error) {
	c, err := ops.Canonical(m)
	if err != nil {
		return nil, err
	}
	forget(c)
	t := &tracer{was: was, places: map[*ir.Value]place{}, original: newWorld(m, nil),
		values: map[*ir.Value]*ir.Value{}, nodes: map[*ir.Node]*ir.Node{}}
	t.traced = newWorld(c, t.node)
	// An analysis of the inputs and initializers alone: nodes are shown to it
	// one by one, once they are as they should be.
	bare := *c
	bare.Graph = &ir.Graph{Inputs: c.Graph.Inputs, Initializers: c.Graph.Initializers}
	if t.an, err = set.Analyze(&bare, ops.AnalyzeOptions{}); err != nil {
		return nil, err
	}
	for _, v := range c.Graph.Inputs {
		if axis, ok := onlyRows(t.an.Fact(v).Dims); ok && axis >= 0 {
			t.places[v] = place{rows, axis}
		}
	}
	t.pair(c.Graph, m.Graph)
	return t, nil
}

// pair finds for the nodes and values of a traced graph those that they stand
// for, by the names of values, and likewise in sub-graphs.
func (t *tracer) pair(traced, original *ir.Graph) {
	index := original.Index()
	for name, v := range traced.Index() {
		w := index[name]
		if w == nil {
			continue
		}
		t.values[v] = w
		n, p := v.Producer(), w.Producer()
		if n == nil || p == nil || n.OpType != p.OpType {
			continue
		}
		t.nodes[n] = p
		subs := p.Subgraphs()
		for i, g := range n.Subgraphs() {
			if i < len(subs) {
				t.pair(g, subs[i])
			}
		}
	}
}

// run traces the whole graph and checks its outputs.
func (t *tracer) run() error {
	g := t.traced.model.Graph
	for n := range g.Nodes() {
		if err := t.node(n); err != nil {
			return err
		}
	}
	for _, v := range g.Outputs {
		f, p := t.an.Fact(v), t.places[v]
		switch {
		case p.kind == rows && p.axis == 0 && ops.SameDim(f.Dims[0], ir.Symbol(samples)):
		case p.kind == free:
			return fmt.Errorf("output %q, from %v, does not depend on the inputs with a batch", v.Name, v.Producer())
		default:
			return fmt.Errorf("output %q, from %v, is %v: its first axis is not the batch alone", v.Name, v.Producer(), f)
		}
	}
	return nil
}

// node infers a node's outputs and finds where the samples are in them. It
// knows the node already where a change made it.
func (t *tracer) node(n *ir.Node) error {
	c := &call{tracer: t, n: n}
	p, err := c.trace()
	if err != nil {
		if strings.HasPrefix(err.Error(), n.String()+":") {
			return err // package ops names the node already
		}
		return fmt.Errorf("%v: %w", n, err)
	}
	for i, v := range n.Outputs() {
		if v == nil {
			continue
		}
		if c.each != nil {
			p = c.each[i]
		}
		if p.kind == rows && !t.isRows(v, p.axis) {
			return fmt.Errorf("%v: shape inference gives %v for output %q, where axis %d should be the batch", n, t.an.Fact(v), v.Name, p.axis)
		}
		t.places[v] = p
	}
	return nil
}

func (t *tracer) isRows(v *ir.Value, axis int) bool {
	found, ok := onlyRows(t.an.Fact(v).Dims)
	return ok && found == axis
}

// A call is one node being traced.
type call struct {
	*tracer
	n    *ir.Node
	each []place // of the outputs, where they differ
}

// trace applies what is known of the node's operator.
func (c *call) trace() (place, error) {
	if len(c.n.Subgraphs()) > 0 {
		return c.subgraphs()
	}
	r, known := rules[operator(c.n)]
	if c.copies && r.fills {
		if err := c.copy(r.shape); err != nil {
			return place{}, err
		}
	}
	var at [3]int // inputs of each kind
	for i := range c.n.Inputs() {
		at[c.place(i).kind]++
	}
	if at[rows] == 0 && (at[count] == 0 || !r.fills) {
		return c.still()
	}
	if !known {
		return place{}, errors.New("it is not known to treat each sample alone")
	}
	for i := range c.n.Inputs() {
		if c.place(i).kind == count && !(r.shape > 0 && i == r.shape) && !r.fills {
			return place{}, fmt.Errorf("its input %d depends on the number of samples", i)
		}
	}
	if r.fix != nil {
		if err := r.fix(c); err != nil {
			return place{}, err
		}
	}
	if err := c.infer(); err != nil {
		return place{}, err
	}
	return r.trace(c)
}

// infer finds the facts of the outputs.
func (c *call) infer() error {
	if err := c.an.Node(c.n); err != nil {
		return err
	}
	for _, v := range c.n.Outputs() {
		if v != nil {
			f := c.an.Fact(v)
			f.Dims, f.Elems = normal(f.Dims), normal(f.Elems)
			c.an.Set(v, f)
		}
	}
	return nil
}

// still is for nodes that see no sample: what they compute is the same for
// all, or depends on their number.
func (c *call) still() (place, error) {
	if err := c.infer(); err != nil {
		return place{}, err
	}
	for _, v := range c.n.Outputs() {
		if v != nil && c.counts(v) {
			return place{kind: count}, nil
		}
	}
	return place{}, nil
}

// counts reports whether a result that no sample went into depends on how many
// there are.
func (c *call) counts(v *ir.Value) bool {
	f := c.an.Fact(v)
	if elems, ok := f.Extents(); ok && f.Rank() <= 1 {
		known := true
		for _, d := range elems {
			if mentions(d) {
				return true
			}
			known = known && (d.Known || d.Sym != "")
		}
		if known {
			return false
		}
	}
	for i := range c.n.Inputs() {
		if c.place(i).kind == count {
			return true
		}
	}
	for _, d := range f.Dims {
		if mentions(d) {
			return true
		}
	}
	return false
}

func (c *call) place(i int) place {
	if v := c.n.Input(i); v != nil {
		return c.places[v]
	}
	return place{}
}

func (c *call) fact(i int) ops.Fact { return c.an.Fact(c.n.Input(i)) }
func (c *call) out() ops.Fact       { return c.an.Fact(c.n.Output(0)) }

// onlyInputs demands that no inputs but those carry samples.
func (c *call) onlyInputs(allowed ...int) error {
	for i := range c.n.Inputs() {
		ok := c.place(i).kind != rows
		for _, j := range allowed {
			ok = ok || i == j
		}
		if !ok {
			return fmt.Errorf("its input %d is of the samples", i)
		}
	}
	return nil
}

// int is an attribute that is a number.
func (c *call) int(name string, otherwise int64) int64 {
	if a := c.n.Attr(name); a != nil {
		if v, ok := a.Value.(ir.Int); ok {
			return int64(v)
		}
	}
	return otherwise
}

// axis is an attribute that is an axis of a value of that rank.
func (c *call) axis(name string, otherwise int64, rank int) int {
	a := int(c.int(name, otherwise))
	if a < 0 {
		a += rank
	}
	return a
}

// operator is the key of a node's operator in the tables.
func operator(n *ir.Node) string {
	if d := ir.CanonicalDomain(n.Domain); d != "" {
		return d + "." + n.OpType
	}
	return n.OpType
}

// intsOf are the elements of a constant vector of integers of any width.
func (c *call) intsOf(i int) ([]int, bool) {
	f := c.fact(i)
	if f.DType == tensor.Undefined {
		return nil, false
	}
	return f.Ints()
}
