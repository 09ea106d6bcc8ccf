package ops_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

func TestLikelihoodLosses(t *testing.T) {
	for _, spatial := range [][]int{nil, {2}, {2, 3}} {
		shape := append([]int{3, 4}, spatial...)
		inner := tensor.Shape(spatial).Size()
		x := opcheck.Random(1, -2, 2, shape...)
		mask := make([]bool, len(shape))
		mask[1] = true
		lse := slowReduce(x, mask, true, 0, func(s, v float64) float64 { return s + math.Exp(v) }, func(s float64, _ int) float64 { return math.Log(s) })
		logs := spread(x, lse, func(v, l float64) float64 { return v - l })
		labels := tensor.New(tensor.Int64, append([]int{3}, spatial...)...)
		for i := range tensor.Data[int64](labels) {
			tensor.Data[int64](labels)[i] = int64(i * 3 % 4)
		}
		weights := opcheck.Random(2, 0.5, 2, 4)
		for _, reduction := range []string{"none", "sum", "mean"} {
			for _, ignore := range []int64{-100, 3} {
				for _, w := range []*tensor.Tensor{nil, weights} {
					want := slowLikelihood(logs, labels, w, inner, ignore, reduction)
					attrs := []*ir.Attr{ir.A("reduction", ir.String(reduction)), ir.A("ignore_index", ir.Int(ignore))}
					c := opcheck.Case{Name: fmt.Sprint(shape, reduction, ignore, w != nil), Op: "SoftmaxCrossEntropyLoss", Attrs: attrs,
						Inputs: []*tensor.Tensor{x, labels, w}, Const: []int{2}, Fed: []int{1}, Outputs: 2}
					opcheck.Forward(t, c, 1e-13, want, logs)
					opcheck.Gradient(t, c)
					c.Op, c.Outputs, c.Inputs = "NegativeLogLikelihoodLoss", 1, []*tensor.Tensor{logs, labels, w}
					opcheck.Forward(t, c, 1e-13, want)
					opcheck.Gradient(t, c)
				}
			}
		}
	}
	x := opcheck.Random(1, -1, 1, 2, 3)
	wantError(t, "NegativeLogLikelihoodLoss", nil, "label 3 at place 1", x, tensor.Ints(0, 3))
	wantError(t, "NegativeLogLikelihoodLoss", nil, "labels", x, tensor.Ints(0, 1, 2))
	wantError(t, "NegativeLogLikelihoodLoss", []*ir.Attr{ir.A("reduction", ir.String("all"))}, `reduction is "all"`, x, tensor.Ints(0, 1))
}

func slowLikelihood(logs, labels, weights *tensor.Tensor, inner int, ignore int64, reduction string) *tensor.Tensor {
	out := tensor.New(tensor.Float64, labels.Shape()...)
	n := logs.Shape()[1]
	sum, total := 0.0, 0.0
	for i, l := range tensor.Data[int64](labels) {
		if l == ignore {
			continue
		}
		w := 1.0
		if weights != nil {
			w = tensor.Data[float64](weights)[l]
		}
		v := -w * tensor.Data[float64](logs)[(i/inner*n+int(l))*inner+i%inner]
		tensor.Data[float64](out)[i] = v
		sum, total = sum+v, total+w
	}
	switch reduction {
	case "sum":
		return tensor.Scalar(sum)
	case "mean":
		return tensor.Scalar(sum / total)
	}
	return out
}
