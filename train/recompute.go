package train

import (
	"math"
	"slices"
	"strconv"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

// A recomputation trades time for memory (Chen et al., arXiv 1604.06174): the
// forward nodes are cut into segments, and what the backward pass reads of the
// inside of a segment is computed once more, from the values at the cuts, when
// it begins to read there. It is a rewrite of the differentiated graph; copies
// are the same operators on the same values, so gradients stay equal bit for
// bit.
type recomputation struct {
	b       *ops.Builder
	forward []*ir.Node
	at      map[*ir.Node]int   // places of forward nodes
	kept    map[*ir.Value]bool // values that cross a cut
}

// recompute rewrites the graph, whose forward nodes end with last.
func recompute(b *ops.Builder, last *ir.Node) error {
	r := &recomputation{b: b, at: map[*ir.Node]int{}, kept: map[*ir.Value]bool{}}
	for n := b.Graph.First(); n != nil && n.Prev() != last; n = n.Next() {
		r.at[n] = len(r.forward)
		r.forward = append(r.forward, n)
	}
	cuts := r.cuts()
	from := 0
	for k, to := range cuts { // what follows the last cut is read at once
		r.segment(from, to, "recomputed "+strconv.Itoa(k))
		from = to
	}
	return b.Err()
}

// lives is the place of the last forward node that reads v, -1 for none.
func (r *recomputation) lives(v *ir.Value) int {
	last := -1
	for _, u := range v.Uses() {
		if p, ok := r.at[u.Node]; ok {
			last = max(last, p)
		} else if u.Node.Graph() != r.b.Graph { // in a sub-graph
			last = len(r.forward)
		}
	}
	return last
}

// counts reports whether v takes memory worth a thought: shapes, masks and
// constants do not.
func (r *recomputation) counts(v *ir.Value) bool {
	f := r.b.Fact(v)
	return v != nil && f.DType.IsFloat() && f.Const == nil
}

// cuts chooses where segments end, so that few values cross: segment k is the
// nodes from one cut up to the next, of which none follows the last. Values
// that cross are marked as kept. Segments have about the root of the number of
// nodes: then segments and the inside of one take about the same memory.
func (r *recomputation) cuts() []int {
	n := len(r.forward)
	crossing := make([]int, n+1) // before node i
	ends := make([]int, n+1)
	live := 0
	for i, node := range r.forward {
		crossing[i] = live
		for _, v := range node.Outputs() {
			if v != nil && r.counts(v) {
				if end := r.lives(v); end > i {
					live++
					ends[min(end, n)]++
				}
			}
		}
		live -= ends[i]
	}
	const least = 4
	size := max(least, int(math.Sqrt(float64(n))))
	var cuts []int
	for at := 0; at+2*size < n; {
		best := at + size
		for i := best; i < at+2*size; i++ {
			if crossing[i] <= crossing[best] {
				best = i
			}
		}
		cuts = append(cuts, best)
		at = best
	}
	for i, node := range r.forward {
		for _, v := range node.Outputs() {
			if v != nil {
				c, _ := slices.BinarySearch(cuts, i+1) // the first cut behind it
				r.kept[v] = !r.counts(v) || c < len(cuts) && r.lives(v) >= cuts[c]
			}
		}
	}
	return cuts
}

// segment recomputes what the backward pass reads of the nodes [from,to).
func (r *recomputation) segment(from, to int, tag string) {
	first, order := (*ir.Node)(nil), map[*ir.Node]int{}
	for n, i := r.forward[len(r.forward)-1].Next(), 0; n != nil; n, i = n.Next(), i+1 {
		order[n] = i
	}
	need := map[*ir.Value]bool{}
	for _, n := range r.forward[from:to] {
		for _, v := range n.Outputs() {
			if v == nil || r.kept[v] || !r.repeats(n) {
				continue
			}
			for _, u := range v.Uses() {
				if p, ok := order[u.Node]; ok {
					need[v] = true
					if first == nil || p < order[first] {
						first = u.Node
					}
				}
			}
		}
	}
	if first == nil {
		return
	}
	backward := map[*ir.Value]bool{}
	for v := range need {
		backward[v] = true
	}
	copies := r.copies(from, to, need, first, tag)
	for v := range backward {
		for _, u := range slices.Clone(v.Uses()) {
			if _, ok := order[u.Node]; ok {
				u.Node.SetInput(u.Index, copies[v])
			}
		}
	}
}

// repeats reports whether a node may run twice and give the same.
func (r *recomputation) repeats(n *ir.Node) bool {
	op := r.b.Analysis.Op(n)
	_, random := op.(ops.Random)
	_, dynamic := op.(ops.Dynamic)
	return !random && !dynamic && len(n.Subgraphs()) == 0
}

// copies puts copies of the nodes [from,to) that the values in need come from
// before a node.
func (r *recomputation) copies(from, to int, need map[*ir.Value]bool, before *ir.Node, tag string) map[*ir.Value]*ir.Value {
	var list []*ir.Node
	for i := to - 1; i >= from; i-- {
		n := r.forward[i]
		if !slices.ContainsFunc(n.Outputs(), func(v *ir.Value) bool { return v != nil && need[v] }) {
			continue
		}
		list = append(list, n)
		for _, v := range n.Inputs() {
			if v == nil || r.kept[v] || v.Producer() == nil {
				continue
			}
			if p, ok := r.at[v.Producer()]; ok && p >= from && r.repeats(v.Producer()) {
				need[v] = true
			}
		}
	}
	made := map[*ir.Value]*ir.Value{}
	for _, n := range slices.Backward(list) {
		r.copy(n, need, made, before, tag)
	}
	return made
}

// copy leaves out the outputs that nothing reads.
func (r *recomputation) copy(n *ir.Node, need map[*ir.Value]bool, made map[*ir.Value]*ir.Value, before *ir.Node, tag string) {
	in := slices.Clone(n.Inputs())
	for i, v := range in {
		if c := made[v]; v != nil && c != nil {
			in[i] = c
		}
	}
	c := ir.NewNode(n.Domain, n.OpType, in...)
	c.Overload, c.Attrs, c.Tag = n.Overload, n.Attrs, tag
	c.Name = r.b.Names().Fresh(n.Name + "/again")
	_, partial := r.b.Analysis.Op(n).(ops.Partial)
	for i, v := range n.Outputs() {
		if v != nil && (need[v] || i == 0 && !partial) {
			made[v] = r.b.Graph.NewValue(r.b.Names().Fresh(v.Name+"/again"), nil)
			c.SetOutput(i, made[v])
		}
	}
	r.b.Graph.InsertBefore(c, before)
	if err := r.b.Analysis.Node(c); err != nil {
		r.b.Fail(err)
	}
}
