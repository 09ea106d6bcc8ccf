package ops_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// moveCase is one application of an operator that moves elements: forward
// against wanted values, the gradient against finite differences.
type moveCase struct {
	name    string
	op      string
	attrs   []*ir.Attr
	in      []*tensor.Tensor
	outputs int
	fed     []int // integer inputs unknown when the graph is built
	want    []*tensor.Tensor
	noGrad  bool
}

func (m moveCase) check(t *testing.T) {
	t.Helper()
	for _, c := range []opcheck.Case{
		{Name: m.op + " " + m.name, Op: m.op, Attrs: m.attrs, Inputs: m.in, Outputs: m.outputs},
		{Name: m.op + " " + m.name + " fed", Op: m.op, Attrs: m.attrs, Inputs: m.in, Outputs: m.outputs, Fed: m.fed},
	} {
		if m.want != nil {
			opcheck.Forward(t, c, 0, m.want...)
		}
		if !m.noGrad {
			opcheck.Gradient(t, c)
		}
		if m.fed == nil {
			return
		}
	}
}

func ints(name string, v ...int64) *ir.Attr { return ir.A(name, ir.Ints(v)) }
func num(name string, v int) *ir.Attr       { return ir.A(name, ir.Int(v)) }
func str(name, v string) *ir.Attr           { return ir.A(name, ir.String(v)) }

// f64 is a float64 tensor of values.
func f64(shape []int, v ...float64) *tensor.Tensor { return tensor.FromSlice(v, shape...) }

// count is 0, 1, 2, ... as float64.
func count(shape ...int) *tensor.Tensor {
	v := make([]float64, tensor.Shape(shape).Size())
	for i := range v {
		v[i] = float64(i)
	}
	return tensor.FromSlice(v, shape...)
}

func i64(shape []int, v ...int64) *tensor.Tensor  { return tensor.FromSlice(v, shape...) }
func bools(shape []int, v ...bool) *tensor.Tensor { return tensor.FromSlice(v, shape...) }

type tensors = []*tensor.Tensor
