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
	case n.Input(1) != q.Input(1) || n.Input(2) != q.Input(2) || intAttr(n, "axis", 1) != intAttr(q, "axis", 1):
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

// integerProduct recognises what a tool makes of a product of floats, to
// compute it in 8-bit integers: both operands rounded, and the scales put right
// afterwards. The product of floats that it stands for has a gradient.
//
//	Cast(MatMulInteger(QuantizeLinear(x, s, z), W, z, zw)) * (s * sw)
//	-> MatMul(FakeQuantize(x, s, z), (W - zw) * sw)
func integerProduct(r *rewriter, n *ir.Node) (bool, string) {
	var cast, scales *ir.Node
	if !pair(n, func(a, b *ir.Value) bool {
		cast, scales = from(a, "Cast"), from(b, "Mul")
		return cast != nil && scales != nil && from(cast.Input(0), "MatMulInteger") != nil
	}) {
		return false, ""
	}
	product := from(cast.Input(0), "MatMulInteger")
	q := from(product.Input(0), "QuantizeLinear")
	switch {
	case q == nil || q.Input(2) == nil || q.Input(2) != product.Input(2) || intAttr(q, "block_size", 0) != 0:
		return false, "its input is quantized in another way"
	case r.fact(q.Input(0)).DType != tensor.Float32 || r.fact(n.Output(0)).DType != tensor.Float32:
		return false, "the product is not of float32"
	}
	step := other(scales, q.Input(1))
	if s, ok := r.fact(q.Input(1)).Shape(); step == nil || !ok || s.Size() != 1 {
		return false, "the scales are not those of its operands"
	}
	in := ir.In(q.Input(0), q.Input(1), q.Input(2))
	x := r.insert(n, ops.Domain, "FakeQuantize", in, nil, ir.A("to", ir.Int(r.fact(q.Output(0)).DType)))
	float := ir.A("to", ir.Int(tensor.Float32))
	w := r.insert(n, "", "Cast", ir.In(product.Input(1)), nil, float)
	if z := product.Input(3); z != nil {
		w = r.insert(n, "", "Sub", ir.In(w, r.insert(n, "", "Cast", ir.In(z), nil, float)), nil)
	}
	w = r.insert(n, "", "Mul", ir.In(w, step), nil)
	r.replace(n, "", "MatMul", ir.In(x, w), []*ir.Node{cast, scales, product, q})
	return true, ""
}
