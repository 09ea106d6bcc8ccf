package ops_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/tensor"
)

func TestIdentity(t *testing.T) {
	x := opcheck.Random(1, -1, 1, 2, 3)
	c := opcheck.Case{Name: "identity", Op: "Identity", Inputs: []*tensor.Tensor{x}}
	opcheck.Forward(t, c, 0, x)
	opcheck.Gradient(t, c)
}
