package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// groupQueryAttention is com.microsoft.GroupQueryAttention: causal attention
// whose k and v have fewer heads than q, with a cache and rotary positions.
//
//	q (B,S,N*D), k, v (B,S,G*D), or all packed in q (B,S,(N+2G)*D);
//	past k, past v (B,G,P,D), seqlens (B), total (), [cos, sin (M,R/2),
//	positions (B,S), bias, sink (N)]
//	-> y (B,S,N*D), present k, present v (B,G,max(P,total),D) [, scores]
//
// seqlens is the number of columns of each row of the batch less one. A prompt,
// whose total is S, has nothing before it; later on seqlens+1-S columns of the
// cache come first, then the S new ones.
type groupQueryAttention struct {
	function
	heads, kvHeads      int
	scale, softcap      float64
	causal              bool
	window              int
	rotary, interleaved bool
	smooth              bool
	scores              int
}

func newGroupQueryAttention(a *Args) (Op, error) {
	o := groupQueryAttention{heads: a.Int("num_heads", 0), kvHeads: a.Int("kv_num_heads", 0), scale: a.Float("scale", 0),
		softcap: a.Float("softcap", 0), causal: a.Bool("causal", true), window: a.Int("local_window_size", -1),
		rotary: a.Bool("do_rotary", false), interleaved: a.Bool("rotary_interleaved", false),
		smooth: a.Int("smooth_softmax", 0) == 1, scores: a.Int("qk_output", 0)}
	a.Skip("qk_norm_epsilon", "kv_cache_bit_width")
	for _, name := range []string{"k_quant_type", "v_quant_type"} {
		if s := a.String(name, "NONE"); s != "NONE" {
			return nil, fmt.Errorf("%s %s is not supported", name, s)
		}
	}
	switch {
	case o.heads <= 0 || o.kvHeads <= 0 || o.heads%o.kvHeads != 0:
		return nil, fmt.Errorf("num_heads is %d, kv_num_heads %d", o.heads, o.kvHeads)
	case a.Node.Input(5) == nil || a.Node.Input(6) == nil:
		return nil, errors.New("seqlens or the total length is left out")
	case a.Bool("sliding_window_cache", false):
		return nil, errors.New("sliding_window_cache is not supported")
	}
	for i := 12; i < a.NumIn(); i++ {
		if a.Node.Input(i) != nil {
			return nil, fmt.Errorf("input %d (quantized cache, norm of q and k) is not supported", i)
		}
	}
	return o, nil
}

// Expand builds the body.
func (o groupQueryAttention) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	q, k, v, err := o.operands(b, n)
	if err != nil {
		return nil, err
	}
	s := b.Extent(q, 1)
	past, total := o.lengths(b, n.Input(5), n.Input(6), s)
	if o.rotary {
		if q, k, err = o.turned(b, n, q, k, past, s); err != nil {
			return nil, err
		}
	}
	q, k, v = b.Transpose(q, 0, 2, 1, 3), b.Transpose(k, 0, 2, 1, 3), b.Transpose(v, 0, 2, 1, 3)
	if pk, pv := n.Input(3), n.Input(4); pk != nil && pv != nil {
		at, real := o.places(b, past, b.Extent(pk, 2), total, s)
		k, v = b.cached(pk, k, at, real), b.cached(pv, v, at, real)
	}
	d := b.Fact(q).DType
	bias := n.Input(10)
	start := b.Unsqueeze(past, 1, 2, 3) // (B,1,1,1)
	if o.causal {
		bias = b.addBias(bias, b.causal(d, s, b.Extent(k, 2), start, o.window))
	} else {
		real := b.Op("Less", ir.In(b.Count(b.Extent(k, 2)), b.Add(start, s)))
		bias = b.addBias(bias, b.maskBias(d, real))
	}
	r := b.attend(attend{q: q, k: k, v: v, bias: bias, scale: o.scale, softcap: o.softcap, sink: o.sink(b, n.Input(11), d)})
	return []*ir.Value{b.joinHeads(r.y), k, v, []*ir.Value{nil, r.biased, r.probs}[o.scores]}, nil
}

// operands are q, k and v as (B,S,heads,D).
func (o groupQueryAttention) operands(b *Builder, n *ir.Node) (q, k, v *ir.Value, err error) {
	q, k, v = n.Input(0), n.Input(1), n.Input(2)
	if b.Fact(q).Rank() != 3 {
		return nil, nil, nil, fmt.Errorf("query is %v, want rank 3", b.Fact(q))
	}
	if k == nil {
		all := b.bySeq(q, o.heads+2*o.kvHeads)
		p := b.Node("", "Split", ir.In(all, b.Ints(o.heads, o.kvHeads, o.kvHeads)), 3, ir.A("axis", ir.Int(2)))
		return p[0], p[1], p[2], nil
	}
	if v == nil {
		return nil, nil, nil, errors.New("a key without a value")
	}
	return b.bySeq(q, o.heads), b.bySeq(k, o.kvHeads), b.bySeq(v, o.kvHeads), nil
}

// lengths are how many columns come before the new ones, (B), and how many
// there are in all, (1).
func (o groupQueryAttention) lengths(b *Builder, seqlens, total, s *ir.Value) (past, all *ir.Value) {
	all = b.ReshapeTo(b.Cast(total, tensor.Int64), 1)
	lens := b.ReshapeTo(b.Cast(seqlens, tensor.Int64), -1)
	before := b.Sub(b.Add(lens, b.Ints(1)), s)
	return b.Op("Where", ir.In(b.Op("Equal", ir.In(all, s)), b.Ints(0), before)), all
}

// turned is rotary position embedding of q and k (B,S,heads,D).
func (o groupQueryAttention) turned(b *Builder, n *ir.Node, q, k, past, s *ir.Value) (*ir.Value, *ir.Value, error) {
	cos, sin, at := n.Input(7), n.Input(8), n.Input(9)
	half := b.Fact(cos).Dim(-1)
	if cos == nil || sin == nil || !half.Known {
		return nil, nil, errors.New("do_rotary needs tables of cos and sin of known width")
	}
	if at == nil {
		at = b.Add(b.Unsqueeze(past, 1), b.Count(s))
	}
	c, sn := b.Unsqueeze(b.Op("Gather", ir.In(cos, at)), 2), b.Unsqueeze(b.Op("Gather", ir.In(sin, at)), 2)
	r := rotaryEmbedding{interleaved: o.interleaved, width: int(2 * half.Value)}
	return r.rotate(b, q, c, sn), r.rotate(b, k, c, sn), nil
}

// places says for each column of the present, (B,L), where it is in the past of
// p columns followed by the s new ones, and whether there is such a column.
func (o groupQueryAttention) places(b *Builder, past, p, total, s *ir.Value) (at, real *ir.Value) {
	col, first := b.Count(b.Op("Max", ir.In(p, total))), b.Unsqueeze(past, 1)
	since := b.Sub(col, first)
	isOld, real := b.Op("Less", ir.In(col, first)), b.Op("Less", ir.In(since, s))
	at = b.Op("Where", ir.In(isOld, col, b.Add(since, p)))
	return b.Op("Where", ir.In(real, at, b.Ints(0))), real
}

// cached is the columns at of past followed by x, both (B,G,...,D), 0 where
// there is no real one: (B,G,L,D).
func (b *Builder) cached(past, x, at, real *ir.Value) *ir.Value {
	all := b.Op("Concat", ir.In(past, x), ir.A("axis", ir.Int(2)))
	shape := b.Join(b.Extent(all, 0), b.Extent(all, 1), b.Extent(at, 1), b.Ints(1))
	index := b.Op("Expand", ir.In(b.Unsqueeze(at, 1, 3), shape))
	y := b.Op("GatherND", ir.In(all, index), ir.A("batch_dims", ir.Int(2)))
	return b.Op("Where", ir.In(b.Unsqueeze(real, 1, 3), y, b.Scalar(y, 0)))
}

// sink is what each head has beside its columns: (N,1,1).
func (o groupQueryAttention) sink(b *Builder, sink *ir.Value, d tensor.DType) *ir.Value {
	if sink == nil && o.smooth {
		sink = b.Const("sink", tensor.New(d, o.heads))
	}
	if sink == nil {
		return nil
	}
	return b.Unsqueeze(sink, 1, 2)
}
