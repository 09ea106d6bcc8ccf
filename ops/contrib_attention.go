package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// heads is what the attention operators of com.microsoft share.
type heads struct {
	n      int
	scale  float64
	causal bool
	filter float64 // added where a padding mask is 0
}

func newHeads(a *Args) (heads, error) {
	o := heads{n: a.Int("num_heads", 0), scale: a.Float("scale", 0), causal: a.Bool("unidirectional", false),
		filter: decimal(a.Float("mask_filter_value", -10000))}
	if o.n <= 0 {
		return o, fmt.Errorf("num_heads is %d", o.n)
	}
	return o, nil
}

// microsoftAttention is com.microsoft.Attention: the projection of q, k and v
// by one matrix, then attention.
//
//	x (B,S,I), W (I,2H+V), bias (2H+V) [, mask, past (2,B,N,P,D), attention bias]
//	-> y (B,S,V) [, present (2,B,N,P+S,D)]
//
// See paddingBias for the forms of the mask.
type microsoftAttention struct {
	function
	heads
	sizes []int // of q, k and v; nil for thirds
}

func newMicrosoftAttention(a *Args) (Op, error) {
	h, err := newHeads(a)
	if err != nil {
		return nil, err
	}
	a.Skip("rotary_embedding_dim")
	if a.Bool("do_rotary", false) || a.Bool("past_present_share_buffer", false) {
		return nil, errors.New("do_rotary and past_present_share_buffer are not supported")
	}
	return microsoftAttention{heads: h, sizes: a.Ints("qkv_hidden_sizes")}, nil
}

// Expand builds the body.
func (o microsoftAttention) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	all := b.MatMul(n.Input(0), n.Input(1))
	if bias := n.Input(2); bias != nil {
		all = b.Add(all, bias)
	}
	y, present, err := o.packed(b, all, o.sizes, n.Input(3), n.Input(4), n.Input(5))
	return ir.In(y, present), err
}

// packed is attention of q, k and v side by side in all (B,S,2H+V).
func (o heads) packed(b *Builder, all *ir.Value, sizes []int, mask, past, bias *ir.Value) (y, present *ir.Value, err error) {
	in, count := ir.In(all), []*ir.Attr{ir.A("axis", ir.Int(-1))}
	if sizes != nil {
		in = append(in, b.Ints(sizes...))
	} else {
		count = append(count, ir.A("num_outputs", ir.Int(3)))
	}
	parts := b.Node("", "Split", in, 3, count...)
	q, k, v := b.splitHeads(parts[0], o.n), b.splitHeads(parts[1], o.n), b.splitHeads(parts[2], o.n)
	var before *ir.Value
	if past != nil {
		both := b.Node("", "Split", ir.In(past), 2, ir.A("axis", ir.Int(0)), ir.A("num_outputs", ir.Int(2)))
		before = b.Extent(past, 3)
		k = b.Op("Concat", ir.In(b.squeeze(both[0], 0), k), ir.A("axis", ir.Int(2)))
		v = b.Op("Concat", ir.In(b.squeeze(both[1], 0), v), ir.A("axis", ir.Int(2)))
	}
	r, err := o.attention(b, q, k, v, mask, before, bias)
	if err != nil {
		return nil, nil, err
	}
	if b.Fact(k).Rank() == 4 && SameDim(b.Fact(k).Dim(3), b.Fact(v).Dim(3)) {
		present = b.Op("Concat", ir.In(b.Unsqueeze(k, 0), b.Unsqueeze(v, 0)), ir.A("axis", ir.Int(0)))
	}
	return b.joinHeads(r.y), present, nil
}

// attention is attend with the biases that mask and causality make.
func (o heads) attention(b *Builder, q, k, v, mask, before, bias *ir.Value) (attended, error) {
	d := b.Fact(q).DType
	if mask != nil {
		padding, err := o.paddingBias(b, d, mask, q, k)
		if err != nil {
			return attended{}, err
		}
		bias = b.addBias(bias, padding)
	}
	if o.causal {
		bias = b.addBias(bias, b.causal(d, b.Extent(q, 2), b.Extent(k, 2), before, 0))
	}
	return b.attend(attend{q: q, k: k, v: v, bias: bias, scale: o.scale}), nil
}

// paddingBias is the bias of a mask of columns, of one of the forms
//
//	(B) the columns from there on are padding; (2B) ends, then starts;
//	(B,T), (B,S,T) 0 for padding
func (o heads) paddingBias(b *Builder, d tensor.DType, mask, q, k *ir.Value) (*ir.Value, error) {
	f, batch := b.Fact(mask), b.Fact(q).Dim(0)
	var seen *ir.Value
	switch f.Rank() {
	case 1:
		col := b.Cast(b.Count(b.Extent(k, 2)), f.DType)
		ends, starts := mask, (*ir.Value)(nil)
		if !SameDim(f.Dims[0], batch) {
			if !SameDim(f.Dims[0], dimOp('*', known(2), batch)) {
				return nil, fmt.Errorf("mask %v for a batch of %v", f, batch)
			}
			both := b.Node("", "Split", ir.In(mask), 2, ir.A("axis", ir.Int(0)), ir.A("num_outputs", ir.Int(2)))
			ends, starts = both[0], both[1]
		}
		seen = b.Op("Less", ir.In(col, b.Unsqueeze(ends, 1, 2, 3)))
		if starts != nil {
			seen = b.Op("And", ir.In(seen, b.Op("GreaterOrEqual", ir.In(col, b.Unsqueeze(starts, 1, 2, 3)))))
		}
	case 2:
		seen = b.Cast(b.Unsqueeze(mask, 1, 2), tensor.Bool)
	case 3:
		seen = b.Cast(b.Unsqueeze(mask, 1), tensor.Bool)
	default:
		return nil, fmt.Errorf("mask %v is of a form that is not supported", f)
	}
	low := max(o.filter, lowestOf(d))
	return b.Op("Where", ir.In(seen, b.constOf(d, 0), b.constOf(d, low))), nil
}

// lowestOf is the least finite number of a float type.
func lowestOf(d tensor.DType) float64 {
	if d == tensor.Float16 {
		return -65504
	}
	return -3.4028234663852886e38
}

// squeeze drops axes of extent 1.
func (b *Builder) squeeze(x *ir.Value, axes ...int) *ir.Value {
	return b.Op("Squeeze", ir.In(x, b.Ints(axes...)))
}

// multiHeadAttention is com.microsoft.MultiHeadAttention.
//
//	q (B,S,H), k (B,T,H), v (B,T,V); or q and k,v (B,T,N,2,D) packed; or all
//	three (B,S,N,3,D) packed; or k, v (B,N,T,D) with heads apart
//	[, bias (2H+V), padding mask, attention bias, past k, past v (B,N,P,D)]
//	-> y (B,S,V) [, present k, present v (B,N,P+T,D), scores after softmax]
type multiHeadAttention struct {
	function
	heads
}

func newMultiHeadAttention(a *Args) (Op, error) {
	h, err := newHeads(a)
	if err == nil && (a.Node.Input(8) != nil || a.Node.Input(9) != nil) {
		err = errors.New("shared buffers and cache indirection are not supported")
	}
	return multiHeadAttention{heads: h}, err
}

// Expand builds the body.
func (o multiHeadAttention) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	q, k, v, err := o.operands(b, n)
	if err != nil {
		return nil, err
	}
	var before *ir.Value
	if pk, pv := n.Input(6), n.Input(7); pk != nil && pv != nil {
		before = b.Extent(pk, 2)
		k = b.Op("Concat", ir.In(pk, k), ir.A("axis", ir.Int(2)))
		v = b.Op("Concat", ir.In(pv, v), ir.A("axis", ir.Int(2)))
	}
	r, err := o.attention(b, q, k, v, n.Input(4), before, n.Input(5))
	if err != nil {
		return nil, err
	}
	return ir.In(b.joinHeads(r.y), k, v, r.probs), nil
}

// operands are q, k and v as (B,N,S,D), with their share of the bias.
func (o multiHeadAttention) operands(b *Builder, n *ir.Node) (q, k, v *ir.Value, err error) {
	in := [3]*ir.Value{n.Input(0), n.Input(1), n.Input(2)}
	apart := func(x *ir.Value, parts int) []*ir.Value { // (B,S,N,parts,D)
		list := b.Node("", "Split", ir.In(x), parts, ir.A("axis", ir.Int(3)), ir.A("num_outputs", ir.Int(parts)))
		out := make([]*ir.Value, parts)
		for i, p := range list {
			out[i] = b.Transpose(b.squeeze(p, 3), 0, 2, 1, 3)
		}
		return out
	}
	bias := n.Input(3)
	switch rank := b.Fact(in[0]).Rank(); {
	case rank == 5 && in[1] == nil && bias == nil:
		p := apart(in[0], 3)
		return p[0], p[1], p[2], nil
	case rank != 3 || in[1] == nil:
		return nil, nil, nil, fmt.Errorf("query %v is of a form that is not supported", b.Fact(in[0]))
	case in[2] == nil && b.Fact(in[1]).Rank() == 5 && bias == nil:
		p := apart(in[1], 2)
		return b.splitHeads(in[0], o.n), p[0], p[1], nil
	case in[2] == nil:
		return nil, nil, nil, errors.New("a key without a value")
	}
	if bias != nil {
		in = o.biased(b, in, bias)
	}
	for i, x := range in {
		if b.Fact(x).Rank() == 3 {
			in[i] = b.splitHeads(x, o.n)
		}
	}
	return in[0], in[1], in[2], nil
}

// biased adds to q, k and v (B,S,width) their parts of the bias; what has its
// heads apart has none.
func (o multiHeadAttention) biased(b *Builder, in [3]*ir.Value, bias *ir.Value) [3]*ir.Value {
	h, total := b.Extent(in[0], -1), b.Extent(bias, 0)
	parts := b.Node("", "Split", ir.In(bias, b.Join(h, h, b.Sub(total, b.Add(h, h)))), 3, ir.A("axis", ir.Int(0)))
	for i, x := range in {
		if b.Fact(x).Rank() == 3 {
			in[i] = b.Add(x, parts[i])
		}
	}
	return in
}
