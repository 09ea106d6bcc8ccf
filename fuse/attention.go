package fuse

import (
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// attention recognises scaled dot product attention around a Softmax over the
// last of four axes:
//
//	MatMul(Softmax(s), v), s = FusedMatMul(q, k), transB, alpha, to which biases
//	are added and into which masks put -inf
//
// What only moves the operands becomes part of the operator: the transposition
// of heads and rows before q, k and v and after the result, factors of q and
// k, and heads of k and v that are repeated for groups of q's.
func attention(r *rewriter, n *ir.Node) (bool, string) {
	f := r.fact(n.Input(0))
	if axis := intAttr(n, "axis", -1); f.Rank() != 4 || axis != -1 && axis != 3 {
		return false, ""
	}
	last, ok := r.productOf(r.onlyReader(n))
	if !ok || last.a != n.Output(0) || last.transA {
		return false, ""
	}
	s, ok := r.scoresOf(n.Input(0), maxBiases)
	switch {
	case !ok:
		return false, "the scores are no product of rows"
	case last.transB || last.alpha != 1 || r.fact(last.b).Rank() != 4:
		return false, "the values are transposed, scaled, or no heads"
	}
	root, inner := last.node, append(s.nodes, n)
	yFirst := int64(0)
	if t := r.onlyReader(root); isPerm(t, 0, 2, 1, 3) && t.Is("Transpose") {
		root, inner, yFirst = t, append(inner, root), 1
	}
	q, k, v := r.headsOf(s.q, true, false), r.headsOf(s.k, true, true), r.headsOf(last.b, false, true)
	if k.repeats != v.repeats {
		return false, "the heads of k and v are not repeated alike"
	}
	in, scale := ir.In(q.v, k.v, v.v), s.alpha*q.factor*k.factor
	switch {
	case float64(float32(scale)) != scale && r.fact(q.v).DType != tensor.Float32:
		return false, "the factor is no float32"
	case !r.floats(in...):
		return false, "the operands are not of one float type"
	case !r.closed(root, inner...):
		return false, usedElsewhere
	}
	if bias, reason := r.biasOf(root, s, f); reason != "" {
		return false, reason
	} else if bias != nil {
		in = append(in, bias)
	}
	r.replace(root, ops.Domain, "Attention", in, slices.Concat(inner, q.nodes, k.nodes, v.nodes),
		ir.A("scale", ir.Float(scale)), ir.A("rows_first", ir.Ints{q.first, k.first, v.first, yFirst}))
	return true, ""
}

// maxBiases bounds how many biases and masks lie on scores.
const maxBiases = 4

// A scoring is a product of queries and keys, and what is added to it.
type scoring struct {
	q, k  *ir.Value
	alpha float64
	bias  []*ir.Value // added
	masks []*ir.Node  // each a Where that puts a number in places
	nodes []*ir.Node
}

// scoresOf reads v as scores with at most depth biases and masks.
func (r *rewriter) scoresOf(v *ir.Value, depth int) (s scoring, ok bool) {
	n := v.Producer()
	if n == nil || depth == 0 || v.Index() != 0 {
		return s, false
	}
	if p, isProduct := r.productOf(n); isProduct {
		if p.transA || !p.transB || r.fact(p.a).Rank() != 4 || r.fact(p.b).Rank() != 4 {
			return s, false
		}
		return scoring{q: p.a, k: p.b, alpha: p.alpha, nodes: []*ir.Node{n}}, true
	}
	switch {
	case n.Is("Add"):
		ok = pair(n, func(a, b *ir.Value) bool {
			if s, ok = r.scoresOf(a, depth-1); ok {
				s.bias = append(s.bias, b)
			}
			return ok
		})
	case n.Is("Where"):
		kept, put := r.masked(n)
		if kept < 0 || !r.isLow(n.Input(put)) {
			return s, false
		}
		if s, ok = r.scoresOf(n.Input(kept), depth-1); ok {
			s.masks = append(s.masks, n)
		}
	}
	s.nodes = append(s.nodes, n)
	return s, ok
}

// masked says which input of a Where passes and which is a constant put in its
// place, -1 where none is.
func (r *rewriter) masked(n *ir.Node) (kept, put int) {
	if _, ok := r.float(n.Input(2)); ok {
		return 1, 2
	}
	if _, ok := r.float(n.Input(1)); ok {
		return 2, 1
	}
	return -1, -1
}

// low is so low that adding it to a score is as good as putting it there.
const low = -1e30

func (r *rewriter) isLow(v *ir.Value) bool {
	x, ok := r.float(v)
	return ok && x <= low
}

// biasOf is the sum of the biases and masks of s, made before root; nil for
// none. f is the fact of the scores.
func (r *rewriter) biasOf(root *ir.Node, s scoring, f ops.Fact) (*ir.Value, string) {
	for _, b := range s.bias {
		if reason := r.fitsScores(r.fact(b), f); reason != "" {
			return nil, reason
		}
	}
	for _, m := range s.masks {
		if reason := r.fitsScores(r.fact(m.Input(0)), f); reason != "" {
			return nil, reason
		}
	}
	terms := slices.Clone(s.bias)
	for _, m := range s.masks {
		kept, put := r.masked(m)
		in := slices.Clone(m.Inputs())
		in[kept] = r.constant("zero", tensor.New(r.fact(m.Input(put)).DType))
		terms = append(terms, r.insert(root, "", "Where", in, nil))
	}
	if len(terms) == 0 {
		return nil, ""
	}
	sum := terms[0]
	for _, t := range terms[1:] {
		sum = r.insert(root, "", "Add", ir.In(sum, t), nil)
	}
	return sum, ""
}

// fitsScores says why a bias does not lie on scores as they are.
func (r *rewriter) fitsScores(b, s ops.Fact) string {
	if b.Rank() < 1 || b.Rank() > 4 {
		return "the bias is of no or another rank"
	}
	for i := 1; i <= b.Rank(); i++ {
		d, of := b.Dim(-i), s.Dim(-i)
		if !d.Known || i > 1 && d.Value == 1 || ops.SameDim(d, of) {
			continue
		}
		if of.Known || i == 1 {
			return "the bias does not have the extents of the scores"
		}
	}
	return ""
}

// A headed is an operand of attention taken back to where it comes from.
type headed struct {
	v       *ir.Value
	factor  float64
	first   int64 // 1 where rows come before heads
	repeats int   // of each head
	nodes   []*ir.Node
}

// headsOf undoes what moves an operand, and what multiplies it by a constant
// where that may be done to the scores.
func (r *rewriter) headsOf(v *ir.Value, scales, repeats bool) headed {
	h := headed{v: v, factor: 1, repeats: 1}
	for again := true; again; {
		again = r.untransposed(&h) || scales && r.unscaled(&h) || repeats && r.unrepeated(&h)
	}
	return h
}

// unscaled takes a constant factor off.
func (r *rewriter) unscaled(h *headed) bool {
	n := fromEither(h.v, "Mul", "Div")
	if n == nil {
		return false
	}
	take := func(x, c *ir.Value) bool {
		f, ok := r.float(c)
		if !ok || r.fact(c).Rank() > 0 || f == 0 {
			return false
		}
		if n.Is("Div") {
			f = 1 / f
		}
		h.v, h.factor, h.nodes = x, h.factor*f, append(h.nodes, n)
		return true
	}
	return take(n.Input(0), n.Input(1)) || n.Is("Mul") && take(n.Input(1), n.Input(0))
}

// untransposed takes a swap of heads and rows off.
func (r *rewriter) untransposed(h *headed) bool {
	t := from(h.v, "Transpose")
	if !isPerm(t, 0, 2, 1, 3) {
		return false
	}
	h.v, h.first, h.nodes = t.Input(0), 1-h.first, append(h.nodes, t)
	return true
}

// unrepeated takes the repetition of heads off:
//
//	Reshape(Expand(Unsqueeze(x, [axis of heads + 1])))
func (r *rewriter) unrepeated(h *headed) bool {
	re := from(h.v, "Reshape")
	if re == nil {
		return false
	}
	ex := from(re.Input(0), "Expand")
	if ex == nil {
		return false
	}
	un := from(ex.Input(0), "Unsqueeze")
	axis := 1 + int(h.first)
	if un == nil || !r.isInts(un.Input(1), axis+1) {
		return false
	}
	x, many, y := r.fact(un.Input(0)), r.fact(ex.Output(0)), r.fact(h.v)
	if x.Rank() != 4 || many.Rank() != 5 || y.Rank() != 4 {
		return false
	}
	groups, n, heads := x.Dim(axis), many.Dim(axis+1), y.Dim(axis)
	if !groups.Known || !n.Known || !heads.Known || groups.Value*n.Value != heads.Value || !ops.SameDim(many.Dim(axis), groups) {
		return false
	}
	for i := range 4 {
		if i != axis && !ops.SameDim(x.Dim(i), y.Dim(i)) {
			return false
		}
	}
	h.v, h.repeats, h.nodes = un.Input(0), h.repeats*int(n.Value), append(h.nodes, re, ex, un)
	return true
}
