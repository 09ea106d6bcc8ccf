package ops_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

func TestFusedRotary(t *testing.T) {
	x := tensor.FromSlice([]float32{1, 2, 3, 4}, 1, 1, 1, 4)
	cos, sin := tensor.FromSlice([]float32{0, 1}, 1, 2), tensor.FromSlice([]float32{1, 0}, 1, 2)
	for name, want := range map[string][]float32{"halves": {-3, 2, 1, 4}, "interleaved": {-2, 1, 3, 4}} {
		opcheck.Forward(t, opcheck.Case{Name: name, Domain: ops.Domain, Op: "Rotary", Inputs: []*tensor.Tensor{x, cos, sin},
			Attrs: []*ir.Attr{ir.A("interleaved", ir.Int(len(name)-len("halves")))}}, 0, tensor.FromSlice(want, 1, 1, 1, 4))
	}
	for i, c := range []struct {
		name                   string
		interleaved, rowsFirst int
		table                  []int
	}{
		{"halves", 0, 0, []int{3, 2}},
		{"halves, wide tables", 0, 0, []int{1, 1, 3, 4}},
		{"halves, a table for each of the batch", 0, 1, []int{2, 1, 3, 4}},
		{"interleaved", 1, 1, []int{3, 2}},
		{"interleaved, wide tables of heads", 1, 0, []int{5, 1, 4}},
		{"one row", 0, 1, []int{4}},
	} {
		shape := []int{2, 5, 3, 4}
		if c.rowsFirst == 1 {
			shape = []int{2, 3, 5, 4}
		}
		seed := uint64(3 * i)
		k := opcheck.Case{Name: c.name, Domain: ops.Domain, Op: "Rotary",
			Attrs: []*ir.Attr{ir.A("interleaved", ir.Int(c.interleaved)), ir.A("rows_first", ir.Int(c.rowsFirst)),
				ir.A("wide", ir.Int(c.table[len(c.table)-1]/4))},
			Inputs: []*tensor.Tensor{opcheck.Random(seed, -1, 1, shape...), opcheck.Random(seed+1, -1, 1, c.table...),
				opcheck.Random(seed+2, -1, 1, c.table...)}}
		opcheck.Gradient(t, k)
		opcheck.Expansion(t, k, 1e-12)
		k.Op = "RotaryGrad"
		opcheck.Expansion(t, k, 1e-12)
	}
}
