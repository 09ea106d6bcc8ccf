package ops_test

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// TestLinear compares every ending of a product with the nodes it stands for:
// of few rows, of many, and deeper than a block; by a constant and not.
func TestLinear(t *testing.T) {
	for _, s := range []struct {
		rows []int
		k, n int
	}{{[]int{2}, 5, 3}, {[]int{2, 7}, 6, 40}, {[]int{3, 50}, 520, 70}} {
		for i, act := range []string{"", "Gelu", "GeluTanh", "SiLU", "Relu", "Tanh", "Sigmoid"} {
			for extra := range 4 {
				transB := (i + extra) % 2
				w := []int{s.k, s.n}
				if transB == 1 {
					w = []int{s.n, s.k}
				}
				c := opcheck.Case{Name: fmt.Sprintf("%v %s %d", s, act, extra), Domain: ops.Domain, Op: "Linear",
					Attrs: []*ir.Attr{ir.A("transB", ir.Int(transB))}, Const: []int{1}[:i%2]}
				if act != "" {
					c.Attrs = append(c.Attrs, ir.A("activation", ir.String(act)))
				}
				c.Inputs = []*tensor.Tensor{random(1, append(s.rows, s.k)...), random(2, w...), nil, nil}
				if extra&1 != 0 {
					c.Inputs[2] = random(3, s.n)
				}
				if extra&2 != 0 {
					c.Inputs[3] = random(4, append(s.rows, s.n)...)
				}
				opcheck.Expansion(t, c, 1e-12)
			}
		}
	}
}

// What does not fit a product is refused.
func TestLinearRefuses(t *testing.T) {
	x, w := random(1, 2, 5), random(2, 5, 3)
	sine := []*ir.Attr{ir.A("activation", ir.String("Sin"))}
	for name, c := range map[string]opcheck.Case{
		"a stack of weights":  {Inputs: []*tensor.Tensor{x, random(2, 1, 5, 3)}},
		"a bias too long":     {Inputs: []*tensor.Tensor{x, w, random(3, 4)}},
		"a bias as a matrix":  {Inputs: []*tensor.Tensor{x, w, random(3, 1, 3)}},
		"a residual of a row": {Inputs: []*tensor.Tensor{x, w, random(3, 3), random(3, 1, 3)}},
		"no activation":       {Inputs: []*tensor.Tensor{x, w}, Attrs: sine},
	} {
		c.Domain, c.Op = ops.Domain, "Linear"
		if out, err := opcheck.Eval(c); err == nil {
			t.Errorf("%s: got %v, want an error", name, out)
		}
	}
}
