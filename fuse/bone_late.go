package fuse

import (
	"slices"

	"github.com/bonnx/bonnx/ir"
)

// constantBone spells a Bone out whose block never changes: W' is then folded
// and packed once, and the layer costs what it did without.
func constantBone(r *rewriter, n *ir.Node) (bool, string) {
	if n.Output(1) != nil || r.fact(n.Input(1)).Const == nil || !r.constantBlock(n.Input(2)) {
		return false, ""
	}
	if r.err = r.lower(n); r.err != nil {
		return false, ""
	}
	return true, ""
}

// constantBlock reports whether v is a constant, or made of constants by a few
// operators, as the sum of blocks is.
func (r *rewriter) constantBlock(v *ir.Value) bool {
	return r.madeOf(v, maxNesting, func(v *ir.Value) bool { return r.fact(v).Const != nil })
}

// blockOperators are what blocks are made of others by: sums of two adapters',
// and columns of MiSS's mini blocks. Making one takes no longer than reading it.
var blockOperators = []string{"Add", "Concat", "Gather", "Reshape"}

// madeOf reports whether v is a leaf, or made of leaves by blockOperators.
func (r *rewriter) madeOf(v *ir.Value, depth int, leaf func(*ir.Value) bool) bool {
	if leaf(v) {
		return true
	}
	n := v.Producer()
	if n == nil || depth == 0 || !contains(blockOperators, operator(n)) {
		return false
	}
	return !slices.ContainsFunc(n.Inputs(), func(in *ir.Value) bool { return !r.madeOf(in, depth-1, leaf) })
}

// blockAgain makes the block of what goes back through a layer anew, where it is
// made of others: that of the forward pass need not stay.
func blockAgain(r *rewriter, n *ir.Node) (bool, string) {
	block := n.Input(2)
	fixed := func(v *ir.Value) bool { return v.Producer() == nil }
	if fixed(block) || r.constantBlock(block) || !r.madeOf(block, maxNesting, fixed) {
		return false, ""
	}
	n.SetInput(2, r.again(n, block))
	return true, ""
}

// again is v made a second time, before the node at.
func (r *rewriter) again(at *ir.Node, v *ir.Value) *ir.Value {
	n := v.Producer()
	if n == nil {
		return v
	}
	in := make([]*ir.Value, len(n.Inputs()))
	for i, x := range n.Inputs() {
		in[i] = r.again(at, x)
	}
	return r.insert(at, n.Domain, n.OpType, in, nil, slices.Clone(n.Attrs)...)
}

// sumsOf is what the sums of a layer depend on.
type sumsOf struct {
	x    *ir.Value
	rank int64
	tag  string
}

// sharedSums reads the sums of a layer from one before that has the same input
// and rank, as those of query, key and value: the backward pass then keeps one
// of them, and the others are not made.
func sharedSums(r *rewriter, n *ir.Node) (bool, string) {
	s, rank := n.Output(1), r.fact(n.Input(2)).Dim(0)
	if s == nil || !rank.Known || r.kept(s) {
		return false, ""
	}
	key := sumsOf{n.Input(0), rank.Value, n.Tag}
	first := r.sums[key]
	if first == nil {
		r.sums[key] = s
		return false, ""
	}
	s.ReplaceUses(first)
	n.TruncateOutputs(1)
	return true, ""
}
