package ops_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

func matMulCases() []opcheck.Case {
	type shapes struct {
		name           string
		a, b           []int
		transA, transB int
		constB         bool
	}
	var cases []opcheck.Case
	for i, s := range []shapes{
		{"matrices", []int{2, 3}, []int{3, 4}, 0, 0, false},
		{"transA", []int{3, 2}, []int{3, 4}, 1, 0, false},
		{"transB", []int{2, 3}, []int{4, 3}, 0, 1, false},
		{"both", []int{3, 2}, []int{4, 3}, 1, 1, false},
		{"folded", []int{2, 5, 3}, []int{3, 4}, 0, 0, false},
		{"folded transB", []int{2, 5, 3}, []int{4, 3}, 0, 1, false},
		{"constant", []int{2, 5, 3}, []int{3, 4}, 0, 0, true},
		{"constant transB", []int{2, 5, 3}, []int{4, 3}, 0, 1, true},
		{"batched transA by matrix", []int{2, 3, 5}, []int{3, 4}, 1, 0, false},
		{"batched transA by transB", []int{2, 3, 5}, []int{4, 3}, 1, 1, false},
		{"broadcast", []int{2, 1, 2, 3}, []int{3, 3, 4}, 0, 0, false},
		{"broadcast transB", []int{2, 1, 2, 3}, []int{3, 4, 3}, 0, 1, false},
		{"broadcast both", []int{2, 1, 3, 2}, []int{3, 4, 3}, 1, 1, false},
		{"matrix by stack", []int{2, 3}, []int{5, 3, 4}, 0, 0, false},
	} {
		c := opcheck.Case{Name: s.name, Domain: ops.Domain, Op: "FusedMatMul",
			Attrs: []*ir.Attr{ir.A("transA", ir.Int(s.transA)), ir.A("transB", ir.Int(s.transB))},
			Inputs: []*tensor.Tensor{opcheck.Random(uint64(2*i), -1, 1, s.a...),
				opcheck.Random(uint64(2*i+1), -1, 1, s.b...)}}
		if i%2 == 1 {
			c.Attrs = append(c.Attrs, ir.A("alpha", ir.Float(0.375)))
		}
		if s.constB {
			c.Const = []int{1}
		}
		cases = append(cases, c)
	}
	return cases
}

func TestFusedMatMul(t *testing.T) {
	a := tensor.FromSlice([]float32{1, 2, 3, 4, 5, 6}, 2, 3)
	b := tensor.FromSlice([]float32{1, 0, 2, -1, 3, 1}, 2, 3)
	c := opcheck.Case{Name: "by hand", Domain: ops.Domain, Op: "FusedMatMul",
		Attrs: []*ir.Attr{ir.A("transB", ir.Int(1))}, Inputs: []*tensor.Tensor{a, b}}
	opcheck.Forward(t, c, 0, tensor.FromSlice([]float32{7, 8, 16, 17}, 2, 2))
	for _, c := range matMulCases() {
		opcheck.Gradient(t, c)
		opcheck.Expansion(t, c, 1e-12)
	}
}
