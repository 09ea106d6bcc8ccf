package ops_test

import (
	"math"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

func labels(shape []int, v ...int64) *tensor.Tensor { return tensor.FromSlice(v, shape...) }

func TestCrossEntropy(t *testing.T) {
	smooth := []*ir.Attr{ir.A("label_smoothing", ir.Float(0.1)), ir.A("ignore_index", ir.Int(-1))}
	base := opcheck.Case{Domain: ops.Domain, Op: "CrossEntropy", Outputs: 2, GradOf: []int{0}}
	for _, c := range []struct {
		name   string
		attrs  []*ir.Attr
		logits []int
		labels *tensor.Tensor
	}{
		{"rows", nil, []int{3, 4}, labels([]int{3}, 0, 3, 2)},
		{"ignored", nil, []int{2, 2, 5}, labels([]int{2, 2}, 4, -100, 0, -100)},
		{"smoothed", smooth, []int{3, 4}, labels([]int{3}, 1, -1, 2)},
		{"one row", smooth, []int{3}, labels(nil, 2)},
		{"none counts", nil, []int{2, 3}, labels([]int{2}, -100, -100)},
	} {
		k := base
		k.Name, k.Attrs = c.name, c.attrs
		k.Inputs = []*tensor.Tensor{opcheck.Random(7, -3, 3, c.logits...), c.labels}
		opcheck.Gradient(t, k)
		opcheck.Expansion(t, k, 1e-12)
		k.Fed = []int{1}
		opcheck.Gradient(t, k)
		k.Outputs = 3
		opcheck.Expansion(t, k, 1e-12)
	}
}

func TestCrossEntropyByHand(t *testing.T) {
	x := tensor.FromSlice([]float32{0, 0, 1, 1, 1, 1}, 2, 3)
	c := opcheck.Case{Name: "by hand", Domain: ops.Domain, Op: "CrossEntropy", Outputs: 3,
		Inputs: []*tensor.Tensor{x, labels([]int{2}, 2, -100)}}
	lse := math.Log(2 + math.E)
	opcheck.Forward(t, c, 1e-6, tensor.Scalar(float32(lse-1)), tensor.Scalar(float32(1)),
		tensor.FromSlice([]float32{float32(lse), float32(1 + math.Log(3))}, 2))
}

func TestCrossEntropyGradExpands(t *testing.T) {
	for _, e := range []float32{0, 0.2} {
		c := opcheck.Case{Name: "gradient", Domain: ops.Domain, Op: "CrossEntropyGrad",
			Attrs: []*ir.Attr{ir.A("label_smoothing", ir.Float(e))},
			Inputs: []*tensor.Tensor{opcheck.Random(1, -1, 1, 2, 2, 3), labels([]int{2, 2}, 0, -100, 2, 1),
				opcheck.Random(2, 0, 1, 2, 2), tensor.Scalar(0.7)}}
		opcheck.Expansion(t, c, 1e-12)
	}
}

func TestCrossEntropyRefusesLabel(t *testing.T) {
	for _, bad := range []int64{-1, 3} {
		c := opcheck.Case{Domain: ops.Domain, Op: "CrossEntropy",
			Inputs: []*tensor.Tensor{opcheck.Random(1, -1, 1, 2, 3), labels([]int{2}, 0, bad)}}
		_, err := opcheck.Eval(c)
		if err == nil || !strings.Contains(err.Error(), "of row 1 is outside of [0,3)") {
			t.Errorf("label %d: got error %v", bad, err)
		}
	}
}
