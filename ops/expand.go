package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// expand broadcasts x with the shape in its second input, an int64 vector: the
// result has the shape of both together.
// https://onnx.ai/onnx/operators/onnx__Expand.html
type expand struct{}

func newExpand(*Args) (Op, error) { return expand{}, nil }

func (expand) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	want, ok := in[1].Extents()
	if !ok || !x.Ranked {
		return []Fact{unranked(x.DType)}, nil
	}
	for _, d := range want {
		if d.Known && d.Value < 0 {
			return nil, fmt.Errorf("shape %s", dimsString(want))
		}
	}
	dims, ok := BroadcastDims(x.Dims, want)
	if !ok {
		return nil, fmt.Errorf("%v does not broadcast to %s", x, dimsString(want))
	}
	f := Of(x.DType, dims...)
	if e, ok := elemsOf(x); ok && len(dims) == 1 && dims[0].Known && dims[0].Value <= maxElems && len(e) == 1 {
		all := make([]ir.Dim, dims[0].Value)
		for i := range all {
			all[i] = e[0]
		}
		f = withElems(f, all)
	}
	return []Fact{f}, nil
}

func (expand) Bind(_ *Binder, in, out []Fact) (Step, error) {
	bc, err := planBroadcast(out[0].MustShape(), in[0].MustShape())
	if err != nil {
		return nil, err
	}
	m := moverFor(in[0].DType)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		m.expand(f.Pool, bc, out[0], in[0])
		return nil
	}, nil
}

func (expand) Grad(b *GradBuilder) error {
	b.SetSum(0, b.Grad(0))
	return nil
}
