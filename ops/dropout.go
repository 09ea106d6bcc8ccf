package ops

import (
	"errors"
	"fmt"
	"math"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// dropout passes x on, and in training zeroes each element with probability
// ratio (0.5) and divides the others by 1-ratio. Inputs: data, ratio,
// training_mode (false); outputs: the result, and what was kept. The numbers
// come from the session's random stream, and with a seed from NumPy's, which
// each run starts anew.
// https://onnx.ai/onnx/operators/onnx__Dropout.html
type dropout struct{ stream }

func newDropout(a *Args) (Op, error) {
	return dropout{stream{a.Has("seed"), uint32(a.Int("seed", 0))}}, nil
}

func (dropout) Random() {}

func (dropout) Infer(in []Fact) ([]Fact, error) {
	if len(in) > 2 {
		if err := needBool(in[2:]); err != nil {
			return nil, err
		}
	}
	return []Fact{in[0].WithoutValue(), asBool(in[0])}, nil
}

func (o dropout) Bind(p *Binder, in, out []Fact) (Step, error) {
	p.InPlace(0, 0)
	mode := at(in, 2)
	if on, ok := elemsOf(mode); mode.Absent() || ok && len(on) == 1 && on[0] == known(0) {
		return dropoutIdle, nil
	}
	source := o.bind(p)
	return bindTyped(p, o, []typedStep{dropoutStep[float32](source), dropoutStep[float64](source)}, in, out)
}

func dropoutIdle(_ *Frame, in, out []*tensor.Tensor) error {
	if out[0] != nil {
		copyTensor(out[0], in[0])
	}
	if mask := arg(out, 1); mask != nil {
		for i := range tensor.Data[bool](mask) {
			tensor.Data[bool](mask)[i] = true
		}
	}
	return nil
}

var errRatio = errors.New("ratio is not in [0, 1)")

// uniform is a source of numbers in [0, 1).
type uniform interface{ Float64() float64 }

func dropoutStep[T kernel.Float](source func(*Frame) (uniform, error)) typedStep {
	return typedStep{tensor.DTypeOf[T](), func(f *Frame, in, out []*tensor.Tensor) error {
		if on := tensor.Data[bool](in[2]); len(on) != 1 || !on[0] {
			return dropoutIdle(f, in, out)
		}
		ratio := 0.5
		if t := arg(in, 1); t != nil {
			var err error
			if ratio, err = ratioOf(t); err != nil {
				return err
			}
		}
		random, err := source(f)
		if err != nil && ratio > 0 {
			return err
		}
		var mask []bool
		if m := arg(out, 1); m != nil {
			mask = tensor.Data[bool](m)
		}
		var y []T
		if out[0] != nil {
			y = tensor.Data[T](out[0])
		}
		for i, v := range tensor.Data[T](in[0]) {
			keep := ratio == 0 || random.Float64() >= ratio
			switch {
			case y == nil:
			case keep:
				y[i] = v / T(1-ratio)
			default:
				y[i] = 0
			}
			if mask != nil {
				mask[i] = keep
			}
		}
		return nil
	}}
}

// ratioOf reads the ratio.
func ratioOf(t *tensor.Tensor) (float64, error) {
	r := math.NaN()
	switch {
	case t.Size() != 1:
	case t.DType() == tensor.Float32, t.DType() == tensor.Float64:
		r = oneNumber(t)
	default:
		if v, err := t.Float64s(); err == nil {
			r = v[0]
		}
	}
	if !(r >= 0 && r < 1) {
		return 0, errRatio
	}
	return r, nil
}

// Grad passes on what was kept, scaled alike. Where the node has no mask for an
// output it gets one.
func (dropout) Grad(b *GradBuilder) error {
	dy, mode := b.Grad(0), b.In(2)
	f := b.Fact(mode)
	if on, ok := elemsOf(f); mode == nil || ok && len(on) == 1 && on[0] == known(0) {
		b.Set(0, dy)
		return nil
	}
	mask := b.Out(1)
	if mask == nil {
		mask = b.Node.Graph().NewValue(b.Names().Fresh(b.Node.Name+"_mask"), nil)
		b.Node.SetOutput(1, mask)
		b.Analysis.Set(mask, asBool(b.Fact(b.In(0))))
	}
	d := b.Fact(dy).DType
	one := b.Scalar(dy, 1)
	ratio := b.Scalar(dy, 0.5)
	if r := b.In(1); r != nil {
		ratio = b.Cast(r, d)
	}
	scale := b.Op("Where", ir.In(mode, b.Div(one, b.Sub(one, ratio)), one))
	b.Set(0, b.Op("Where", ir.In(mask, b.Mul(dy, scale), b.Scalar(dy, 0))))
	if b.Needs(1) {
		return fmt.Errorf("ratio has no gradient")
	}
	return nil
}
