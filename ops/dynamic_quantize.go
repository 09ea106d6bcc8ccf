package ops

import (
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// dynamicQuantizeLinear quantizes to 8 bits over the range of x and 0.
//
//	x (...) float32 -> y (...) uint8, scale (), zero () uint8
//	scale = (max(x,0)-min(x,0))/255, zero = round(-min(x,0)/scale)
//
// https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html
type dynamicQuantizeLinear struct{ flatFunction }

func newDynamicQuantizeLinear(*Args) (Op, error) { return dynamicQuantizeLinear{}, nil }

// Expand builds the body.
func (dynamicQuantizeLinear) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x := n.Input(0)
	scale, zero := b.rangeOf(x)
	return ir.In(b.Op("QuantizeLinear", ir.In(x, scale, zero)), scale, zero), nil
}

// rangeOf is the scale and the zero point of x's range.
func (b *Builder) rangeOf(x *ir.Value) (scale, zero *ir.Value) {
	nil0 := b.Scalar(x, 0)
	most := b.Op("Max", ir.In(b.Op("ReduceMax", ir.In(x), ir.A("keepdims", ir.Int(0))), nil0))
	least := b.Op("Min", ir.In(b.Op("ReduceMin", ir.In(x), ir.A("keepdims", ir.Int(0))), nil0))
	top := b.Scalar(x, 255)
	scale = b.Div(b.Sub(most, least), top)
	at := b.Op("Clip", ir.In(b.Div(b.Sub(nil0, least), scale), nil0, top))
	return scale, b.Cast(b.Op("Round", ir.In(at)), tensor.Uint8)
}
