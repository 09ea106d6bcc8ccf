package ops

import (
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// size is the number of x's elements, an int64 scalar.
// https://onnx.ai/onnx/operators/onnx__Size.html
type size struct{}

func newSize(*Args) (Op, error) { return size{}, nil }

func (size) Infer(in []Fact) ([]Fact, error) {
	f := Of(tensor.Int64)
	if in[0].Ranked {
		f = withElems(f, []ir.Dim{product(in[0].Dims)})
	}
	return []Fact{f}, nil
}

func (size) Bind(*Binder, []Fact, []Fact) (Step, error) {
	return func(_ *Frame, in, out []*tensor.Tensor) error {
		tensor.Data[int64](out[0])[0] = int64(in[0].Size())
		return nil
	}, nil
}
