package ops

import (
	"errors"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// The operators on quantized numbers stand for their float ones between
// DequantizeLinear and QuantizeLinear: sums of products of 8-bit integers are
// exact in float32 up to some hundred terms, and rounded like any other sum
// beyond. A gradient then flows as through any model with such pairs.

// qlinearMatMul is y = quantize(dequantize(a) dequantize(b)).
//
//	a, its scale and zero, b, its scale and zero, y's scale and zero -> y
//
// Scales of a may be one for each row, those of b one for each column.
// https://onnx.ai/onnx/operators/onnx__QLinearMatMul.html
type qlinearMatMul struct{ roundedFunction }

func newQLinearMatMul(*Args) (Op, error) { return qlinearMatMul{}, nil }

// Expand builds the body.
func (qlinearMatMul) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	y := b.MatMul(b.dequantized(n, 0, -2), b.dequantized(n, 3, -1))
	return ir.In(b.quantized(y, n.Input(6), n.Input(7))), nil
}

// dequantized is inputs i, i+1, i+2 of n (value, scale, zero) as float32,
// scales along axis where there is more than one.
func (b *Builder) dequantized(n *ir.Node, i, axis int) *ir.Value {
	return b.dequantize(n.Input(i), n.Input(i+1), n.Input(i+2), axis)
}

func (b *Builder) dequantize(x, scale, zero *ir.Value, axis int) *ir.Value {
	in := ir.In(x, b.Cast(scale, tensor.Float32))
	if zero != nil {
		in = append(in, zero)
	}
	return b.Op("DequantizeLinear", in, ir.A("axis", ir.Int(axis)))
}

func (b *Builder) quantized(y, scale, zero *ir.Value) *ir.Value {
	return b.Op("QuantizeLinear", ir.In(y, b.Cast(scale, tensor.Float32), zero))
}

// qlinearConv is y = quantize(conv(dequantize(x), dequantize(w)) + bias), the
// bias being in steps of the scales of x and w.
// https://onnx.ai/onnx/operators/onnx__QLinearConv.html
type qlinearConv struct {
	roundedFunction
	attrs []*ir.Attr
}

// convAttrs are the attributes of a convolution, for one of another name.
func convAttrs(a *Args) []*ir.Attr {
	a.Skip("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
	return a.Node.Attrs
}

func newQLinearConv(a *Args) (Op, error) { return qlinearConv{attrs: convAttrs(a)}, nil }

// Expand builds the body.
func (o qlinearConv) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	in := ir.In(b.dequantized(n, 0, 1), b.dequantized(n, 3, 0))
	if bias := n.Input(8); bias != nil {
		unit := b.Mul(b.Cast(n.Input(1), tensor.Float32), b.Cast(n.Input(4), tensor.Float32))
		in = append(in, b.Mul(b.Cast(bias, tensor.Float32), unit))
	}
	return ir.In(b.quantized(b.Op("Conv", in, o.attrs...), n.Input(6), n.Input(7))), nil
}

// convInteger is the convolution of 8-bit integers less their zero points, in
// 32 bits: float64 holds every sum.
// https://onnx.ai/onnx/operators/onnx__ConvInteger.html
type convInteger struct {
	flatFunction
	attrs []*ir.Attr
}

func newConvInteger(a *Args) (Op, error) { return convInteger{attrs: convAttrs(a)}, nil }

// Expand builds the body.
func (o convInteger) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x, w := b.Cast(n.Input(0), tensor.Float64), b.Cast(n.Input(1), tensor.Float64)
	if z := n.Input(2); z != nil {
		x = b.Sub(x, b.Cast(z, tensor.Float64))
	}
	if z := n.Input(3); z != nil {
		z = b.Cast(z, tensor.Float64)
		if b.Fact(z).Rank() == 1 { // one for each output channel
			rank := b.Fact(w).Rank()
			if rank < 0 {
				return nil, errors.New("w of unknown rank with a zero point for each channel")
			}
			for i := 1; i < rank; i++ {
				z = b.Unsqueeze(z, -1)
			}
		}
		w = b.Sub(w, z)
	}
	return ir.In(b.Cast(b.Op("Conv", ir.In(x, w), o.attrs...), tensor.Int32)), nil
}
