package fuse

import (
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

// An ending is what follows a product and can be done with it.
type ending struct {
	product        *ir.Node
	op             string      // what the product becomes
	in             []*ir.Value // its inputs; bias and residual follow
	attrs          []*ir.Attr
	sum            bool // it ends in a residual alone, the next input
	bias, residual *ir.Value
	activation     string
	root           *ir.Node   // the last node
	inner          []*ir.Node // those before, the product first
}

// endings read a product that can end in more; ok is false where it is none.
var endings = map[string]func(r *rewriter, n *ir.Node) (e ending, ok bool){
	"MatMul":                    (*rewriter).matrixEnding,
	"Gemm":                      (*rewriter).gemmEnding,
	ops.Domain + ".FusedMatMul": (*rewriter).matrixEnding,
	ops.Domain + ".Bone":        (*rewriter).boneEnding,
	ops.Domain + ".BoneGradX":   (*rewriter).gradientEnding,
}

// linearEnding draws into a product by a matrix what is done with its result
// alone: adding a bias and a residual, and an activation.
//
//	activation(Add(Add(MatMul(x, W), bias), residual)) -> Linear(x, W, bias, residual)
//	activation(Add(Add(Bone(x, W, D), bias), residual)) -> Bone(x, W, D, bias, residual)
//	Add(BoneGradX(dy, W, D), more) -> BoneGradX(dy, W, D, more)
func linearEnding(r *rewriter, n *ir.Node) (bool, string) {
	e, ok := endings[operator(n)](r, n)
	if !ok {
		return false, ""
	}
	e.product, e.root = n, n
	for r.lengthen(&e) {
	}
	switch {
	case len(e.inner) == 0 && e.bias == nil:
		return false, ""
	case r.readBefore(n, e.root):
		return false, "another result is read before the last node"
	}
	r.end(e)
	return true, ""
}

// end puts the product with what it ends in in the place of the last node.
func (r *rewriter) end(e ending) {
	in := slices.Clone(e.in)
	if !e.sum && (e.bias != nil || e.residual != nil) {
		in = append(in, e.bias)
	}
	if e.residual != nil {
		in = append(in, e.residual)
	}
	if e.activation != "" {
		e.attrs = append(e.attrs, ir.A("activation", ir.String(e.activation)))
	}
	slices.Reverse(e.inner) // dead ones last first
	more := e.product.Outputs()[1:]
	y := r.insert(e.root, ops.Domain, e.op, in, e.root.Output(0), e.attrs...)
	for i, v := range slices.Clone(more) {
		if v != nil {
			e.product.SetOutput(1+i, nil)
			y.Producer().SetOutput(1+i, v)
		}
	}
	r.remove(e.root, e.inner...)
}

// matrixEnding is a product by one matrix.
func (r *rewriter) matrixEnding(n *ir.Node) (e ending, ok bool) {
	p, ok := r.productOf(n)
	return linearOf(p.a, p.b, p.transB), ok && !p.transA && p.alpha == 1 && r.fact(p.b).Rank() == 2
}

func linearOf(x, w *ir.Value, transB bool) ending {
	e := ending{op: "Linear", in: ir.In(x, w)}
	if transB {
		e.attrs = []*ir.Attr{ir.A("transB", ir.Int(1))}
	}
	return e
}

// gemmEnding is a Gemm that adds a vector, or nothing.
func (r *rewriter) gemmEnding(n *ir.Node) (e ending, ok bool) {
	l, _, ok := r.linearOf(n)
	if !ok {
		return e, false
	}
	e = linearOf(l.x, l.w, l.transB)
	e.bias = l.c
	return e, r.floats(l.x, l.w) && r.fact(l.w).Rank() == 2 && (l.c == nil || r.isBias(l.c, n.Output(0)))
}

// boneInputs are those of a Bone or BoneGradX that has no ending yet.
const boneInputs = 3

// boneEnding is a layer with a block, unless its sums alone are wanted.
func (r *rewriter) boneEnding(n *ir.Node) (e ending, ok bool) {
	ok = len(n.Inputs()) == boneInputs && n.Attr("activation") == nil && n.Output(0) != nil
	return ending{op: n.OpType, in: n.Inputs(), attrs: slices.Clone(n.Attrs)}, ok
}

// gradientEnding is what goes back through such a layer.
func (r *rewriter) gradientEnding(n *ir.Node) (e ending, ok bool) {
	e, ok = r.boneEnding(n)
	e.sum = true
	return e, ok
}

// readBefore reports whether a result of n other than the first is read by a
// node up to last, or in a sub-graph, which may be of such a node.
func (r *rewriter) readBefore(n, last *ir.Node) bool {
	for _, v := range n.Outputs()[1:] {
		for x := n; v != nil && x != last; {
			x = x.Next()
			if slices.ContainsFunc(v.Uses(), func(u ir.Use) bool { return u.Node == x || u.Node.Graph() != r.g }) {
				return true
			}
		}
	}
	return false
}

// lengthen takes the next node into an ending; it reports whether it could. The
// order stays, so that no bit of a forward pass depends on what was drawn in.
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
	case activationOf(n) != "" && !e.sum:
		e.activation = activationOf(n)
	case !n.Is("Add") || with == nil || !r.floats(y, with):
		return false
	case e.bias == nil && e.residual == nil && r.isBias(with, y) && !e.sum:
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
