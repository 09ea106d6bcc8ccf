package ops

import (
	"errors"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// argExtreme gives the index (int64) of the greatest or least element along an
// axis, the first of equals or, with select_last_index, the last.
// https://onnx.ai/onnx/operators/onnx__ArgMax.html
type argExtreme struct {
	axis       int
	keep, last bool
	kinds      []argKind
}

type argKind struct {
	dtype tensor.DType
	step  func(outer, n, inner int, last bool) Step
}

func argOf[T kernel.Numeric](k func(p *par.Pool, outer, n, inner int, dst []int64, x []T, last bool)) argKind {
	return argKind{tensor.DTypeOf[T](), func(outer, n, inner int, last bool) Step {
		return func(f *Frame, in, out []*tensor.Tensor) error {
			k(f.Pool, outer, n, inner, tensor.Data[int64](out[0]), tensor.Data[T](in[0]), last)
			return nil
		}
	}}
}

func newArgExtreme(kinds []argKind) func(a *Args) (Op, error) {
	return func(a *Args) (Op, error) {
		return argExtreme{a.Int("axis", 0), a.Bool("keepdims", true), a.Bool("select_last_index", false), kinds}, nil
	}
}

func argMaxKinds() []argKind {
	return []argKind{
		argOf(kernel.ArgMax[float32]), argOf(kernel.ArgMax[float64]), argOf(kernel.ArgMax[int64]), argOf(kernel.ArgMax[int32]),
		argOf(kernel.ArgMax[int16]), argOf(kernel.ArgMax[int8]), argOf(kernel.ArgMax[uint64]), argOf(kernel.ArgMax[uint32]),
		argOf(kernel.ArgMax[uint16]), argOf(kernel.ArgMax[uint8]),
	}
}

func argMinKinds() []argKind {
	return []argKind{
		argOf(kernel.ArgMin[float32]), argOf(kernel.ArgMin[float64]), argOf(kernel.ArgMin[int64]), argOf(kernel.ArgMin[int32]),
		argOf(kernel.ArgMin[int16]), argOf(kernel.ArgMin[int8]), argOf(kernel.ArgMin[uint64]), argOf(kernel.ArgMin[uint32]),
		argOf(kernel.ArgMin[uint16]), argOf(kernel.ArgMin[uint8]),
	}
}

func (o argExtreme) Infer(in []Fact) ([]Fact, error) {
	if !in[0].Ranked {
		return []Fact{unranked(tensor.Int64)}, nil
	}
	axis, err := axisOf(in[0], o.axis)
	if err != nil {
		return nil, err
	}
	var dims []ir.Dim
	for i, d := range in[0].Dims {
		switch {
		case i != axis:
			dims = append(dims, d)
		case o.keep:
			dims = append(dims, known(1))
		}
	}
	return []Fact{Of(tensor.Int64, dims...)}, nil
}

func (o argExtreme) Bind(p *Binder, in, out []Fact) (Step, error) {
	outer, n, inner, err := aroundAxis(in[0], o.axis)
	if err != nil {
		return nil, err
	}
	if n == 0 && outer*inner > 0 {
		return nil, errors.New("no element to choose")
	}
	for _, k := range o.kinds {
		if k.dtype == in[0].DType {
			return k.step(outer, n, inner, o.last), nil
		}
	}
	if isNarrow(in[0].DType) {
		return viaFloat32(p, o, in, out)
	}
	return nil, errDType(in[0].DType)
}

// aroundAxis sees a concrete shape as (outer, n, inner) around an axis.
func aroundAxis(f Fact, axis int) (outer, n, inner int, err error) {
	axis, err = axisOf(f, axis)
	if err != nil {
		return 0, 0, 0, err
	}
	s := f.MustShape()
	return s[:axis].Size(), s[axis], s[axis+1:].Size(), nil
}
