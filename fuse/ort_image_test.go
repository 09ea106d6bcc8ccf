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

// imageNode is one use of an operator on images, float32. Gradients flow to
// all of its inputs but those that are constant.
type imageNode struct {
	op     string
	opset  int64 // 0: the canonical one
	in     []*tensor.Tensor
	attrs  []*ir.Attr
	consts []int
}

func list(name string, v ...int64) *ir.Attr  { return ir.A(name, ir.Ints(v)) }
func word(name, v string) *ir.Attr           { return ir.A(name, ir.String(v)) }
func number(name string, v float64) *ir.Attr { return ir.A(name, ir.Float(v)) }

func imageNodes() []imageNode {
	x := r(1, 2, 4, 6, 5)
	scale, bias := positive(2, 4), r(3, 4)
	return []imageNode{
		{op: "Conv", in: in(x, r(2, 6, 4, 3, 3), r(3, 6))},
		{op: "Conv", in: in(x, r(2, 6, 2, 3, 2), r(3, 6)), attrs: []*ir.Attr{list("strides", 2, 3), list("pads", 1, 0, 2, 1), list("dilations", 1, 2), ir.A("group", ir.Int(2))}},
		{op: "Conv", in: in(x, r(2, 4, 1, 3, 3)), attrs: []*ir.Attr{word("auto_pad", "SAME_UPPER"), list("strides", 2, 2), ir.A("group", ir.Int(4))}},
		{op: "Conv", in: in(r(1, 2, 3, 7), r(2, 2, 3, 2)), attrs: []*ir.Attr{word("auto_pad", "SAME_LOWER")}},
		{op: "Conv", in: in(r(1, 1, 2, 3, 4, 3), r(2, 2, 2, 2, 2, 2)), attrs: []*ir.Attr{list("strides", 1, 2, 1)}},
		{op: "ConvTranspose", in: in(x, r(2, 4, 3, 3, 3), r(3, 3)), attrs: []*ir.Attr{list("strides", 2, 2), list("pads", 1, 1, 0, 1), list("output_padding", 1, 0)}},
		{op: "ConvTranspose", in: in(x, r(2, 4, 1, 3, 2), r(3, 2)), attrs: []*ir.Attr{word("auto_pad", "SAME_UPPER"), list("strides", 2, 2), ir.A("group", ir.Int(2))}},
		{op: "MaxPool", in: in(x), attrs: []*ir.Attr{list("kernel_shape", 3, 2), list("strides", 2, 1), list("pads", 1, 0, 1, 1)}},
		{op: "MaxPool", in: in(x), attrs: []*ir.Attr{list("kernel_shape", 2, 2), list("strides", 2, 2), ir.A("ceil_mode", ir.Int(1))}},
		{op: "AveragePool", in: in(x), attrs: []*ir.Attr{list("kernel_shape", 3, 2), list("strides", 2, 1), list("pads", 1, 0, 1, 1)}},
		{op: "AveragePool", in: in(x), attrs: []*ir.Attr{list("kernel_shape", 3, 2), list("pads", 1, 0, 1, 1), ir.A("count_include_pad", ir.Int(1))}},
		{op: "AveragePool", in: in(x), attrs: []*ir.Attr{list("kernel_shape", 2, 2), list("strides", 2, 2), ir.A("ceil_mode", ir.Int(1))}},
		{op: "AveragePool", in: in(x), attrs: []*ir.Attr{list("kernel_shape", 3, 3), list("strides", 2, 2), list("pads", 1, 1, 1, 1), ir.A("ceil_mode", ir.Int(1)), ir.A("count_include_pad", ir.Int(1))}},
		{op: "GlobalAveragePool", in: in(x)},
		{op: "GlobalMaxPool", in: in(x)},
		{op: "BatchNormalization", in: in(x, scale, bias, r(4, 4), positive(5, 4))},
		{op: "InstanceNormalization", in: in(x, scale, bias)},
		{op: "GroupNormalization", in: in(x, positive(2, 2), r(3, 2)), attrs: []*ir.Attr{ir.A("num_groups", ir.Int(2))}},
		{op: "GroupNormalization", opset: 21, in: in(x, scale, bias), attrs: []*ir.Attr{ir.A("num_groups", ir.Int(2))}},
		{op: "LpNormalization", in: in(x), attrs: []*ir.Attr{ir.A("axis", ir.Int(1)), ir.A("p", ir.Int(1))}},
		{op: "LpNormalization", in: in(x)},
		{op: "LRN", in: in(x), attrs: []*ir.Attr{ir.A("size", ir.Int(3)), number("alpha", 0.5)}},
		{op: "Resize", in: in(x, nil, tensor.FromSlice([]float32{1, 1, 2, 3}, 4)), consts: []int{2}},
		{op: "Resize", in: in(x, nil, tensor.FromSlice([]float32{1, 1, 1.5, 0.6}, 4)), attrs: []*ir.Attr{word("mode", "linear")}, consts: []int{2}},
		{op: "Resize", in: in(x, nil, nil, tensor.Ints(2, 4, 9, 4)), attrs: []*ir.Attr{word("mode", "linear"), word("coordinate_transformation_mode", "align_corners")}, consts: []int{3}},
		{op: "Resize", in: in(x, nil, nil, tensor.Ints(2, 4, 9, 4)), attrs: []*ir.Attr{word("mode", "cubic")}, consts: []int{3}},
	}
}

// TestORTImages compares operators on images and their gradients, spelled out
// in standard operators, with ONNX Runtime.
func TestORTImages(t *testing.T) {
	ort.Available(t)
	for i, n := range imageNodes() {
		t.Run(fmt.Sprint(i, " ", n.op), func(t *testing.T) { n.inORT(t) })
	}
}

func (c *imageNode) inORT(t *testing.T) {
	g := ir.NewGraph("one")
	opset := max(c.opset, ops.CanonicalOpset)
	m := &ir.Model{IRVersion: 8, Graph: g, Opsets: []ir.Opset{{Version: opset}, {Domain: ops.Domain, Version: 1}}}
	n := ir.NewNode("", c.op)
	n.Name, n.Attrs = "it", c.attrs
	feeds, byName := map[*ir.Value]*tensor.Tensor{}, map[string]*tensor.Tensor{}
	needs := make([]bool, len(c.in))
	input := func(name string, x *tensor.Tensor) *ir.Value {
		typ := &ir.TensorType{Elem: x.DType(), Ranked: true}
		for _, d := range x.Shape() {
			typ.Dims = append(typ.Dims, ir.Fixed(int64(d)))
		}
		v := g.AddInput(name, typ)
		feeds[v], byName[name] = x, x
		return v
	}
	for i, x := range c.in {
		isConst := false
		for _, k := range c.consts {
			isConst = isConst || k == i
		}
		switch {
		case x == nil:
			n.SetInput(i, nil)
		case isConst:
			n.SetInput(i, g.AddInitializer(fmt.Sprintf("c%d", i), ir.Dense(x)))
		default:
			n.SetInput(i, input(fmt.Sprintf("x%d", i), x))
			needs[i] = true
		}
	}
	y := g.NewValue("y", nil)
	n.SetOutput(0, y)
	g.Append(n)
	an, err := ops.Standard().Analyze(m, ops.AnalyzeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	shape, ok := an.Fact(y).Shape()
	if !ok {
		t.Fatalf("result is %v", an.Fact(y))
	}
	dy := input("dy", r(9, shape...))
	an.Set(dy, an.Fact(y).WithoutValue())
	gb := ops.NewGradBuilder(ops.NewBuilder(an, g, ir.NewNames(m)), n, []*ir.Value{dy}, needs)
	if err := an.Op(n).(ops.Differentiable).Grad(gb); err != nil {
		t.Fatal(err)
	}
	if err := gb.Err(); err != nil {
		t.Fatal(err)
	}
	g.Outputs = []*ir.Value{y}
	for i, v := range gb.Results() {
		if needs[i] {
			v.Type = an.Fact(v).Type()
			g.Outputs = append(g.Outputs, v)
		}
	}
	y.Type = an.Fact(y).Type()
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
		testutil.Close(t, fmt.Sprintf("%s, output %d", c.op, i), got[g.Outputs[i].Name], w, 2e-5, 2e-5)
	}
}
