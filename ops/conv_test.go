package ops_test

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

type convCase struct {
	name                     string
	x, w                     []int
	strides, dilations, pads []int64 // pads are begins and ends of all spatial axes
	out                      []int   // spatial
	auto                     string
	group                    int64
	bias                     bool
}

func (c convCase) attrs() []*ir.Attr {
	var at []*ir.Attr
	if c.strides != nil {
		at = append(at, ir.A("strides", ir.Ints(c.strides)))
	}
	if c.dilations != nil {
		at = append(at, ir.A("dilations", ir.Ints(c.dilations)))
	}
	if c.auto != "" {
		at = append(at, ir.A("auto_pad", ir.String(c.auto)))
	} else if c.pads != nil {
		at = append(at, ir.A("pads", ir.Ints(c.pads)))
	}
	if c.group > 1 {
		at = append(at, ir.A("group", ir.Int(c.group)))
	}
	return at
}

func convCases() []convCase {
	return []convCase{
		{name: "plain", x: []int{2, 3, 5, 4}, w: []int{4, 3, 3, 2}, out: []int{3, 3}, bias: true},
		{name: "1x1", x: []int{2, 3, 2, 2}, w: []int{4, 3, 1, 1}, out: []int{2, 2}, bias: true},
		{name: "strides", x: []int{1, 2, 6, 5}, w: []int{3, 2, 3, 3}, strides: []int64{2, 2}, pads: []int64{1, 0, 1, 1}, out: []int{3, 2}},
		{name: "skips the end", x: []int{1, 2, 6, 6}, w: []int{2, 2, 3, 3}, strides: []int64{2, 3}, out: []int{2, 2}},
		{name: "dilations", x: []int{2, 1, 7, 6}, w: []int{2, 1, 3, 2}, dilations: []int64{2, 3}, out: []int{3, 3}, bias: true},
		{name: "groups", x: []int{1, 4, 4, 4}, w: []int{6, 2, 2, 2}, group: 2, out: []int{3, 3}, bias: true},
		{name: "depthwise", x: []int{2, 3, 4, 4}, w: []int{3, 1, 3, 3}, group: 3, pads: []int64{1, 1, 1, 1}, out: []int{4, 4}},
		{name: "1-D", x: []int{2, 3, 7}, w: []int{2, 3, 3}, strides: []int64{2}, pads: []int64{1, 1}, out: []int{4}, bias: true},
		{name: "same upper", x: []int{1, 1, 5, 4}, w: []int{1, 1, 2, 3}, strides: []int64{2, 1}, auto: "SAME_UPPER", pads: []int64{0, 1, 1, 1}, out: []int{3, 4}},
		{name: "same lower", x: []int{1, 1, 4, 4}, w: []int{1, 1, 2, 2}, auto: "SAME_LOWER", pads: []int64{1, 1, 0, 0}, out: []int{4, 4}},
	}
}

// slowConv is the equation, element by element.
func slowConv(c convCase, x, w, bias *tensor.Tensor) *tensor.Tensor {
	xs, ws := x.Shape(), w.Shape()
	rank := len(xs) - 2
	out := tensor.New(tensor.Float64, append([]int{xs[0], ws[0]}, c.out...)...)
	get := func(list []int64, i int, def int64) int {
		if list == nil {
			return int(def)
		}
		return int(list[i])
	}
	groups := max(int(c.group), 1)
	spatial := tensor.Shape(c.out).Size()
	ker, in := tensor.Shape(ws[2:]).Size(), tensor.Shape(xs[2:]).Size()
	for i := range tensor.Data[float64](out) {
		n, m, o := i/spatial/ws[0], i/spatial%ws[0], i%spatial
		s := 0.0
		if bias != nil {
			s = tensor.Data[float64](bias)[m]
		}
		for ch := range ws[1] {
			for tap := range ker {
				at, stride, inside := 0, 1, true
				ro, rt := o, tap
				for d := rank - 1; d >= 0; d-- {
					p := ro%c.out[d]*get(c.strides, d, 1) + rt%ws[d+2]*get(c.dilations, d, 1) - get(c.pads, d, 0)
					ro, rt = ro/c.out[d], rt/ws[d+2]
					inside = inside && p >= 0 && p < xs[d+2]
					at += p * stride
					stride *= xs[d+2]
				}
				if inside {
					s += tensor.Data[float64](w)[(m*ws[1]+ch)*ker+tap] * tensor.Data[float64](x)[(n*xs[1]+m/(ws[0]/groups)*ws[1]+ch)*in+at]
				}
			}
		}
		tensor.Data[float64](out)[i] = s
	}
	return out
}

func TestConv(t *testing.T) {
	for _, c := range convCases() {
		x, w := opcheck.Random(1, -1, 1, c.x...), opcheck.Random(2, -1, 1, c.w...)
		in := []*tensor.Tensor{x, w}
		var bias *tensor.Tensor
		if c.bias {
			bias = opcheck.Random(3, -1, 1, c.w[0])
			in = append(in, bias)
		}
		oc := opcheck.Case{Name: c.name, Op: "Conv", Attrs: c.attrs(), Inputs: in}
		want := slowConv(c, x, w, bias)
		opcheck.Forward(t, oc, 1e-13, want)
		opcheck.Gradient(t, oc)
		dy := opcheck.Random(4, -1, 1, want.Shape()...)
		opcheck.Expansion(t, opcheck.Case{Name: c.name + " dx", Domain: ops.Domain, Op: "ConvGradInput", Attrs: c.attrs(), Const: []int{1},
			Inputs: []*tensor.Tensor{dy, w, tensor.Ints(c.x...)}}, 1e-12)
		opcheck.Expansion(t, opcheck.Case{Name: c.name + " dw", Domain: ops.Domain, Op: "ConvGradWeight", Attrs: c.attrs(), Const: []int{1},
			Inputs: []*tensor.Tensor{dy, x, tensor.Ints(c.w...)}}, 1e-12)
	}
}

func TestConv3D(t *testing.T) {
	c := convCase{name: "3-D", x: []int{2, 2, 4, 3, 5}, w: []int{4, 1, 2, 2, 3}, group: 2, strides: []int64{2, 1, 1},
		pads: []int64{1, 0, 1, 0, 1, 1}, dilations: []int64{1, 2, 1}, out: []int{2, 2, 5}}
	x, w, bias := opcheck.Random(1, -1, 1, c.x...), opcheck.Random(2, -1, 1, c.w...), opcheck.Random(3, -1, 1, 4)
	oc := opcheck.Case{Name: c.name, Op: "Conv", Attrs: c.attrs(), Inputs: []*tensor.Tensor{x, w, bias}}
	want := slowConv(c, x, w, bias)
	opcheck.Forward(t, oc, 1e-13, want)
	opcheck.Gradient(t, oc)
	dy := opcheck.Random(4, -1, 1, want.Shape()...)
	opcheck.Expansion(t, opcheck.Case{Name: "3-D dx", Domain: ops.Domain, Op: "ConvGradInput", Attrs: c.attrs(), Const: []int{1},
		Inputs: []*tensor.Tensor{dy, w, tensor.Ints(c.x...)}}, 1e-12)
	opcheck.Expansion(t, opcheck.Case{Name: "3-D dw", Domain: ops.Domain, Op: "ConvGradWeight", Attrs: c.attrs(), Const: []int{1},
		Inputs: []*tensor.Tensor{dy, x, tensor.Ints(c.w...)}}, 1e-12)
}

// TestConvTransposePadding checks gradients where the padding follows from
// auto_pad or output_shape; the official tests have the values.
func TestConvTransposePadding(t *testing.T) {
	x, w := opcheck.Random(1, -1, 1, 1, 2, 3, 4), opcheck.Random(2, -1, 1, 2, 2, 3, 2)
	for _, attrs := range [][]*ir.Attr{
		{ir.A("auto_pad", ir.String("SAME_UPPER")), ir.A("strides", ir.Ints{2, 2})},
		{ir.A("auto_pad", ir.String("SAME_LOWER"))},
		{ir.A("auto_pad", ir.String("SAME_UPPER")), ir.A("strides", ir.Ints{4, 3})},
		{ir.A("auto_pad", ir.String("SAME_LOWER")), ir.A("strides", ir.Ints{2, 3}), ir.A("dilations", ir.Ints{2, 1})},
	} {
		opcheck.Gradient(t, opcheck.Case{Name: fmt.Sprint(attrs[0].Value, len(attrs)), Op: "ConvTranspose", Attrs: attrs,
			Inputs: []*tensor.Tensor{x, w}, Const: []int{1}, Diff: []int{0}})
	}
	for _, shape := range []ir.Ints{{6, 7}, {7, 8}, {8, 9}, {5, 8}} {
		c := opcheck.Case{Name: fmt.Sprint(shape), Op: "ConvTranspose", Inputs: []*tensor.Tensor{x, w},
			Attrs: []*ir.Attr{ir.A("output_shape", shape), ir.A("strides", ir.Ints{2, 2})}}
		opcheck.GradientKnown(t, c)
	}
}

// TestConvTranspose holds the operator to what it is the transpose of:
// <convT(x), y> = <x, conv(y)> for all x and y.
func TestConvTranspose(t *testing.T) {
	for _, c := range convCases() {
		if c.auto != "" {
			continue
		}
		w := opcheck.Random(2, -1, 1, c.w...)
		x := opcheck.Random(5, -1, 1, append([]int{c.x[0], c.w[0]}, c.out...)...)
		var extra ir.Ints
		for i, o := range c.out {
			stride, dil, pads := 1, 1, 0
			if c.strides != nil {
				stride = int(c.strides[i])
			}
			if c.dilations != nil {
				dil = int(c.dilations[i])
			}
			if c.pads != nil {
				pads = int(c.pads[i] + c.pads[i+len(c.out)])
			}
			extra = append(extra, int64(c.x[i+2]-(stride*(o-1)+dil*(c.w[i+2]-1)+1-pads)))
		}
		oc := opcheck.Case{Name: c.name, Op: "ConvTranspose", Attrs: append(c.attrs(), ir.A("output_padding", extra)), Inputs: []*tensor.Tensor{x, w}}
		want := slowTranspose(c, x, w)
		opcheck.Forward(t, oc, 1e-13, want)
		opcheck.Gradient(t, oc)
		bias := opcheck.Random(6, -1, 1, c.x[1])
		oc.Inputs = append(oc.Inputs, bias)
		col := bias.Reshape(append([]int{c.x[1]}, make1s(len(c.out))...)...)
		opcheck.Forward(t, oc, 1e-13, spread(want, col, func(a, b float64) float64 { return a + b }))
		opcheck.Gradient(t, oc)
	}
}

func make1s(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = 1
	}
	return s
}

// slowTranspose reads the matrix of the convolution off its unit vectors.
func slowTranspose(c convCase, x, w *tensor.Tensor) *tensor.Tensor {
	out := tensor.New(tensor.Float64, c.x...)
	unit := tensor.New(tensor.Float64, c.x...)
	for i := range tensor.Data[float64](out) {
		tensor.Data[float64](unit)[i] = 1
		for j, v := range tensor.Data[float64](slowConv(c, unit, w, nil)) {
			tensor.Data[float64](out)[i] += v * tensor.Data[float64](x)[j]
		}
		tensor.Data[float64](unit)[i] = 0
	}
	return out
}

func TestConvErrors(t *testing.T) {
	x, w := opcheck.Random(1, -1, 1, 1, 2, 4, 4), opcheck.Random(2, -1, 1, 2, 2, 3, 3)
	for _, c := range []struct {
		attr *ir.Attr
		want string
		in   []*tensor.Tensor
	}{
		{ir.A("strides", ir.Ints{0, 1}), "strides are", []*tensor.Tensor{x, w}},
		{ir.A("strides", ir.Ints{1}), "1 values for 2", []*tensor.Tensor{x, w}},
		{ir.A("pads", ir.Ints{1, 1}), "2 pads for 2", []*tensor.Tensor{x, w}},
		{ir.A("pads", ir.Ints{-1, 1, 1, 1}), "pads are", []*tensor.Tensor{x, w}},
		{ir.A("group", ir.Int(0)), "group is 0", []*tensor.Tensor{x, w}},
		{ir.A("group", ir.Int(2)), "channels", []*tensor.Tensor{x, w}},
		{ir.A("auto_pad", ir.String("?")), "auto_pad", []*tensor.Tensor{x, w}},
		{ir.A("dilations", ir.Ints{3, 1}), "does not fit", []*tensor.Tensor{x, w}},
		{ir.A("kernel_shape", ir.Ints{2, 3}), "kernel_shape", []*tensor.Tensor{x, w}},
		{ir.A("group", ir.Int(1)), "bias of shape", []*tensor.Tensor{x, w, opcheck.Random(1, 0, 1, 3)}},
		{ir.A("group", ir.Int(1)), "no spatial", []*tensor.Tensor{opcheck.Random(1, 0, 1, 3, 2), w}},
	} {
		wantError(t, "Conv", []*ir.Attr{c.attr}, c.want, c.in...)
	}
}
