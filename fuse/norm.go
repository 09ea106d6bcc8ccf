package fuse

import (
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

// meanOf is the value whose mean over the last axis n takes, nil where n does
// something else.
func (r *rewriter) meanOf(n *ir.Node) *ir.Value {
	if n == nil || intAttr(n, "keepdims", 1) != 1 {
		return nil
	}
	axes, ok := r.ints(n.Input(1))
	if !ok || len(axes) != 1 {
		return nil
	}
	x := n.Input(0)
	if axes[0] != -1 && axes[0] != r.fact(x).Rank()-1 {
		return nil
	}
	return x
}

// squareOf is the value that n squares, nil where it does not.
func (r *rewriter) squareOf(n *ir.Node) *ir.Value {
	switch {
	case n.Is("Pow") && r.isFloatOrInt(n.Input(1), 2), n.Is("Mul") && n.Input(0) == n.Input(1):
		return n.Input(0)
	}
	return nil
}

// isFloatOrInt is isFloat for constants that may be integers.
func (r *rewriter) isFloatOrInt(v *ir.Value, x int) bool {
	if r.isFloat(v, float64(x)) {
		return true
	}
	got, ok := r.ints(v)
	return ok && len(got) == 1 && got[0] == x
}

// A spread is sqrt(mean(square(x)) + eps) over the last axis.
type spread struct {
	x     *ir.Value
	eps   float64
	nodes []*ir.Node
}

// spreadOf reads v, the argument of a square root, as mean(x^2) + eps.
func (r *rewriter) spreadOf(v *ir.Value) (s spread, ok bool) {
	add := from(v, "Add")
	if add == nil {
		return s, false
	}
	ok = pair(add, func(m, e *ir.Value) bool {
		eps, isConst := r.float(e)
		mean := from(m, "ReduceMean")
		sq := r.meanOf(mean)
		if !isConst || eps < 0 || sq == nil || sq.Producer() == nil {
			return false
		}
		s = spread{r.squareOf(sq.Producer()), eps, []*ir.Node{add, mean, sq.Producer()}}
		return s.x != nil
	})
	return s, ok
}

// normalised reads v as x divided by the root of mean(x^2) + eps, in one of
// the ways that exporters write it:
//
//	Div(x, Sqrt(.)), Mul(x, Div(1, Sqrt(.))), Mul(x, Reciprocal(Sqrt(.))), Mul(x, Pow(., -0.5))
func (r *rewriter) normalised(v *ir.Value) (spread, bool) {
	if div := from(v, "Div"); div != nil {
		root := from(div.Input(1), "Sqrt")
		if root == nil {
			return spread{}, false
		}
		s, ok := r.spreadOf(root.Input(0))
		s.nodes = append(s.nodes, div, root)
		return s, ok && s.x == div.Input(0)
	}
	mul := from(v, "Mul")
	if mul == nil {
		return spread{}, false
	}
	var s spread
	ok := pair(mul, func(x, inv *ir.Value) bool {
		arg, nodes := r.inverseRoot(inv)
		if arg == nil {
			return false
		}
		var ok bool
		s, ok = r.spreadOf(arg)
		s.nodes = append(append(s.nodes, mul), nodes...)
		return ok && s.x == x
	})
	return s, ok
}

// inverseRoot is z where v is 1/sqrt(z), and the nodes between.
func (r *rewriter) inverseRoot(v *ir.Value) (*ir.Value, []*ir.Node) {
	if pow := from(v, "Pow"); pow != nil && r.isFloat(pow.Input(1), -0.5) {
		return pow.Input(0), []*ir.Node{pow}
	}
	n := fromEither(v, "Div", "Reciprocal")
	if n == nil || n.Is("Div") && !r.isFloat(n.Input(0), 1) {
		return nil, nil
	}
	root := from(n.Input(len(n.Inputs())-1), "Sqrt")
	if root == nil {
		return nil, nil
	}
	return root.Input(0), []*ir.Node{n, root}
}

// spansLast reports whether v is a vector of the length of x's last axis.
func (r *rewriter) spansLast(v, x *ir.Value) bool {
	f, last := r.fact(v), r.fact(x).Dim(-1)
	return f.Rank() == 1 && r.fact(x).Ranked && last.Known && ops.SameDim(f.Dim(0), last)
}

const scaleShape = "the scale does not have the length of the last axis"

// rmsNorm recognises x / sqrt(mean(x^2) + eps) * scale.
func rmsNorm(r *rewriter, n *ir.Node) (bool, string) {
	var s spread
	var scale *ir.Value
	found := pair(n, func(v, c *ir.Value) bool {
		var ok bool
		s, ok = r.normalised(v)
		scale = c
		return ok
	})
	switch {
	case !found:
		return false, ""
	case !r.spansLast(scale, s.x):
		return false, scaleShape
	case !r.floats(s.x, scale):
		return false, "the input and the scale are not of one float type"
	case !r.closed(n, s.nodes...):
		return false, usedElsewhere
	}
	r.replace(n, ops.Domain, "RMSNorm", ir.In(s.x, scale), s.nodes, ir.A("epsilon", ir.Float(s.eps)))
	return true, ""
}

// layerNorm recognises (x - mean) / sqrt(mean((x-mean)^2) + eps) * scale + bias.
func layerNorm(r *rewriter, n *ir.Node) (bool, string) {
	var s spread
	var scale *ir.Value
	found := pair(n, func(v, c *ir.Value) bool {
		var ok bool
		s, ok = r.normalised(v)
		scale = c
		return ok
	})
	sub := from(s.x, "Sub")
	if !found || sub == nil {
		return false, ""
	}
	x, mean := sub.Input(0), from(sub.Input(1), "ReduceMean")
	if mean == nil || r.meanOf(mean) != x {
		return false, ""
	}
	inner := append(s.nodes, sub, mean)
	switch {
	case !r.spansLast(scale, x):
		return false, scaleShape
	case !r.floats(x, scale):
		return false, "the input and the scale are not of one float type"
	case !r.closed(n, inner...):
		return false, usedElsewhere
	}
	in, root := ir.In(x, scale), n
	if add := r.onlyReader(n); add.Is("Add") {
		if bias := other(add, n.Output(0)); bias.IsInitializer() && r.spansLast(bias, x) && r.floats(x, bias) {
			in, root, inner = append(in, bias), add, append(inner, n)
		}
	}
	r.replace(root, "", "LayerNormalization", in, inner, ir.A("axis", ir.Int(-1)), ir.A("epsilon", ir.Float(s.eps)))
	return true, ""
}

// onlyReader is the node that alone reads n's output, nil where there is none
// or several, or where the output must stay.
func (r *rewriter) onlyReader(n *ir.Node) *ir.Node {
	v := n.Output(0)
	if r.kept(v) || len(v.Uses()) != 1 || v.Uses()[0].Node.Graph() != r.g {
		return nil
	}
	return v.Uses()[0].Node
}
