package ops

import (
	"errors"
	"fmt"
	"math"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// rangeOp counts from start by delta while before limit, three scalars:
// y[i] = start + i*delta. https://onnx.ai/onnx/operators/onnx__Range.html
type rangeOp struct{}

func newRange(*Args) (Op, error) { return rangeOp{}, nil }

func (rangeOp) Infer(in []Fact) ([]Fact, error) {
	d, err := commonDType(in)
	if err != nil {
		return nil, err
	}
	var v [3]*tensor.Tensor
	constant := true
	for i := range v {
		if v[i] = in[i].Value(); v[i] == nil {
			constant = false
		} else if v[i].Size() != 1 {
			return nil, fmt.Errorf("input %d is %v, want a scalar", i, v[i])
		}
	}
	if constant {
		n, err := rangeSize(v)
		if err != nil {
			return nil, err
		}
		return []Fact{Of(d, known(n))}, nil
	}
	return []Fact{Of(d, rangeExtent(in))}, nil
}

// rangeExtent is the extent of a count of extents by 1.
func rangeExtent(in []Fact) ir.Dim {
	var e [3]ir.Dim
	for i := range e {
		x, ok := in[i].Extents()
		if !ok || len(x) != 1 {
			return unknown
		}
		e[i] = x[0]
	}
	if !isOne(e[2]) {
		return unknown
	}
	return dimOp('-', e[1], e[0])
}

var errRange = errors.New("delta is 0, or the count is endless")

// rangeSize is ceil((limit-start)/delta), at least 0.
func rangeSize(v [3]*tensor.Tensor) (int, error) {
	if v[0].DType().IsFloat() {
		var f [3]float64
		for i := range v {
			s, err := v[i].Float64s()
			if err != nil {
				return 0, err
			}
			f[i] = s[0]
		}
		n := math.Ceil((f[1] - f[0]) / f[2])
		if f[2] == 0 || !(n <= math.MaxInt32) {
			return 0, errRange
		}
		return int(max(n, 0)), nil
	}
	var k [3]int64
	for i := range v {
		s, err := v[i].Int64s()
		if err != nil {
			return 0, err
		}
		k[i] = s[0]
	}
	if k[2] == 0 {
		return 0, errRange
	}
	n := (k[1] - k[0]) / k[2]
	if (k[1]-k[0])%k[2] != 0 && n >= 0 && (k[1] > k[0]) == (k[2] > 0) {
		n++
	}
	if n > math.MaxInt32 {
		return 0, errRange
	}
	return int(max(n, 0)), nil
}

func (o rangeOp) Bind(p *Binder, in, out []Fact) (Step, error) {
	return bindTyped(p, o, []typedStep{
		rangeStep[float32](), rangeStep[float64](), rangeStep[int64](), rangeStep[int32](), rangeStep[int16](),
	}, in, out)
}

func rangeStep[T kernel.Numeric]() typedStep {
	return typedStep{tensor.DTypeOf[T](), func(_ *Frame, in, out []*tensor.Tensor) error {
		start, delta := tensor.Data[T](in[0])[0], tensor.Data[T](in[2])[0]
		y := tensor.Data[T](out[0])
		for i := range y {
			y[i] = start + T(T(i)*delta)
		}
		return nil
	}}
}
