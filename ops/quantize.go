package ops

import (
	"errors"
	"fmt"
	"math"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// steps is what QuantizeLinear and DequantizeLinear share: which scale and zero
// point each element has. A scale of one element is for all, one of rank 1 has
// an element for each entry of an axis, and with a block size the scale has the
// shape of x with an element for each block of the axis.
type steps struct{ axis, block int }

func newSteps(a *Args) steps { return steps{a.Int("axis", 1), a.Int("block_size", 0)} }

// check says what does not fit of x, scale and zero point.
func (o steps) check(x, scale, zero Fact) error {
	if scale.DType != tensor.Undefined && !scale.DType.IsFloat() {
		return fmt.Errorf("scale is %v", scale)
	}
	if o.block < 0 {
		return fmt.Errorf("block_size is %d", o.block)
	}
	if s, ok := scale.Shape(); ok && !zero.Absent() {
		if z, ok := zero.Shape(); ok && z.Size() != s.Size() {
			return fmt.Errorf("zero point %v beside scale %v", zero, scale)
		}
	}
	return nil
}

// layout finds the scales of concrete facts.
func (o steps) layout(x, scale Fact) (kernel.Scales, error) {
	xs, ss := x.MustShape(), scale.MustShape()
	if ss.Size() == 1 && o.block == 0 {
		return kernel.Scales{Outer: 1, Extent: 1, Inner: xs.Size()}, nil
	}
	axis, err := axisIn(o.axis, len(xs))
	if err != nil {
		return kernel.Scales{}, err
	}
	s := kernel.Scales{Outer: xs[:axis].Size(), Extent: xs[axis], Inner: xs[axis+1:].Size(), Block: o.block}
	want := tensor.Shape{xs[axis]}
	if o.block > 0 {
		want = xs.Clone()
		want[axis] = (xs[axis] + o.block - 1) / o.block
	}
	if !ss.Equal(want) {
		return s, fmt.Errorf("scale %v for %v along axis %d in blocks of %d, want shape %v", scale, x, axis, o.block, want)
	}
	return s, nil
}

// quantizeLinear rounds to a grid of 16 or fewer bits:
// y = saturate(round(x/scale) + zero), and for floats of 8 bits and less
// y = x/scale in that type.
//
//	x (...), scale [, zero point] -> y (...) of the zero point's type
//
// https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html (axis since 13,
// block_size and output_dtype since 21, precision since 23)
type quantizeLinear struct {
	steps
	cast      tensor.CastOptions
	to        tensor.DType // Undefined: the zero point's
	precision tensor.DType // of the division; Undefined: the scale's
}

func newQuantizeLinear(a *Args) (Op, error) {
	o := quantizeLinear{steps: newSteps(a), to: tensor.DType(a.Int("output_dtype", 0)), precision: tensor.DType(a.Int("precision", 0))}
	o.cast.NoSaturate = !a.Bool("saturate", true)
	return o, nil
}

func (o quantizeLinear) Infer(in []Fact) ([]Fact, error) {
	zero := at(in, 2)
	f := in[0].WithoutValue()
	switch {
	case !zero.Absent():
		f.DType = zero.DType
	case o.to != tensor.Undefined:
		f.DType = o.to
	default:
		f.DType = tensor.Uint8
	}
	if _, _, err := gridOf(f.DType); err != nil && !isMini(f.DType) {
		return nil, err
	}
	return []Fact{f}, o.check(in[0], in[1], zero)
}

// isMini reports whether d is a float of 8 bits or less.
func isMini(d tensor.DType) bool { return d.IsFloat() && d.Bits() <= 8 }

// gridOf is the range of an integer type to quantize to.
func gridOf(d tensor.DType) (lo, hi float64, err error) {
	if !d.IsInteger() || d.Bits() > 16 {
		return 0, 0, fmt.Errorf("quantizing to %v", d)
	}
	n := math.Ldexp(1, d.Bits())
	if d.IsSigned() {
		return -n / 2, n/2 - 1, nil
	}
	return 0, n - 1, nil
}

func (o quantizeLinear) Bind(p *Binder, in, out []Fact) (Step, error) {
	layout, err := o.layout(in[0], in[1])
	if err != nil {
		return nil, err
	}
	w, y := newFloats(p, in[0], in[1], at(in, 2)), newFloats(p, out[0])
	lo, hi, offGrid := gridOf(out[0].DType)
	divide := o.precision
	if divide == tensor.Undefined {
		divide = in[1].DType
	}
	var quotient *floats // rounded to fewer digits
	if isNarrow(divide) {
		f := in[0]
		f.DType = divide
		quotient = newFloats(p, f)
	}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		x, err := w.read(f, in)
		if err != nil {
			return err
		}
		q := y.place(f, out)[0]
		v, scale := x[0], x[1]
		if quotient != nil || offGrid != nil {
			kernel.ScaleDown(f.Pool, layout, q, v, scale)
			v, scale = q, nil
		}
		if quotient != nil {
			if err := quotient.round(f, q, in[0].Shape()); err != nil {
				return err
			}
		}
		if offGrid == nil {
			kernel.Quantize(f.Pool, layout, q, v, scale, x[2], float32(lo), float32(hi))
		}
		return y.write(f, out, o.cast)
	}, nil
}

// dequantizeLinear is y = (x - zero) * scale.
//
//	x (...), scale [, zero point] -> y (...) of the scale's type
//
// https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html (axis since 13,
// block_size since 21, output_dtype since 23)
type dequantizeLinear struct {
	steps
	to tensor.DType // Undefined: the scale's
}

func newDequantizeLinear(a *Args) (Op, error) {
	return dequantizeLinear{newSteps(a), tensor.DType(a.Int("output_dtype", 0))}, nil
}

func (o dequantizeLinear) Infer(in []Fact) ([]Fact, error) {
	f := in[0].WithoutValue()
	if f.DType = o.to; f.DType == tensor.Undefined {
		f.DType = in[1].DType
	}
	return []Fact{f}, o.check(in[0], in[1], at(in, 2))
}

func (o dequantizeLinear) Bind(p *Binder, in, out []Fact) (Step, error) {
	layout, err := o.layout(in[0], in[1])
	if err != nil {
		return nil, err
	}
	w, y := newFloats(p, in[0], in[1], at(in, 2)), newFloats(p, out[0])
	return func(f *Frame, in, out []*tensor.Tensor) error {
		x, err := w.read(f, in)
		if err != nil {
			return err
		}
		kernel.Dequantize(f.Pool, layout, y.place(f, out)[0], x[0], x[1], x[2])
		return y.write(f, out, tensor.CastOptions{})
	}, nil
}

// Grad: the steps of x have no slope; those of a scale for all do.
func (o dequantizeLinear) Grad(b *GradBuilder) error {
	if !b.Needs(1) {
		return nil
	}
	if s, ok := b.Fact(b.In(1)).Shape(); !ok || s.Size() != 1 {
		return errors.New("the gradient of a scale that is not for all elements alike is not supported")
	}
	d := b.Fact(b.Grad(0)).DType
	q := b.Cast(b.In(0), d)
	if z := b.In(2); z != nil {
		q = b.Sub(q, b.Cast(z, d))
	}
	sum := b.Op("ReduceSum", ir.In(b.Mul(b.Grad(0), q)), ir.A("keepdims", ir.Int(0)))
	b.Set(1, b.Cast(b.ReshapeLike(sum, b.In(1)), b.Fact(b.In(1)).DType))
	return nil
}
