package fuse

import (
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// A linear is a product by a matrix: a MatMul, a Gemm, or a Bone of others.
type linear struct {
	node   *ir.Node
	x, w   *ir.Value
	block  *ir.Value // that a Bone has, nil for none
	c      *ir.Value // what is added, nil for nothing
	transB bool
	nodes  []*ir.Node // that it is made of
}

// linearOf reads n as a product with nothing but a bias added; reason says why
// a Gemm is more than that.
func (r *rewriter) linearOf(n *ir.Node) (l linear, reason string, ok bool) {
	l = linear{node: n, x: n.Input(0), w: n.Input(1), transB: intAttr(n, "transB", 0) != 0, nodes: []*ir.Node{n}}
	switch {
	case n.Is("MatMul"):
		return l, "", true
	case isComposite(n, "Bone"):
		l.block = n.Input(2)
		return l, "", true
	case !n.Is("Gemm"):
		return l, "", false
	}
	switch l.c = n.Input(2); {
	case intAttr(n, "transA", 0) != 0:
		return l, "the Gemm reads its input transposed", false
	case floatAttr(n, "alpha", 1) != 1 || l.c != nil && floatAttr(n, "beta", 1) != 1:
		return l, "the Gemm scales", false
	}
	return l, "", true
}

// layerOf is linearOf for what makes y, or for a Bone whose bias y has.
func (r *rewriter) layerOf(y *ir.Value) (l linear, reason string, ok bool) {
	n := y.Producer()
	pair(n, func(p, c *ir.Value) bool {
		if !n.Is("Add") || !isComposite(p.Producer(), "Bone") || !r.isBias(c, y) {
			return false
		}
		l, _, ok = r.linearOf(p.Producer())
		l.c, l.nodes = c, append(l.nodes, n)
		return true
	})
	if ok {
		return l, "", true
	}
	return r.linearOf(n)
}

// boneActivation recognises y = linear(x, W) + fold(x) D:
//
//	Add(y0, d), y0 = MatMul(x, W) or Gemm(x, W[, C]), or what has a block already
//	d = MatMul(s, D) or Reshape(MatMul(s, D), Shape(y0))
//	s = ReduceSum(Reshape(x, [-1, in/r, r]), [1]) or MatMul(x, F), F[k,l] = (k mod r == l)
func boneActivation(r *rewriter, n *ir.Node) (bool, string) {
	done, reason := false, ""
	pair(n, func(y0, d *ir.Value) bool {
		done, reason = r.boneAdd(n, y0, d)
		return done || reason != ""
	})
	return done, reason
}

func (r *rewriter) boneAdd(n *ir.Node, y0, d *ir.Value) (bool, string) {
	if y0.Producer() == nil {
		return false, ""
	}
	var inner []*ir.Node
	if re := from(d, "Reshape"); re != nil {
		sh := from(re.Input(1), "Shape")
		if sh == nil || sh.Input(0) != y0 || len(sh.Attrs) > 0 {
			return false, ""
		}
		inner, d = append(inner, re, sh), re.Input(0)
	}
	mm := from(d, "MatMul")
	if mm == nil {
		return false, ""
	}
	inner = append(inner, mm)
	fold := r.foldOf(mm.Input(0))
	if fold.x == nil {
		return false, ""
	}
	l, reason, ok := r.layerOf(y0)
	if !ok {
		return false, reason
	}
	block := mm.Input(1)
	inner = append(inner, l.nodes...)
	if l.x != fold.x {
		return false, "the block folds another input"
	}
	if !r.closed(n, inner...) {
		return false, usedElsewhere
	}
	return r.bone(n, l, l.w, block, fold.r, append(inner, fold.nodes...))
}

// A folded is the sum of blocks of r columns of x.
type folded struct {
	x     *ir.Value
	r     int
	nodes []*ir.Node
}

// foldOf reads s as a fold; x is nil where it is none.
func (r *rewriter) foldOf(s *ir.Value) folded {
	if sum := from(s, "ReduceSum"); sum != nil {
		re := from(sum.Input(0), "Reshape")
		if re == nil || intAttr(sum, "keepdims", 1) != 0 || !r.isInts(sum.Input(1), 1) {
			return folded{}
		}
		shape, ok := r.ints(re.Input(1))
		last := r.fact(re.Input(0)).Dim(-1)
		if !ok || len(shape) != 3 || shape[0] != -1 || !last.Known || int(last.Value) != shape[1]*shape[2] {
			return folded{}
		}
		return folded{re.Input(0), shape[2], []*ir.Node{sum, re}}
	}
	if mm := from(s, "MatMul"); mm != nil {
		if rank := r.foldMatrix(mm.Input(1)); rank > 0 {
			return folded{mm.Input(0), rank, []*ir.Node{mm}}
		}
	}
	return folded{}
}

// foldMatrix is r where v is the constant (in, r) with ones where k mod r == l
// and zeros elsewhere, else 0.
func (r *rewriter) foldMatrix(v *ir.Value) int {
	f := r.fact(v)
	s, ok := f.Shape()
	if f.Const == nil || !ok || len(s) != 2 || s[1] == 0 || s[1] > s[0] {
		return 0
	}
	t := f.Value()
	if t == nil || t.DType() != tensor.Float32 && t.DType() != tensor.Float64 {
		return 0
	}
	xs, err := t.Float64s()
	if err != nil {
		return 0
	}
	for i, x := range xs {
		k, l := i/s[1], i%s[1]
		if one := k%s[1] == l; one && x != 1 || !one && x != 0 {
			return 0
		}
	}
	return s[1]
}

// bone puts the composite in n's place: l's product by w with the block.
func (r *rewriter) bone(n *ir.Node, l linear, w, block *ir.Value, rank int, inner []*ir.Node) (bool, string) {
	ws, ok := r.fact(w).Shape()
	ds, ok2 := r.fact(block).Shape()
	if !ok || !ok2 || len(ws) != 2 || len(ds) != 2 {
		return false, "the weight or the block is no matrix of known shape"
	}
	in, out := ws[0], ws[1]
	if l.transB {
		in, out = out, in
	}
	if ds[0] != rank || ds[1] != out || rank > in {
		return false, "the block's shape does not fit"
	}
	if !r.floats(l.x, w, block) {
		return false, "the weight, the input and the block are not of one float type"
	}
	if l.block != nil {
		if block = r.stacked(n, l.block, block); block == nil {
			return false, "the rank of neither block divides that of the other"
		}
	}
	var attrs []*ir.Attr
	if l.transB {
		attrs = append(attrs, ir.A("transB", ir.Int(1)))
	}
	args := ir.In(l.x, w, block)
	if l.c == nil {
		r.replace(n, ops.Domain, "Bone", args, inner, attrs...)
		return true, ""
	}
	y := r.insert(n, ops.Domain, "Bone", args, nil, attrs...)
	r.replace(n, "", "Add", ir.In(y, l.c), inner)
	return true, ""
}

// stacked is the block, made before n, that does what a and b do to a weight:
// their sum, that of fewer rows repeated downwards; nil where that does not fit.
func (r *rewriter) stacked(n *ir.Node, a, b *ir.Value) *ir.Value {
	as, _ := r.fact(a).Shape()
	bs, _ := r.fact(b).Shape()
	switch {
	case len(as) != 2 || len(bs) != 2 || as[1] != bs[1]:
		return nil
	case as[0] == bs[0]:
		return r.insert(n, "", "Add", ir.In(a, b), nil)
	case as[0] < bs[0]:
		a, as, b, bs = b, bs, a, as
	}
	if as[0]%bs[0] != 0 {
		return nil
	}
	ints := func(v ...int) *ir.Value { return r.constant(prefixOf(n.Name)+"rows", tensor.Ints(v...)) }
	parts := r.insert(n, "", "Reshape", ir.In(a, ints(as[0]/bs[0], bs[0], bs[1])), nil)
	sum := r.insert(n, "", "Add", ir.In(parts, b), nil)
	return r.insert(n, "", "Reshape", ir.In(sum, ints(as...)), nil)
}

// boneWeight recognises y = linear(x, W + rows of D repeated):
//
//	MatMul(x, w) or Gemm(x, w[, C]) or Bone(x, w, D2), w = Add(W, g)
//	g = Gather(D, k mod r), or Transpose of it for a Gemm with transB
//
// W may itself be such a sum.
func boneWeight(r *rewriter, n *ir.Node) (bool, string) {
	y := n.Output(0)
	done, reason := r.boneRows(n)
	for again := done; again; {
		l, _, _ := r.layerOf(y)
		again, _ = r.boneRows(l.node)
	}
	return done, reason
}

// boneRows takes one block out of a weight.
func (r *rewriter) boneRows(n *ir.Node) (bool, string) {
	l, reason, ok := r.linearOf(n)
	sum := from(l.w, "Add")
	if sum == nil {
		return false, ""
	}
	w, block, inner := r.rowsAdded(sum, l.transB)
	if w == nil {
		return false, ""
	}
	rank := r.fact(block).Dim(0)
	rows, isConst := r.ints(inner[1].Input(1))
	if !rank.Known || !isConst || !r.isRows(inner[1].Input(1), int(rank.Value)) {
		return false, ""
	}
	in := r.fact(w).Dim(0)
	if l.transB {
		in = r.fact(w).Dim(1)
	}
	switch {
	case !ok:
		return false, reason
	case !r.closed(n, inner...):
		return false, usedElsewhere
	case !in.Known || int(in.Value) != len(rows):
		return false, "the rows do not cover the weight"
	}
	return r.bone(n, l, w, block, int(rank.Value), inner)
}

// rowsAdded reads sum as a weight to which rows of a block are added; inner
// are the nodes, sum and then the Gather first. The weight is nil where sum is
// something else.
func (r *rewriter) rowsAdded(sum *ir.Node, transB bool) (w, block *ir.Value, inner []*ir.Node) {
	pair(sum, func(a, b *ir.Value) bool {
		var tr *ir.Node
		if transB {
			if tr = from(b, "Transpose"); !isPerm(tr, 1, 0) {
				return false
			}
			b = tr.Input(0)
		}
		ga := from(b, "Gather")
		if ga == nil || intAttr(ga, "axis", 0) != 0 {
			return false
		}
		w, block, inner = a, ga.Input(0), []*ir.Node{sum, ga, tr}
		return true
	})
	return w, block, inner
}

// isRows reports whether v is the constant vector 0, 1, ..., rank-1, 0, ...
func (r *rewriter) isRows(v *ir.Value, rank int) bool {
	idx, ok := r.ints(v)
	if !ok || r.fact(v).Rank() != 1 {
		return false
	}
	for k, i := range idx {
		if i != k%rank {
			return false
		}
	}
	return true
}

// batWeight recognises the weight that Bat makes, cut into tiles of r by r:
//
//	Reshape(Transpose(Add(t, MatMul(bt, Add(t, EYE))), 0213), [in, out])
//	t = Transpose(Reshape(W, [in/r, r, out/r, r]), 0213), bt = Transpose(B, 021)
func batWeight(r *rewriter, n *ir.Node) (bool, string) {
	t2 := from(n.Input(0), "Transpose")
	if !isPerm(t2, 0, 2, 1, 3) {
		return false, ""
	}
	sum := from(t2.Input(0), "Add")
	if sum == nil {
		return false, ""
	}
	var stack, re, mm, wi, bt *ir.Node
	found := pair(sum, func(t, d *ir.Value) bool {
		stack, mm = from(t, "Transpose"), from(d, "MatMul")
		if mm == nil || !isPerm(stack, 0, 2, 1, 3) {
			return false
		}
		re, bt, wi = from(stack.Input(0), "Reshape"), from(mm.Input(0), "Transpose"), from(mm.Input(1), "Add")
		if re == nil || wi == nil || !isPerm(bt, 0, 2, 1) {
			return false
		}
		eye := other(wi, t)
		return eye != nil && r.isIdentity(eye)
	})
	if !found {
		return false, ""
	}
	w, b := re.Input(0), bt.Input(0)
	ws, ok := r.fact(w).Shape()
	bs, ok2 := r.fact(b).Shape()
	if !ok || !ok2 || len(ws) != 2 || len(bs) != 3 || bs[1] != bs[2] {
		return false, "the weight or the blocks are of unknown shape"
	}
	rank := bs[1]
	switch {
	case bs[0]*rank != ws[1] || rank == 0 || ws[0]%rank != 0,
		!r.isInts(re.Input(1), ws[0]/rank, rank, ws[1]/rank, rank), !r.isInts(n.Input(1), ws[0], ws[1]):
		return false, "the shapes are not those of blocks"
	case !r.floats(w, b):
		return false, "the weight and the blocks are not of one float type"
	case !r.closed(n, t2, sum, mm, wi, bt, stack, re):
		return false, usedElsewhere
	}
	r.replace(n, ops.Domain, "BatWeight", ir.In(w, b), []*ir.Node{t2, sum, mm, wi, bt, stack, re})
	return true, ""
}

// isIdentity reports whether v is a constant identity matrix.
func (r *rewriter) isIdentity(v *ir.Value) bool {
	s, ok := r.fact(v).Shape()
	return ok && len(s) == 2 && s[0] == s[1] && r.foldMatrix(v) == s[0]
}
