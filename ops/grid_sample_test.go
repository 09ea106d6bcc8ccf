package ops_test

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// TestORTGridSample compares every mode at places inside and outside of the
// image.
func TestORTGridSample(t *testing.T) {
	ort.Available(t)
	for _, mode := range []string{"nearest", "linear", "cubic"} {
		for _, padding := range []string{"zeros", "border", "reflection"} {
			for _, corners := range []int64{0, 1} {
				c := opcheck.Case{Op: "GridSample", Opset: 20, Attrs: []*ir.Attr{ir.A("mode", ir.String(mode)),
					ir.A("padding_mode", ir.String(padding)), intAttr("align_corners", corners)},
					Inputs: []*tensor.Tensor{random(1, 2, 3, 4, 5), opcheck.Random(2, -1.7, 1.7, 2, 6, 3, 2)}}
				t.Run(fmt.Sprint(mode, " ", padding, " ", corners), func(t *testing.T) { inORT(t, single(t, c)) })
			}
		}
	}
}

// Coordinates that are no numbers, or beyond all bounds, are outside.
func TestGridSampleHostile(t *testing.T) {
	nan := tensor.FromSlice([]float64{0, 0}, 1, 1, 1, 2)
	zero := tensor.Data[float64](nan)[0]
	for _, v := range []float64{zero / zero, 1 / zero, -1 / zero, 1e300} {
		tensor.Data[float64](nan)[0] = v
		for _, padding := range []string{"zeros", "border", "reflection"} {
			c := opcheck.Case{Op: "GridSample", Opset: 20, Attrs: []*ir.Attr{ir.A("padding_mode", ir.String(padding))},
				Inputs: []*tensor.Tensor{random(1, 1, 1, 3, 4), nan}}
			if _, err := opcheck.Eval(c); err != nil {
				t.Errorf("%v: %v", v, err)
			}
		}
	}
}
