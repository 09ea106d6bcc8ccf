package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// A lone is a model of one node: the shapes of its inputs, then constants.
type lone struct {
	op     string
	in     []tensor.Shape
	consts []*tensor.Tensor // nil for one that is left out
	attrs  []*ir.Attr
	elem   tensor.DType // of the output; 0 for float32
}

// Shapes that models have: activations of a feed-forward, a row of them, and
// feature maps of an image.
var (
	acts  = tensor.Shape{1024, 1376}
	perCh = tensor.Shape{1376}
	image = tensor.Shape{1, 64, 56, 56}
	each  = tensor.Shape{64}
)

func shapes(s ...tensor.Shape) []tensor.Shape        { return s }
func constants(t ...*tensor.Tensor) []*tensor.Tensor { return t }
func number(v float32) *tensor.Tensor                { return tensor.Scalar(v) }
func attrs(a ...*ir.Attr) []*ir.Attr                 { return a }
func along(op string, axis int, k ...*tensor.Tensor) lone {
	return lone{op: op, in: shapes(acts), consts: append(k, tensor.Ints(axis))}
}

// maps are elementwise operators of one input.
var maps = strings.Fields(`Relu Abs Neg Sign Floor Round Sqrt Reciprocal Exp Log Sin Tanh Sigmoid Erf Softplus Softsign Gelu Mish
	HardSwish HardSigmoid LeakyRelu Elu Selu`)

// loneNodes are the operators that are measured by themselves.
func loneNodes() []lone {
	var list []lone
	for _, op := range maps {
		list = append(list, lone{op: op, in: shapes(acts)})
	}
	for _, op := range []string{"Add", "Mul", "Div", "Max"} {
		list = append(list, lone{op: op, in: shapes(acts, acts)})
	}
	pads := ir.A("pads", ir.Ints{1, 1, 1, 1})
	window := attrs(ir.A("kernel_shape", ir.Ints{3, 3}), ir.A("strides", ir.Ints{2, 2}), pads)
	twice := tensor.FromSlice([]float32{1, 1, 2, 2}, 4)
	hidden := attrs(ir.A("hidden_size", ir.Int(256)))
	return append(list, []lone{
		{op: "Add", in: shapes(acts, perCh)}, {op: "Mul", in: shapes(acts, tensor.Shape{1024, 1})}, {op: "PRelu", in: shapes(acts, perCh)},
		{op: "Pow", in: shapes(acts), consts: constants(number(2))},
		{op: "Clip", in: shapes(acts), consts: constants(number(0), number(6))},
		{op: "IsNaN", in: shapes(acts), elem: tensor.Bool},
		{op: "Cast", in: shapes(acts), attrs: attrs(ir.A("to", ir.Int(tensor.Int64))), elem: tensor.Int64},
		{op: "QuantizeLinear", in: shapes(acts), consts: constants(number(0.02), tensor.Scalar(uint8(128))), elem: tensor.Uint8},
		along("ReduceSum", 1), along("ReduceSum", 0), along("ReduceMax", 1), along("ReduceMax", 0), along("ReduceMean", 1), along("ReduceL2", 1),
		{op: "ArgMax", in: shapes(acts), attrs: attrs(ir.A("axis", ir.Int(1))), elem: tensor.Int64},
		{op: "Softmax", in: shapes(acts)}, {op: "LogSoftmax", in: shapes(acts)},
		{op: "LayerNormalization", in: shapes(acts, perCh, perCh)},
		{op: "BatchNormalization", in: shapes(image, each, each, each, each)}, {op: "InstanceNormalization", in: shapes(image, each, each)},
		{op: "Transpose", in: shapes(acts), attrs: attrs(ir.A("perm", ir.Ints{1, 0}))},
		{op: "Transpose", in: shapes(tensor.Shape{4, 256, 8, 64}), attrs: attrs(ir.A("perm", ir.Ints{0, 2, 1, 3}))},
		{op: "Concat", in: shapes(acts, acts), attrs: attrs(ir.A("axis", ir.Int(1)))},
		{op: "Expand", in: shapes(tensor.Shape{1024, 1}), consts: constants(tensor.Ints(1024, 1376))},
		{op: "Pad", in: shapes(acts), consts: constants(tensor.Ints(1, 1, 1, 1))},
		{op: "Conv", in: shapes(image, tensor.Shape{64, 64, 3, 3}), attrs: attrs(pads)}, {op: "Conv", in: shapes(image, tensor.Shape{64, 64, 1, 1})},
		{op: "Conv", in: shapes(image, tensor.Shape{64, 1, 3, 3}), attrs: attrs(pads, ir.A("group", ir.Int(64)))},
		{op: "MaxPool", in: shapes(image), attrs: window}, {op: "AveragePool", in: shapes(image), attrs: window}, {op: "GlobalAveragePool", in: shapes(image)},
		{op: "Resize", in: shapes(image), consts: constants(nil, twice), attrs: attrs(ir.A("mode", ir.String("linear")))},
		{op: "Resize", in: shapes(image), consts: constants(nil, twice), attrs: attrs(ir.A("mode", ir.String("nearest")))},
		{op: "MatMul", in: shapes(tensor.Shape{32, 256, 64}, tensor.Shape{32, 64, 256})},
		{op: "LSTM", in: shapes(tensor.Shape{100, 1, 256}, tensor.Shape{1, 1024, 256}, tensor.Shape{1, 1024, 256}), attrs: hidden},
		{op: "GRU", in: shapes(tensor.Shape{100, 1, 256}, tensor.Shape{1, 768, 256}, tensor.Shape{1, 768, 256}), attrs: hidden},
	}...)
}

// operators measures operators by themselves against ONNX Runtime.
func operators(ctx context.Context, p *page, o options, dir string) error {
	version, err := startORT(o.ort)
	if err != nil {
		return err
	}
	p.peer("ONNX Runtime: %s, of the npm package onnxruntime-node, through onnxruntime_go.", version)
	p.table("Operators against ONNX Runtime, one thread", "operator", "inputs", "attributes", "ratio", "bonnx ms", "ORT ms")
	if err := o.pin(1); err != nil {
		return err
	}
	for _, l := range loneNodes() {
		if o.only != "" && !strings.Contains(l.op, o.only) {
			continue
		}
		if err := l.measure(ctx, p, o, filepath.Join(dir, "operator.onnx")); err != nil {
			return fmt.Errorf("%s: %w", l.op, err)
		}
	}
	return nil
}

// model is the node alone, its inputs between 0.1 and 1.
func (l lone) model() (*ir.Model, map[string]*tensor.Tensor) {
	m := &ir.Model{IRVersion: 9, Graph: ir.NewGraph("operator")}
	m.SetOpset("", 20)
	f := map[string]*tensor.Tensor{}
	var in []*ir.Value
	for i, s := range l.in {
		dims := make([]ir.Dim, len(s))
		for a, d := range s {
			dims[a] = ir.Fixed(int64(d))
		}
		v := m.Graph.AddInput(fmt.Sprint("x", i), ir.Tensor(tensor.Float32, dims...))
		x := numbers(s.Size())
		for j := range x {
			x[j] = max(x[j], -x[j], 0.1)
		}
		in, f[v.Name] = append(in, v), tensor.FromSlice(x, s...)
	}
	for i, k := range l.consts {
		if k == nil {
			in = append(in, nil)
			continue
		}
		in = append(in, m.Graph.AddInitializer(fmt.Sprint("k", i), ir.Dense(k)))
	}
	y := ir.NewBuilder(m.Graph, ir.NewNames(m)).Op(l.op, in, l.attrs...)
	y.Type = &ir.TensorType{Elem: max(l.elem, tensor.Float32)}
	m.Graph.Outputs = append(m.Graph.Outputs, y)
	return m, f
}

func (l lone) measure(ctx context.Context, p *page, o options, path string) error {
	m, f := l.model()
	if err := onnx.Save(path, m, onnx.SaveOptions{Force: true}); err != nil {
		return err
	}
	program, err := runtime.Compile(m, runtime.Options{Threads: 1})
	if err != nil {
		return err
	}
	defer program.Close()
	s, err := program.NewSession()
	if err != nil {
		return err
	}
	theirs, err := openORT(path, 1, f)
	if err != nil {
		return err
	}
	ours := func(ctx context.Context) error {
		_, err := s.Run(ctx, f)
		return err
	}
	if err := ours(ctx); err != nil {
		return err
	}
	at := time.Now()
	if err := ours(ctx); err != nil {
		return err
	}
	t, err := o.interleave(ctx, max(1, int(1e7/max(time.Since(at).Nanoseconds(), 1))), ours, theirs.run)
	if err != nil {
		return err
	}
	theirs.close()
	var in []string
	for _, s := range l.in {
		in = append(in, times(fmt.Sprint([]int(s))))
	}
	p.row(l.op, strings.Join(in, ", "), l.said(), t.ratio(), milliseconds(median(t.ours)), milliseconds(median(t.theirs)))
	return nil
}

// times writes a list as AxBxC.
func times(list string) string { return strings.ReplaceAll(strings.Trim(list, "[]"), " ", "x") }

// said is what is set beside the inputs.
func (l lone) said() string {
	var s []string
	for _, k := range l.consts {
		switch {
		case k == nil:
		case k.DType() == tensor.Int64:
			s = append(s, times(fmt.Sprint(tensor.Data[int64](k))))
		case k.DType() == tensor.Float32:
			s = append(s, times(fmt.Sprint(tensor.Data[float32](k))))
		}
	}
	for _, a := range l.attrs {
		s = append(s, fmt.Sprintf("%s %v", a.Name, a.Value))
	}
	return strings.Join(s, ", ")
}
