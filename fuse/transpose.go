package fuse

import (
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

// transposedProduct reads an operand of MatMul transposed in place of
// transposing it:
//
//	MatMul(Transpose(a), b), MatMul(a, Transpose(b)) -> FusedMatMul
//
// where the Transpose swaps the last two axes of a value that is not constant
// (a constant is transposed once, when the model is compiled).
func transposedProduct(r *rewriter, n *ir.Node) (bool, string) {
	a, b := n.Input(0), n.Input(1)
	if r.fact(a).Rank() < 2 || r.fact(b).Rank() < 2 || !r.floats(a, b) {
		return false, ""
	}
	ta, tb := r.swapped(a), r.swapped(b)
	if ta == nil && tb == nil {
		return false, ""
	}
	var attrs []*ir.Attr
	if ta != nil {
		a, attrs = ta.Input(0), append(attrs, ir.A("transA", ir.Int(1)))
	}
	if tb != nil {
		b, attrs = tb.Input(0), append(attrs, ir.A("transB", ir.Int(1)))
	}
	r.replace(n, ops.Domain, "FusedMatMul", ir.In(a, b), []*ir.Node{ta, tb}, attrs...)
	return true, ""
}

// swapped is the Transpose that makes v by swapping the last two axes of what
// is computed, nil where there is none.
func (r *rewriter) swapped(v *ir.Value) *ir.Node {
	t := from(v, "Transpose")
	if t == nil || r.fact(t.Input(0)).Const != nil || t.Input(0).IsInitializer() {
		return nil
	}
	rank := r.fact(v).Rank()
	p := perm(t)
	if p == nil && rank == 2 {
		return t
	}
	if rank < 2 || len(p) != rank || p[rank-1] != rank-2 || p[rank-2] != rank-1 {
		return nil
	}
	for i := range rank - 2 {
		if p[i] != i {
			return nil
		}
	}
	return t
}
