package fuse

import (
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// A productNode is a MatMul or FusedMatMul of stacks of matrices.
type productNode struct {
	node           *ir.Node
	a, b           *ir.Value
	transA, transB bool
	alpha          float64
}

// productOf reads n; ok is false where it is no product of two matrices or
// stacks of known rank and a type that composites compute.
func (r *rewriter) productOf(n *ir.Node) (p productNode, ok bool) {
	if n == nil || !n.Is("MatMul") && !isComposite(n, "FusedMatMul") {
		return p, false
	}
	p = productNode{n, n.Input(0), n.Input(1), intAttr(n, "transA", 0) != 0, intAttr(n, "transB", 0) != 0, floatAttr(n, "alpha", 1)}
	return p, r.fact(p.a).Rank() >= 2 && r.fact(p.b).Rank() >= 2 && r.floats(p.a, p.b)
}

func isComposite(n *ir.Node, op string) bool {
	return n != nil && n.Domain == ops.Domain && n.OpType == op
}

// put replaces root by the product, and removes what of inner is dead.
func (r *rewriter) put(root *ir.Node, p productNode, inner ...*ir.Node) {
	var attrs []*ir.Attr
	if p.transA {
		attrs = append(attrs, ir.A("transA", ir.Int(1)))
	}
	if p.transB {
		attrs = append(attrs, ir.A("transB", ir.Int(1)))
	}
	if p.alpha != 1 {
		attrs = append(attrs, ir.A("alpha", ir.Float(p.alpha)))
	}
	r.replace(root, ops.Domain, "FusedMatMul", ir.In(p.a, p.b), inner, attrs...)
}

// transposedProduct reads an operand of a product transposed in place of
// swapping its last two axes:
//
//	MatMul(a, Transpose(b, swapped)) -> FusedMatMul(a, b), transB
//	MatMul(a, Transpose(b, 0231)) -> FusedMatMul(a, Transpose(b, 0213)), transB
//
// The second leaves the last axis in its place, and rows can be moved whole.
// Constants stay: they are transposed once, when the model is compiled.
func transposedProduct(r *rewriter, n *ir.Node) (bool, string) {
	p, ok := r.productOf(n)
	if !ok {
		return false, ""
	}
	a, ta := r.unswapped(n, p.a)
	b, tb := r.unswapped(n, p.b)
	if ta == nil && tb == nil {
		return false, ""
	}
	if ta != nil {
		p.a, p.transA = a, !p.transA
	}
	if tb != nil {
		p.b, p.transB = b, !p.transB
	}
	r.put(n, p, ta, tb)
	return true, ""
}

// unswapped is v with its last two axes swapped back, made before n, and the
// Transpose that makes v; nil where that would be no gain.
func (r *rewriter) unswapped(n *ir.Node, v *ir.Value) (*ir.Value, *ir.Node) {
	t := from(v, "Transpose")
	if t == nil || r.fact(t.Input(0)).Const != nil || t.Input(0).IsInitializer() {
		return nil, nil
	}
	rank := r.fact(v).Rank()
	p := perm(t)
	if p == nil && rank == 2 {
		p = []int{1, 0}
	}
	if rank < 2 || len(p) != rank || p[rank-2] != rank-1 {
		return nil, nil
	}
	p = slices.Clone(p)
	p[rank-1], p[rank-2] = p[rank-2], p[rank-1]
	identity := true
	axes := make(ir.Ints, rank)
	for i, x := range p {
		axes[i] = int64(x)
		identity = identity && i == x
	}
	if identity {
		return t.Input(0), t
	}
	if !r.closed(n, t) { // two transpositions in place of one
		return nil, nil
	}
	return r.insert(n, "", "Transpose", ir.In(t.Input(0)), nil, ir.A("perm", axes)), t
}

// scaledProduct multiplies by a constant where the product is stored:
//
//	Mul(MatMul(a, b), c), Div(MatMul(a, b), c) -> FusedMatMul(a, b), alpha
func scaledProduct(r *rewriter, n *ir.Node) (bool, string) {
	var p productNode
	match := func(v, c *ir.Value) bool {
		x, isConst := r.float(c)
		if !isConst || r.fact(c).Rank() > 0 || v.Producer() == nil || v.Index() != 0 {
			return false
		}
		var ok bool
		if p, ok = r.productOf(v.Producer()); !ok {
			return false
		}
		if n.Is("Div") {
			x = 1 / x
		}
		p.alpha *= x
		return true
	}
	if !match(n.Input(0), n.Input(1)) && (n.Is("Div") || !match(n.Input(1), n.Input(0))) {
		return false, ""
	}
	switch exact := float64(float32(p.alpha)) == p.alpha; {
	case !exact && r.fact(p.a).DType != tensor.Float32:
		return false, "the factor is no float32"
	case !r.closed(n, p.node):
		return false, usedElsewhere
	}
	r.put(n, p, p.node)
	return true, ""
}
