package ops_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// TestEmptyTensors gives operators tensors without elements: a result or an
// error, never a panic.
func TestEmptyTensors(t *testing.T) {
	e := func(shape ...int) *tensor.Tensor { return tensor.New(tensor.Float64, shape...) }
	for _, c := range []struct {
		op    string
		attrs []*ir.Attr
		in    []*tensor.Tensor
		shape tensor.Shape // of the result; nil wants an error
	}{
		{"Exp", nil, []*tensor.Tensor{e(0, 2)}, tensor.Shape{0, 2}},
		{"Add", nil, []*tensor.Tensor{e(0, 2), e(2)}, tensor.Shape{0, 2}},
		{"Max", nil, []*tensor.Tensor{e(0, 2), e(2), e(1)}, tensor.Shape{0, 2}},
		{"Softmax", nil, []*tensor.Tensor{e(2, 0)}, tensor.Shape{2, 0}},
		{"LogSoftmax", nil, []*tensor.Tensor{e(0, 2)}, tensor.Shape{0, 2}},
		{"Hardmax", nil, []*tensor.Tensor{e(2, 0)}, tensor.Shape{2, 0}},
		{"Softmax", nil, []*tensor.Tensor{e()}, nil},
		{"ArgMax", nil, []*tensor.Tensor{e(2, 0)}, tensor.Shape{1, 0}},
		{"ArgMin", nil, []*tensor.Tensor{e(0, 2)}, nil},
		{"LayerNormalization", nil, []*tensor.Tensor{e(2, 0), e(0)}, tensor.Shape{2, 0}},
		{"LayerNormalization", nil, []*tensor.Tensor{e(0, 2), e(2)}, tensor.Shape{0, 2}},
		{"LayerNormalization", nil, []*tensor.Tensor{e(), e()}, nil},
		{"RMSNormalization", nil, []*tensor.Tensor{e(0, 2), e(2)}, tensor.Shape{0, 2}},
		{"MatMul", nil, []*tensor.Tensor{e(0, 2, 3), e(0, 3, 2)}, tensor.Shape{0, 2, 2}},
		{"MatMul", nil, []*tensor.Tensor{e(2, 0), e(0)}, tensor.Shape{2}},
		{"Gemm", nil, []*tensor.Tensor{e(0, 2), e(2, 3), e(3)}, tensor.Shape{0, 3}},
		{"Gemm", nil, []*tensor.Tensor{e(2, 0), e(0, 3), e(3)}, tensor.Shape{2, 3}},
		{"Conv", nil, []*tensor.Tensor{e(0, 2, 3, 3), e(2, 2, 2, 2)}, tensor.Shape{0, 2, 2, 2}},
		{"Conv", nil, []*tensor.Tensor{e(1, 0, 3, 3), e(2, 0, 2, 2)}, tensor.Shape{1, 2, 2, 2}},
		{"Conv", nil, []*tensor.Tensor{e(1, 2, 0, 3), e(2, 2, 2, 2)}, nil},
		{"Conv", nil, []*tensor.Tensor{e(1, 2, 3, 3), e(2, 2, 0, 2)}, nil},
		{"ConvTranspose", nil, []*tensor.Tensor{e(0, 2, 3, 3), e(2, 2, 2, 2)}, tensor.Shape{0, 2, 4, 4}},
		{"ConvTranspose", nil, []*tensor.Tensor{e(1, 2, 0, 3), e(2, 2, 2, 2)}, tensor.Shape{1, 2, 1, 4}},
		{"MaxPool", []*ir.Attr{ir.A("kernel_shape", ir.Ints{2})}, []*tensor.Tensor{e(0, 1, 3)}, tensor.Shape{0, 1, 2}},
		{"AveragePool", []*ir.Attr{ir.A("kernel_shape", ir.Ints{2})}, []*tensor.Tensor{e(1, 1, 0)}, nil},
		{"GlobalMaxPool", nil, []*tensor.Tensor{e(1, 1, 0)}, tensor.Shape{1, 1, 1}},
		{"GlobalAveragePool", nil, []*tensor.Tensor{e(0, 1, 2)}, tensor.Shape{0, 1, 1}},
		{"BatchNormalization", nil, []*tensor.Tensor{e(0, 2, 3), e(2), e(2), e(2), e(2)}, tensor.Shape{0, 2, 3}},
		{"BatchNormalization", nil, []*tensor.Tensor{e(2, 0), e(0), e(0), e(0), e(0)}, tensor.Shape{2, 0}},
		{"InstanceNormalization", nil, []*tensor.Tensor{e(2, 0, 3), e(0), e(0)}, tensor.Shape{2, 0, 3}},
		{"InstanceNormalization", nil, []*tensor.Tensor{e(2, 3, 0), e(3), e(3)}, tensor.Shape{2, 3, 0}},
		{"GroupNormalization", []*ir.Attr{ir.A("num_groups", ir.Int(2))}, []*tensor.Tensor{e(2, 0, 3), e(0), e(0)}, tensor.Shape{2, 0, 3}},
		{"LpNormalization", nil, []*tensor.Tensor{e(2, 0)}, tensor.Shape{2, 0}},
		{"LRN", []*ir.Attr{ir.A("size", ir.Int(3))}, []*tensor.Tensor{e(2, 0, 3)}, tensor.Shape{2, 0, 3}},
		{"Einsum", []*ir.Attr{ir.A("equation", ir.String("ij,jk"))}, []*tensor.Tensor{e(2, 0), e(0, 3)}, tensor.Shape{2, 3}},
		{"Einsum", []*ir.Attr{ir.A("equation", ir.String("ij->ji"))}, []*tensor.Tensor{e(2, 0)}, tensor.Shape{0, 2}},
		{"Einsum", []*ir.Attr{ir.A("equation", ir.String("ii->i"))}, []*tensor.Tensor{e(0, 0)}, tensor.Shape{0}},
		{"NegativeLogLikelihoodLoss", nil, []*tensor.Tensor{e(0, 3), tensor.New(tensor.Int64, 0)}, tensor.Shape{}},
		{"SoftmaxCrossEntropyLoss", nil, []*tensor.Tensor{e(2, 0), tensor.New(tensor.Int64, 2)}, nil},
		{"Clip", nil, []*tensor.Tensor{e(3), e(2)}, nil},
		{"Pow", nil, []*tensor.Tensor{e(0, 2), tensor.New(tensor.Int64, 2)}, tensor.Shape{0, 2}},
	} {
		o, err := parsed(c.op, 24, c.attrs, len(c.in))
		if err != nil {
			t.Fatalf("%s: %v", c.op, err)
		}
		got, err := evalSafely(t, c.op, o, c.in)
		switch {
		case c.shape == nil && err == nil:
			t.Errorf("%s of %v: got %v, want an error", c.op, c.in, got)
		case c.shape != nil && err != nil:
			t.Errorf("%s of %v: %v", c.op, c.in, err)
		case c.shape != nil && !got.Shape().Equal(c.shape):
			t.Errorf("%s of %v: got %v, want shape %v", c.op, c.in, got, c.shape)
		}
	}
	c := opcheck.Case{Name: "product over nothing", Op: "MatMul", Inputs: []*tensor.Tensor{e(2, 0), e(0, 2)}}
	opcheck.Forward(t, c, 0, e(2, 2))
}
