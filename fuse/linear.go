package fuse

import (
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

// An ending is what follows a product and can be done with it.
type ending struct {
	bias, residual *ir.Value
	activation     string
	root           *ir.Node   // the last node
	inner          []*ir.Node // those before, the product first
}

// linearEnding draws into a product by a matrix what is done with its result
// alone: adding a bias and a residual, and an activation.
//
//	activation(Add(Add(MatMul(x, W), bias), residual)) -> Linear(x, W, bias, residual)
func linearEnding(r *rewriter, n *ir.Node) (bool, string) {
	p, ok := r.productOf(n)
	e := ending{root: n}
	if n.Is("Gemm") {
		var l linear
		if l, _, ok = r.linearOf(n); ok {
			p = productNode{node: n, a: l.x, b: l.w, transB: l.transB, alpha: 1}
			e.bias = l.c
			ok = r.floats(p.a, p.b) && (l.c == nil || r.isBias(l.c, n.Output(0)))
		}
	}
	if !ok || p.transA || p.alpha != 1 || r.fact(p.b).Rank() != 2 {
		return false, ""
	}
	for r.lengthen(&e) {
	}
	if len(e.inner) == 0 && e.bias == nil {
		return false, ""
	}
	in := ir.In(p.a, p.b)
	if e.bias != nil || e.residual != nil {
		in = append(in, e.bias)
	}
	if e.residual != nil {
		in = append(in, e.residual)
	}
	var attrs []*ir.Attr
	if p.transB {
		attrs = append(attrs, ir.A("transB", ir.Int(1)))
	}
	if e.activation != "" {
		attrs = append(attrs, ir.A("activation", ir.String(e.activation)))
	}
	slices.Reverse(e.inner) // dead ones last first
	r.replace(e.root, ops.Domain, "Linear", in, e.inner, attrs...)
	return true, ""
}

// lengthen takes the next node into an ending; it reports whether it could.
func (r *rewriter) lengthen(e *ending) bool {
	y := e.root.Output(0)
	uses := y.Uses()
	if e.activation != "" || r.kept(y) || len(uses) != 1 {
		return false
	}
	n := uses[0].Node
	if n.Graph() != e.root.Graph() || len(n.Outputs()) != 1 {
		return false
	}
	switch with := other(n, y); {
	case activationOf(n) != "":
		e.activation = activationOf(n)
	case !n.Is("Add") || with == nil || !r.floats(y, with):
		return false
	case e.bias == nil && e.residual == nil && r.isBias(with, y):
		e.bias = with
	case e.residual == nil && r.sameExtents(with, y):
		e.residual = with
	default:
		return false
	}
	e.inner, e.root = append(e.inner, e.root), n
	return true
}

// activationOf is what Linear calls the activation that n is, "" for none.
func activationOf(n *ir.Node) string {
	switch {
	case isComposite(n, "SiLU"):
		return n.OpType
	case isComposite(n, "Gelu"):
		if a := n.Attr("approximate"); a != nil && a.Value == ir.String("tanh") {
			return "GeluTanh"
		}
		return n.OpType
	case n.Is("Relu"), n.Is("Tanh"), n.Is("Sigmoid"):
		return n.OpType
	}
	return ""
}

// isBias reports whether v is a vector as long as y's last axis.
func (r *rewriter) isBias(v, y *ir.Value) bool {
	f, g := r.fact(v), r.fact(y)
	return f.Ranked && f.Rank() == 1 && g.Ranked && ops.SameDim(f.Dim(0), g.Dim(-1))
}

// sameExtents reports whether v and y are known to have one shape.
func (r *rewriter) sameExtents(v, y *ir.Value) bool {
	f, g := r.fact(v), r.fact(y)
	return f.Ranked && g.Ranked && slices.EqualFunc(f.Dims, g.Dims, ops.SameDim)
}
