package ops

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/tensor"
)

// det is the determinant of square matrices, by elimination with pivots in
// double precision.
//
//	x (...,n,n) -> y (...)
//
// https://onnx.ai/onnx/operators/onnx__Det.html
type det struct{}

func newDet(*Args) (Op, error) { return det{}, nil }

func (det) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if !x.Ranked {
		return []Fact{unranked(x.DType)}, nil
	}
	n := x.Rank() - 2
	if n < 0 {
		return nil, fmt.Errorf("x is %v, want matrices", x)
	}
	_, err := agree("rows and columns", x.Dims[n], x.Dims[n+1])
	return []Fact{Of(x.DType, x.Dims[:n]...)}, err
}

func (o det) Bind(p *Binder, in, out []Fact) (Step, error) {
	n := int(in[0].Dim(-1).Value)
	s := p.Scratch(tensor.Float64.Size(n * n))
	return bindTyped(p, o, []typedStep{detStep[float32](n, s), detStep[float64](n, s)}, in, out)
}

func detStep[T kernel.Float](n int, s Slot) typedStep {
	return typedStep{tensor.DTypeOf[T](), func(f *Frame, in, out []*tensor.Tensor) error {
		a, x := ScratchOf[float64](f, s), tensor.Data[T](in[0])
		for i := range tensor.Data[T](out[0]) {
			for k, v := range x[i*n*n:][:n*n] {
				a[k] = float64(v)
			}
			tensor.Data[T](out[0])[i] = T(determinant(a, n))
		}
		return nil
	}}
}

// determinant of a (n,n), which it overwrites.
func determinant(a []float64, n int) float64 {
	d := 1.0
	for c := range n {
		p := c
		for r := c + 1; r < n; r++ {
			if math.Abs(a[r*n+c]) > math.Abs(a[p*n+c]) {
				p = r
			}
		}
		pivot := a[p*n+c]
		if pivot == 0 {
			return 0
		}
		if p != c {
			d = -d
			for k := range n {
				a[p*n+k], a[c*n+k] = a[c*n+k], a[p*n+k]
			}
		}
		d *= pivot
		for r := c + 1; r < n; r++ {
			q := a[r*n+c] / pivot
			for k := c; k < n; k++ {
				a[r*n+k] -= q * a[c*n+k]
			}
		}
	}
	return d
}
