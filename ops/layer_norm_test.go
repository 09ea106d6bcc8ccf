package ops_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

func TestLayerNormalization(t *testing.T) {
	const eps = 0.125 // exact as a float32 attribute
	x := opcheck.Random(1, -2, 2, 2, 3, 4)
	avg := func(s float64, n int) float64 { return s / float64(n) }
	for _, c := range []struct {
		axis  int
		scale []int
		bias  []int // nil is left out
	}{
		{-1, []int{4}, []int{4}}, {2, []int{4}, nil}, {1, []int{3, 4}, []int{3, 4}}, {-3, []int{2, 3, 4}, nil},
		{1, []int{4}, []int{3, 1}}, {0, []int{1, 4}, []int{4}},
	} {
		mask := make([]bool, 3)
		for i := (c.axis + 3) % 3; i < 3; i++ {
			mask[i] = true
		}
		mean := slowReduce(x, mask, true, 0, func(s, v float64) float64 { return s + v }, avg)
		centred := spread(x, mean, func(a, m float64) float64 { return a - m })
		variance := slowReduce(centred, mask, true, 0, func(s, v float64) float64 { return s + v*v }, avg)
		inv := mapped(variance, func(v float64) float64 { return 1 / math.Sqrt(v+eps) })
		scale := opcheck.Random(2, 0.5, 2, c.scale...)
		mul := func(a, b float64) float64 { return a * b }
		want := spread(spread(centred, inv, mul), scale, mul)
		in := []*tensor.Tensor{x, scale}
		if c.bias != nil {
			bias := opcheck.Random(3, -1, 1, c.bias...)
			in = append(in, bias)
			want = spread(want, bias, func(a, b float64) float64 { return a + b })
		}
		attrs := []*ir.Attr{ir.A("axis", ir.Int(c.axis)), float("epsilon", eps)}
		oc := opcheck.Case{Name: fmt.Sprint("layer norm ", c), Op: "LayerNormalization", Attrs: attrs, Inputs: in, Outputs: 3, GradOf: []int{0}}
		opcheck.Forward(t, oc, 1e-13, want, mean, inv)
		opcheck.Gradient(t, oc)
		for _, of := range [][]int{{1}, {2}, {0, 1, 2}} { // any of the outputs may lead to the loss
			oc.GradOf, oc.Diff = of, []int{0}
			opcheck.Gradient(t, oc)
		}
		oc.GradOf, oc.Diff = nil, nil
		oc.Outputs = 1
		opcheck.Forward(t, oc, 1e-13, want)
		opcheck.Gradient(t, oc)
		grad := opcheck.Case{Name: "gradient", Domain: "ai.bonnx", Op: "LayerNormalizationGrad", Attrs: attrs[:1],
			Inputs: []*tensor.Tensor{opcheck.Random(4, -1, 1, 2, 3, 4), x, scale, mean, inv}}
		opcheck.Expansion(t, grad, 1e-12)
		grad.Inputs[2] = nil
		opcheck.Expansion(t, grad, 1e-12)
	}
	wantError(t, "LayerNormalization", nil, "does not broadcast", x, opcheck.Random(1, 0, 1, 3))
	wantError(t, "LayerNormalization", []*ir.Attr{ir.A("axis", ir.Int(3))}, "axis", x, opcheck.Random(1, 0, 1, 4))
}

func TestRMSNormalization(t *testing.T) {
	const eps = 0.125
	x := opcheck.Random(1, -2, 2, 2, 3, 4)
	for _, c := range []struct {
		axis  int
		scale []int
	}{{-1, []int{4}}, {1, []int{3, 4}}, {0, []int{4}}, {-2, []int{1}}} {
		mask := make([]bool, 3)
		for i := (c.axis + 3) % 3; i < 3; i++ {
			mask[i] = true
		}
		inv := slowReduce(x, mask, true, 0, func(s, v float64) float64 { return s + v*v },
			func(s float64, n int) float64 { return 1 / math.Sqrt(s/float64(n)+eps) })
		scale := opcheck.Random(2, 0.5, 2, c.scale...)
		mul := func(a, b float64) float64 { return a * b }
		oc := opcheck.Case{Name: fmt.Sprint("rms norm ", c), Op: "RMSNormalization", Inputs: []*tensor.Tensor{x, scale},
			Attrs: []*ir.Attr{ir.A("axis", ir.Int(c.axis)), float("epsilon", eps)}}
		opcheck.Forward(t, oc, 1e-13, spread(spread(x, inv, mul), scale, mul))
		opcheck.Gradient(t, oc)
	}
}
