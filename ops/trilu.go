package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// trilu keeps the upper or the lower triangle of matrices (the last two axes)
// and zeroes the rest. Its second input moves the diagonal, up where positive.
// https://onnx.ai/onnx/operators/onnx__Trilu.html
type trilu struct{ upper bool }

func newTrilu(a *Args) (Op, error) { return trilu{a.Bool("upper", true)}, nil }

func (trilu) Infer(in []Fact) ([]Fact, error) {
	if r := in[0].Rank(); r >= 0 && r < 2 {
		return nil, fmt.Errorf("%v has no matrices", in[0])
	}
	return []Fact{in[0].WithoutValue()}, nil
}

func (o trilu) Bind(p *Binder, in, _ []Fact) (Step, error) {
	shape, bytes := in[0].MustShape(), in[0].DType.Bits()/8
	if bytes == 0 {
		return nil, errDType(in[0].DType)
	}
	rows, cols := shape[len(shape)-2], shape[len(shape)-1]
	p.InPlace(0, 0)
	return func(_ *Frame, in, out []*tensor.Tensor) error {
		k := 0
		if t := arg(in, 1); t != nil {
			if t.DType() != tensor.Int64 || t.Size() != 1 {
				return errors.New("k is no int64 scalar")
			}
			k = int(min(max(tensor.Data[int64](t)[0], int64(-rows)), int64(cols)))
		}
		copyTensor(out[0], in[0])
		y, line := out[0].Bytes(), cols*bytes
		for i := 0; i*line < len(y) && line > 0; i++ {
			cut := min(max(i%rows+k, 0), cols) // the diagonal is at column i+k
			row := y[i*line:][:line]
			if o.upper {
				clear(row[:cut*bytes])
			} else {
				clear(row[min(max(i%rows+k+1, 0), cols)*bytes:])
			}
		}
		return nil
	}, nil
}

func (o trilu) Grad(b *GradBuilder) error {
	up := ir.Int(0)
	if o.upper {
		up = 1
	}
	b.Set(0, b.Op("Trilu", ir.In(b.Grad(0), b.In(1)), ir.A("upper", up)))
	return nil
}
