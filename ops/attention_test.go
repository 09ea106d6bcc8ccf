package ops_test

import (
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

func random(seed uint64, shape ...int) *tensor.Tensor { return opcheck.Random(seed, -1, 1, shape...) }

func TestAttentionGradient(t *testing.T) {
	q, k, v := random(1, 2, 4, 3, 2), random(2, 2, 2, 5, 2), random(3, 2, 2, 5, 3)
	mask := tensor.New(tensor.Bool, 3, 5)
	for i := range tensor.Data[bool](mask) {
		tensor.Data[bool](mask)[i] = i%3 != 0 && i >= 5 // the first row sees nothing
	}
	causal, heads := ir.A("is_causal", ir.Int(1)), []*ir.Attr{ir.A("q_num_heads", ir.Int(4)), ir.A("kv_num_heads", ir.Int(2))}
	for _, c := range []opcheck.Case{
		{Name: "grouped", Inputs: []*tensor.Tensor{q, k, v}},
		{Name: "causal", Attrs: []*ir.Attr{causal}, Inputs: []*tensor.Tensor{q, k, v}},
		{Name: "softcap, bias", Attrs: []*ir.Attr{ir.A("softcap", ir.Float(0.7)), ir.A("scale", ir.Float(1.5))},
			Inputs: []*tensor.Tensor{q, k, v, random(4, 4, 3, 5)}},
		{Name: "mask", Fed: []int{3}, Inputs: []*tensor.Tensor{q, k, v, mask}},
		{Name: "rank 3", Attrs: append(heads, causal), Inputs: []*tensor.Tensor{random(1, 2, 3, 8), random(2, 2, 5, 4), random(3, 2, 5, 6)}},
		{Name: "past", Attrs: []*ir.Attr{causal}, Outputs: 3,
			Inputs: []*tensor.Tensor{q, k, v, nil, random(5, 2, 2, 2, 2), random(6, 2, 2, 2, 3)}},
		{Name: "lengths", Opset: 24, Fed: []int{6}, Inputs: []*tensor.Tensor{q, k, v, nil, nil, nil, tensor.FromSlice([]int64{5, 3}, 2)}},
	} {
		c.Op = "Attention"
		if c.Opset == 0 {
			c.Opset = 23
		}
		opcheck.Gradient(t, c)
	}
}

func TestRotaryEmbeddingGradient(t *testing.T) {
	at := tensor.FromSlice([]int64{0, 2, 1, 1, 3, 2}, 2, 3)
	for _, c := range []opcheck.Case{
		{Name: "halves", Inputs: []*tensor.Tensor{random(1, 2, 2, 3, 4), random(2, 5, 2), random(3, 5, 2), at}},
		{Name: "pairs", Attrs: []*ir.Attr{ir.A("interleaved", ir.Int(1))},
			Inputs: []*tensor.Tensor{random(1, 2, 2, 3, 4), random(2, 5, 2), random(3, 5, 2), at}},
		{Name: "part, rank 3", Attrs: []*ir.Attr{ir.A("num_heads", ir.Int(2)), ir.A("rotary_embedding_dim", ir.Int(4))},
			Inputs: []*tensor.Tensor{random(1, 2, 3, 12), random(2, 2, 3, 2), random(3, 2, 3, 2)}},
	} {
		c.Op, c.Opset, c.Fed = "RotaryEmbedding", 23, []int{3}
		opcheck.Gradient(t, c)
	}
}

// functionCases are uses of standard operators that have a body.
func functionCases() []opcheck.Case {
	training := []*ir.Attr{ir.A("training_mode", ir.Int(1)), ir.A("momentum", ir.Float(0.5))}
	image := random(1, 2, 3, 4, 5)
	capped := bodyAttr("score_mod", 1, 0)
	g := capped.Value.(ir.GraphAttr).Graph
	b := ir.NewBuilder(g, ir.NewNames(&ir.Model{Graph: g}))
	g.Outputs = ir.In(b.Op("Mul", ir.In(b.Op("Tanh", ir.In(g.Inputs[0])), g.Inputs[0])))
	cases := []opcheck.Case{
		{Op: "BatchNormalization", Attrs: training, Outputs: 3, Inputs: []*tensor.Tensor{
			random(1, 3, 2, 4), random(2, 2), random(3, 2), random(4, 2), random(5, 2)}},
		{Op: "MeanVarianceNormalization", Inputs: []*tensor.Tensor{random(1, 2, 3, 2, 2)}},
		{Op: "LpPool", Attrs: []*ir.Attr{ints("kernel_shape", 2, 3), ints("pads", 1, 0, 0, 2), intAttr("p", 3)}, Inputs: []*tensor.Tensor{image}},
		{Op: "LpPool", Name: "strides", Attrs: []*ir.Attr{ints("kernel_shape", 2, 2), ints("strides", 2, 1)}, Inputs: []*tensor.Tensor{image}},
		{Op: "GlobalLpPool", Inputs: []*tensor.Tensor{image}},
		{Op: "CenterCropPad", Inputs: []*tensor.Tensor{image, tensor.Ints(3, 3, 2, 8)}},
		{Op: "CenterCropPad", Name: "axes", Attrs: []*ir.Attr{ints("axes", -1, 0)}, Inputs: []*tensor.Tensor{image, tensor.Ints(4, 1)}},
		{Op: "AffineGrid", Opset: 20, Inputs: []*tensor.Tensor{random(1, 2, 2, 3), tensor.Ints(2, 1, 3, 4)}},
		{Op: "AffineGrid", Opset: 20, Name: "corners", Attrs: []*ir.Attr{intAttr("align_corners", 1)}, Inputs: []*tensor.Tensor{random(1, 2, 3, 4), tensor.Ints(2, 1, 2, 3, 4)}},
		{Op: "DFT", Opset: 20, Const: []int{2}, Inputs: []*tensor.Tensor{random(1, 2, 5, 3, 2), nil, tensor.Scalar(int64(1))}},
		{Op: "DFT", Opset: 20, Name: "one-sided, cut", Attrs: []*ir.Attr{intAttr("onesided", 1)}, Inputs: []*tensor.Tensor{random(1, 2, 5, 1), tensor.Scalar(int64(4))}},
		{Op: "DFT", Opset: 20, Name: "one-sided, filled", Attrs: []*ir.Attr{intAttr("onesided", 1)}, Inputs: []*tensor.Tensor{random(1, 2, 5, 1), tensor.Scalar(int64(8))}},
		{Op: "DFT", Opset: 17, Name: "inverse", Attrs: []*ir.Attr{intAttr("inverse", 1), intAttr("axis", 1)}, Inputs: []*tensor.Tensor{random(1, 2, 6, 2)}},
		{Op: "STFT", Inputs: []*tensor.Tensor{random(1, 2, 9, 1), tensor.Scalar(int64(2)), random(3, 4)}},
		{Op: "FlexAttention", Domain: "ai.onnx.preview", Attrs: []*ir.Attr{capped, floatAttr("scale", 0.7)},
			Inputs: []*tensor.Tensor{random(1, 1, 4, 3, 2), random(2, 1, 2, 5, 2), random(3, 1, 2, 5, 3)}},
	}
	for i := range cases {
		cases[i].Name = cases[i].Op + " " + cases[i].Name
	}
	return cases
}

// TestORTFunctions has ONNX Runtime compute what it knows of them; the official
// tests hold the others.
func TestORTFunctions(t *testing.T) {
	ort.Available(t)
	for _, c := range functionCases() {
		switch c.Op {
		case "DFT", "STFT", "CenterCropPad", "LpPool", "GlobalLpPool":
			t.Run(c.Name, func(t *testing.T) { inORT(t, single(t, c)) })
		}
	}
}

func TestFunctionGradients(t *testing.T) {
	for _, c := range functionCases() {
		if strings.HasSuffix(c.Op, "FT") { // whose last axis tells real from complex numbers
			opcheck.GradientKnown(t, c)
			continue
		}
		opcheck.Gradient(t, c)
	}
}

func TestTensorScatter(t *testing.T) {
	past, update, index := random(1, 2, 2, 4, 3), random(2, 2, 2, 2, 3), tensor.FromSlice([]int64{1, 3}, 2)
	circular := []*ir.Attr{ir.A("mode", ir.String("circular"))}
	opcheck.Gradient(t, opcheck.Case{Name: "circular", Op: "TensorScatter", Attrs: circular, Fed: []int{2}, Inputs: []*tensor.Tensor{past, update, index}})
	opcheck.Gradient(t, opcheck.Case{Name: "linear", Op: "TensorScatter", Inputs: []*tensor.Tensor{past, update}})
	if _, err := opcheck.Eval(opcheck.Case{Op: "TensorScatter", Inputs: []*tensor.Tensor{past, update, index}}); err == nil {
		t.Error("an update beyond the end of the cache is no error")
	}
}
