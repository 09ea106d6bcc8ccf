package ops_test

import (
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

func to(d tensor.DType) []*ir.Attr { return []*ir.Attr{num("to", int(d))} }

func TestCast(t *testing.T) {
	f32 := tensor.FromSlice([]float32{0, 1.5, -2.5}, 3)
	for _, c := range []moveCase{
		{name: "to int", attrs: to(tensor.Int64), in: tensors{f32}, want: tensors{tensor.Ints(0, 1, -2)}, noGrad: true},
		{name: "to bool", attrs: to(tensor.Bool), in: tensors{f32}, want: tensors{bools([]int{3}, false, true, true)}, noGrad: true},
		{name: "same", attrs: to(tensor.Float64), in: tensors{count(3)}, want: tensors{count(3)}},
		{name: "ints", attrs: to(tensor.Int32), in: tensors{tensor.Ints(3, -1)}, want: tensors{tensor.FromSlice([]int32{3, -1}, 2)}, noGrad: true},
	} {
		c.op = "Cast"
		c.check(t)
	}
	like := moveCase{op: "CastLike", in: tensors{count(3), tensor.FromSlice([]float32{0}, 1)}, want: tensors{tensor.FromSlice([]float32{0, 1, 2}, 3)}, noGrad: true}
	like.check(t)
	if _, err := parseOp("Cast", to(99), 1); err == nil {
		t.Error("cast to type 99: no error")
	}
}

func TestConstant(t *testing.T) {
	for _, c := range []struct {
		attr *ir.Attr
		want *tensor.Tensor
	}{
		{ir.A("value", ir.TensorAttr{Data: ir.Dense(count(2))}), count(2)},
		{ir.A("value_float", ir.Float(1.5)), tensor.Scalar(float32(1.5))},
		{ir.A("value_floats", ir.Floats{1, 2}), tensor.FromSlice([]float32{1, 2}, 2)},
		{num("value_int", 3), tensor.Scalar(int64(3))},
		{ints("value_ints", 3, 4), tensor.Ints(3, 4)},
		{str("value_string", "a"), tensor.FromStrings([]string{"a"})},
		{ir.A("value_strings", ir.Strings{"a", "b"}), tensor.FromStrings([]string{"a", "b"}, 2)},
	} {
		opcheck.Forward(t, opcheck.Case{Name: c.attr.Name, Op: "Constant", Attrs: []*ir.Attr{c.attr}}, 0, c.want)
	}
	for _, attrs := range [][]*ir.Attr{nil, {num("value_int", 1), ir.A("value_float", ir.Float(1))}} {
		if _, err := parseOp("Constant", attrs, 0); err == nil {
			t.Errorf("a Constant of %d values: no error", len(attrs))
		}
	}
}

func TestConstantOfShape(t *testing.T) {
	one := []*ir.Attr{ir.A("value", ir.TensorAttr{Data: ir.Dense(tensor.Ints(7))})}
	for _, c := range []moveCase{
		{name: "zeros", in: tensors{tensor.Ints(2, 1)}, want: tensors{tensor.New(tensor.Float32, 2, 1)}, fed: []int{0}},
		{name: "value", attrs: one, in: tensors{tensor.Ints(3)}, want: tensors{tensor.Ints(7, 7, 7)}},
		{name: "scalar", attrs: one, in: tensors{tensor.Ints()}, want: tensors{tensor.Scalar(int64(7))}},
		{name: "nothing", in: tensors{tensor.Ints(0)}, want: tensors{tensor.New(tensor.Float32, 0)}},
	} {
		c.op, c.noGrad = "ConstantOfShape", true
		c.check(t)
	}
}

func TestRange(t *testing.T) {
	s := func(v int64) *tensor.Tensor { return tensor.Scalar(v) }
	f := func(v float32) *tensor.Tensor { return tensor.Scalar(v) }
	for _, c := range []moveCase{
		{name: "up", in: tensors{s(1), s(6), s(2)}, want: tensors{tensor.Ints(1, 3, 5)}},
		{name: "exact", in: tensors{s(1), s(5), s(2)}, want: tensors{tensor.Ints(1, 3)}},
		{name: "down", in: tensors{s(4), s(-1), s(-2)}, want: tensors{tensor.Ints(4, 2, 0)}},
		{name: "none", in: tensors{s(4), s(4), s(1)}, want: tensors{tensor.Ints()}},
		{name: "wrong way", in: tensors{s(4), s(5), s(-3)}, want: tensors{tensor.Ints()}},
		{name: "float", in: tensors{f(0), f(1), f(0.25)}, want: tensors{tensor.FromSlice([]float32{0, 0.25, 0.5, 0.75}, 4)}},
	} {
		c.op, c.noGrad = "Range", true
		c.check(t)
	}
	for _, delta := range []*tensor.Tensor{s(0)} {
		if _, err := evalOp("Range", nil, s(0), s(3), delta); err == nil {
			t.Error("a delta of 0: no error")
		}
	}
}

func TestCompare(t *testing.T) {
	x, y := tensor.Ints(1, 2, 3), tensor.Scalar(int64(2))
	nan := f64([]int{2}, math.NaN(), 1)
	half, err := f64([]int{2}, 1, 2).Cast(tensor.Float16)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []moveCase{
		{op: "Equal", in: tensors{x, y}, want: tensors{bools([]int{3}, false, true, false)}},
		{op: "Greater", in: tensors{x, y}, want: tensors{bools([]int{3}, false, false, true)}},
		{op: "GreaterOrEqual", in: tensors{x, y}, want: tensors{bools([]int{3}, false, true, true)}},
		{op: "Less", in: tensors{x, y}, want: tensors{bools([]int{3}, true, false, false)}},
		{op: "LessOrEqual", in: tensors{x, y}, want: tensors{bools([]int{3}, true, true, false)}},
		{op: "Equal", name: "NaN", in: tensors{nan, nan}, want: tensors{bools([]int{2}, false, true)}},
		{op: "Less", name: "float16", in: tensors{half, half.Reshape(2, 1)}, want: tensors{bools([]int{2, 2}, false, false, true, false)}},
		{op: "Equal", name: "strings", in: tensors{tensor.FromStrings([]string{"a", "b"}, 2), tensor.FromStrings([]string{"b"}, 1)}, want: tensors{bools([]int{2}, false, true)}},
		{op: "Equal", name: "bools", in: tensors{bools([]int{2}, true, false), bools(nil, true)}, want: tensors{bools([]int{2}, true, false)}},
	} {
		c.noGrad = true
		c.check(t)
	}
}

func TestLogic(t *testing.T) {
	a, b := bools([]int{2, 1}, false, true), bools([]int{2}, false, true)
	inf := f64([]int{4}, math.Inf(1), math.Inf(-1), math.NaN(), 1)
	for _, c := range []moveCase{
		{op: "And", in: tensors{a, b}, want: tensors{bools([]int{2, 2}, false, false, false, true)}},
		{op: "Or", in: tensors{a, b}, want: tensors{bools([]int{2, 2}, false, true, true, true)}},
		{op: "Xor", in: tensors{a, b}, want: tensors{bools([]int{2, 2}, false, true, true, false)}},
		{op: "Not", in: tensors{b}, want: tensors{bools([]int{2}, true, false)}},
		{op: "IsNaN", in: tensors{inf}, want: tensors{bools([]int{4}, false, false, true, false)}},
		{op: "IsInf", in: tensors{inf}, want: tensors{bools([]int{4}, true, true, false, false)}},
		{op: "IsInf", attrs: []*ir.Attr{num("detect_negative", 0)}, in: tensors{inf}, want: tensors{bools([]int{4}, true, false, false, false)}},
		{op: "Size", in: tensors{count(2, 3)}, want: tensors{tensor.Scalar(int64(6))}},
	} {
		c.noGrad = true
		c.check(t)
	}
}

// parseOp makes an operator of n unnamed inputs and one output.
func parseOp(op string, attrs []*ir.Attr, n int) (ops.Op, error) {
	g := ir.NewGraph("g")
	in := make([]*ir.Value, n)
	for i := range in {
		in[i] = g.NewValue("x", nil)
	}
	node := ir.NewNode("", op, in...)
	node.Attrs = attrs
	node.SetOutput(0, g.NewValue("y", nil))
	return ops.Standard().Parse(node, ops.CanonicalOpset)
}

func inferOp(op string, attrs []*ir.Attr, in ...ops.Fact) ([]ops.Fact, error) {
	o, err := parseOp(op, attrs, len(in))
	if err != nil {
		return nil, err
	}
	return o.Infer(in)
}

func evalOp(op string, attrs []*ir.Attr, in ...*tensor.Tensor) ([]*tensor.Tensor, error) {
	o, err := parseOp(op, attrs, len(in))
	if err != nil {
		return nil, err
	}
	return ops.Eval(o, in, 1)
}

func inferSplit(in ...ops.Fact) ([]ops.Fact, error) {
	g := ir.NewGraph("g")
	node := ir.NewNode("", "Split", g.NewValue("x", nil), g.NewValue("s", nil))
	node.SetOutput(0, g.NewValue("y", nil))
	node.SetOutput(1, g.NewValue("z", nil))
	o, err := ops.Standard().Parse(node, ops.CanonicalOpset)
	if err != nil {
		return nil, err
	}
	return o.Infer(in)
}

func concrete(shape ...int) ops.Fact     { return ops.Concrete(tensor.Float64, shape...) }
func constant(t *tensor.Tensor) ops.Fact { return ops.Constant(t) }
func needOp(t *testing.T, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, ok := ops.Standard().Lookup("", n); !ok {
			t.Skipf("needs operator %s", n)
		}
	}
}
