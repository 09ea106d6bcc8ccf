package ops

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/tensor"
)

// eyeLike is a matrix of x's shape with ones on a diagonal, k above the main
// one. https://onnx.ai/onnx/operators/onnx__EyeLike.html
type eyeLike struct {
	dtype tensor.DType
	k     int
}

func newEyeLike(a *Args) (Op, error) {
	d := a.Int("dtype", 0)
	if d < 0 || d > 255 || d != 0 && !tensor.DType(d).Valid() {
		return nil, fmt.Errorf("dtype %d is no element type", d)
	}
	k := min(max(a.Int("k", 0), -math.MaxInt32), math.MaxInt32)
	return eyeLike{tensor.DType(d), k}, nil
}

func (o eyeLike) Infer(in []Fact) ([]Fact, error) {
	f := in[0].WithoutValue()
	if f.Ranked && len(f.Dims) != 2 {
		return nil, fmt.Errorf("%v is no matrix", f)
	}
	if o.dtype != tensor.Undefined {
		f.DType = o.dtype
	}
	return []Fact{f}, nil
}

func (o eyeLike) Bind(p *Binder, _, out []Fact) (Step, error) {
	one, err := tensor.Scalar(int64(1)).Cast(out[0].DType)
	if err != nil {
		return nil, err
	}
	shape := out[0].MustShape()
	m := moverFor(out[0].DType)
	slot := p.Scratch(8)
	return func(f *Frame, _, out []*tensor.Tensor) error {
		clear(out[0].Bytes())
		place := ScratchOf[int64](f, slot)
		for i := max(0, -o.k); i < shape[0] && i+o.k < shape[1]; i++ {
			place[0] = int64(i*shape[1] + i + o.k)
			m.scatter(1, out[0], one, place)
		}
		return nil
	}, nil
}
