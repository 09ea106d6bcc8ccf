package ops

import (
	"errors"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// cumulate is the running sum (CumSum) or product (CumProd) along the axis in
// its second input: y[i] = x[0] + ... + x[i]; exclusive leaves out x[i],
// reverse runs from the end.
// https://onnx.ai/onnx/operators/onnx__CumSum.html
type cumulate struct{ product, exclusive, reverse bool }

func newCumulate(product bool) func(*Args) (Op, error) {
	return func(a *Args) (Op, error) {
		return cumulate{product, a.Bool("exclusive", false), a.Bool("reverse", false)}, nil
	}
}

func (cumulate) Infer(in []Fact) ([]Fact, error) { return []Fact{in[0].WithoutValue()}, nil }

func (o cumulate) Bind(p *Binder, in, out []Fact) (Step, error) {
	return bindTyped(p, o, []typedStep{
		cumulateStep[float32](o), cumulateStep[float64](o), cumulateStep[int64](o), cumulateStep[int32](o),
		cumulateStep[uint64](o), cumulateStep[uint32](o),
	}, in, out)
}

func cumulateStep[T kernel.Numeric](o cumulate) typedStep {
	return typedStep{tensor.DTypeOf[T](), func(_ *Frame, in, out []*tensor.Tensor) error {
		a, ok := oneInt(in[1])
		if !ok {
			return errors.New("axis is no integer scalar")
		}
		shape := in[0].Shape()
		axis, err := axisIn(a, len(shape))
		if err != nil {
			return err
		}
		outer, n, inner := shape[:axis].Size(), shape[axis], shape[axis+1:].Size()
		x, y := tensor.Data[T](in[0]), tensor.Data[T](out[0])
		for lane := range outer * inner {
			base := lane/inner*n*inner + lane%inner
			var acc T
			if o.product {
				acc = 1
			}
			for j := range n {
				k := base + j*inner
				if o.reverse {
					k = base + (n-1-j)*inner
				}
				before := acc
				if o.product {
					acc *= x[k]
				} else {
					acc += x[k]
				}
				if y[k] = acc; o.exclusive {
					y[k] = before
				}
			}
		}
		return nil
	}}
}

// oneInt reads an int32 or int64 of one element.
func oneInt(t *tensor.Tensor) (int, bool) {
	switch {
	case t.Size() != 1:
	case t.DType() == tensor.Int64:
		return int(tensor.Data[int64](t)[0]), true
	case t.DType() == tensor.Int32:
		return int(tensor.Data[int32](t)[0]), true
	}
	return 0, false
}

func (o cumulate) Grad(b *GradBuilder) error {
	if o.product {
		return errors.New("CumProd has no gradient")
	}
	flag := func(on bool) ir.Int {
		if on {
			return 1
		}
		return 0
	}
	b.Set(0, b.Op("CumSum", ir.In(b.Grad(0), b.In(1)), ir.A("exclusive", flag(o.exclusive)), ir.A("reverse", flag(!o.reverse))))
	return nil
}
