package ops

import (
	"math"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// attend is scaled dot product attention, which every operator of that name
// is made of:
//
//	q (B,H,S,D), k (B,G,T,D), v (B,G,T,E) -> y (B,H,S,E)
//	s = q k^T * scale; s = softcap*tanh(s/softcap); s = s + bias; y = softmax(s) v
//
// G divides H: heads h*H/G to (h+1)*H/G-1 of q share head h of k and v. A row
// that the bias masks whole gives zeros.
type attend struct {
	q, k, v   *ir.Value
	bias      *ir.Value    // added to the scores, broadcast to (B,H,S,T); nil for none
	dead      bool         // the bias may mask a row whole
	scale     float64      // 0 means 1/sqrt(D)
	softcap   float64      // 0 means none
	precision tensor.DType // of the softmax; Undefined means q's
	sink      *ir.Value    // (H,1,1): a score that each row has beside its columns
	// onScores and onProbs, where set, change the capped product and the probs.
	onScores, onProbs func(v *ir.Value) *ir.Value
}

// attended is what attend makes: y, and the scores at each stage.
type attended struct{ y, product, capped, biased, probs *ir.Value }

func (b *Builder) attend(a attend) attended {
	var r attended
	d := b.Fact(a.q).DType
	a.k, a.v = b.repeatHeads(a.k, a.q), b.repeatHeads(a.v, a.q)
	r.product = b.grouped(b.Mul(a.q, b.attendScale(a)), b.SwapLast(a.k))
	r.capped = r.product
	if a.softcap != 0 {
		c := b.Scalar(r.product, a.softcap)
		r.capped = b.Mul(b.Op("Tanh", ir.In(b.Div(r.product, c))), c)
	}
	if a.onScores != nil {
		r.capped = a.onScores(r.capped)
	}
	r.biased = r.capped
	var dead *ir.Value
	if a.bias != nil {
		r.biased = b.Add(r.capped, a.bias)
		if a.dead {
			dead = b.deadRows(a.bias)
		}
	}
	scores := r.biased
	if dead != nil { // softmax of nothing is no number
		scores = b.Op("Where", ir.In(dead, b.Scalar(scores, 0), scores))
	}
	if a.precision != tensor.Undefined {
		scores = b.Cast(scores, a.precision)
	}
	r.probs = b.Cast(b.sunkSoftmax(scores, a.sink), d)
	if dead != nil {
		r.probs = b.Op("Where", ir.In(dead, b.Scalar(r.probs, 0), r.probs))
	}
	if a.onProbs != nil {
		r.probs = a.onProbs(r.probs)
	}
	r.y = b.grouped(r.probs, a.v)
	return r
}

// sunkSoftmax is the softmax of scores (B,H,S,T) and the sink, without the
// sink's share.
func (b *Builder) sunkSoftmax(scores, sink *ir.Value) *ir.Value {
	if sink != nil {
		shape := b.Join(b.Extent(scores, 0), b.Extent(scores, 1), b.Extent(scores, 2), b.Ints(1))
		column := b.Op("Expand", ir.In(b.Cast(sink, b.Fact(scores).DType), shape))
		scores = b.Op("Concat", ir.In(scores, column), ir.A("axis", ir.Int(-1)))
	}
	probs := b.Op("Softmax", ir.In(scores), ir.A("axis", ir.Int(-1)))
	if sink != nil {
		probs = b.slice(probs, -1, 0, -1, 1)
	}
	return probs
}

// attendScale is the factor as a constant, or computed from q's last extent
// where that is not known yet.
func (b *Builder) attendScale(a attend) *ir.Value {
	scale := a.scale
	if scale == 0 {
		d := b.Fact(a.q).Dim(-1)
		if !d.Known {
			size := b.Op("CastLike", ir.In(b.Extent(a.q, -1), a.q))
			return b.Op("Reciprocal", ir.In(b.Op("Sqrt", ir.In(size))))
		}
		scale = 1 / math.Sqrt(float64(d.Value))
	}
	return b.Scalar(a.q, scale)
}

// deadRows tells of each row of a bias whether it is minus infinity throughout.
func (b *Builder) deadRows(bias *ir.Value) *ir.Value {
	most := b.Op("ReduceMax", ir.In(bias, b.Ints(-1)), ir.A("keepdims", ir.Int(1)))
	return b.Op("IsInf", ir.In(most), ir.A("detect_positive", ir.Int(0)))
}

// repeatHeads is k (B,G,T,D) with as many heads as q (B,H,S,D) where both are
// known: the form from which fusion makes an attention that repeats nothing.
func (b *Builder) repeatHeads(k, q *ir.Value) *ir.Value {
	g, h := b.Fact(k).Dim(1), b.Fact(q).Dim(1)
	if !g.Known || !h.Known || g.Value == h.Value || g.Value == 0 || h.Value%g.Value != 0 {
		return k
	}
	many := b.Op("Expand", ir.In(b.Unsqueeze(k, 2), b.Ints(1, 1, int(h.Value/g.Value), 1, 1)))
	return b.Reshape(many, b.Join(b.Ints(0, int(h.Value)), b.Extent(k, 2), b.Extent(k, 3)))
}

// grouped is the product x w by heads, x (B,H,S,K), w (B,G,K,N): (B,H,S,N).
// Rows of heads that share one of w are rows of one matrix, so that w is not
// repeated where G and H are not known.
func (b *Builder) grouped(x, w *ir.Value) *ir.Value {
	fx, fw := b.Fact(x), b.Fact(w)
	if SameDim(fx.Dim(1), fw.Dim(1)) {
		return b.MatMul(x, w)
	}
	batch, width := b.Extent(x, 0), b.Extent(x, -1)
	rows := b.Reshape(x, b.Join(batch, b.Extent(w, 1), b.Ints(-1), width))
	return b.Reshape(b.MatMul(rows, w), b.Join(batch, b.Extent(x, 1), b.Extent(x, 2), b.Extent(w, -1)))
}

// splitHeads is x (B,S,H*D) as (B,H,S,D).
func (b *Builder) splitHeads(x *ir.Value, heads int) *ir.Value {
	return b.Transpose(b.bySeq(x, heads), 0, 2, 1, 3)
}

// bySeq is x (B,S,H*D) as (B,S,H,D).
func (b *Builder) bySeq(x *ir.Value, heads int) *ir.Value {
	width := b.Ints(-1)
	if d := b.Fact(x).Dim(-1); d.Known && heads > 0 {
		width = b.Ints(int(d.Value) / heads)
	}
	return b.Reshape(x, b.Join(b.Ints(0, 0, heads), width))
}

// joinHeads is y (B,H,S,D) as (B,S,H*D).
func (b *Builder) joinHeads(y *ir.Value) *ir.Value {
	width := b.Ints(-1)
	if d := dimOp('*', b.Fact(y).Dim(1), b.Fact(y).Dim(3)); d.Known {
		width = b.Ints(int(d.Value))
	}
	return b.Reshape(b.Transpose(y, 0, 2, 1, 3), b.Join(b.Ints(0, 0), width))
}

// causal is the bias of dtype d under which row i of rows sees the columns up
// to i+offset of cols, and with window > 0 only the last window of them.
// offset is an integer that broadcasts against (rows,1).
func (b *Builder) causal(d tensor.DType, rows, cols, offset *ir.Value, window int) *ir.Value {
	at := b.Unsqueeze(b.Count(rows), 1)
	if offset != nil {
		at = b.Add(at, offset)
	}
	col := b.Count(cols)
	seen := b.Op("LessOrEqual", ir.In(col, at))
	if window > 0 {
		near := b.Op("Greater", ir.In(col, b.Sub(at, b.Ints(window))))
		seen = b.Op("And", ir.In(seen, near))
	}
	return b.maskBias(d, seen)
}

// maskBias is 0 where the mask is true and minus infinity elsewhere.
func (b *Builder) maskBias(d tensor.DType, mask *ir.Value) *ir.Value {
	return b.Op("Where", ir.In(mask, b.constOf(d, 0), b.constOf(d, math.Inf(-1))))
}

// constOf is a constant of rank 0.
func (b *Builder) constOf(d tensor.DType, x float64) *ir.Value {
	t, err := tensor.Scalar(x).Cast(d)
	if err != nil {
		b.Fail(err)
		t = tensor.Scalar(float32(x))
	}
	return b.Const("c", t)
}

// addBias is the sum of two biases, either of which may be nil.
func (b *Builder) addBias(x, y *ir.Value) *ir.Value {
	switch {
	case x == nil:
		return y
	case y == nil:
		return x
	}
	return b.Add(x, y)
}
