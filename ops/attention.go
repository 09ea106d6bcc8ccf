package ops

import (
	"errors"
	"fmt"
	"math"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// attention is scaled dot product attention with heads, grouped or not, a mask,
// a cache of keys and values; see attend for the equation.
//
//	q (B,H,S,D) or (B,S,H*D), k, v (B,G,T,D) or (B,T,G*D)
//	[, mask, past key (B,G,P,D), past value (B,G,P,E), nonpad_kv_seqlen (B)]
//	-> y of q's rank [, present key, present value (B,G,P+T,...), scores (B,H,S,P+T)]
//
// A causal mask lets row i see the columns up to i+P.
// https://onnx.ai/onnx/operators/onnx__Attention.html (since 23;
// nonpad_kv_seqlen since 24)
type attention struct {
	function
	causal         bool
	heads, kvHeads int
	scale, softcap float64
	precision      tensor.DType
	stage          int
	padsMask       bool
}

func newAttention(a *Args) (Op, error) {
	o := attention{causal: a.Bool("is_causal", false), heads: a.Int("q_num_heads", 0), kvHeads: a.Int("kv_num_heads", 0),
		scale: a.Float("scale", 0), softcap: a.Float("softcap", 0), precision: tensor.DType(a.Int("softmax_precision", 0)),
		stage: a.Int("qk_matmul_output_mode", 0), padsMask: a.Opset >= 24}
	if o.stage < 0 || o.stage > 3 {
		return nil, fmt.Errorf("qk_matmul_output_mode is %d", o.stage)
	}
	if o.precision != tensor.Undefined && !o.precision.IsFloat() {
		return nil, fmt.Errorf("softmax_precision is %v", o.precision)
	}
	return o, nil
}

// Expand builds the body.
func (o attention) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	q, k, v := n.Input(0), n.Input(1), n.Input(2)
	d, rank := b.Fact(q).DType, b.Fact(q).Rank()
	switch {
	case rank == 3 && (o.heads <= 0 || o.kvHeads <= 0):
		return nil, errors.New("q of rank 3 needs q_num_heads and kv_num_heads")
	case rank == 3:
		q, k, v = b.splitHeads(q, o.heads), b.splitHeads(k, o.kvHeads), b.splitHeads(v, o.kvHeads)
	case rank != 4:
		return nil, fmt.Errorf("q is %v, want rank 3 or 4", b.Fact(q))
	}
	var past *ir.Value
	if pk, pv := n.Input(4), n.Input(5); pk != nil && pv != nil {
		past = b.Extent(pk, 2)
		k = b.Op("Concat", ir.In(pk, k), ir.A("axis", ir.Int(2)))
		v = b.Op("Concat", ir.In(pv, v), ir.A("axis", ir.Int(2)))
	}
	bias := o.mask(b, n.Input(3), k, d)
	if o.causal {
		bias = b.addBias(bias, b.causal(d, b.Extent(q, 2), b.Extent(k, 2), past, 0))
	}
	if lengths := n.Input(6); lengths != nil {
		real := b.Op("Less", ir.In(b.Count(b.Extent(k, 2)), b.Unsqueeze(lengths, 1)))
		bias = b.addBias(bias, b.Unsqueeze(b.maskBias(d, real), 1, 2))
	}
	r := b.attend(attend{q: q, k: k, v: v, bias: bias, dead: n.Input(3) != nil || n.Input(6) != nil,
		scale: o.scale, softcap: o.softcap, precision: o.precision})
	y := r.y
	if rank == 3 {
		y = b.joinHeads(y)
	}
	return []*ir.Value{y, k, v, []*ir.Value{r.product, r.capped, r.biased, r.probs}[o.stage]}, nil
}

// mask is the third input as a bias: truth means seen, and columns that it is
// too short for are not.
func (o attention) mask(b *Builder, m, k *ir.Value, d tensor.DType) *ir.Value {
	if m == nil {
		return nil
	}
	if b.Fact(m).DType == tensor.Bool {
		m = b.maskBias(d, m)
	}
	have, want := b.Fact(m).Dim(-1), b.Fact(k).Dim(2)
	if !o.padsMask || SameDim(have, want) {
		return m
	}
	less := b.Sub(b.Extent(k, 2), b.Extent(m, -1))
	return b.Op("Pad", ir.In(m, b.Join(b.Ints(0), less), b.constOf(d, math.Inf(-1)), b.Ints(-1)))
}
