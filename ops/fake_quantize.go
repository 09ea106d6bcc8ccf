package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// fakeQuantize is ai.bonnx.FakeQuantize, DequantizeLinear of QuantizeLinear:
// what a pair of them does to an activation.
//
//	x (...) float32, scale [, zero] -> y (...)
//	y = (min(max(round(x/scale)+zero, lo), hi) - zero) * scale
//
// Its gradient is the identity where nothing was cut off (the straight-through
// estimate of Bengio and others, arXiv 1308.3432), and 0 beyond.
type fakeQuantize struct {
	steps
	to tensor.DType // of the integers between; the zero point's where there is one
}

func newFakeQuantize(a *Args) (Op, error) {
	o := fakeQuantize{steps: steps{axis: a.Int("axis", 1)}, to: tensor.DType(a.Int("to", int(tensor.Uint8)))}
	_, _, err := gridOf(o.to)
	return o, err
}

func (o fakeQuantize) Infer(in []Fact) ([]Fact, error) {
	if in[0].DType != tensor.Float32 || in[1].DType != tensor.Float32 {
		return nil, fmt.Errorf("x is %v and the scale %v, want float32", in[0], in[1])
	}
	if z := at(in, 2); !z.Absent() && z.DType != o.to {
		return nil, fmt.Errorf("zero point %v for %v", z, o.to)
	}
	return []Fact{in[0].WithoutValue()}, o.check(in[0], in[1], at(in, 2))
}

func (o fakeQuantize) Bind(p *Binder, in, _ []Fact) (Step, error) {
	layout, err := o.layout(in[0], in[1])
	if err != nil {
		return nil, err
	}
	lo, hi, err := gridOf(o.to)
	if err != nil {
		return nil, err
	}
	p.InPlace(0, 0)
	w := newFloats(p, in[0], in[1], at(in, 2))
	return func(f *Frame, in, out []*tensor.Tensor) error {
		x, err := w.read(f, in)
		if err != nil {
			return err
		}
		y := tensor.Data[float32](out[0])
		kernel.Quantize(f.Pool, layout, y, x[0], x[1], x[2], float32(lo), float32(hi))
		kernel.Dequantize(f.Pool, layout, y, y, x[1], x[2])
		return nil
	}, nil
}

// Grad passes on what lies inside the range, half a step of rounding included.
func (o fakeQuantize) Grad(b *GradBuilder) error {
	if !b.Needs(0) {
		return nil
	}
	x, scale := b.In(0), b.In(1)
	lo, hi, err := gridOf(o.to)
	if err != nil {
		return err
	}
	least, most := b.Scalar(x, lo-0.5), b.Scalar(x, hi+0.5)
	if z := b.In(2); z != nil {
		z = b.Cast(z, tensor.Float32)
		least, most = b.Sub(least, z), b.Sub(most, z)
	}
	if least, err = o.along(b.Builder, x, b.Mul(least, scale)); err != nil {
		return err
	}
	if most, err = o.along(b.Builder, x, b.Mul(most, scale)); err != nil {
		return err
	}
	inside := b.Op("And", ir.In(b.Op("GreaterOrEqual", ir.In(x, least)), b.Op("LessOrEqual", ir.In(x, most))))
	b.Set(0, b.Op("Where", ir.In(inside, b.Grad(0), b.Scalar(x, 0))))
	return nil
}

// along lays v, one number or one for each entry of the axis, along x.
func (o fakeQuantize) along(b *Builder, x, v *ir.Value) (*ir.Value, error) {
	f := b.Fact(v)
	if s, ok := f.Shape(); ok && s.Size() == 1 {
		return b.ReshapeTo(v), nil
	}
	rank := b.Fact(x).Rank()
	axis, err := axisIn(o.axis, rank)
	if err != nil {
		return nil, err
	}
	for i := axis + 1; i < rank; i++ {
		v = b.Unsqueeze(v, -1)
	}
	return v, nil
}

// Expand is the pair.
func (o fakeQuantize) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	in := append([]*ir.Value{}, n.Inputs()...)
	if n.Input(2) == nil {
		in = append(in[:2], b.Const("zero", tensor.New(o.to)))
		if s, ok := b.Fact(in[1]).Shape(); !ok || len(s) > 0 {
			in[2] = b.Op("Expand", ir.In(in[2], b.Shape(in[1])))
		}
	}
	axis := ir.A("axis", ir.Int(o.axis))
	q := b.Op("QuantizeLinear", in, axis)
	return ir.In(b.Op("DequantizeLinear", ir.In(q, in[1], in[2]), axis)), nil
}
