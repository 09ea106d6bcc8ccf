package ops_test

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// TestOldGradients: the forms that operators had in older opsets have the
// gradients of what they are lifted to.
func TestOldGradients(t *testing.T) {
	x := random(1, 2, 3, 4)
	image := random(1, 1, 2, 4, 4)
	axes := ints("axes", 0, 2)
	stats := []*tensor.Tensor{image, random(2, 2), random(3, 2), random(4, 2), opcheck.Random(5, 0.5, 1, 2)}
	for _, c := range []struct {
		opsets []int64
		opcheck.Case
	}{
		{[]int64{7, 11}, opcheck.Case{Op: "Softmax", Attrs: []*ir.Attr{intAttr("axis", 1)}, Inputs: []*tensor.Tensor{x}}},
		{[]int64{7, 12}, opcheck.Case{Op: "LogSoftmax", Inputs: []*tensor.Tensor{x}}},
		{[]int64{7, 12}, opcheck.Case{Op: "ReduceSum", Attrs: []*ir.Attr{axes}, Inputs: []*tensor.Tensor{x}}},
		{[]int64{7, 11, 17}, opcheck.Case{Op: "ReduceMean", Attrs: []*ir.Attr{axes, intAttr("keepdims", 0)}, Inputs: []*tensor.Tensor{x}}},
		{[]int64{11, 17}, opcheck.Case{Op: "ReduceMax", Attrs: []*ir.Attr{axes}, Inputs: []*tensor.Tensor{x}}},
		{[]int64{11, 13}, opcheck.Case{Op: "ReduceL2", Attrs: []*ir.Attr{axes}, Inputs: []*tensor.Tensor{x}}},
		{[]int64{7, 12}, opcheck.Case{Op: "Unsqueeze", Attrs: []*ir.Attr{axes}, Inputs: []*tensor.Tensor{x}}},
		{[]int64{7, 11}, opcheck.Case{Op: "Squeeze", Attrs: []*ir.Attr{ints("axes", 1)}, Inputs: []*tensor.Tensor{random(1, 2, 1, 3)}}},
		{[]int64{7, 11}, opcheck.Case{Op: "Split", Outputs: 2, Attrs: []*ir.Attr{intAttr("axis", 1), ints("split", 1, 2)}, Inputs: []*tensor.Tensor{x}}},
		{[]int64{7, 12, 17}, opcheck.Case{Op: "Split", Outputs: 2, Attrs: []*ir.Attr{intAttr("axis", 2)}, Inputs: []*tensor.Tensor{x}}},
		{[]int64{7, 9}, opcheck.Case{Op: "Slice", Attrs: []*ir.Attr{ints("starts", 1, 0), ints("ends", 3, -1), ints("axes", 1, 2)}, Inputs: []*tensor.Tensor{x}}},
		{[]int64{7, 10}, opcheck.Case{Op: "Pad", Attrs: []*ir.Attr{ints("pads", 0, 1, 0, 1, 0, 2)}, Inputs: []*tensor.Tensor{x}}},
		{[]int64{7, 10}, opcheck.Case{Op: "Clip", Attrs: []*ir.Attr{floatAttr("min", -0.5), floatAttr("max", 0.4)}, Inputs: []*tensor.Tensor{x}}},
		{[]int64{7, 9}, opcheck.Case{Op: "TopK", Outputs: 2, Attrs: []*ir.Attr{intAttr("k", 2)}, Inputs: []*tensor.Tensor{x}}},
		{[]int64{7, 12}, opcheck.Case{Op: "Flatten", Attrs: []*ir.Attr{intAttr("axis", 2)}, Inputs: []*tensor.Tensor{x}}},
		{[]int64{9, 13}, opcheck.Case{Op: "BatchNormalization", Inputs: stats}},
		{[]int64{7, 8}, opcheck.Case{Op: "BatchNormalization", Attrs: []*ir.Attr{intAttr("spatial", 1)}, Inputs: stats}},
		{[]int64{7, 8}, opcheck.Case{Op: "Upsample", Attrs: []*ir.Attr{ir.A("scales", ir.Floats{1, 1, 2, 3})}, Inputs: []*tensor.Tensor{image}}},
		{[]int64{10}, opcheck.Case{Op: "Resize", Attrs: []*ir.Attr{ir.A("mode", ir.String("linear"))}, Const: []int{1},
			Inputs: []*tensor.Tensor{image, tensor.FromSlice([]float32{1, 1, 2, 1.5}, 4)}}},
		{[]int64{1, 6}, opcheck.Case{Op: "Add", Attrs: []*ir.Attr{intAttr("broadcast", 1), intAttr("axis", 1)}, Inputs: []*tensor.Tensor{x, random(2, 3)}}},
		{[]int64{1, 6}, opcheck.Case{Op: "PRelu", Inputs: []*tensor.Tensor{x, random(2, 3)}}},
		{[]int64{9, 10}, opcheck.Case{Op: "Scatter", Attrs: []*ir.Attr{intAttr("axis", 1)}, Inputs: []*tensor.Tensor{random(1, 2, 3), tensor.FromSlice([]int64{1, 2}, 1, 2), random(2, 1, 2)}}},
		{[]int64{18, 20}, opcheck.Case{Op: "GroupNormalization", Attrs: []*ir.Attr{intAttr("num_groups", 2)}, Inputs: []*tensor.Tensor{image, random(2, 2), random(3, 2)}}},
		{[]int64{21, 27}, opcheck.Case{Op: "GroupNormalization", Attrs: []*ir.Attr{intAttr("num_groups", 1)}, Inputs: []*tensor.Tensor{image, random(2, 2), random(3, 2)}}},
	} {
		for _, opset := range c.opsets {
			c.Case.Opset, c.Case.Canonical = opset, true
			c.Case.Name = fmt.Sprint(c.Op, " of opset ", opset)
			if c.Op == "PRelu" { // whose slopes are laid along the channels by ranks
				opcheck.GradientKnown(t, c.Case)
				continue
			}
			opcheck.Gradient(t, c.Case)
		}
	}
}
