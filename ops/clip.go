package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// clip is min(max(x, low), high); either bound may be left out.
// https://onnx.ai/onnx/operators/onnx__Clip.html (bounds are inputs since 11)
type clip struct{}

func newClip(*Args) (Op, error) { return clip{}, nil }

func (clip) Infer(in []Fact) ([]Fact, error) {
	if _, err := commonDType(in); err != nil {
		return nil, err
	}
	return []Fact{in[0].WithoutValue()}, nil
}

func (o clip) Bind(p *Binder, in, out []Fact) (Step, error) {
	p.InPlace(0, 0)
	return bindTyped(p, o, []typedStep{
		clipStep[float32](), clipStep[float64](),
		clipStep[int8](), clipStep[int16](), clipStep[int32](), clipStep[int64](),
		clipStep[uint8](), clipStep[uint16](), clipStep[uint32](), clipStep[uint64](),
	}, in, out)
}

func clipStep[T kernel.Numeric]() typedStep {
	return typedStep{tensor.DTypeOf[T](), func(f *Frame, in, out []*tensor.Tensor) error {
		x, y := tensor.Data[T](in[0]), tensor.Data[T](out[0])
		var bounds [2]T
		var given [2]bool
		for i := range bounds {
			if i+1 < len(in) && in[i+1] != nil {
				b := tensor.Data[T](in[i+1])
				if len(b) != 1 {
					return fmt.Errorf("bound %d has %d elements", i, len(b))
				}
				bounds[i], given[i] = b[0], true
			}
		}
		low, high := bounds[0], bounds[1]
		switch {
		case given[0] && given[1]:
			kernel.Clip(f.Pool, y, x, low, high)
		case given[0]:
			kernel.AtLeast(f.Pool, y, x, low)
		case given[1]:
			kernel.AtMost(f.Pool, y, x, high)
		default:
			copyTensor(out[0], in[0])
		}
		return nil
	}}
}

// Grad passes the gradient where x is within the bounds; a bound gets what
// falls beyond it. Where low > high everything is high.
func (clip) Grad(b *GradBuilder) error {
	x, low, high := b.In(0), b.In(1), b.In(2)
	zero := b.c(0)
	dx, dlow := b.Grad(0), (*ir.Value)(nil)
	if high != nil {
		above := b.f("Greater", x, high)
		if low != nil {
			above = b.f("Or", above, b.f("Greater", low, high))
		}
		if b.Needs(2) {
			b.SetSum(2, b.f("Where", above, dx, zero))
		}
		dx = b.f("Where", above, zero, dx)
	}
	if low != nil {
		below := b.f("Less", x, low)
		dlow = b.f("Where", below, dx, zero)
		dx = b.f("Where", below, zero, dx)
	}
	if b.Needs(0) {
		b.Set(0, dx)
	}
	if b.Needs(1) && dlow != nil {
		b.SetSum(1, dlow)
	}
	return nil
}
