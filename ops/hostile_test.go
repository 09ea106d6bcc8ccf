package ops_test

import (
	"math"
	"testing"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// TestHostileAttributes: what no exporter writes is an error or harmless,
// never a panic.
func TestHostileAttributes(t *testing.T) {
	deep := make([]int, 20)
	for i := range deep {
		deep[i] = 1 + i%2
	}
	big := tensor.New(tensor.Float32, deep...)
	x := count(1, 4, 2, 2)
	for _, c := range []struct {
		name  string
		op    string
		attrs []*ir.Attr
		in    []*tensor.Tensor
	}{
		{"diagonal far away", "EyeLike", []*ir.Attr{num("k", math.MinInt64)}, tensors{count(2, 2)}},
		{"blocks whose square is 0", "DepthToSpace", []*ir.Attr{num("blocksize", 1<<32)}, tensors{x}},
		{"negative batch", "GatherND", []*ir.Attr{num("batch_dims", -9)}, tensors{x, i64([]int{1, 1}, 0)}},
		{"20 axes", "Transpose", nil, tensors{big}},
		{"slice of 20 axes", "Slice", nil, tensors{big, tensor.Ints(0), tensor.Ints(1)}},
		{"pad of 20 axes", "Pad", nil, tensors{big, tensor.Ints(1, 1), nil, tensor.Ints(0)}},
		{"a mode that is no bool", "Dropout", nil, tensors{x, f64(nil, 0.5), tensor.Scalar(int64(1))}},
		{"an index of floats", "Gather", nil, tensors{x, f64([]int{1}, 0)}},
		{"a condition of ints", "Where", nil, tensors{tensor.Ints(1), x, x}},
		{"endless step", "Slice", nil, tensors{x, tensor.Ints(3), tensor.Ints(math.MinInt64), tensor.Ints(1), tensor.Ints(math.MinInt64)}},
		{"axes of strings", "Squeeze", nil, tensors{tensor.New(tensor.Int32, 0, 1), tensor.New(tensor.String, 2)}},
		{"axes of floats", "ReduceSum", nil, tensors{x, count(1)}},
		{"k of none", "TopK", nil, tensors{x, tensor.Ints()}},
		{"depth that is not a number", "OneHot", nil, tensors{tensor.Ints(0), f64(nil, math.NaN()), count(2)}},
		{"a shape of -5", "ConstantOfShape", nil, tensors{tensor.Ints(-5)}},
		{"expand to -1", "Expand", nil, tensors{f64([]int{1}, 0), tensor.Ints(-1)}},
	} {
		if out, err := evalOp(c.op, c.attrs, c.in...); err == nil && out[0] == nil {
			t.Errorf("%s: neither result nor error", c.name)
		}
	}
}

// TestCanonicalOfNonsense: nodes without inputs or outputs are errors.
func TestCanonicalOfNonsense(t *testing.T) {
	for _, op := range []string{"TopK", "Clip", "Slice", "Softmax", "Squeeze", "Pad", "Dropout", "Upsample", "Add", "PRelu", "Tile", "BatchNormalization"} {
		for _, inputs := range []int{0, 1} {
			m := oldModel(5, op, nil)
			n := m.Graph.First()
			n.TruncateInputs(inputs)
			c, err := ops.Canonical(m)
			if err == nil {
				_, err = ops.Standard().Analyze(c, ops.AnalyzeOptions{})
			}
			if err == nil && inputs == 0 {
				t.Errorf("%s without inputs: no error", op)
			}
		}
		m := oldModel(5, op, []*ir.Attr{num("axis", 0)})
		n := m.Graph.First()
		y := n.Output(0)
		n.SetOutput(0, nil)
		id := ir.NewNode("", "Identity", m.Graph.Inputs[0])
		id.SetOutput(0, y)
		m.Graph.Append(id)
		if c, err := ops.Canonical(m); err == nil {
			_, _ = ops.Standard().Analyze(c, ops.AnalyzeOptions{})
		}
	}
}
