package ops

import (
	"github.com/bonnx/bonnx/ir"
)

// batchNormTraining normalises each channel with the statistics of the batch,
// and lets the gathered ones follow:
//
//	x (N,C,D...), scale, bias, mean, var (C) -> y (N,C,D...) [, mean', var' (C)]
//	y = (x - batch mean) / sqrt(batch var + epsilon) * scale + bias
//	mean' = mean*momentum + batch mean*(1-momentum), var' alike
//
// https://onnx.ai/onnx/operators/onnx__BatchNormalization.html (training_mode
// since 14)
type batchNormTraining struct {
	function
	eps, momentum float64
}

// Expand builds the body.
func (o batchNormTraining) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x, d := n.Input(0), b.Fact(n.Input(0)).DType
	in := make([]*ir.Value, 5)
	for i := 1; i < 5; i++ {
		in[i] = b.Cast(n.Input(i), d)
	}
	v := b.Reshape(x, b.Join(b.Ints(0), b.Extent(in[1], 0), b.Ints(-1))) // a vector x has one channel
	axes := []int{0, 2}
	mean := b.meanOver(v, axes)
	off := b.Sub(v, mean)
	variance := b.meanOver(b.Mul(off, off), axes)
	inv := b.Op("Reciprocal", ir.In(b.Op("Sqrt", ir.In(b.Add(variance, b.Scalar(x, o.eps))))))
	y := b.Add(b.Mul(b.Mul(off, inv), b.column(in[1])), b.column(in[2]))
	follow := func(i int, batch *ir.Value) *ir.Value {
		kept := b.Mul(in[i], b.Scalar(x, o.momentum))
		next := b.Add(kept, b.Mul(b.ReshapeLike(batch, in[i]), b.Scalar(x, 1-o.momentum)))
		return b.Cast(next, b.Fact(n.Input(i)).DType)
	}
	return ir.In(b.ReshapeLike(y, x), follow(3, mean), follow(4, variance)), nil
}
