package ops

import "github.com/bonnx/bonnx/ir"

// meanVariance is MeanVarianceNormalization over the axes given, all but the
// channels' of an image where none are:
//
//	x (...) -> y (...) = (x - mean) / (deviation + 1e-9)
//
// https://onnx.ai/onnx/operators/onnx__MeanVarianceNormalization.html
type meanVariance struct {
	function
	axes []int
}

func newMeanVariance(a *Args) (Op, error) {
	o := meanVariance{axes: a.Ints("axes")}
	if o.axes == nil {
		o.axes = []int{0, 2, 3}
	}
	return o, nil
}

// Expand builds the body.
func (o meanVariance) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x := n.Input(0)
	off := b.Sub(x, b.meanOver(x, o.axes))
	deviation := b.Op("Sqrt", ir.In(b.meanOver(b.Mul(off, off), o.axes)))
	return ir.In(b.Div(off, b.Add(deviation, b.Scalar(x, 1e-9)))), nil
}
