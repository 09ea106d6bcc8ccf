package ops

import (
	"math"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// cosineWindow is a window of size N, an integer scalar, made of cosines:
//
//	y[n] = a0 - a1*cos(2*pi*n/M) + a2*cos(4*pi*n/M), n < N
//
// with M = N where it is periodic, else N-1. HannWindow, HammingWindow and
// BlackmanWindow have coefficients of their own.
// https://onnx.ai/onnx/operators/onnx__HannWindow.html (since 17)
type cosineWindow struct {
	flatFunction
	a        [3]float64
	periodic bool
	to       tensor.DType
}

func newCosineWindow(a0, a1, a2 float64) func(*Args) (Op, error) {
	return func(a *Args) (Op, error) {
		return cosineWindow{a: [3]float64{a0, a1, a2}, periodic: a.Bool("periodic", true), to: tensor.DType(a.Int("output_datatype", int(tensor.Float32)))}, nil
	}
}

// Expand builds the body.
func (o cosineWindow) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	size := b.ReshapeTo(b.Cast(n.Input(0), tensor.Int64), 1)
	m := size
	if !o.periodic {
		m = b.Sub(size, b.Ints(1))
	}
	angle := b.Div(b.Cast(b.Count(size), tensor.Float64), b.Cast(m, tensor.Float64))
	wave := func(turns, a float64) *ir.Value {
		return b.Mul(b.Op("Cos", ir.In(b.Mul(angle, b.constOf(tensor.Float64, 2*math.Pi*turns)))), b.constOf(tensor.Float64, a))
	}
	y := b.Sub(b.constOf(tensor.Float64, o.a[0]), wave(1, o.a[1]))
	if o.a[2] != 0 {
		y = b.Add(y, wave(2, o.a[2]))
	}
	return ir.In(b.Cast(y, o.to)), nil
}
