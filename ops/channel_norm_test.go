package ops_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// channelsOf is x as (n, c, l).
func channelsOf(x *tensor.Tensor) (n, c, l int) {
	s := x.Shape()
	if len(s) == 1 {
		return s[0], 1, 1
	}
	return s[0], s[1], s[2:].Size()
}

func TestBatchNorm(t *testing.T) {
	for _, shape := range [][]int{{2, 3}, {2, 3, 4}, {2, 3, 2, 2}, {1, 1, 5}, {4}} {
		x := opcheck.Random(1, -2, 2, shape...)
		n, c, l := channelsOf(x)
		in := []*tensor.Tensor{x, opcheck.Random(2, 0.5, 2, c), opcheck.Random(3, -1, 1, c), opcheck.Random(4, -1, 1, c), opcheck.Random(5, 0.1, 2, c)}
		data := func(i int) []float64 { return tensor.Data[float64](in[i]) }
		want := tensor.New(tensor.Float64, shape...)
		eps := float64(float32(0.01))
		for i := range n * c * l {
			ch := i / l % c
			tensor.Data[float64](want)[i] = (data(0)[i]-data(3)[ch])/math.Sqrt(data(4)[ch]+eps)*data(1)[ch] + data(2)[ch]
		}
		cs := opcheck.Case{Name: fmt.Sprint(shape), Op: "BatchNormalization", Inputs: in, Attrs: []*ir.Attr{float("epsilon", 0.01), float("momentum", 0.5)}}
		opcheck.Forward(t, cs, 1e-13, want)
		opcheck.Gradient(t, cs)
	}
}

// slowGroupNorm normalises groups of channels; scale and bias are per channel
// or per group by their length.
func slowGroupNorm(x, scale, bias *tensor.Tensor, groups int, eps float64) *tensor.Tensor {
	n, c, l := channelsOf(x)
	y := tensor.New(tensor.Float64, x.Shape()...)
	xs, ys := tensor.Data[float64](x), tensor.Data[float64](y)
	size := c / groups * l
	for r := range n * groups {
		mean, variance := 0.0, 0.0
		for i := range size {
			mean += xs[r*size+i] / float64(size)
		}
		for i := range size {
			d := xs[r*size+i] - mean
			variance += d * d / float64(size)
		}
		for i := range size {
			k := r%groups*(c/groups) + i/l
			if scale.Size() != c {
				k = r % groups
			}
			ys[r*size+i] = (xs[r*size+i]-mean)/math.Sqrt(variance+eps)*tensor.Data[float64](scale)[k] + tensor.Data[float64](bias)[k]
		}
	}
	return y
}

func TestGroupNorm(t *testing.T) {
	eps := float64(float32(0.01))
	for _, shape := range [][]int{{2, 4, 3}, {1, 4, 2, 2}, {3, 4}, {2, 4, 1, 2, 2}} {
		x := opcheck.Random(1, -2, 2, shape...)
		for _, c := range []struct {
			op     string
			opset  int64
			groups int
			params int
		}{
			{"GroupNormalization", 18, 2, 2}, {"GroupNormalization", 18, 1, 1},
			{"GroupNormalization", 21, 2, 4}, {"GroupNormalization", 21, 4, 4}, {"GroupNormalization", 21, 1, 4},
			{"InstanceNormalization", 18, 4, 4},
		} {
			if c.groups == 4 && len(shape) == 2 {
				continue // groups of one element have no gradient to speak of
			}
			scale, bias := opcheck.Random(2, 0.5, 2, c.params), opcheck.Random(3, -1, 1, c.params)
			attrs := []*ir.Attr{float("epsilon", 0.01)}
			if c.op == "GroupNormalization" {
				attrs = append(attrs, ir.A("num_groups", ir.Int(c.groups)))
			}
			cs := opcheck.Case{Name: fmt.Sprint(c, shape), Op: c.op, Opset: c.opset, Attrs: attrs, Inputs: []*tensor.Tensor{x, scale, bias}}
			opcheck.Forward(t, cs, 1e-12, slowGroupNorm(x, scale, bias, c.groups, eps))
			opcheck.Gradient(t, cs)
		}
	}
}

func TestLpNorm(t *testing.T) {
	for _, shape := range [][]int{{4}, {2, 3}, {2, 3, 4}} {
		for axis := -1; axis < len(shape); axis++ {
			for _, p := range []int{1, 2} {
				x := opcheck.Random(1, -2, 2, shape...)
				a := (axis + len(shape)) % len(shape)
				n, inner := shape[a], tensor.Shape(shape[a+1:]).Size()
				xs, want := tensor.Data[float64](x), tensor.New(tensor.Float64, shape...)
				for i := range xs {
					at, norm := i/(n*inner)*n*inner+i%inner, 0.0
					for k := range n {
						norm += math.Pow(math.Abs(xs[at+k*inner]), float64(p))
					}
					tensor.Data[float64](want)[i] = xs[i] / math.Pow(norm, 1/float64(p))
				}
				c := opcheck.Case{Name: fmt.Sprint("norm ", p, shape, axis), Op: "LpNormalization", Inputs: []*tensor.Tensor{x},
					Attrs: []*ir.Attr{ir.A("axis", ir.Int(axis)), ir.A("p", ir.Int(p))}}
				opcheck.Forward(t, c, 1e-14, want)
				opcheck.Gradient(t, c)
			}
		}
	}
	zero := opcheck.Case{Name: "zeros", Op: "LpNormalization", Inputs: []*tensor.Tensor{tensor.New(tensor.Float64, 2, 3)}}
	opcheck.Forward(t, zero, 0, tensor.New(tensor.Float64, 2, 3))
}

func TestLRN(t *testing.T) {
	for _, shape := range [][]int{{2, 5, 3}, {1, 4, 2, 2}, {2, 3}} {
		for _, size := range []int{1, 2, 3, 4, 7} {
			x := opcheck.Random(1, -2, 2, shape...)
			n, c, l := channelsOf(x)
			xs, want := tensor.Data[float64](x), tensor.New(tensor.Float64, shape...)
			alpha, beta, bias := 0.5, 0.75, 1.5
			for i := range n * c * l {
				ch, s := i/l%c, 0.0
				first := ch - int(math.Floor(float64(size-1)/2))
				last := ch + int(math.Ceil(float64(size-1)/2))
				for k := max(first, 0); k <= min(last, c-1); k++ {
					v := xs[i+(k-ch)*l]
					s += v * v
				}
				tensor.Data[float64](want)[i] = xs[i] / math.Pow(bias+alpha/float64(size)*s, beta)
			}
			cs := opcheck.Case{Name: fmt.Sprint(shape, size), Op: "LRN", Inputs: []*tensor.Tensor{x},
				Attrs: []*ir.Attr{ir.A("size", ir.Int(size)), float("alpha", alpha), float("beta", beta), float("bias", bias)}}
			opcheck.Forward(t, cs, 1e-14, want)
			opcheck.Gradient(t, cs)
		}
	}
}

func TestChannelNormErrors(t *testing.T) {
	r := func(shape ...int) *tensor.Tensor { return opcheck.Random(1, 0.5, 1, shape...) }
	groups := func(n int) []*ir.Attr { return []*ir.Attr{ir.A("num_groups", ir.Int(n))} }
	for _, c := range []struct {
		want string
		opcheck.Case
	}{
		{"variance and channels", opcheck.Case{Op: "BatchNormalization", Inputs: []*tensor.Tensor{r(2, 3), r(3), r(3), r(3), r(2)}}},
		{"want a vector", opcheck.Case{Op: "BatchNormalization", Inputs: []*tensor.Tensor{r(2, 3), r(1, 3), r(3), r(3), r(3)}}},
		{"no channels", opcheck.Case{Op: "BatchNormalization", Inputs: []*tensor.Tensor{r(), r(1), r(1), r(1), r(1)}}},
		{"4 channels in 3 groups", opcheck.Case{Op: "GroupNormalization", Attrs: groups(3), Inputs: []*tensor.Tensor{r(2, 4, 2), r(3), r(3)}}},
		{"num_groups is 0", opcheck.Case{Op: "GroupNormalization", Attrs: groups(0), Inputs: []*tensor.Tensor{r(2, 4, 2), r(3), r(3)}}},
		{"scale and channels", opcheck.Case{Op: "GroupNormalization", Opset: 21, Attrs: groups(2), Inputs: []*tensor.Tensor{r(2, 4, 2), r(2), r(2)}}},
		{"num_groups", opcheck.Case{Op: "GroupNormalization", Inputs: []*tensor.Tensor{r(2, 4, 2), r(2), r(2)}}},
		{"bias and channels", opcheck.Case{Op: "InstanceNormalization", Inputs: []*tensor.Tensor{r(2, 4, 2), r(4), r(2)}}},
		{"p is 3", opcheck.Case{Op: "LpNormalization", Attrs: []*ir.Attr{ir.A("p", ir.Int(3))}, Inputs: []*tensor.Tensor{r(2)}}},
		{"axis", opcheck.Case{Op: "LpNormalization", Inputs: []*tensor.Tensor{r()}}},
		{"size is 0", opcheck.Case{Op: "LRN", Inputs: []*tensor.Tensor{r(2, 3)}}},
	} {
		if _, err := opcheck.Eval(c.Case); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: got %v, want an error with %q", c.Op, c.Inputs, err, c.want)
		}
	}
}
