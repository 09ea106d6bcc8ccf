package fuse

import (
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// quantizedActivation recognises DequantizeLinear of QuantizeLinear with the
// same scale and zero point: rounding of an activation, which has a gradient
// that neither of the two has.
func quantizedActivation(r *rewriter, n *ir.Node) (bool, string) {
	q := from(n.Input(0), "QuantizeLinear")
	switch {
	case q == nil:
		return false, ""
	case n.Input(1) != q.Input(1) || n.Input(2) != q.Input(2) || !r.sameSteps(n, q):
		return false, "the two have other steps"
	case intAttr(n, "block_size", 0) != 0 || intAttr(q, "block_size", 0) != 0 || intAttr(n, "output_dtype", 0) != 0:
		return false, "steps in blocks, or another type"
	case r.fact(q.Input(0)).DType != tensor.Float32 || r.fact(q.Input(1)).DType != tensor.Float32:
		return false, "the activation is not float32"
	}
	to := r.fact(q.Output(0)).DType
	if !to.IsInteger() || to.Bits() > 16 {
		return false, "quantized to no integers"
	}
	in := ir.In(q.Input(0), q.Input(1))
	if z := q.Input(2); z != nil {
		in = append(in, z)
	}
	r.replace(n, ops.Domain, "FakeQuantize", in, []*ir.Node{q}, ir.A("axis", ir.Int(intAttr(q, "axis", 1))), ir.A("to", ir.Int(to)))
	return true, ""
}

// sameSteps reports whether the scales of two nodes lie along one axis, or are
// one scale for all.
func (r *rewriter) sameSteps(a, b *ir.Node) bool {
	if s, ok := r.fact(a.Input(1)).Shape(); ok && s.Size() == 1 {
		return true
	}
	axis := func(n *ir.Node) int64 {
		v := intAttr(n, "axis", 1)
		if rank := r.fact(n.Input(0)).Rank(); v < 0 && rank >= 0 {
			v += int64(rank)
		}
		return v
	}
	return axis(a) == axis(b)
}

// integerProduct recognises a product of integers that is scaled back, as
// dynamic quantization writes linear layers:
//
//	Cast(MatMulInteger(QuantizeLinear(x, s, z), w, z, wz)) * (s*ws)
//
// It is the product of two values that were quantized and taken back, which has
// a gradient and a faster kernel.
func integerProduct(r *rewriter, n *ir.Node) (bool, string) {
	var cast, mul *ir.Node
	if !pair(n, func(a, b *ir.Value) bool {
		cast, mul = from(a, "Cast"), from(b, "Mul")
		return cast != nil && mul != nil && from(cast.Input(0), "MatMulInteger") != nil
	}) {
		return false, ""
	}
	product := from(cast.Input(0), "MatMulInteger")
	q := from(product.Input(0), "QuantizeLinear")
	if q == nil || product.Input(2) != q.Input(2) || r.fact(q.Input(0)).DType != tensor.Float32 || r.fact(n.Output(0)).DType != tensor.Float32 {
		return false, "the left side is not quantized here, or not of float32"
	}
	ws := other(mul, q.Input(1))
	if s, ok := r.fact(q.Input(1)).Shape(); ws == nil || !ok || s.Size() != 1 {
		return false, "it is not scaled by one scale of the left side and that of the right"
	}
	w, ok := r.dequantized(n, product.Input(1), ws, product.Input(3))
	switch {
	case !ok:
		return false, "the right side is no constant of one scale, or of one for each column"
	case !r.closed(n, product, cast):
		return false, usedElsewhere
	}
	in := ir.In(q.Input(0), q.Input(1))
	if z := q.Input(2); z != nil {
		in = append(in, z)
	}
	to := ir.A("to", ir.Int(r.fact(q.Output(0)).DType))
	x := r.insert(n, ops.Domain, "FakeQuantize", in, nil, to)
	r.replace(n, "", "MatMul", ir.In(x, w), []*ir.Node{cast, product, mul, q})
	return true, ""
}

// dequantized puts the matrix of the integers w before n.
func (r *rewriter) dequantized(n *ir.Node, w, scale, zero *ir.Value) (*ir.Value, bool) {
	shape, ok := r.fact(w).Shape()
	s, ok2 := r.fact(scale).Shape()
	if !ok || !ok2 || r.fact(w).Const == nil || r.fact(scale).Const == nil || len(shape) != 2 || s.Size() != 1 && !s.Equal(shape[1:]) {
		return nil, false
	}
	in := ir.In(w, scale)
	if zero != nil && !r.allZero(zero) {
		if z, ok := r.fact(zero).Shape(); !ok || z.Size() != s.Size() {
			return nil, false
		}
		in = append(in, zero)
	}
	return r.insert(n, "", "DequantizeLinear", in, nil, ir.A("axis", ir.Int(1))), true
}

func (r *rewriter) allZero(v *ir.Value) bool {
	t := r.fact(v).Value()
	if t == nil {
		return false
	}
	for _, b := range t.Bytes() {
		if b != 0 {
			return false
		}
	}
	return true
}
