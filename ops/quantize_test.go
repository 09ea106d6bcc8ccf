package ops_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// The gradient of one scale for all; the official tests hold the forward.
func TestDequantizeLinearScaleGradient(t *testing.T) {
	q := tensor.FromSlice([]int8{-3, 0, 5, 127, -128, 7}, 2, 3)
	for _, c := range []opcheck.Case{
		{Name: "scalar", Inputs: []*tensor.Tensor{q, random(1), tensor.FromSlice([]int8{2})}},
		{Name: "vector of one", Inputs: []*tensor.Tensor{q, random(1, 1)}},
	} {
		c.Op, c.Diff, c.Tol = "DequantizeLinear", []int{1}, 1e-3 // kernels work in float32
		c.Step = 1e-2
		opcheck.GradientKnown(t, c)
	}
}

func TestQuantizeErrors(t *testing.T) {
	x, scale := random(1, 2, 3), random(2, 3)
	for name, c := range map[string]opcheck.Case{
		"to int32":      {Op: "QuantizeLinear", Inputs: []*tensor.Tensor{x, scale, tensor.New(tensor.Int32, 3)}},
		"no such scale": {Op: "QuantizeLinear", Opset: 21, Inputs: []*tensor.Tensor{x, random(2, 2)}},
		"blocks":        {Op: "QuantizeLinear", Opset: 21, Attrs: []*ir.Attr{ir.A("block_size", ir.Int(2))}, Inputs: []*tensor.Tensor{x, random(2, 2, 3)}},
		"zero point":    {Op: "DequantizeLinear", Inputs: []*tensor.Tensor{tensor.New(tensor.Int8, 2, 3), scale, tensor.New(tensor.Int8, 2)}},
		"integer scale": {Op: "DequantizeLinear", Inputs: []*tensor.Tensor{tensor.New(tensor.Int8, 2, 3), tensor.Ints(1)}},
	} {
		if _, err := opcheck.Eval(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
