package ops_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

func sumToCases() []opcheck.Case {
	cases := []opcheck.Case{
		{Name: "same", Inputs: []*tensor.Tensor{opcheck.Random(1, -1, 1, 2, 3), tensor.Ints(2, 3)}},
		{Name: "drop", Inputs: []*tensor.Tensor{opcheck.Random(2, -1, 1, 4, 2, 3), tensor.Ints(3)}},
		{Name: "keep", Inputs: []*tensor.Tensor{opcheck.Random(3, -1, 1, 4, 2, 3), tensor.Ints(4, 1, 3)}},
		{Name: "both", Inputs: []*tensor.Tensor{opcheck.Random(4, -1, 1, 4, 2, 3), tensor.Ints(2, 1)}},
		{Name: "scalar", Inputs: []*tensor.Tensor{opcheck.Random(5, -1, 1, 2, 3), tensor.Ints()}},
	}
	for i := range cases {
		cases[i].Domain, cases[i].Op = ops.Domain, "SumTo"
	}
	return cases
}

func TestSumTo(t *testing.T) {
	c := opcheck.Case{Name: "by hand", Domain: ops.Domain, Op: "SumTo",
		Inputs: []*tensor.Tensor{tensor.FromSlice([]float64{1, 2, 3, 4, 5, 6}, 2, 3), tensor.Ints(2, 1)}}
	opcheck.Forward(t, c, 1e-15, tensor.FromSlice([]float64{6, 15}, 2, 1))
	for _, c := range sumToCases() {
		opcheck.Gradient(t, c)
		opcheck.Expansion(t, c, 1e-12)
		c.Fed = []int{1}
		opcheck.Expansion(t, c, 1e-12)
	}
}
