package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
)

// fusedAttention is ai.bonnx.Attention, scaled dot product attention of which
// no score matrix is kept (after Dao et al., arXiv 2205.14135):
//
//	q (B,H,S,D), k (B,G,T,D), v (B,G,T,E) [, bias] -> y (B,H,S,E)
//	s = scale q k' + bias; y = softmax(s) v
//
// G divides H: heads h*H/G to (h+1)*H/G-1 of q share head h of k and v. Each
// extent of bias is that of s or 1, and leading ones may be left out. Operands
// that rows_first names by a 1, in the order q, k, v, y, have their axes of
// heads and rows swapped.
type fusedAttention struct {
	scale     float64
	rowsFirst [4]bool
}

// fusedAttentionGrad is ai.bonnx.AttentionGrad; gradients lie as their values do:
//
//	dy (B,H,S,E), q, k, v [, bias] -> dq, dk, dv
//	p = softmax(s); dp = dy v'; ds = p*(dp - sum_t p*dp)
//	dq = scale ds k; dk = scale ds' q; dv = p' dy
type fusedAttentionGrad struct{ of fusedAttention }

func newFusedAttention(a *Args) (Op, error) {
	o := fusedAttention{scale: a.Float("scale", 1)}
	list := a.Ints("rows_first")
	if list != nil && len(list) != 4 {
		return nil, fmt.Errorf("rows_first has %d elements, want 4", len(list))
	}
	for i, n := range list {
		o.rowsFirst[i] = n != 0
	}
	return o, nil
}

func newFusedAttentionGrad(a *Args) (Op, error) {
	o, err := newFusedAttention(a)
	if err != nil {
		return nil, err
	}
	return fusedAttentionGrad{o.(fusedAttention)}, nil
}

func (o fusedAttention) attrs() []*ir.Attr {
	first := make(ir.Ints, 4)
	for i, f := range o.rowsFirst {
		if f {
			first[i] = 1
		}
	}
	return []*ir.Attr{ir.A("scale", ir.Float(o.scale)), ir.A("rows_first", first)}
}

// The operands that rows_first counts.
const (
	attendQ = iota
	attendK
	attendV
	attendY
)

// headsFirst are the extents of operand i as (batch, heads, rows, width).
func (o fusedAttention) headsFirst(i int, f Fact) [4]ir.Dim {
	d := [4]ir.Dim{f.Dim(0), f.Dim(1), f.Dim(2), f.Dim(3)}
	if o.rowsFirst[i] {
		d[1], d[2] = d[2], d[1]
	}
	return d
}

func (o fusedAttention) Infer(in []Fact) ([]Fact, error) {
	if err := sameFloats([]string{"q", "k", "v"}, in[:3]); err != nil {
		return nil, err
	}
	if b := at(in, 3); !b.Absent() && (b.DType != in[0].DType || b.Rank() > 4) {
		return nil, fmt.Errorf("bias %v for q %v", b, in[0])
	}
	for i, f := range in[:3] {
		if f.Ranked && f.Rank() != 4 {
			return nil, fmt.Errorf("%s is %v: %w", []string{"q", "k", "v"}[i], f, errRank)
		}
	}
	q, k, v := o.headsFirst(attendQ, in[0]), o.headsFirst(attendK, in[1]), o.headsFirst(attendV, in[2])
	var err error
	for _, p := range []struct {
		what string
		a, b ir.Dim
	}{{"batch", q[0], k[0]}, {"batch", k[0], v[0]}, {"heads of k and v", k[1], v[1]}, {"rows of k and v", k[2], v[2]}, {"width of q and k", q[3], k[3]}} {
		if _, e := agree(p.what, p.a, p.b); e != nil && err == nil {
			err = fmt.Errorf("q %v, k %v, v %v: %w", in[0], in[1], in[2], e)
		}
	}
	if h, g := q[1], k[1]; err == nil && h.Known && g.Known && (g.Value < 1 || h.Value%g.Value != 0) {
		err = fmt.Errorf("%d heads of q share %d of k", h.Value, g.Value)
	}
	y := [4]ir.Dim{q[0], q[1], q[2], v[3]}
	if o.rowsFirst[attendY] {
		y[1], y[2] = y[2], y[1]
	}
	return []Fact{Of(in[0].DType, y[:]...)}, err
}

// Grad needs nothing of the forward pass but its inputs. The gradient of the
// bias, which few models train, is spelled out.
func (o fusedAttention) Grad(b *GradBuilder) error {
	dy, in := b.Grad(0), []*ir.Value{b.Grad(0), b.In(0), b.In(1), b.In(2)}
	if bias := b.In(3); bias != nil {
		in = append(in, bias)
		if b.Needs(3) {
			w := o.backward(b.Builder, dy, b.In(0), b.In(1), b.In(2), bias)
			b.SetSum(3, w.ds)
		}
	}
	if !b.Needs(0) && !b.Needs(1) && !b.Needs(2) {
		return nil
	}
	out := b.Composite("AttentionGrad", in, 3, o.attrs()...)
	for i, v := range out {
		if b.Needs(i) {
			b.Set(i, v)
		} else {
			v.Producer().SetOutput(i, nil)
		}
	}
	return nil
}

// byHead is operand i with heads before rows, from or to the order it has.
func (o fusedAttention) byHead(b *Builder, i int, v *ir.Value) *ir.Value {
	if o.rowsFirst[i] {
		return b.Transpose(v, 0, 2, 1, 3)
	}
	return v
}

// Expand spells the equation out.
func (o fusedAttention) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	q, k, v := o.byHead(b, attendQ, n.Input(0)), o.byHead(b, attendK, n.Input(1)), o.byHead(b, attendV, n.Input(2))
	r := b.attend(attend{q: q, k: k, v: v, bias: n.Input(3), scale: o.scale})
	return ir.In(o.byHead(b, attendY, r.y)), nil
}

// attendBackward is what the gradients are made of, heads before rows.
type attendBackward struct{ q, k, dy, probs, ds *ir.Value }

func (o fusedAttention) backward(b *Builder, dy, q, k, v, bias *ir.Value) attendBackward {
	q, k, v = o.byHead(b, attendQ, q), o.byHead(b, attendK, k), o.byHead(b, attendV, v)
	w := attendBackward{q: q, k: k, dy: o.byHead(b, attendY, dy)}
	w.probs = b.attend(attend{q: q, k: k, v: v, bias: bias, scale: o.scale}).probs
	dp := b.grouped(w.dy, b.SwapLast(v))
	mean := b.ReduceSum(b.Mul(w.probs, dp), true, -1)
	w.ds = b.Mul(w.probs, b.Sub(dp, mean))
	return w
}

func (o fusedAttentionGrad) Infer(in []Fact) ([]Fact, error) {
	if err := sameFloats([]string{"dy", "q", "k", "v"}, in[:4]); err != nil {
		return nil, err
	}
	if _, err := o.of.Infer(in[1:]); err != nil {
		return nil, err
	}
	return []Fact{in[1].WithoutValue(), in[2].WithoutValue(), in[3].WithoutValue()}, nil
}

// Expand spells the equations out. Rows of heads that share one of k are rows
// of one matrix, so that the products for k and v sum over them.
func (o fusedAttentionGrad) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	w := o.of.backward(b, n.Input(0), n.Input(1), n.Input(2), n.Input(3), n.Input(4))
	scale := b.Scalar(w.q, o.of.scale)
	shared := func(x *ir.Value) *ir.Value {
		if SameDim(b.Fact(x).Dim(1), b.Fact(w.k).Dim(1)) {
			return x
		}
		return b.Reshape(x, b.Join(b.Extent(x, 0), b.Extent(w.k, 1), b.Ints(-1), b.Extent(x, -1)))
	}
	dq := b.Mul(b.grouped(w.ds, w.k), scale)
	dk := b.Mul(b.MatMul(b.SwapLast(shared(w.ds)), shared(w.q)), scale)
	dv := b.MatMul(b.SwapLast(shared(w.probs)), shared(w.dy))
	return ir.In(o.of.byHead(b, attendQ, dq), o.of.byHead(b, attendK, dk), o.of.byHead(b, attendV, dv)), nil
}
