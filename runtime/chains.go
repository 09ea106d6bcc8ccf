package runtime

import (
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

const (
	// leastChained is from how many elements on pointwise nodes are chained:
	// what is smaller stays in the caches anyway.
	leastChained = 1 << 12
	// longestChain is how many nodes a chain has at most.
	longestChain = 32
)

// A chain is pointwise nodes with results of one shape, by their places among
// the live ones. They run together (ops.Chain) where the last of them stands.
type chain struct {
	members []int
	shape   tensor.Shape
}

func (c *chain) has(i int) bool {
	_, found := slices.BinarySearch(c.members, i)
	return found
}

func (c *chain) last() int { return c.members[len(c.members)-1] }

// chainer finds chains.
type chainer struct {
	*planner
	place   map[*ir.Node]int    // of the live nodes
	readers map[*ir.Value][]int // the places that read a value, forever among them where it is read after the last step
	of      []*chain            // of each place, nil where the node is alone
}

// findChains groups the live nodes.
func (pl *planner) findChains() *chainer {
	c := &chainer{pl, map[*ir.Node]int{}, map[*ir.Value][]int{}, make([]*chain, len(pl.live))}
	if pl.plan.apart {
		return c
	}
	c.listReaders()
	for i, n := range pl.live {
		if !c.chainable(n) {
			continue
		}
		c.of[i] = &chain{[]int{i}, c.shape(n.Output(0))}
		for _, v := range n.Inputs() {
			c.join(i, v)
		}
	}
	for i, g := range c.of {
		if g != nil && g.last() == i && (len(g.members) == 1 || !c.worth(g)) {
			for _, m := range g.members {
				c.of[m] = nil
			}
		}
	}
	return c
}

func (c *chainer) listReaders() {
	for i, n := range c.live {
		c.place[n] = i
		read := func(v *ir.Value) {
			if v != nil {
				c.readers[v] = append(c.readers[v], i)
			}
		}
		for _, v := range n.Inputs() {
			read(v)
		}
		for _, sub := range n.Subgraphs() {
			captures(sub, read)
		}
	}
	for v := range c.kept {
		c.readers[v] = append(c.readers[v], forever)
	}
	if v := c.p.guard; v != nil {
		c.readers[v] = append(c.readers[v], forever)
	}
}

// chainable reports whether a node may be in a chain.
func (c *chainer) chainable(n *ir.Node) bool {
	if _, ok := c.p.an.Op(n).(ops.Pointwise); !ok || c.loose[n] {
		return false
	}
	out := c.shape(n.Output(0))
	for _, v := range n.Inputs() {
		if v == nil {
			continue
		}
		// That of an operator which will fail may not broadcast.
		if s, err := tensor.Broadcast(c.shape(v), out); err != nil || !s.Equal(out) || !hasBytes(c.fact(v).DType) {
			return false
		}
	}
	for _, v := range n.Outputs() {
		if v == nil || !hasBytes(c.fact(v).DType) || !c.shape(v).Equal(out) {
			return false
		}
	}
	return out.Size() >= leastChained
}

// hasBytes reports whether each element has bytes of its own.
func hasBytes(d tensor.DType) bool { return d != tensor.String && d.Bits() >= 8 }

func (c *chainer) shape(v *ir.Value) tensor.Shape { return c.fact(v).MustShape() }

func (c *chainer) bytes(v *ir.Value) int { return c.fact(v).DType.Size(c.shape(v).Size()) }

// join makes the chain of place i and that which v comes from one, where it may.
func (c *chainer) join(i int, v *ir.Value) {
	if v == nil || v.Producer() == nil {
		return
	}
	from, ok := c.place[v.Producer()]
	if !ok {
		return
	}
	moved, now := c.of[from], c.of[i]
	if moved == nil || moved == now || !moved.shape.Equal(now.shape) || len(moved.members)+len(now.members) > longestChain {
		return
	}
	both := &chain{slices.Sorted(slices.Values(slices.Concat(moved.members, now.members))), now.shape}
	if !c.movable(moved, both) || !c.fits(moved, both) {
		return
	}
	for _, m := range both.members {
		c.of[m] = both
	}
}

// movable reports whether nobody else reads what moved computes before the end
// of both.
func (c *chainer) movable(moved, both *chain) bool {
	for v := range c.results(moved) {
		for _, r := range c.readers[v] {
			if r < both.last() && !both.has(r) {
				return false
			}
		}
	}
	return true
}

// fits reports whether moving a chain to the end of both takes no more memory:
// its inputs live until then, but not its results. Where nothing large is made
// in between, both live side by side anyway.
func (c *chainer) fits(moved, both *chain) bool {
	between := false
	for i := moved.last() + 1; i < both.last(); i++ {
		between = between || !both.has(i) && c.makes(c.live[i]) >= leastChained
	}
	if !between {
		return true
	}
	longer, saved := 0, 0
	for _, v := range c.inputs(moved) {
		if c.resident(v) && !slices.ContainsFunc(c.readers[v], func(r int) bool { return r >= both.last() }) {
			longer += c.bytes(v)
		}
	}
	for v := range c.results(moved) {
		if c.leaves(v, moved) {
			saved += c.bytes(v)
		}
	}
	return longer <= saved
}

// makes is how many elements a node's results have, many where that is not
// known; views make none.
func (c *chainer) makes(n *ir.Node) int {
	if _, view := c.p.an.Op(n).(ops.View); view {
		return 0
	}
	if c.loose[n] {
		return forever
	}
	size := 0
	for _, v := range n.Outputs() {
		if v != nil {
			size = max(size, c.shape(v).Size())
		}
	}
	return size
}

// resident reports whether a value lies in the arena.
func (c *chainer) resident(v *ir.Value) bool {
	return v.Producer() != nil && !c.kept[v] && c.fact(v).Const == nil
}

// results are the values that the nodes of g compute.
func (c *chainer) results(g *chain) map[*ir.Value]bool {
	all := map[*ir.Value]bool{}
	for _, m := range g.members {
		for _, v := range c.live[m].Outputs() {
			all[v] = true
		}
	}
	return all
}

// inputs are the values that g reads of others, each once, in order.
func (c *chainer) inputs(g *chain) []*ir.Value {
	own := c.results(g)
	var in []*ir.Value
	for _, m := range g.members {
		for _, v := range c.live[m].Inputs() {
			if v != nil && !own[v] && !slices.Contains(in, v) {
				in = append(in, v)
			}
		}
	}
	return in
}

// leaves reports whether somebody outside of g reads v.
func (c *chainer) leaves(v *ir.Value, g *chain) bool {
	return slices.ContainsFunc(c.readers[v], func(r int) bool { return !g.has(r) })
}

// worth reports whether a chain's tiles are large enough.
func (c *chainer) worth(g *chain) bool {
	var shapes []tensor.Shape
	for _, v := range c.inputs(g) {
		shapes = append(shapes, c.shape(v))
	}
	return ops.WorthChaining(g.shape, shapes)
}

// linked is a chain's operator, and the values that go in and come out.
func (c *chainer) linked(g *chain) (op *ops.Chain, in, out []*ir.Value) {
	in = c.inputs(g)
	number := map[*ir.Value]int{}
	for i, v := range in {
		number[v] = i
	}
	var links []ops.Link
	var leave []int
	for _, m := range g.members {
		n := c.live[m]
		l := ops.Link{Op: c.p.an.Op(n).(ops.Pointwise), Out: len(n.Outputs())}
		for _, v := range n.Inputs() {
			at := -1
			if v != nil {
				at = number[v]
			}
			l.In = append(l.In, at)
		}
		for _, v := range n.Outputs() {
			number[v] = len(number)
			if c.leaves(v, g) {
				leave, out = append(leave, number[v]), append(out, v)
			}
		}
		links = append(links, l)
	}
	return &ops.Chain{Links: links, Leave: leave}, in, out
}
