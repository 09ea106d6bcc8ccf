package ops_test

import (
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

func TestSlice(t *testing.T) {
	i := tensor.Ints
	for _, c := range []moveCase{
		{name: "plain", in: tensors{count(5), i(1), i(4)}, want: tensors{f64([]int{3}, 1, 2, 3)}, fed: []int{1, 2}},
		{name: "step", in: tensors{count(7), i(1), i(7), i(0), i(3)}, want: tensors{f64([]int{2}, 1, 4)}},
		{name: "backward", in: tensors{count(5), i(-1), i(math.MinInt64), i(0), i(-2)}, want: tensors{f64([]int{3}, 4, 2, 0)}, fed: []int{4}},
		{name: "clamped", in: tensors{count(3), i(-9), i(math.MaxInt64), i(-1)}, want: tensors{count(3)}},
		{name: "empty", in: tensors{count(3), i(2), i(1)}, want: tensors{count(0)}},
		{name: "last", in: tensors{count(2, 3, 2), i(-1), i(math.MaxInt64), i(1)}, want: tensors{f64([]int{2, 1, 2}, 4, 5, 10, 11)}},
		{name: "two axes", in: tensors{count(3, 4), i(1, 0), i(3, 2), i(-1, -2)}, want: tensors{f64([]int{2, 2}, 1, 2, 5, 6)}},
		{name: "int32", in: tensors{count(4), tensor.FromSlice([]int32{1}, 1), tensor.FromSlice([]int32{3}, 1)}, want: tensors{f64([]int{2}, 1, 2)}},
	} {
		c.op = "Slice"
		c.check(t)
	}
	if f, err := inferOp("Slice", nil, concrete(3), constant(i(0)), constant(i(3)), constant(i(0)), constant(i(0))); err == nil {
		t.Errorf("a step of 0: got %v, want an error", f)
	}
}

func TestSliceGradExpands(t *testing.T) {
	needOp(t, "ScatterElements", "ReduceProd")
	i := tensor.Ints
	opcheck.Expansion(t, opcheck.Case{Name: "steps", Domain: ops.Domain, Op: "SliceGrad",
		Inputs: tensors{opcheck.Random(1, -1, 1, 2, 2), i(5, 4), i(4, 0), i(-9, 2), i(0, 1), i(-3, 1)}}, 0)
	opcheck.Expansion(t, opcheck.Case{Name: "pads", Domain: ops.Domain, Op: "SliceGrad",
		Inputs: tensors{opcheck.Random(1, -1, 1, 2, 2), i(5, 4), i(2, -3), i(4, -1), i(0, 1)}}, 0)
	c := opcheck.Case{Name: "gradient", Domain: ops.Domain, Op: "SliceGrad", Inputs: tensors{opcheck.Random(1, -1, 1, 2), i(5), i(1), i(5), i(0), i(2)}}
	opcheck.Forward(t, c, 0, tensor.FromSlice([]float64{0, tensor.Data[float64](c.Inputs[0])[0], 0, tensor.Data[float64](c.Inputs[0])[1], 0}, 5))
	opcheck.Gradient(t, c)
}

func TestGather(t *testing.T) {
	axis1 := []*ir.Attr{num("axis", 1)}
	for _, c := range []moveCase{
		{name: "rows", in: tensors{count(3, 2), i64([]int{2}, 2, 0)}, want: tensors{f64([]int{2, 2}, 4, 5, 0, 1)}, fed: []int{1}},
		{name: "negative, twice", in: tensors{count(3, 2), i64([]int{3}, -1, 2, -3)}, want: tensors{f64([]int{3, 2}, 4, 5, 4, 5, 0, 1)}},
		{name: "scalar", in: tensors{count(3, 2), i64(nil, 1)}, want: tensors{f64([]int{2}, 2, 3)}, fed: []int{1}},
		{name: "axis", attrs: axis1, in: tensors{count(2, 3, 2), i64([]int{1, 2}, 2, 2)}, want: tensors{f64([]int{2, 1, 2, 2}, 4, 5, 4, 5, 10, 11, 10, 11)}},
		{name: "int32", in: tensors{count(3), tensor.FromSlice([]int32{-2}, 1)}, want: tensors{f64([]int{1}, 1)}},
	} {
		c.op = "Gather"
		c.check(t)
	}
	if _, err := evalOp("Gather", nil, count(3), i64([]int{1}, 3)); err == nil {
		t.Error("an index of 3 in an extent of 3: no error")
	}
}

func TestGatherGradExpands(t *testing.T) {
	needOp(t, "ScatterElements", "ReduceProd")
	c := opcheck.Case{Name: "axis 1", Domain: ops.Domain, Op: "GatherGrad", Attrs: []*ir.Attr{num("axis", 1)},
		Inputs: tensors{opcheck.Random(1, -1, 1, 2, 3, 2), i64([]int{3}, 1, -1, 1), tensor.Ints(2, 4, 2)}}
	opcheck.Expansion(t, c, 1e-12)
	opcheck.Gradient(t, c)
}

func TestConcatSplit(t *testing.T) {
	ax := func(n int) []*ir.Attr { return []*ir.Attr{num("axis", n)} }
	for _, c := range []moveCase{
		{op: "Concat", name: "rows", attrs: ax(0), in: tensors{count(1, 2), count(2, 2)}, want: tensors{f64([]int{3, 2}, 0, 1, 0, 1, 2, 3)}},
		{op: "Concat", name: "last", attrs: ax(-1), in: tensors{count(2, 1), count(2, 2), count(2, 0)}, want: tensors{f64([]int{2, 3}, 0, 0, 1, 1, 2, 3)}},
		{op: "Concat", name: "one", attrs: ax(0), in: tensors{count(2)}, want: tensors{count(2)}},
		{op: "Split", name: "sizes", in: tensors{count(3, 2), tensor.Ints(1, 2)}, outputs: 2, want: tensors{count(1, 2), f64([]int{2, 2}, 2, 3, 4, 5)}, fed: []int{1}},
		{op: "Split", name: "uneven", attrs: []*ir.Attr{num("num_outputs", 3), num("axis", -1)}, in: tensors{count(1, 7)}, outputs: 3,
			want: tensors{count(1, 3), f64([]int{1, 3}, 3, 4, 5), f64([]int{1, 1}, 6)}},
		{op: "Split", name: "zero", attrs: ax(0), in: tensors{count(2), tensor.Ints(0, 2)}, outputs: 2, want: tensors{count(0), count(2)}},
	} {
		c.check(t)
	}
	opcheck.Gradient(t, opcheck.Case{Name: "split, one part used", Op: "Split", Inputs: tensors{count(4), tensor.Ints(1, 3)}, Outputs: 2, GradOf: []int{1}})
	for _, want := range []*tensor.Tensor{tensor.Ints(1, 1), tensor.Ints(3), tensor.Ints(-1, 4)} {
		if f, err := inferSplit(concrete(3), constant(want)); err == nil {
			t.Errorf("sizes %v of 3: got %v, want an error", tensor.Data[int64](want), f)
		}
	}
}

func TestExpandWhere(t *testing.T) {
	for _, c := range []moveCase{
		{op: "Expand", name: "row", in: tensors{count(3), tensor.Ints(2, 1)}, want: tensors{f64([]int{2, 3}, 0, 1, 2, 0, 1, 2)}, fed: []int{1}},
		{op: "Expand", name: "column", in: tensors{count(2, 1), tensor.Ints(2, 2)}, want: tensors{f64([]int{2, 2}, 0, 0, 1, 1)}},
		{op: "Expand", name: "to nothing", in: tensors{count(1), tensor.Ints(0)}, want: tensors{count(0)}},
		{op: "Where", name: "broadcast", in: tensors{bools([]int{2, 1}, true, false), count(2), f64([]int{1, 2}, 8, 9)}, want: tensors{f64([]int{2, 2}, 0, 1, 8, 9)}},
		{op: "Where", name: "scalar", in: tensors{bools([]int{3}, true, false, true), count(3), f64(nil, 7)}, fed: []int{0}, want: tensors{f64([]int{3}, 0, 7, 2)}},
	} {
		c.check(t)
	}
}
