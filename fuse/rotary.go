package fuse

import (
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// A turning is a rotary position embedding as it was found.
type turning struct {
	x, cos, sin *ir.Value
	interleaved bool
	wide        bool // the tables have an element for each of x
	nodes       []*ir.Node
}

// rotaryHalves recognises the rotation of the halves of a vector:
//
//	Concat(x0*c - x1*s, x1*c + x0*s)
func rotaryHalves(r *rewriter, n *ir.Node) (bool, string) {
	if len(n.Inputs()) != 2 || !r.isLastAxis(intAttr(n, "axis", 0), n.Output(0)) {
		return false, ""
	}
	t, x0, x1, ok := r.turnedPair(n.Input(0), n.Input(1))
	if !ok {
		return false, ""
	}
	x, parts := r.halves(x0, x1)
	if x == nil {
		return false, ""
	}
	t.x, t.nodes = x, append(t.nodes, parts...)
	return r.rotary(n, t)
}

// rotaryWide recognises the same with tables of full width:
//
//	x*c + Concat(-x1, x0)*s
func rotaryWide(r *rewriter, n *ir.Node) (bool, string) {
	var t turning
	found := pair(n, func(a, b *ir.Value) bool {
		straight, crossed := from(a, "Mul"), from(b, "Mul")
		if straight == nil || crossed == nil {
			return false
		}
		return pair(crossed, func(rot, sin *ir.Value) bool {
			x, nodes := r.quarterTurn(rot)
			cos := other(straight, x)
			if x == nil || cos == nil {
				return false
			}
			t = turning{x: x, cos: cos, sin: sin, wide: true, nodes: append(nodes, straight, crossed)}
			return true
		})
	})
	if !found {
		return false, ""
	}
	return r.rotary(n, t)
}

// quarterTurn is x where v is Concat(-x1, x0) of its halves.
func (r *rewriter) quarterTurn(v *ir.Value) (*ir.Value, []*ir.Node) {
	c := from(v, "Concat")
	if c == nil || len(c.Inputs()) != 2 || !r.isLastAxis(intAttr(c, "axis", 0), v) {
		return nil, nil
	}
	neg := from(c.Input(0), "Neg")
	if neg == nil {
		return nil, nil
	}
	x, nodes := r.halves(c.Input(1), neg.Input(0))
	return x, append(nodes, c, neg)
}

// rotaryPairs recognises the rotation of pairs that lie beside each other:
//
//	Reshape(Concat(Unsqueeze(y0, -1), Unsqueeze(y1, -1), -1))
//	x0, x1 = Gather(x, 0, -1), Gather(x, 1, -1), x (A,B,C,D/2,2)
func rotaryPairs(r *rewriter, n *ir.Node) (bool, string) {
	c := from(n.Input(0), "Concat")
	if c == nil || len(c.Inputs()) != 2 || !r.isLastAxis(intAttr(c, "axis", 0), c.Output(0)) {
		return false, ""
	}
	u0, u1 := from(c.Input(0), "Unsqueeze"), from(c.Input(1), "Unsqueeze")
	if u0 == nil || u1 == nil {
		return false, ""
	}
	for _, u := range []*ir.Node{u0, u1} {
		if axes, ok := r.ints(u.Input(1)); !ok || len(axes) != 1 || !r.isLastAxis(int64(axes[0]), u.Output(0)) {
			return false, ""
		}
	}
	t, x0, x1, ok := r.turnedPair(u0.Input(0), u1.Input(0))
	if !ok {
		return false, ""
	}
	x, parts := r.beside(x0, x1)
	y := r.fact(n.Output(0))
	if x == nil || y.Rank() != 4 || !y.Dim(2).Known || !y.Dim(3).Known {
		return false, ""
	}
	f := r.fact(x)
	for i := range 3 {
		if !ops.SameDim(f.Dim(i), y.Dim(i)) {
			return false, "the pairs are not put back where they were"
		}
	}
	r.askInstead(c.Output(0), x)
	shape := r.constant("shape", tensor.FromSlice([]int64{0, 0, y.Dim(2).Value, y.Dim(3).Value}, 4))
	t.x, t.interleaved = r.insert(n, "", "Reshape", ir.In(x, shape), nil), true
	t.nodes = append(append(t.nodes, parts...), c, u0, u1)
	return r.rotary(n, t)
}

// askInstead has those that read only the shape of v read that of a value of
// the same shape.
func (r *rewriter) askInstead(v, same *ir.Value) {
	for _, u := range slices.Clone(v.Uses()) {
		if u.Node.Is("Shape") {
			u.Node.SetInput(u.Index, same)
		}
	}
}

// isLastAxis reports whether an axis of v is its last.
func (r *rewriter) isLastAxis(axis int64, v *ir.Value) bool {
	return axis == -1 || r.fact(v).Rank() > 0 && int(axis) == r.fact(v).Rank()-1
}

// turnedPair reads y0 and y1 as x0*c - x1*s and x1*c + x0*s.
func (r *rewriter) turnedPair(y0, y1 *ir.Value) (t turning, x0, x1 *ir.Value, ok bool) {
	sub, add := from(y0, "Sub"), from(y1, "Add")
	if sub == nil || add == nil {
		return t, nil, nil, false
	}
	m0, m1 := from(sub.Input(0), "Mul"), from(sub.Input(1), "Mul")
	if m0 == nil || m1 == nil {
		return t, nil, nil, false
	}
	ok = pair(m0, func(a, c *ir.Value) bool {
		return pair(m1, func(b, s *ir.Value) bool {
			x0, x1 = a, b
			return pair(add, func(p, q *ir.Value) bool {
				m2, m3 := from(p, "Mul"), from(q, "Mul")
				if m2 == nil || m3 == nil || other(m2, b) != c || other(m3, a) != s {
					return false
				}
				t = turning{cos: c, sin: s, nodes: []*ir.Node{sub, add, m0, m1, m2, m3}}
				return true
			})
		})
	})
	return t, x0, x1, ok
}

// halves is x where x0 and x1 are the halves of its last axis.
func (r *rewriter) halves(x0, x1 *ir.Value) (*ir.Value, []*ir.Node) {
	if s := x0.Producer(); s != nil && s.Is("Split") && x1.Producer() == s {
		x := s.Input(0)
		if x0.Index() == 0 && x1.Index() == 1 && len(s.Outputs()) == 2 && r.isLastAxis(intAttr(s, "axis", 0), x) &&
			ops.SameDim(r.fact(x0).Dim(-1), r.fact(x1).Dim(-1)) {
			return x, []*ir.Node{s}
		}
		return nil, nil
	}
	lo, hi := from(x0, "Slice"), from(x1, "Slice")
	if lo == nil || hi == nil || lo.Input(0) != hi.Input(0) {
		return nil, nil
	}
	x := lo.Input(0)
	d := r.fact(x).Dim(-1)
	if !d.Known || d.Value%2 != 0 || !r.isCut(lo, 0, int(d.Value/2)) || !r.isCut(hi, int(d.Value/2), int(d.Value)) {
		return nil, nil
	}
	return x, []*ir.Node{lo, hi}
}

// isCut reports whether a Slice takes the elements [lo,hi) of the last axis,
// which ends at hi where hi is beyond.
func (r *rewriter) isCut(n *ir.Node, lo, hi int) bool {
	size := int(r.fact(n.Input(0)).Dim(-1).Value)
	starts, ok := r.ints(n.Input(1))
	ends, ok2 := r.ints(n.Input(2))
	axes, ok3 := r.ints(n.Input(3))
	if !ok || !ok2 || !ok3 || len(starts) != 1 || len(ends) != 1 || len(axes) != 1 || !r.isLastAxis(int64(axes[0]), n.Output(0)) {
		return false
	}
	if n.Input(4) != nil && !r.isInts(n.Input(4), 1) {
		return false
	}
	return starts[0] == lo && min(ends[0], size) == hi
}

// beside is x (A,B,C,D/2,2) where x0 and x1 are its elements 0 and 1 of the
// last axis.
func (r *rewriter) beside(x0, x1 *ir.Value) (*ir.Value, []*ir.Node) {
	g0, g1 := from(x0, "Gather"), from(x1, "Gather")
	if g0 == nil || g1 == nil || g0.Input(0) != g1.Input(0) {
		return nil, nil
	}
	x := g0.Input(0)
	for i, g := range []*ir.Node{g0, g1} {
		if !r.isInts(g.Input(1), i) || r.fact(g.Input(1)).Rank() != 0 || !r.isLastAxis(intAttr(g, "axis", 0), x) {
			return nil, nil
		}
	}
	if d := r.fact(x).Dim(-1); r.fact(x).Rank() != 5 || !d.Known || d.Value != 2 {
		return nil, nil
	}
	return x, []*ir.Node{g0, g1}
}

// rotary puts the composite in n's place. A transposition of heads and rows
// before it moves behind, where attention takes it up.
func (r *rewriter) rotary(n *ir.Node, t turning) (bool, string) {
	x := r.fact(t.x)
	if x.Rank() != 4 || !x.Dim(-1).Known {
		return false, "the vectors are not those of heads"
	}
	if !r.floats(t.x, t.cos, t.sin) {
		return false, "the vectors and tables are not of one float type"
	}
	for _, v := range []*ir.Value{t.cos, t.sin} {
		if !r.isTable(r.fact(v), x, t.wide) {
			return false, "the tables do not have the extents of the vectors"
		}
	}
	if !r.closed(n, t.nodes...) {
		return false, usedElsewhere
	}
	var attrs []*ir.Attr
	if t.interleaved {
		attrs = append(attrs, ir.A("interleaved", ir.Int(1)))
	}
	if t.wide {
		attrs = append(attrs, ir.A("wide", ir.Int(1)))
	}
	in := ir.In(t.x, t.cos, t.sin)
	before := from(t.x, "Transpose")
	if !isPerm(before, 0, 2, 1, 3) || !r.closed(n, append(t.nodes, before)...) {
		r.replace(n, ops.Domain, "Rotary", in, t.nodes, attrs...)
		return true, ""
	}
	in[0] = before.Input(0)
	y := r.insert(n, ops.Domain, "Rotary", in, nil, append(attrs, ir.A("rows_first", ir.Int(1)))...)
	r.replace(n, "", "Transpose", ir.In(y), append(t.nodes, before), ir.A("perm", ir.Ints{0, 2, 1, 3}))
	return true, ""
}

// isTable reports whether a table may stand beside vectors x.
func (r *rewriter) isTable(t, x ops.Fact, wide bool) bool {
	per := int64(2)
	if wide {
		per = 1
	}
	if t.Rank() < 1 || t.Rank() > 4 || !t.Dim(-1).Known || per*t.Dim(-1).Value != x.Dim(-1).Value {
		return false
	}
	for i := 2; i <= t.Rank(); i++ {
		if d, of := t.Dim(-i), x.Dim(-i); d.Known && d.Value != 1 && of.Known && d.Value != of.Value {
			return false
		}
	}
	return true
}
