package ops

import (
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// shape gives the extents [start, end) of x as an int64 vector.
// https://onnx.ai/onnx/operators/onnx__Shape.html (start and end since 15)
type shape struct {
	start int
	end   int
	toEnd bool
}

func newShape(a *Args) (Op, error) {
	return shape{start: a.Int("start", 0), end: a.Int("end", 0), toEnd: !a.Has("end")}, nil
}

// bounds clamps start and end to the rank.
func (o shape) bounds(rank int) (lo, hi int) {
	clamp := func(i int) int {
		if i < 0 {
			i += rank
		}
		return min(max(i, 0), rank)
	}
	lo, hi = clamp(o.start), rank
	if !o.toEnd {
		hi = clamp(o.end)
	}
	return lo, max(lo, hi)
}

func (o shape) Infer(in []Fact) ([]Fact, error) {
	if !in[0].Ranked {
		return []Fact{Of(tensor.Int64, unknown)}, nil
	}
	lo, hi := o.bounds(len(in[0].Dims))
	dims := append([]ir.Dim{}, in[0].Dims[lo:hi]...)
	f := Of(tensor.Int64, known(hi-lo))
	f.Elems = dims
	if ints, ok := f.Ints(); ok {
		return []Fact{Constant(tensor.Ints(ints...))}, nil
	}
	return []Fact{f}, nil
}

func (o shape) Bind(*Binder, []Fact, []Fact) (Step, error) {
	return func(_ *Frame, in, out []*tensor.Tensor) error {
		lo, hi := o.bounds(in[0].Rank())
		dst := tensor.Data[int64](out[0])
		for i, n := range in[0].Shape()[lo:hi] {
			dst[i] = int64(n)
		}
		return nil
	}, nil
}
