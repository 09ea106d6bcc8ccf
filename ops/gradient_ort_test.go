package ops_test

import (
	"slices"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// onImages are the operators whose gradients fuse compares with ONNX Runtime.
var onImages = []string{"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "BatchNormalization",
	"InstanceNormalization", "GroupNormalization", "LpNormalization", "LRN", "Resize"}

// newestInORT is an opset that the pinned ONNX Runtime takes.
const newestInORT = 24

// notInORT are those whose gradients it is not asked for, and why.
var notInORT = map[string]string{
	".Identity": "goes when a model is loaded", ".Dropout": "goes when a model is loaded",
	"com.microsoft.SimplifiedLayerNormalization": "ONNX Runtime has it in the standard domain",
}

// gradientCases is one use at least of every operator with a gradient.
func gradientCases() []opcheck.Case {
	x, y := random(1, 2, 3, 4), random(2, 3, 1)
	var cases []opcheck.Case
	for _, op := range []string{"Abs", "Asin", "Asinh", "Atan", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp", "HardSigmoid", "HardSwish",
		"LeakyRelu", "Mish", "Neg", "Relu", "Selu", "Shrink", "Sigmoid", "Sin", "Sinh", "Softplus", "Softsign", "Tan", "Tanh",
		"Atanh", "Acos", "ThresholdedRelu", "Softmax", "LogSoftmax", "Flatten"} {
		cases = append(cases, opcheck.Case{Op: op, Inputs: []*tensor.Tensor{x}})
	}
	cases = append(cases, opcheck.Case{Op: "Gelu", Opset: 20, Inputs: []*tensor.Tensor{x}}, opcheck.Case{Op: "Swish", Opset: 24, Inputs: []*tensor.Tensor{x}})
	for _, op := range []string{"Log", "Sqrt", "Reciprocal"} {
		cases = append(cases, opcheck.Case{Op: op, Inputs: []*tensor.Tensor{opcheck.Random(1, 0.5, 2, 2, 3)}})
	}
	cases = append(cases, opcheck.Case{Op: "Acosh", Inputs: []*tensor.Tensor{opcheck.Random(1, 1.5, 3, 2, 3)}})
	for _, op := range []string{"Add", "Sub", "Mul", "Max", "Min", "Mean", "Sum", "PRelu"} {
		cases = append(cases, opcheck.Case{Op: op, Inputs: []*tensor.Tensor{x, y}})
	}
	for _, op := range []string{"Div", "Pow"} {
		cases = append(cases, opcheck.Case{Op: op, Inputs: []*tensor.Tensor{opcheck.Random(1, 0.5, 2, 2, 3, 4), opcheck.Random(2, 0.5, 2, 3, 1)}})
	}
	for _, op := range []string{"ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare"} {
		cases = append(cases, opcheck.Case{Op: op, Attrs: []*ir.Attr{intAttr("keepdims", 0)}, Inputs: []*tensor.Tensor{x, tensor.Ints(1)}})
	}
	return slices.Concat(cases, movingCases(x), productCases(x))
}

func movingCases(x *tensor.Tensor) []opcheck.Case {
	axis := func(n int64) []*ir.Attr { return []*ir.Attr{intAttr("axis", n)} }
	return []opcheck.Case{
		{Op: "Cast", Attrs: []*ir.Attr{intAttr("to", int64(tensor.Float32))}, Inputs: []*tensor.Tensor{x}},
		{Op: "CastLike", Diff: []int{0}, Inputs: []*tensor.Tensor{x, random(2)}},
		{Op: "Clip", Inputs: []*tensor.Tensor{x, tensor.Scalar(-0.5), tensor.Scalar(0.5)}, Const: []int{1, 2}},
		{Op: "Concat", Attrs: axis(1), Inputs: []*tensor.Tensor{x, random(2, 2, 2, 4)}},
		{Op: "CumSum", Attrs: []*ir.Attr{intAttr("exclusive", 1)}, Inputs: []*tensor.Tensor{x, tensor.Ints(1)}},
		{Op: "DepthToSpace", Attrs: []*ir.Attr{intAttr("blocksize", 2)}, Inputs: []*tensor.Tensor{random(1, 1, 4, 2, 3)}},
		{Op: "SpaceToDepth", Attrs: []*ir.Attr{intAttr("blocksize", 2)}, Inputs: []*tensor.Tensor{random(1, 1, 1, 2, 4)}},
		{Op: "Expand", Inputs: []*tensor.Tensor{random(1, 3, 1), tensor.Ints(2, 3, 4)}},
		{Op: "Gather", Attrs: axis(1), Inputs: []*tensor.Tensor{x, tensor.FromSlice([]int64{2, 0, 2, 1}, 2, 2)}},
		{Op: "GatherElements", Attrs: axis(2), Inputs: []*tensor.Tensor{x, tensor.FromSlice([]int64{1, 1, 0, 3, 2, 0}, 2, 3, 1)}},
		{Op: "GatherND", Inputs: []*tensor.Tensor{x, tensor.FromSlice([]int64{1, 2, 0, 0}, 2, 2)}},
		{Op: "Pad", Inputs: []*tensor.Tensor{x, tensor.Ints(0, 1, 2, 1, 0, 1)}},
		{Op: "Pad", Attrs: []*ir.Attr{ir.A("mode", ir.String("reflect"))}, Inputs: []*tensor.Tensor{x, tensor.Ints(0, 1, 2, 0, 0, 1)}},
		{Op: "Reshape", Inputs: []*tensor.Tensor{x, tensor.Ints(4, -1)}},
		{Op: "ReverseSequence", Inputs: []*tensor.Tensor{x, tensor.Ints(2, 1, 2)}, Attrs: []*ir.Attr{intAttr("time_axis", 0), intAttr("batch_axis", 1)}},
		{Op: "ScatterElements", Attrs: axis(2), Inputs: []*tensor.Tensor{x, tensor.FromSlice([]int64{1, 1, 0, 3, 2, 0}, 2, 3, 1), random(3, 2, 3, 1)}},
		{Op: "ScatterND", Inputs: []*tensor.Tensor{x, tensor.FromSlice([]int64{1, 2, 0, 0}, 2, 2), random(3, 2, 4)}},
		{Op: "Slice", Inputs: []*tensor.Tensor{x, tensor.Ints(2, 0), tensor.Ints(-9, 2), tensor.Ints(1, 2), tensor.Ints(-1, 1)}},
		{Op: "Split", Attrs: axis(2), Outputs: 2, Inputs: []*tensor.Tensor{x, tensor.Ints(1, 3)}},
		{Op: "Squeeze", Inputs: []*tensor.Tensor{random(1, 2, 1, 3), tensor.Ints(1)}},
		{Op: "Unsqueeze", Inputs: []*tensor.Tensor{x, tensor.Ints(0, -1)}},
		{Op: "Tile", Inputs: []*tensor.Tensor{x, tensor.Ints(1, 2, 3)}},
		{Op: "TopK", Outputs: 2, Inputs: []*tensor.Tensor{x, tensor.Ints(2)}},
		{Op: "Transpose", Attrs: []*ir.Attr{ir.A("perm", ir.Ints{2, 0, 1})}, Inputs: []*tensor.Tensor{x}},
		{Op: "Trilu", Inputs: []*tensor.Tensor{x}},
		{Op: "Where", Fed: []int{0}, Inputs: []*tensor.Tensor{tensor.FromSlice([]bool{true, false, true}, 3, 1), x, random(2, 4)}},
		{Op: "TensorScatter", Opset: 24, Inputs: []*tensor.Tensor{random(1, 2, 4, 3), random(2, 2, 2, 3), tensor.Ints(1, 2)}},
	}
}

func productCases(x *tensor.Tensor) []opcheck.Case {
	labels := tensor.FromSlice([]int64{2, 0, -1, 1}, 2, 2)
	loss := []*ir.Attr{intAttr("ignore_index", -1), ir.A("reduction", ir.String("mean"))}
	return []opcheck.Case{
		{Op: "MatMul", Inputs: []*tensor.Tensor{x, random(2, 4, 5)}},
		{Op: "Gemm", Attrs: []*ir.Attr{intAttr("transB", 1), floatAttr("alpha", 0.5), floatAttr("beta", 2)},
			Inputs: []*tensor.Tensor{random(1, 2, 3), random(2, 4, 3), random(3, 4)}},
		{Op: "Einsum", Attrs: []*ir.Attr{ir.A("equation", ir.String("bij,bjk->bik"))}, Inputs: []*tensor.Tensor{x, random(2, 2, 4, 2)}},
		{Op: "Mod", Attrs: []*ir.Attr{intAttr("fmod", 1)}, Diff: []int{0}, Inputs: []*tensor.Tensor{opcheck.Random(1, 2, 9, 2, 3), opcheck.Random(2, 1, 3, 3)}},
		{Op: "LayerNormalization", Inputs: []*tensor.Tensor{x, random(2, 4), random(3, 4)}},
		{Op: "LayerNormalization", Name: "statistics", Outputs: 3, Attrs: []*ir.Attr{intAttr("axis", 1)}, Inputs: []*tensor.Tensor{x, random(2, 3, 4)}},
		{Op: "RMSNormalization", Opset: 23, Inputs: []*tensor.Tensor{x, random(2, 4)}},
		{Op: "NegativeLogLikelihoodLoss", Attrs: loss, Inputs: []*tensor.Tensor{random(1, 2, 3, 2), labels}},
		{Op: "SoftmaxCrossEntropyLoss", Attrs: loss, Inputs: []*tensor.Tensor{random(1, 2, 3, 2), labels}},
		{Op: "ReduceLogSum", Inputs: []*tensor.Tensor{opcheck.Random(1, 0.5, 2, 2, 3), tensor.Ints(1)}},
		{Op: "DequantizeLinear", Diff: []int{1}, Inputs: []*tensor.Tensor{tensor.FromSlice([]int8{3, -7, 9}, 3), random(1), tensor.FromSlice([]int8{2})}, Fed: []int{0}},
		{Op: "MeanVarianceNormalization", Inputs: []*tensor.Tensor{random(1, 2, 3, 2, 2)}},
		{Op: "SimplifiedLayerNormalization", Inputs: []*tensor.Tensor{x, random(2, 4)}},
		{Op: "Attention", Opset: 23, Attrs: []*ir.Attr{intAttr("is_causal", 1)}, Inputs: []*tensor.Tensor{random(1, 2, 4, 3, 2), random(2, 2, 2, 5, 2), random(3, 2, 2, 5, 3)}},
		{Op: "RotaryEmbedding", Opset: 23, Fed: []int{3}, Inputs: []*tensor.Tensor{random(1, 2, 2, 3, 4), random(2, 5, 2), random(3, 5, 2), tensor.FromSlice([]int64{0, 2, 1, 1, 3, 2}, 2, 3)}},
	}
}

// TestORTGradients has ONNX Runtime compute the gradients of every operator,
// in standard operators, with nothing known of extents when they were built.
func TestORTGradients(t *testing.T) {
	ort.Available(t)
	for _, c := range slices.Concat(gradientCases(), functionCases(), recurrentCases(), stateCases(), contribCases(16)) {
		if c.Diff != nil && len(c.Diff) == 0 {
			continue
		}
		name := c.Domain + " " + c.Op + " " + c.Name
		t.Run(name, func(t *testing.T) {
			c := single(t, c)
			m, feeds, want, err := c.GradientModel()
			if err != nil {
				t.Fatal(err)
			}
			if m.Opset("") > newestInORT { // of which the gradients need nothing
				m.SetOpset("", newestInORT)
			}
			agreeInORT(t, m, feeds, want, ops.Accurate)
		})
	}
}

// TestGradientCases: every operator with a gradient is compared with ONNX
// Runtime here, or by fuse.
func TestGradientCases(t *testing.T) {
	have := map[string]bool{}
	for _, c := range slices.Concat(gradientCases(), functionCases(), recurrentCases(), stateCases(), contribCases(16)) {
		have[c.Domain+"."+c.Op] = true
	}
	ops.Standard().Rows(func(e ops.Entry) {
		name := e.Domain + "." + e.Name
		g := gradientOf(t, e)
		if e.Domain == ops.Domain || g != "yes" && g != "body" || have[name] || slices.Contains(onImages, e.Name) || notInORT[name] != "" {
			return
		}
		t.Errorf("the gradient of %s is not compared with ONNX Runtime", name)
	})
}
