package fuse_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// composites are one use of each composite operator, float32.
var composites = []struct {
	op    string
	in    []*tensor.Tensor
	attrs []*ir.Attr
	out   []tensor.DType
}{
	{op: "SumTo", in: in(r(1, 4, 2, 3), tensor.Ints(2, 1)), out: floatOut(1)},
	{op: "SumTo", in: in(r(1, 4, 2, 3), tensor.Ints(4, 2, 3)), out: floatOut(1)},
	{op: "FusedMatMul", in: in(r(1, 2, 4, 3), r(2, 2, 4, 5)), attrs: on("transA"), out: floatOut(1)},
	{op: "FusedMatMul", in: in(r(1, 2, 3, 4), r(2, 5, 4)), attrs: on("transB"), out: floatOut(1)},
	{op: "Linear", in: in(r(1, 2, 3, 4), r(2, 4, 5), r(3, 5), r(4, 2, 3, 5)), attrs: ending("SiLU"), out: floatOut(1)},
	{op: "CrossEntropy", in: in(r(1, 2, 3, 5), labelsOf(2, 3, 0, 4, -100, 1, 2, 3)), attrs: smoothing, out: floatOut(2)},
	{op: "CrossEntropy", in: in(r(1, 2, 3, 5), labelsOf(2, 3, 0, 4, -100, 1, 2, 3)), out: floatOut(3)},
	{op: "CrossEntropyGrad", in: in(r(1, 2, 3, 5), labelsOf(2, 3, 0, 4, -100, 1, 2, 3), r(2, 2, 3), r(3)), attrs: smoothing, out: floatOut(1)},
	{op: "RMSNorm", in: in(r(1, 2, 3, 4), r(2, 4)), out: floatOut(2)},
	{op: "RMSNormGrad", in: in(r(1, 2, 3, 4), r(2, 2, 3, 4), r(3, 4), r(4, 2, 3, 1)), out: floatOut(1)},
	{op: "Gelu", in: in(r(1, 2, 3)), out: floatOut(1)},
	{op: "GeluGrad", in: in(r(1, 2, 3), r(2, 2, 3)), out: floatOut(1)},
	{op: "Gelu", in: in(r(1, 2, 3)), attrs: tanhForm, out: floatOut(1)},
	{op: "GeluGrad", in: in(r(1, 2, 3), r(2, 2, 3)), attrs: tanhForm, out: floatOut(1)},
	{op: "SiLU", in: in(r(1, 2, 3)), out: floatOut(1)},
	{op: "SiLUGrad", in: in(r(1, 2, 3), r(2, 2, 3)), out: floatOut(1)},
	{op: "GatedSiLU", in: in(r(1, 2, 3), r(2, 2, 3)), out: floatOut(1)},
	{op: "GatedSiLUGrad", in: in(r(1, 2, 3), r(2, 2, 3), r(3, 2, 3)), out: floatOut(2)},
	{op: "Attention", in: in(r(1, 2, 4, 3, 5), r(2, 2, 2, 6, 5), r(3, 2, 2, 6, 7), r(4, 3, 6)), out: floatOut(1)},
	{op: "Attention", in: in(r(1, 2, 3, 4, 5), r(2, 2, 6, 4, 5), r(3, 2, 6, 4, 7)), attrs: rowsFirst, out: floatOut(1)},
	{op: "AttentionGrad", in: in(r(5, 2, 4, 3, 7), r(1, 2, 4, 3, 5), r(2, 2, 2, 6, 5), r(3, 2, 2, 6, 7), r(4, 4, 1, 6)), out: floatOut(3)},
	{op: "AttentionGrad", in: in(r(5, 2, 3, 4, 7), r(1, 2, 3, 4, 5), r(2, 2, 6, 4, 5), r(3, 2, 6, 4, 7)), attrs: rowsFirst, out: floatOut(3)},
	{op: "Rotary", in: in(r(1, 2, 4, 3, 6), r(2, 3, 3), r(3, 3, 3)), out: floatOut(1)},
	{op: "Rotary", in: in(r(1, 2, 3, 4, 6), r(2, 3, 6), r(3, 3, 6)), attrs: append(on("wide"), on("rows_first")...), out: floatOut(1)},
	{op: "Rotary", in: in(r(1, 2, 4, 3, 6), r(2, 3, 3), r(3, 3, 3)), attrs: on("interleaved"), out: floatOut(1)},
	{op: "RotaryGrad", in: in(r(1, 2, 4, 3, 6), r(2, 3, 3), r(3, 3, 3)), attrs: on("interleaved"), out: floatOut(1)},
	{op: "RotaryGrad", in: in(r(1, 2, 4, 3, 6), r(2, 3, 6), r(3, 3, 6)), attrs: on("wide"), out: floatOut(1)},
	{op: "Bone", in: in(r(1, 2, 3, 6), r(2, 6, 4), r(3, 3, 4)), out: floatOut(2)},
	{op: "Bone", in: in(r(1, 2, 5), r(2, 4, 5), r(3, 3, 4)), attrs: on("transB"), out: floatOut(2)},
	{op: "BoneGradX", in: in(r(1, 2, 3, 4), r(2, 5, 4), r(3, 3, 4)), out: floatOut(1)},
	{op: "Bone", in: in(r(1, 2, 3, 6), r(2, 6, 4), r(3, 3, 4), r(4, 4), r(5, 2, 3, 4)), attrs: ending("Gelu"), out: floatOut(2)},
	{op: "BoneGradX", in: in(r(1, 2, 3, 4), r(2, 5, 4), r(3, 3, 4), r(4, 2, 3, 5)), out: floatOut(1)},
	{op: "BoneGradX", in: in(r(1, 2, 3, 4), r(2, 4, 5), r(3, 3, 4)), attrs: on("transB"), out: floatOut(1)},
	{op: "BatWeight", in: in(r(1, 4, 6), r(2, 3, 2, 2)), out: floatOut(1)},
	{op: "BatWeightGrad", in: in(r(1, 4, 6), r(2, 4, 6), r(3, 3, 2, 2)), out: floatOut(1)},
	{op: "BatWeightGradW", in: in(r(1, 4, 6), r(2, 3, 2, 2)), out: floatOut(1)},
	{op: "AdamW", in: in(r(1, 3), r(2, 3), r(3, 3), positive(4, 3), tensor.Scalar(float32(0.01)), tensor.Scalar(int64(3))), out: floatOut(3)},
	{op: "SGD", in: in(r(1, 3), r(2, 3), tensor.Scalar(float32(0.1)), r(3, 3)),
		attrs: []*ir.Attr{ir.A("momentum", ir.Float(0.9)), ir.A("nesterov", ir.Int(1)), ir.A("weight_decay", ir.Float(0.1))}, out: floatOut(2)},
	{op: "GlobalNorm", in: in(r(1, 3), r(2, 2, 2), r(3)), out: floatOut(1)},
	{op: "ClipScale", in: in(tensor.Scalar(float32(4))), out: floatOut(1)},
	{op: "AllFinite", in: in(r(1, 3), r(2)), out: []tensor.DType{tensor.Bool}},
}

var (
	smoothing = []*ir.Attr{ir.A("label_smoothing", ir.Float(0.1))}
	rowsFirst = []*ir.Attr{ir.A("rows_first", ir.Ints{1, 1, 1, 1}), ir.A("scale", ir.Float(0.5))}
	tanhForm  = []*ir.Attr{ir.A("approximate", ir.String("tanh"))}
)

func in(ts ...*tensor.Tensor) []*tensor.Tensor { return ts }

func r(seed uint64, shape ...int) *tensor.Tensor { return testutil.Random(seed, shape...) }

func positive(seed uint64, shape ...int) *tensor.Tensor {
	t := r(seed, shape...)
	for i, v := range tensor.Data[float32](t) {
		tensor.Data[float32](t)[i] = v * v
	}
	return t
}

func labelsOf(rows, cols int, v ...int64) *tensor.Tensor { return tensor.FromSlice(v, rows, cols) }

func on(name string) []*ir.Attr { return []*ir.Attr{ir.A(name, ir.Int(1))} }

func ending(activation string) []*ir.Attr {
	return []*ir.Attr{ir.A("activation", ir.String(activation))}
}

func floatOut(n int) []tensor.DType {
	out := make([]tensor.DType, n)
	for i := range out {
		out[i] = tensor.Float32
	}
	return out
}

// TestORTComposites spells every composite out with nothing known of shapes,
// as far as it can be, and has ONNX Runtime compute it.
func TestORTComposites(t *testing.T) {
	ort.Available(t)
	for i, c := range composites {
		for _, ranked := range []bool{true, false} {
			name := fmt.Sprintf("%d %s ranked %t", i, c.op, ranked)
			t.Run(name, func(t *testing.T) { compositeInORT(t, c.op, c.in, c.attrs, c.out, ranked) })
		}
	}
}

func compositeInORT(t *testing.T, op string, in []*tensor.Tensor, attrs []*ir.Attr, out []tensor.DType, ranked bool) {
	g := ir.NewGraph("one")
	m := &ir.Model{IRVersion: 8, Graph: g, Opsets: []ir.Opset{{Version: ops.CanonicalOpset}, {Domain: ops.Domain, Version: 1}}}
	n := ir.NewNode(ops.Domain, op)
	n.Name, n.Attrs = "it", attrs
	feeds, byName := map[*ir.Value]*tensor.Tensor{}, map[string]*tensor.Tensor{}
	for i, x := range in {
		typ := &ir.TensorType{Elem: x.DType(), Ranked: ranked}
		for j := range x.Shape() {
			if ranked {
				typ.Dims = append(typ.Dims, ir.Symbol(fmt.Sprintf("d%d_%d", i, j)))
			}
		}
		v := g.AddInput(fmt.Sprintf("x%d", i), typ)
		n.SetInput(i, v)
		feeds[v], byName[v.Name] = x, x
	}
	for i, d := range out {
		v := g.NewValue(fmt.Sprintf("y%d", i), &ir.TensorType{Elem: d})
		n.SetOutput(i, v)
		g.Outputs = append(g.Outputs, v)
	}
	g.Append(n)
	want, err := opcheck.Run(ops.Standard(), m, feeds, g.Outputs)
	if err != nil {
		t.Fatal(err)
	}
	if err := fuse.Lower(m, ops.Standard()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "one.onnx")
	if err := onnx.Save(path, m, onnx.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	got := ort.Run(t, path, byName)
	for i, w := range want {
		testutil.Close(t, op, got[g.Outputs[i].Name], w, 1e-5, 1e-5)
	}
}
