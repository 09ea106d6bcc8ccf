package ops_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

func TestGatedSiLU(t *testing.T) {
	c := opcheck.Case{Name: "by hand", Domain: ops.Domain, Op: "GatedSiLU",
		Inputs: []*tensor.Tensor{tensor.FromSlice([]float32{0, 1}, 2), tensor.FromSlice([]float32{7, 2}, 2)}}
	opcheck.Forward(t, c, 1e-6, tensor.FromSlice([]float32{0, 1.4621172}, 2))
	for _, shape := range [][]int{{3, 4}, {2, 1100}, {}} { // 1100: more than one part
		c.Name, c.Op, c.Outputs = "random", "GatedSiLU", 1
		c.Inputs = []*tensor.Tensor{opcheck.Random(1, -4, 4, shape...), opcheck.Random(2, -1, 1, shape...)}
		if len(shape) == 0 || shape[0] > 2 {
			opcheck.Gradient(t, c)
		}
		opcheck.Expansion(t, c, 1e-12)
		c.Op, c.Outputs = "GatedSiLUGrad", 2
		c.Inputs = append([]*tensor.Tensor{opcheck.Random(3, -1, 1, shape...)}, c.Inputs...)
		opcheck.Expansion(t, c, 1e-12)
	}
}
