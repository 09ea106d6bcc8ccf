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
