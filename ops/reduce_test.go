package ops_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// slowReduce folds x over the axes of the mask and finishes with end.
func slowReduce(x *tensor.Tensor, mask []bool, keep bool, start float64, f func(s, v float64) float64, end func(s float64, n int) float64) *tensor.Tensor {
	var shape, kept tensor.Shape
	n := 1
	for i, d := range x.Shape() {
		switch {
		case !mask[i]:
			shape, kept = append(shape, d), append(kept, d)
		default:
			n *= d
			kept = append(kept, 1)
			if keep {
				shape = append(shape, 1)
			}
		}
	}
	out := tensor.New(tensor.Float64, shape...)
	y := tensor.Data[float64](out)
	for i := range y {
		y[i] = start
	}
	strides := kept.Strides()
	for i, v := range tensor.Data[float64](x) {
		at, rest := 0, i
		for d := x.Rank() - 1; d >= 0; d-- {
			k := rest % x.Shape()[d]
			rest /= x.Shape()[d]
			if !mask[d] {
				at += k * strides[d]
			}
		}
		y[at] = f(y[at], v)
	}
	for i := range y {
		y[i] = end(y[i], n)
	}
	return out
}

type reduction struct {
	op    string
	start float64
	f     func(s, v float64) float64
	end   func(s float64, n int) float64
}

func reductions() []reduction {
	same := func(s float64, _ int) float64 { return s }
	add := func(s, v float64) float64 { return s + v }
	square := func(s, v float64) float64 { return s + v*v }
	return []reduction{
		{"ReduceSum", 0, add, same},
		{"ReduceMean", 0, add, func(s float64, n int) float64 { return s / float64(n) }},
		{"ReduceMax", math.Inf(-1), math.Max, same},
		{"ReduceMin", math.Inf(1), math.Min, same},
		{"ReduceProd", 1, func(s, v float64) float64 { return s * v }, same},
		{"ReduceL1", 0, func(s, v float64) float64 { return s + math.Abs(v) }, same},
		{"ReduceL2", 0, square, func(s float64, _ int) float64 { return math.Sqrt(s) }},
		{"ReduceSumSquare", 0, square, same},
		{"ReduceLogSum", 0, add, func(s float64, _ int) float64 { return math.Log(s) }},
		{"ReduceLogSumExp", 0, func(s, v float64) float64 { return s + math.Exp(v) }, func(s float64, _ int) float64 { return math.Log(s) }},
	}
}

func TestReduce(t *testing.T) {
	x := opcheck.Random(3, 0.5, 2, 2, 3, 4)
	sets := []struct {
		axes *tensor.Tensor
		mask []bool
		noop int64
	}{
		{tensor.Ints(2), []bool{false, false, true}, 0},
		{tensor.Ints(-2), []bool{false, true, false}, 0},
		{tensor.Ints(0), []bool{true, false, false}, 0},
		{tensor.Ints(2, 0), []bool{true, false, true}, 0},
		{tensor.Ints(1, 2), []bool{false, true, true}, 0},
		{tensor.Ints(0, 1, 2), []bool{true, true, true}, 0},
		{nil, []bool{true, true, true}, 0},
		{tensor.Ints(), []bool{true, true, true}, 0},
		{nil, []bool{false, false, false}, 1},
		{tensor.Ints(), []bool{false, false, false}, 1},
	}
	for _, r := range reductions() {
		for _, s := range sets {
			for _, keep := range []bool{false, true} {
				k := ir.Int(0)
				if keep {
					k = 1
				}
				c := opcheck.Case{
					Name: fmt.Sprint(r.op, s.mask, keep), Op: r.op, Inputs: []*tensor.Tensor{x, s.axes},
					Attrs: []*ir.Attr{ir.A("keepdims", k), ir.A("noop_with_empty_axes", ir.Int(s.noop))},
				}
				opcheck.Forward(t, c, 1e-14, slowReduce(x, s.mask, keep, r.start, r.f, r.end))
				opcheck.Gradient(t, c)
			}
		}
	}
}

func TestReduceFedAxes(t *testing.T) {
	x := opcheck.Random(3, 0.5, 2, 2, 3, 4)
	for _, keep := range []ir.Int{0, 1} {
		c := opcheck.Case{Name: "fed axes", Op: "ReduceSum", Inputs: []*tensor.Tensor{x, tensor.Ints(2, 0)}, Fed: []int{1},
			Attrs: []*ir.Attr{ir.A("keepdims", keep)}}
		r := reductions()[0]
		opcheck.Forward(t, c, 1e-14, slowReduce(x, []bool{true, false, true}, keep == 1, r.start, r.f, r.end))
		opcheck.Gradient(t, c)
	}
}

func TestReduceEmptyAndIntegers(t *testing.T) {
	empty := tensor.New(tensor.Float64, 2, 0, 3)
	inf := math.Inf(1)
	for op, w := range map[string]float64{"ReduceSum": 0, "ReduceMax": -inf, "ReduceMin": inf, "ReduceProd": 1, "ReduceL2": 0, "ReduceLogSum": -inf, "ReduceLogSumExp": -inf} {
		want := tensor.FromSlice([]float64{w, w, w, w, w, w}, 2, 3)
		c := opcheck.Case{Name: op, Op: op, Inputs: []*tensor.Tensor{empty, tensor.Ints(1)}, Attrs: []*ir.Attr{ir.A("keepdims", ir.Int(0))}}
		opcheck.Forward(t, c, 0, want)
	}
	ints := tensor.Ints(1, -2, 3, 4, 5, -6).Reshape(2, 3)
	for op, want := range map[string]*tensor.Tensor{
		"ReduceSum": tensor.Ints(2, 3), "ReduceMax": tensor.Ints(3, 5), "ReduceMin": tensor.Ints(-2, -6),
		"ReduceProd": tensor.Ints(-6, -120), "ReduceL1": tensor.Ints(6, 15), "ReduceSumSquare": tensor.Ints(14, 77), "ReduceMean": tensor.Ints(0, 1),
	} {
		c := opcheck.Case{Name: op, Op: op, Inputs: []*tensor.Tensor{ints, tensor.Ints(1)}, Attrs: []*ir.Attr{ir.A("keepdims", ir.Int(0))}}
		opcheck.Forward(t, c, 0, want)
	}
	bools := tensor.FromSlice([]bool{true, false, false, false}, 2, 2)
	c := opcheck.Case{Name: "bool", Op: "ReduceMax", Inputs: []*tensor.Tensor{bools, tensor.Ints(1)}, Attrs: []*ir.Attr{ir.A("keepdims", ir.Int(0))}}
	opcheck.Forward(t, c, 0, tensor.FromSlice([]bool{true, false}, 2))
	wantError(t, "ReduceSum", nil, "axis 3", ints, tensor.Ints(3))
}

func TestArgExtreme(t *testing.T) {
	x := tensor.FromSlice([]float64{1, 5, 5, 2, 0, 0}, 2, 3)
	cases := []struct {
		op    string
		attrs []*ir.Attr
		want  *tensor.Tensor
	}{
		{"ArgMax", nil, tensor.Ints(1, 0, 0).Reshape(1, 3)},
		{"ArgMax", []*ir.Attr{ir.A("axis", ir.Int(-1)), ir.A("keepdims", ir.Int(0))}, tensor.Ints(1, 0)},
		{"ArgMax", []*ir.Attr{ir.A("axis", ir.Int(1)), ir.A("select_last_index", ir.Int(1))}, tensor.Ints(2, 0).Reshape(2, 1)},
		{"ArgMin", []*ir.Attr{ir.A("axis", ir.Int(1)), ir.A("keepdims", ir.Int(0))}, tensor.Ints(0, 1)},
	}
	for _, c := range cases {
		opcheck.Forward(t, opcheck.Case{Name: c.op, Op: c.op, Attrs: c.attrs, Inputs: []*tensor.Tensor{x}}, 0, c.want)
	}
	wantError(t, "ArgMax", []*ir.Attr{ir.A("axis", ir.Int(2))}, "axis", x)
}

func TestSoftmax(t *testing.T) {
	x := opcheck.Random(5, -3, 3, 2, 3, 4)
	for axis := -3; axis < 3; axis++ {
		mask := make([]bool, 3)
		mask[(axis+3)%3] = true
		sum := slowReduce(x, mask, true, 0, func(s, v float64) float64 { return s + math.Exp(v) }, func(s float64, _ int) float64 { return s })
		want := spread(x, sum, func(v, s float64) float64 { return math.Exp(v) / s })
		top := slowReduce(x, mask, true, math.Inf(-1), math.Max, func(s float64, _ int) float64 { return s })
		attrs := []*ir.Attr{ir.A("axis", ir.Int(axis))}
		c := opcheck.Case{Name: fmt.Sprint("softmax ", axis), Op: "Softmax", Attrs: attrs, Inputs: []*tensor.Tensor{x}}
		opcheck.Forward(t, c, 1e-14, want)
		opcheck.Gradient(t, c)
		c.Name, c.Op = fmt.Sprint("log softmax ", axis), "LogSoftmax"
		opcheck.Forward(t, c, 1e-14, mapped(want, math.Log))
		opcheck.Gradient(t, c)
		c.Name, c.Op = fmt.Sprint("hardmax ", axis), "Hardmax"
		opcheck.Forward(t, c, 0, spread(x, top, func(v, m float64) float64 {
			if v == m {
				return 1
			}
			return 0
		}))
		for _, op := range []string{"SoftmaxGrad", "LogSoftmaxGrad"} {
			opcheck.Expansion(t, opcheck.Case{Name: op, Domain: "ai.bonnx", Op: op, Attrs: attrs,
				Inputs: []*tensor.Tensor{want, opcheck.Random(9, -1, 1, 2, 3, 4)}}, 1e-13)
		}
	}
	wantError(t, "Softmax", []*ir.Attr{ir.A("axis", ir.Int(3))}, "axis", x)
}
