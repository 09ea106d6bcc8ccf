package train

import (
	"fmt"
	"math"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// A prefix is the part of a graph that gives the same for a sample whenever it
// comes: it depends on no trained parameter and on nothing random. It is found
// as a least cut: what is outside of it is computed in every step, at the
// price of its work, and what the outside reads of it is kept, at the price of
// its bytes.
type prefix struct {
	values []*ir.Value // what the outside reads, in the graph's order
	nodes  int         // how many are inside
	all    int         // of how many that the loss needs
	saved  float64     // the share of the forward pass that is inside
	open   float64     // the share that depends on nothing trained
	why    string      // of a value that could not be kept, for people
}

// origin is what a value depends on.
type origin uint8

const (
	ofShapes  origin = iota // shapes and constants
	ofData                  // the batch
	ofTrained               // a trained parameter, or random numbers
)

// worthwhile is the least share of the forward pass that a prefix has to save.
const worthwhile = 0.05

// workForBytes is how many times its share of the work a prefix gives up of
// its bytes: a tenth of the work is worth all bytes.
const workForBytes = 10

// cutter looks for the prefix. How a value lies in a batch is seen from its
// shape for several samples and for one.
type cutter struct {
	g         *graph
	many, one *ops.Analysis
	rows      int // samples in many
	trained   map[*ir.Value]bool
	live      []*ir.Node // what the loss needs, in order
	origin    map[*ir.Value]origin
	read      map[*ir.Value][]*ir.Node // by live nodes, their sub-graphs among them
	work      map[*ir.Node]float64
}

// example is a batch of some samples, and one with the first of them alone. With
// a single sample they are the same, and values need no axis of samples.
type example struct {
	many, one Batch
	rows      int // samples in many
}

// newExample is an example of a batch of rows samples.
func newExample(b Batch, rows int) *example {
	x := &example{many: b, one: b, rows: rows}
	if rows == 1 {
		return x
	}
	x.one.Feeds = map[string]*tensor.Tensor{}
	for name, t := range b.Feeds {
		if x.isRows(t) {
			t = gather(t, []int{0})
		}
		x.one.Feeds[name] = t
	}
	return x
}

// isRows reports whether the first axis of an array of many is that of samples.
func (x *example) isRows(t *tensor.Tensor) bool {
	return t != nil && t.Rank() > 0 && t.Shape()[0] == x.rows
}

// findPrefix finds the prefix of a graph that has its loss.
func findPrefix(g *graph, set *ops.Set, x *example) (*prefix, error) {
	c := &cutter{g: g, rows: x.rows, trained: map[*ir.Value]bool{}, origin: map[*ir.Value]origin{},
		read: map[*ir.Value][]*ir.Node{}, work: map[*ir.Node]float64{}}
	for _, p := range g.params {
		c.trained[p.value] = true
	}
	var err error
	if c.many, err = c.analyze(set, x.many); err != nil {
		return nil, err
	}
	if c.one, err = c.analyze(set, x.one); err != nil {
		return nil, err
	}
	c.findLive()
	for _, n := range c.live {
		c.trace(n)
	}
	return c.find(), nil
}

// analyze infers the graph's facts for a batch.
func (c *cutter) analyze(set *ops.Set, b Batch) (*ops.Analysis, error) {
	in := map[string]ops.Fact{}
	for name, t := range b.Feeds {
		in[name] = ops.Concrete(t.DType(), t.Shape()...)
	}
	return set.Analyze(c.g.model, ops.AnalyzeOptions{Inputs: in, Mutable: func(v *ir.Value) bool { return c.trained[v] }})
}

// needed are the values that the rest of a step reads of the forward pass.
func (c *cutter) needed() []*ir.Value { return []*ir.Value{c.g.loss.sum, c.g.loss.count} }

func (c *cutter) findLive() {
	need := map[*ir.Value]bool{}
	for _, v := range c.needed() {
		need[v] = true
	}
	for n := range c.g.b.Graph.Backward() {
		if !slices.ContainsFunc(n.Outputs(), func(v *ir.Value) bool { return need[v] }) {
			continue
		}
		c.live = append(c.live, n)
		reads(n, func(v *ir.Value) {
			if v != nil {
				need[v] = true
				c.read[v] = append(c.read[v], n)
			}
		})
	}
	slices.Reverse(c.live)
}

// trace finds what a node's outputs depend on, and its work.
func (c *cutter) trace(n *ir.Node) {
	of := ofShapes
	if c.draws(n) {
		of = ofTrained
	}
	reads(n, func(v *ir.Value) {
		if v != nil {
			of = max(of, c.of(v))
		}
	})
	if c.follows(n) {
		of = ofShapes
	}
	for _, v := range n.Outputs() {
		if v != nil {
			c.origin[v] = of
		}
	}
	if of != ofShapes {
		c.work[n] = c.estimate(n)
	}
}

// of is what a value depends on.
func (c *cutter) of(v *ir.Value) origin {
	switch {
	case c.trained[v]:
		return ofTrained
	case v.IsInput() && v.Data == nil:
		return ofData
	}
	return c.origin[v]
}

// follows reports whether all that a node computes follows from shapes.
func (c *cutter) follows(n *ir.Node) bool {
	for _, v := range n.Outputs() {
		if v == nil {
			continue
		}
		f := c.many.Fact(v)
		if _, ints := f.Ints(); f.Const == nil && !ints {
			return false
		}
	}
	return true
}

// draws reports whether a node, or one inside of it, draws random numbers.
func (c *cutter) draws(n *ir.Node) bool {
	const trainingMode = 2 // the input of Dropout
	op := c.g.b.Analysis.Op(n)
	if _, random := op.(ops.Random); random {
		return !n.Is("Dropout") || n.Input(trainingMode) != nil && !isFalse(c.many.Fact(n.Input(trainingMode)))
	}
	for _, sub := range n.Subgraphs() {
		for inner := range sub.Nodes() {
			if c.g.b.Analysis.Op(inner) == nil || c.draws(inner) {
				return true
			}
		}
	}
	return false
}

// isFalse reports whether a fact is of a constant false.
func isFalse(f ops.Fact) bool {
	t := f.Value()
	return t != nil && t.DType() == tensor.Bool && t.Size() == 1 && !tensor.Data[bool](t)[0]
}

// products are operators that multiply two operands along an axis; the work of
// others is what they read and write.
var products = map[string]bool{
	"Attention": true, "Bone": true, "CausalConvWithState": true, "Conv": true, "ConvInteger": true, "ConvTranspose": true,
	"DynamicQuantizeMatMul": true, "Einsum": true, "FlexAttention": true, "FusedGemm": true, "FusedMatMul": true, "GRU": true,
	"Gemm": true, "GroupQueryAttention": true, "LSTM": true, "LinearAttention": true, "MatMul": true, "MatMulInteger": true,
	"MatMulIntegerToFloat": true, "MatMulNBits": true, "MultiHeadAttention": true, "QAttention": true, "QLinearConv": true,
	"QLinearMatMul": true, "RNN": true,
}

// estimate is about how many operations a node takes. Of a product (m,k)(k,n)
// these are mkn, the root of the product of the three sizes.
func (c *cutter) estimate(n *ir.Node) float64 {
	var in []float64
	sum, out := 1.0, 0.0
	for _, v := range n.Inputs() {
		in = append(in, c.size(v))
		sum += c.size(v)
	}
	for _, v := range n.Outputs() {
		out = max(out, c.size(v))
		sum += c.size(v)
	}
	slices.Sort(in)
	if k := len(in); products[n.OpType] && k >= 2 {
		sum += math.Sqrt(in[k-1] * in[k-2] * out)
	}
	return sum
}

// size is how many elements a value has, 0 where that is not known.
func (c *cutter) size(v *ir.Value) float64 {
	s, _ := c.many.Fact(v).Shape()
	if s == nil {
		return 0
	}
	return float64(s.Size())
}

// bytes is what a value takes for one sample. It can be kept by samples where
// its first axis is theirs: what it has for several is that often what it has
// for one.
func (c *cutter) bytes(v *ir.Value) (int64, bool) {
	f := c.one.Fact(v)
	s, known := f.Shape()
	all, same := c.many.Fact(v).Shape()
	switch {
	case !known || !same || f.DType == tensor.String || f.DType == tensor.Undefined:
		return 0, false
	case c.rows == 1:
		return int64(f.DType.Size(s.Size())), true
	case len(s) == 0 || len(s) != len(all) || !s[1:].Equal(all[1:]) || all[0] != c.rows*s[0]:
		return 0, false
	}
	return int64(f.DType.Size(s.Size())), true
}

// find chooses the prefix: first the one that saves the most work, with the
// fewest bytes of those, then one for which giving up work has paid.
func (c *cutter) find() *prefix {
	var frozen, all float64
	for _, n := range c.live {
		all += c.work[n]
		if c.ofNode(n) == ofData {
			frozen += c.work[n]
		}
	}
	const much = 1 << 50 // against bytes
	most := c.cut(func(work float64) int64 { return int64(work/max(frozen, 1)*much) + 1 })
	saved, bytes := c.cost(most)
	best := c.cut(func(work float64) int64 { return int64(work/max(saved, 1)*workForBytes*float64(bytes)) + 1 })
	saved, _ = c.cost(best)
	p := &prefix{nodes: len(best), all: len(c.live), saved: saved / max(all, 1), open: frozen / max(all, 1)}
	for _, n := range c.live {
		for _, v := range n.Outputs() {
			if v != nil && c.crosses(v, best) {
				p.values = append(p.values, v)
			}
		}
	}
	p.why = c.obstacle()
	return p
}

// ofNode is what a node depends on.
func (c *cutter) ofNode(n *ir.Node) origin {
	for _, v := range n.Outputs() {
		if v != nil {
			return c.origin[v]
		}
	}
	return ofShapes
}

// crosses reports whether a value is made inside and read outside.
func (c *cutter) crosses(v *ir.Value, inside map[*ir.Node]bool) bool {
	if !inside[v.Producer()] {
		return false
	}
	outside := func(n *ir.Node) bool { return !inside[n] && c.ofNode(n) != ofShapes }
	return slices.Contains(c.needed(), v) || slices.ContainsFunc(c.read[v], outside)
}

// cost is the work inside, and the bytes that a sample's values take.
func (c *cutter) cost(inside map[*ir.Node]bool) (work float64, bytes int64) {
	for _, n := range c.live {
		if !inside[n] {
			continue
		}
		work += c.work[n]
		for _, v := range n.Outputs() {
			if v != nil && c.crosses(v, inside) {
				n, _ := c.bytes(v)
				bytes += n
			}
		}
	}
	return work, bytes
}

// cut is the least cut where a node outside costs the price of its work. What
// follows from shapes costs nothing on either side.
func (c *cutter) cut(price func(work float64) int64) map[*ir.Node]bool {
	net, at := newNetwork(), map[*ir.Node]int{}
	for _, n := range c.live {
		if c.ofNode(n) == ofData {
			at[n] = net.node()
			net.edge(source, at[n], price(c.work[n]))
		}
	}
	for _, n := range c.live {
		for _, v := range n.Outputs() {
			if v != nil && c.origin[v] == ofData {
				c.crossing(net, at, v)
			}
		}
	}
	side, inside := net.cut(), map[*ir.Node]bool{}
	for n, i := range at {
		if side[i] {
			inside[n] = true
		}
	}
	return inside
}

// crossing has a cut pay for v once where it is made inside and read outside.
func (c *cutter) crossing(net *network, at map[*ir.Node]int, v *ir.Value) {
	bytes, ok := c.bytes(v)
	if !ok {
		bytes = unlimited
	}
	reader := net.node()
	net.edge(at[v.Producer()], reader, bytes)
	for _, n := range c.read[v] {
		switch i, frozen := at[n]; {
		case frozen:
			net.edge(reader, i, unlimited)
		case c.ofNode(n) == ofTrained:
			net.edge(reader, sink, unlimited)
		}
	}
	if slices.Contains(c.needed(), v) {
		net.edge(reader, sink, unlimited)
	}
}

// obstacle tells of the last value that the trained part reads and that cannot
// be kept, "" where there is none.
func (c *cutter) obstacle() string {
	for _, n := range slices.Backward(c.live) {
		for _, v := range n.Outputs() {
			if v == nil || c.origin[v] != ofData || !slices.ContainsFunc(c.read[v], func(n *ir.Node) bool { return c.ofNode(n) == ofTrained }) {
				continue
			}
			if _, ok := c.bytes(v); !ok {
				return fmt.Sprintf(": value %q of %v is %v for %d samples and %v for one", v.Name, n, c.many.Fact(v), c.rows, c.one.Fact(v))
			}
		}
	}
	return ""
}
