package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/tensor"
)

// bitCast gives the bits of x another type of the same width.
// https://onnx.ai/onnx/operators/onnx__BitCast.html
type bitCast struct{ to tensor.DType }

func newBitCast(a *Args) (Op, error) {
	to := a.Int("to", 0)
	if to <= 0 || to > 255 || tensor.DType(to).Bits() == 0 {
		return nil, fmt.Errorf("attribute \"to\" is %d, which is no element type with bits", to)
	}
	return bitCast{tensor.DType(to)}, nil
}

func (o bitCast) Infer(in []Fact) ([]Fact, error) {
	if d := in[0].DType; d != tensor.Undefined && d.Bits() != o.to.Bits() {
		return nil, fmt.Errorf("%v has other bits than %v", d, o.to)
	}
	f := in[0].WithoutValue()
	f.DType = o.to
	return []Fact{f}, nil
}

func (bitCast) Bind(p *Binder, _, _ []Fact) (Step, error) { return bindCopy(p) }
