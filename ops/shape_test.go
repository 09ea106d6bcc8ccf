package ops_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

func TestShape(t *testing.T) {
	x := opcheck.Random(1, -1, 1, 2, 3, 4)
	cases := []struct {
		name  string
		attrs []*ir.Attr
		want  *tensor.Tensor
	}{
		{"whole", nil, tensor.Ints(2, 3, 4)},
		{"from 1", []*ir.Attr{ir.A("start", ir.Int(1))}, tensor.Ints(3, 4)},
		{"to -1", []*ir.Attr{ir.A("end", ir.Int(-1))}, tensor.Ints(2, 3)},
		{"clamped", []*ir.Attr{ir.A("start", ir.Int(-10)), ir.A("end", ir.Int(10))}, tensor.Ints(2, 3, 4)},
		{"empty", []*ir.Attr{ir.A("start", ir.Int(2)), ir.A("end", ir.Int(1))}, tensor.Ints()},
	}
	for _, c := range cases {
		opcheck.Forward(t, opcheck.Case{Name: c.name, Op: "Shape", Attrs: c.attrs, Inputs: []*tensor.Tensor{x}}, 0, c.want)
	}
}
