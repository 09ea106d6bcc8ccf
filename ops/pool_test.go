package ops_test

import (
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

type poolCase struct {
	name                             string
	x, kernel                        []int
	strides, dilations, begins, ends []int64
	out                              []int
	ceil, auto                       bool
}

func (c poolCase) attrs() []*ir.Attr {
	ker := make(ir.Ints, len(c.kernel))
	for i, k := range c.kernel {
		ker[i] = int64(k)
	}
	at := []*ir.Attr{ir.A("kernel_shape", ker)}
	if c.strides != nil {
		at = append(at, ir.A("strides", ir.Ints(c.strides)))
	}
	if c.dilations != nil {
		at = append(at, ir.A("dilations", ir.Ints(c.dilations)))
	}
	if c.auto {
		at = append(at, ir.A("auto_pad", ir.String("SAME_UPPER")))
	} else if c.begins != nil {
		at = append(at, ir.A("pads", ir.Ints(append(append([]int64{}, c.begins...), c.ends...))))
	}
	if c.ceil {
		at = append(at, ir.A("ceil_mode", ir.Int(1)))
	}
	return at
}

// slow pools by brute force: f folds the elements under a place, end gets the
// number of elements, and of elements and padding.
func (c poolCase) slow(x *tensor.Tensor, start float64, f func(s, v float64) float64, end func(s float64, n, padded int) float64) *tensor.Tensor {
	get := func(list []int64, i int, def int) int {
		if list == nil {
			return def
		}
		return int(list[i])
	}
	out := tensor.New(tensor.Float64, append([]int{c.x[0], c.x[1]}, c.out...)...)
	in, spatial, ker := tensor.Shape(c.x[2:]).Size(), tensor.Shape(c.out).Size(), tensor.Shape(c.kernel).Size()
	for i := range tensor.Data[float64](out) {
		s, n, padded := start, 0, 0
		for tap := range ker {
			ro, rt, at, stride, inside, pad := i%spatial, tap, 0, 1, true, true
			for d := len(c.kernel) - 1; d >= 0; d-- {
				p := ro%c.out[d]*get(c.strides, d, 1) + rt%c.kernel[d]*get(c.dilations, d, 1) - get(c.begins, d, 0)
				ro, rt = ro/c.out[d], rt/c.kernel[d]
				inside = inside && p >= 0 && p < c.x[d+2]
				pad = pad && p < c.x[d+2]+get(c.ends, d, 0)
				at += p * stride
				stride *= c.x[d+2]
			}
			if inside {
				s = f(s, tensor.Data[float64](x)[i/spatial*in+at])
				n++
			}
			if pad {
				padded++
			}
		}
		tensor.Data[float64](out)[i] = end(s, n, padded)
	}
	return out
}

func poolCases() []poolCase {
	return []poolCase{
		{name: "2x2", x: []int{2, 3, 4, 5}, kernel: []int{2, 2}, out: []int{3, 4}},
		{name: "strides", x: []int{1, 2, 6, 6}, kernel: []int{3, 2}, strides: []int64{2, 2}, out: []int{2, 3}},
		{name: "pads", x: []int{1, 2, 5, 5}, kernel: []int{3, 3}, strides: []int64{2, 1}, begins: []int64{1, 1}, ends: []int64{1, 0}, out: []int{3, 4}},
		{name: "dilations", x: []int{1, 1, 6, 5}, kernel: []int{2, 2}, dilations: []int64{2, 3}, out: []int{4, 2}},
		{name: "1-D", x: []int{2, 2, 7}, kernel: []int{3}, strides: []int64{2}, out: []int{3}},
		{name: "same", x: []int{1, 1, 5, 4}, kernel: []int{2, 3}, strides: []int64{2, 2}, begins: []int64{0, 0}, ends: []int64{1, 1}, out: []int{3, 2}, auto: true},
		{name: "ceil, padded", x: []int{1, 2, 6, 5}, kernel: []int{3, 3}, strides: []int64{2, 2}, begins: []int64{1, 1}, ends: []int64{1, 1}, out: []int{4, 3}, ceil: true},
		{name: "ceil, short", x: []int{1, 1, 3, 5}, kernel: []int{1, 2}, strides: []int64{3, 3}, begins: []int64{0, 0}, ends: []int64{1, 1}, out: []int{1, 2}, ceil: true},
		{name: "ceil", x: []int{1, 1, 5, 6}, kernel: []int{2, 3}, strides: []int64{2, 2}, out: []int{3, 3}, ceil: true},
		{name: "3-D", x: []int{1, 2, 3, 4, 3}, kernel: []int{2, 2, 2}, strides: []int64{1, 2, 1}, begins: []int64{1, 0, 0}, ends: []int64{0, 0, 1}, out: []int{3, 2, 3}},
	}
}

func TestMaxPool(t *testing.T) {
	for _, c := range poolCases() {
		x := opcheck.Random(1, -1, 1, c.x...)
		want := c.slow(x, math.Inf(-1), math.Max, func(s float64, _, _ int) float64 { return s })
		oc := opcheck.Case{Name: c.name, Op: "MaxPool", Attrs: c.attrs(), Inputs: []*tensor.Tensor{x}}
		opcheck.Forward(t, oc, 0, want)
		opcheck.Gradient(t, oc)
	}
	x := tensor.FromSlice([]float64{1, 5, 2, 4, 3, 6, 7, 0, 8}, 1, 1, 3, 3)
	oc := opcheck.Case{Name: "indices", Op: "MaxPool", Outputs: 2, Attrs: []*ir.Attr{ir.A("kernel_shape", ir.Ints{2, 2})}, Inputs: []*tensor.Tensor{x}}
	opcheck.Forward(t, oc, 0, tensor.FromSlice([]float64{5, 6, 7, 8}, 1, 1, 2, 2), tensor.Ints(1, 5, 6, 8).Reshape(1, 1, 2, 2))
	oc.Attrs = append(oc.Attrs, ir.A("storage_order", ir.Int(1)))
	opcheck.Forward(t, oc, 0, nil, tensor.Ints(3, 7, 2, 8).Reshape(1, 1, 2, 2))
	wantError(t, "MaxPool", []*ir.Attr{ir.A("kernel_shape", ir.Ints{2})}, "kernel_shape", x)
}

func TestMaxPoolGradExpansion(t *testing.T) {
	opcheck.Expansion(t, opcheck.Case{Name: "max pool", Domain: ops.Domain, Op: "MaxPoolGrad", Inputs: []*tensor.Tensor{
		tensor.FromSlice([]float64{1, 2, 3, 4}, 1, 1, 2, 2), tensor.Ints(0, 4, 4, 8).Reshape(1, 1, 2, 2), tensor.Ints(1, 1, 3, 3)}}, 0)
}

func TestAveragePool(t *testing.T) {
	add := func(s, v float64) float64 { return s + v }
	for _, c := range poolCases() {
		x := opcheck.Random(1, -1, 1, c.x...)
		for _, include := range []ir.Int{0, 1} {
			want := c.slow(x, 0, add, func(s float64, n, padded int) float64 {
				if include == 1 {
					n = padded
				}
				return s / float64(n)
			})
			attrs := append(c.attrs(), ir.A("count_include_pad", include))
			oc := opcheck.Case{Name: c.name, Op: "AveragePool", Attrs: attrs, Inputs: []*tensor.Tensor{x}}
			opcheck.Forward(t, oc, 1e-14, want)
			opcheck.Gradient(t, oc)
			opcheck.Expansion(t, opcheck.Case{Name: c.name, Domain: ops.Domain, Op: "AveragePoolGrad", Attrs: attrs,
				Inputs: []*tensor.Tensor{opcheck.Random(2, -1, 1, want.Shape()...), tensor.Ints(c.x...)}}, 1e-13)
		}
	}
}

func TestGlobalPool(t *testing.T) {
	x := opcheck.Random(1, -1, 1, 2, 3, 4, 2)
	mask := []bool{false, false, true, true}
	mean := slowReduce(x, mask, true, 0, func(s, v float64) float64 { return s + v }, func(s float64, n int) float64 { return s / float64(n) })
	top := slowReduce(x, mask, true, math.Inf(-1), math.Max, func(s float64, _ int) float64 { return s })
	for op, want := range map[string]*tensor.Tensor{"GlobalAveragePool": mean, "GlobalMaxPool": top} {
		c := opcheck.Case{Name: op, Op: op, Inputs: []*tensor.Tensor{x}}
		opcheck.Forward(t, c, 1e-14, want)
		opcheck.Gradient(t, c)
	}
}
