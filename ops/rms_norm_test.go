package ops_test

import (
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

func TestRMSNorm(t *testing.T) {
	s := float32(1 / math.Sqrt(12.5))
	byHand := opcheck.Case{Name: "by hand", Domain: ops.Domain, Op: "RMSNorm", Outputs: 2,
		Attrs:  []*ir.Attr{ir.A("epsilon", ir.Float(0))},
		Inputs: []*tensor.Tensor{tensor.FromSlice([]float32{3, 4}, 1, 2), tensor.FromSlice([]float32{1, 2}, 2)}}
	opcheck.Forward(t, byHand, 1e-6, tensor.FromSlice([]float32{3 * s, 8 * s}, 1, 2), tensor.FromSlice([]float32{s}, 1, 1))
	for _, shape := range [][]int{{4}, {3, 4}, {2, 3, 4}} {
		c := opcheck.Case{Name: "norm", Domain: ops.Domain, Op: "RMSNorm",
			Inputs: []*tensor.Tensor{opcheck.Random(1, -1, 1, shape...), opcheck.Random(2, 0.5, 1, 4)}}
		opcheck.Gradient(t, c)
		c.Outputs = 2
		opcheck.Expansion(t, c, 1e-12)
		inv := append(append([]int{}, shape[:len(shape)-1]...), 1)
		opcheck.Expansion(t, opcheck.Case{Name: "gradient", Domain: ops.Domain, Op: "RMSNormGrad",
			Inputs: []*tensor.Tensor{opcheck.Random(3, -1, 1, shape...), opcheck.Random(1, -1, 1, shape...),
				opcheck.Random(2, 0.5, 1, 4), opcheck.Random(4, 0.5, 1, inv...)}}, 1e-12)
	}
}
