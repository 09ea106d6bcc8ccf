package ops

import (
	"errors"
	"fmt"
	"math"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// dft is the discrete Fourier transform along an axis, as products with tables
// of cosines and sines, which fold where the length is known. The last axis
// holds real and imaginary part; of a real x it has one element.
//
//	x (...,N,...,1 or 2) [, length L, axis] -> y (...,K,...,2)
//	y[k] = sum over n < L of x[n] * exp(-2*pi*i*k*n/L)
//
// x is cut or filled up with zeros to L elements (N where it is not given). K
// is L, or one-sided L/2+1. The inverse has the other sign and is divided by L;
// one-sided it makes real numbers of L/2+1 ones.
// https://onnx.ai/onnx/operators/onnx__DFT.html (since 17; axis is an input since 20)
type dft struct {
	function
	axis             int
	inverse, oneSide bool
}

func newDFT(a *Args) (Op, error) {
	axis := -2
	if a.Opset < 20 {
		axis = a.Int("axis", 1)
	}
	return dft{axis: axis, inverse: a.Bool("inverse", false), oneSide: a.Bool("onesided", false)}, nil
}

// Expand builds the body.
func (o dft) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	axis := n.Input(2)
	if axis == nil {
		axis = b.Ints(o.axis)
	}
	y, err := o.along(b, n.Input(0), n.Input(1), b.ReshapeTo(b.Cast(axis, tensor.Int64), 1))
	return ir.In(y), err
}

// along transforms along an axis that need not be known: with all axes before
// it made one, and all after it.
func (o dft) along(b *Builder, x, length, axis *ir.Value) (*ir.Value, error) {
	shape := b.Op("Shape", ir.In(x))
	rank := b.Op("Shape", ir.In(shape))
	axis = b.Op("Where", ir.In(b.Op("Less", ir.In(axis, b.Ints(0))), b.Add(axis, rank), axis))
	next, last := b.Add(axis, b.Ints(1)), b.Sub(rank, b.Ints(1))
	before := b.Op("Slice", ir.In(shape, b.Ints(0), axis))
	after := b.Op("Slice", ir.In(shape, next, last))
	size := func(v *ir.Value) *ir.Value {
		return b.Op("ReduceProd", ir.In(v, b.Ints(0)), ir.A("keepdims", ir.Int(1)))
	}
	flat := b.Reshape(x, b.Join(size(before), b.Op("Slice", ir.In(shape, axis, next)), size(after), b.Extent(x, -1)))
	y, err := o.transform(b, flat, b.Fact(x).Dim(-1), length)
	if err != nil {
		return nil, err
	}
	return b.Reshape(y, b.Join(before, b.Extent(y, 1), after, b.Extent(y, 3))), nil
}

// transform is along axis 1 of x (outer,N,inner,parts).
func (o dft) transform(b *Builder, x *ir.Value, parts ir.Dim, length *ir.Value) (*ir.Value, error) {
	if !parts.Known || parts.Value != 1 && parts.Value != 2 {
		return nil, fmt.Errorf("x has %v numbers on its last axis, want 1 for real ones or 2 for complex ones", parts)
	}
	have := b.Extent(x, 1)
	want := have
	switch {
	case length != nil:
		want = b.ReshapeTo(b.Cast(length, tensor.Int64), 1)
	case o.inverse && o.oneSide:
		want = b.Mul(b.Sub(have, b.Ints(1)), b.Ints(2))
	}
	re := b.Transpose(b.squeeze(b.slice(x, -1, 0, 1, 1), -1), 0, 2, 1)
	var im *ir.Value
	if parts.Value == 2 {
		im = b.Transpose(b.squeeze(b.slice(x, -1, 1, 2, 1), -1), 0, 2, 1)
	}
	out := o.products(b, re, im, have, want)
	for i, v := range out {
		out[i] = b.Unsqueeze(b.Transpose(v, 0, 2, 1), -1)
	}
	return b.concat(out, -1), nil
}

// products are the parts of the transform of re and im (nil for none), whose
// last axis has have elements; want is L.
func (o dft) products(b *Builder, re, im, have, want *ir.Value) []*ir.Value {
	half := b.Add(b.Div(want, b.Ints(2)), b.Ints(1))
	real := o.inverse && o.oneSide
	from, to := want, want
	switch {
	case real:
		from = half
	case o.oneSide:
		to = half
	}
	terms := b.Op("Min", ir.In(from, have)) // what is filled up adds nothing
	cut := func(v *ir.Value) *ir.Value {
		if v == nil {
			return nil
		}
		return b.Op("Slice", ir.In(v, b.Ints(0), terms, b.Ints(-1)))
	}
	re, im = cut(re), cut(im)
	cos, sin := o.tables(b, b.Fact(re).DType, terms, to, want, real)
	y := ir.In(b.MatMul(re, cos), b.MatMul(re, sin))
	if im != nil {
		y[0] = b.Sub(y[0], b.MatMul(im, sin))
		y[1] = b.Add(y[1], b.MatMul(im, cos))
	}
	if real {
		return y[:1]
	}
	return y
}

// tables are the cosines and sines (n,k) of the transform, with its sign and
// its factor; real ones count frequencies that come twice double.
func (o dft) tables(b *Builder, d tensor.DType, n, k, length *ir.Value, real bool) (cos, sin *ir.Value) {
	wide := func(x float64) *ir.Value { return b.constOf(tensor.Float64, x) }
	rows := b.Unsqueeze(b.Count(n), 1)
	turns := b.Op("Mod", ir.In(b.Mul(rows, b.Count(k)), length))
	size := b.Cast(length, tensor.Float64)
	angle := b.Mul(b.Div(b.Cast(turns, tensor.Float64), size), wide(2*math.Pi))
	cos, sin = b.Op("Cos", ir.In(angle)), b.Op("Sin", ir.In(angle))
	if !o.inverse {
		return b.Cast(cos, d), b.Cast(b.Neg(sin), d)
	}
	weight := b.Op("Reciprocal", ir.In(size))
	if real {
		ends := b.Op("Or", ir.In(b.Op("Equal", ir.In(rows, b.Ints(0))), b.Op("Equal", ir.In(b.Mul(rows, b.Ints(2)), length))))
		weight = b.Mul(b.Op("Where", ir.In(ends, wide(1), wide(2))), weight)
	}
	return b.Cast(b.Mul(cos, weight), d), b.Cast(b.Mul(sin, weight), d)
}

// stft is the Fourier transform of frames of a signal, each after a step:
//
//	signal (B,N,1 or 2), step [, window (L), frame length L]
//	-> y (B,frames,L/2+1 or L,2)
//
// https://onnx.ai/onnx/operators/onnx__STFT.html (since 17)
type stft struct {
	function
	oneSide bool
}

func newSTFT(a *Args) (Op, error) { return stft{oneSide: a.Bool("onesided", true)}, nil }

// Expand builds the body.
func (o stft) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x, window := n.Input(0), n.Input(2)
	step := b.ReshapeTo(b.Cast(n.Input(1), tensor.Int64), 1)
	var length *ir.Value
	switch {
	case n.Input(3) != nil:
		length = b.ReshapeTo(b.Cast(n.Input(3), tensor.Int64), 1)
	case window != nil:
		length = b.Extent(window, 0)
	default:
		return nil, errors.New("neither a window nor a frame length is given")
	}
	frames := b.Add(b.Div(b.Sub(b.Extent(x, 1), length), step), b.Ints(1))
	at := b.Add(b.Unsqueeze(b.Mul(b.Count(frames), step), 1), b.Count(length))
	cut := b.Op("Gather", ir.In(x, at), ir.A("axis", ir.Int(1))) // (B,frames,L,parts)
	if window != nil {
		cut = b.Mul(cut, b.Unsqueeze(window, 1))
	}
	y, err := dft{oneSide: o.oneSide}.along(b, cut, nil, b.Ints(2))
	return ir.In(y), err
}
