package ops_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

func TestReshape(t *testing.T) {
	x := count(2, 3, 4)
	zero := []*ir.Attr{num("allowzero", 1)}
	for _, c := range []moveCase{
		{name: "plain", in: tensors{x, tensor.Ints(4, 6)}, want: tensors{count(4, 6)}, fed: []int{1}},
		{name: "-1", in: tensors{x, tensor.Ints(4, -1)}, want: tensors{count(4, 6)}, fed: []int{1}},
		{name: "0 and -1", in: tensors{x, tensor.Ints(0, -1)}, want: tensors{count(2, 12)}, fed: []int{1}},
		{name: "scalar", in: tensors{count(1, 1), tensor.Ints()}, want: tensors{count()}},
		{name: "empty", in: tensors{count(0, 3), tensor.Ints(3, 0)}, attrs: zero, want: tensors{count(3, 0)}},
		{name: "empty, -1", in: tensors{count(0, 3), tensor.Ints(0, -1)}, want: tensors{count(0, 3)}},
	} {
		c.op = "Reshape"
		c.check(t)
	}
}

func TestReshapeRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		shape *tensor.Tensor
	}{
		{"two -1", tensor.Ints(-1, -1)}, {"size", tensor.Ints(5)}, {"no divisor", tensor.Ints(5, -1)},
		{"-2", tensor.Ints(-2, 3)}, {"0 beyond rank", tensor.Ints(2, 3, 0)},
	} {
		if f, err := inferOp("Reshape", nil, concrete(2, 3), constant(c.shape)); err == nil {
			t.Errorf("%s: got %v, want an error", c.name, f)
		}
	}
}

func TestFlatten(t *testing.T) {
	x := count(2, 3, 4)
	for _, c := range []moveCase{
		{name: "1", in: tensors{x}, want: tensors{count(2, 12)}},
		{name: "0", attrs: []*ir.Attr{num("axis", 0)}, in: tensors{x}, want: tensors{count(1, 24)}},
		{name: "-1", attrs: []*ir.Attr{num("axis", -1)}, in: tensors{x}, want: tensors{count(6, 4)}},
		{name: "3", attrs: []*ir.Attr{num("axis", 3)}, in: tensors{x}, want: tensors{count(24, 1)}},
	} {
		c.op = "Flatten"
		c.check(t)
	}
}

func TestSqueezeUnsqueeze(t *testing.T) {
	for _, c := range []moveCase{
		{op: "Squeeze", name: "axes", in: tensors{count(1, 3, 1), tensor.Ints(-1)}, want: tensors{count(1, 3)}, fed: []int{1}},
		{op: "Squeeze", name: "all", in: tensors{count(1, 3, 1)}, want: tensors{count(3)}},
		{op: "Unsqueeze", name: "two", in: tensors{count(3, 2), tensor.Ints(0, -1)}, want: tensors{count(1, 3, 2, 1)}, fed: []int{1}},
		{op: "Unsqueeze", name: "scalar", in: tensors{count(), tensor.Ints(0)}, want: tensors{count(1)}},
	} {
		c.check(t)
	}
	if f, err := inferOp("Squeeze", nil, concrete(2, 3), constant(tensor.Ints(0))); err == nil {
		t.Errorf("squeezing an extent of 2: got %v, want an error", f)
	}
	if f, err := inferOp("Unsqueeze", nil, concrete(2, 3), constant(tensor.Ints(0, 0))); err == nil {
		t.Errorf("an axis given twice: got %v, want an error", f)
	}
}

func TestTranspose(t *testing.T) {
	for _, c := range []moveCase{
		{name: "reversed", in: tensors{count(2, 3)}, want: tensors{f64([]int{3, 2}, 0, 3, 1, 4, 2, 5)}},
		{name: "swap last", attrs: []*ir.Attr{ints("perm", 0, 2, 1)}, in: tensors{count(2, 2, 2)}, want: tensors{f64([]int{2, 2, 2}, 0, 2, 1, 3, 4, 6, 5, 7)}},
		{name: "cycle", attrs: []*ir.Attr{ints("perm", 2, 0, 1)}, in: tensors{opcheck.Random(1, -1, 1, 2, 3, 4)}},
		{name: "empty", in: tensors{count(0, 3)}, want: tensors{count(3, 0)}},
		{name: "empty planes", in: tensors{count(0, 3, 2)}, want: tensors{count(2, 3, 0)}},
	} {
		c.op = "Transpose"
		c.check(t)
	}
}
