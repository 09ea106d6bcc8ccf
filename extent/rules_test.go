package extent_test

import (
	"strings"
	"testing"

	"github.com/bonnx/bonnx/extent"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// graph is a small model on x float32 (1,4,6) and ids int64 (1,4).
type graph struct {
	*ir.Builder
	x, ids *ir.Value
}

func small(opset int64, build func(g graph) *ir.Value) (*ir.Model, error) {
	return smallOf(1, opset, build)
}

// smallOf is small with another batch.
func smallOf(batch, opset int64, build func(g graph) *ir.Value) (*ir.Model, error) {
	m := &ir.Model{IRVersion: 8, Graph: ir.NewGraph("small")}
	m.SetOpset("", opset)
	x := m.Graph.AddInput("x", ir.Tensor(tensor.Float32, ir.Fixed(batch), ir.Fixed(4), ir.Fixed(6)))
	ids := m.Graph.AddInput("ids", ir.Tensor(tensor.Int64, ir.Fixed(batch), ir.Fixed(4)))
	g := graph{ir.NewBuilder(m.Graph, ir.NewNames(m)), x, ids}
	y := build(g)
	y.Name, y.Type = "y", &ir.TensorType{Elem: tensor.Float32}
	m.Graph.Outputs = append(m.Graph.Outputs, y)
	return m, g.Err()
}

func smallFeed(batch int) feed {
	return feed{"x": testutil.Random(1, batch, 4, 6), "ids": testutil.RandomInts(2, 0, 4, batch, 4)}
}

func (g graph) values(seed uint64, shape ...int) *ir.Value {
	return g.Const("w", testutil.Random(seed, shape...))
}

func (g graph) reshape(x *ir.Value, shape ...int) *ir.Value {
	return g.Op("Reshape", ir.In(x, g.Ints(shape...)))
}

func (g graph) transpose(x *ir.Value, perm ...int64) *ir.Value {
	return g.Op("Transpose", ir.In(x), ir.A("perm", ir.Ints(perm)))
}

// largest are indices (1,2): a sample, and where its id is largest.
func (g graph) largest(sample int64) *ir.Value {
	at := g.Op("ArgMax", ir.In(g.ids), axisAttr(1))
	return g.Op("Concat", ir.In(g.Const("rows", tensor.FromSlice([]int64{sample}, 1, 1)), at), axisAttr(-1))
}

func axisAttr(i int64) *ir.Attr { return ir.A("axis", ir.Int(i)) }

// ruleCases are graphs that treat each sample alone (refused is empty), or do
// not, or cannot be told.
var ruleCases = []struct {
	name    string
	build   func(g graph) *ir.Value
	refused string
}{
	{"broadcast with a constant", func(g graph) *ir.Value { return g.Op("Mul", ir.In(g.x, g.values(1, 1, 4, 1))) }, ""},
	{"broadcast of a sample without its batch axis", func(g graph) *ir.Value {
		return g.Op("Add", ir.In(g.x, g.reshape(g.x, 4, 6)))
	}, "along different axes"},
	{"outer sum of samples", func(g graph) *ir.Value {
		a := g.Op("ReduceSum", ir.In(g.x, g.Ints(1, 2)), ir.A("keepdims", ir.Int(0)))
		return g.Op("Add", ir.In(g.Op("Unsqueeze", ir.In(a, g.Ints(1))), a))
	}, "along different axes"},
	{"where", func(g graph) *ir.Value {
		c := g.Op("Greater", ir.In(g.x, g.values(1)))
		return g.Op("Where", ir.In(c, g.x, g.values(2, 6)))
	}, ""},

	{"softmax over features", func(g graph) *ir.Value { return g.Op("Softmax", ir.In(g.x), axisAttr(-1)) }, ""},
	{"softmax over the batch", func(g graph) *ir.Value { return g.Op("Softmax", ir.In(g.x), axisAttr(0)) }, "mixes the samples"},
	{"mean over features", func(g graph) *ir.Value {
		return g.Op("ReduceMean", ir.In(g.x, g.Ints(-1)), ir.A("keepdims", ir.Int(0)))
	}, ""},
	{"mean over the batch", func(g graph) *ir.Value {
		return g.Op("Sub", ir.In(g.x, g.Op("ReduceMean", ir.In(g.x, g.Ints(0)))))
	}, "mixes the samples"},
	{"sum of everything", func(g graph) *ir.Value { return g.Op("ReduceSum", ir.In(g.x)) }, "mixes the samples"},
	{"cumulative sum", func(g graph) *ir.Value { return g.Op("CumSum", ir.In(g.x, g.Const("axis", tensor.Scalar[int64](1)))) }, ""},
	{"cumulative sum over the batch", func(g graph) *ir.Value {
		return g.Op("CumSum", ir.In(g.x, g.Const("axis", tensor.Scalar[int64](0))))
	}, "mixes the samples"},
	{"layer norm", func(g graph) *ir.Value { return g.Op("LayerNormalization", ir.In(g.x, g.values(1, 6)), axisAttr(-1)) }, ""},
	{"layer norm over everything", func(g graph) *ir.Value {
		return g.Op("LayerNormalization", ir.In(g.x, g.values(1, 1, 4, 6)), axisAttr(0))
	}, "mixes the samples"},
	{"largest of the batch", func(g graph) *ir.Value {
		return g.Op("Cast", ir.In(g.Op("ArgMax", ir.In(g.x), axisAttr(0))), ir.A("to", ir.Int(1)))
	}, "mixes the samples"},

	{"product with a weight", func(g graph) *ir.Value { return g.Op("MatMul", ir.In(g.x, g.values(1, 6, 3))) }, ""},
	{"product within samples", func(g graph) *ir.Value { return g.Op("MatMul", ir.In(g.x, g.transpose(g.x, 0, 2, 1))) }, ""},
	{"product across samples", func(g graph) *ir.Value {
		a := g.reshape(g.x, 1, 24)
		return g.Op("MatMul", ir.In(a, g.transpose(a, 1, 0)))
	}, "mixes the samples"},
	{"batch along the columns", func(g graph) *ir.Value {
		a := g.transpose(g.reshape(g.x, 1, 24), 1, 0)
		return g.transpose(g.Op("MatMul", ir.In(g.values(1, 5, 24), a)), 1, 0)
	}, ""},
	{"sum over the batch as a product", func(g graph) *ir.Value {
		return g.Op("MatMul", ir.In(g.transpose(g.x, 1, 2, 0), g.values(1, 1, 1)))
	}, "mixes the samples"},
	{"gemm of all positions", func(g graph) *ir.Value {
		return g.reshape(g.Op("Gemm", ir.In(g.reshape(g.x, -1, 6), g.values(1, 6, 3), g.values(2, 3))), 1, 4, 3)
	}, ""},
	{"gemm with a row for each position", func(g graph) *ir.Value {
		return g.reshape(g.Op("Gemm", ir.In(g.reshape(g.x, 4, 6), g.values(1, 6, 3), g.values(2, 4, 3))), 1, 4, 3)
	}, "its bias has rows"},
	{"gemm over the batch", func(g graph) *ir.Value {
		return g.Op("Gemm", ir.In(g.reshape(g.x, 1, 24), g.values(1, 1, 3)), ir.A("transA", ir.Int(1)))
	}, "mixes the samples"},
	{"einsum", func(g graph) *ir.Value {
		return g.Op("Einsum", ir.In(g.x, g.values(1, 6, 3)), ir.A("equation", ir.String("btc,cd->btd")))
	}, ""},
	{"einsum over the batch", func(g graph) *ir.Value {
		return g.Op("Einsum", ir.In(g.x, g.x), ir.A("equation", ir.String("btc,btd->tcd")))
	}, "mixes the samples"},

	{"heads", func(g graph) *ir.Value { return g.transpose(g.reshape(g.x, 1, 4, 2, 3), 0, 2, 1, 3) }, ""},
	{"heads joined to the batch", func(g graph) *ir.Value {
		return g.reshape(g.reshape(g.transpose(g.reshape(g.x, 1, -1, 2, 3), 0, 2, 1, 3), 2, 4, 3), 1, 2, 4, 3)
	}, ""},
	{"time first", func(g graph) *ir.Value {
		y := g.reshape(g.transpose(g.x, 1, 0, 2), 4, 2, 3) // (T,B*H,D)
		y = g.reshape(g.Op("Tanh", ir.In(g.transpose(y, 1, 0, 2))), 1, 2, 4, 3)
		return g.reshape(g.transpose(y, 0, 2, 1, 3), 1, 4, 6)
	}, ""},
	{"the batch within features", func(g graph) *ir.Value { return g.reshape(g.transpose(g.x, 1, 0, 2), 1, 24) }, "no axis begins where the samples do"},
	{"the batch is dropped", func(g graph) *ir.Value { return g.Op("Squeeze", ir.In(g.x, g.Ints(0))) }, "mixes the samples"},
	{"every axis of one is dropped", func(g graph) *ir.Value { return g.Op("Squeeze", ir.In(g.x)) }, "the batch with them"},
	{"flatten", func(g graph) *ir.Value { return g.Op("Flatten", ir.In(g.x), axisAttr(1)) }, ""},
	{"flatten to a row", func(g graph) *ir.Value { return g.Op("Flatten", ir.In(g.x), axisAttr(0)) }, "its first axis is not the batch"},

	{"a shape by Shape", func(g graph) *ir.Value {
		flat := g.reshape(g.x, -1, 6)
		return g.Op("Reshape", ir.In(g.Op("Tanh", ir.In(flat)), g.Op("Shape", ir.In(g.x))))
	}, ""},
	{"expand to the batch", func(g graph) *ir.Value {
		return g.Op("Add", ir.In(g.x, g.Op("Expand", ir.In(g.values(1, 1, 1, 6), g.Op("Shape", ir.In(g.x))))))
	}, ""},
	{"expand a sample", func(g graph) *ir.Value {
		return g.Op("Expand", ir.In(g.Op("Unsqueeze", ir.In(g.x, g.Ints(1))), g.Ints(1, 3, 4, 6)))
	}, ""},
	{"zeros for each sample", func(g graph) *ir.Value {
		return g.Op("Concat", ir.In(g.Op("ConstantOfShape", ir.In(g.Op("Shape", ir.In(g.x)))), g.x), axisAttr(1))
	}, ""},
	{"a token before each sequence", func(g graph) *ir.Value { return g.Op("Concat", ir.In(g.values(1, 1, 1, 6), g.x), axisAttr(1)) }, ""},
	{"concat along the batch", func(g graph) *ir.Value { return g.Op("Concat", ir.In(g.x, g.x), axisAttr(0)) }, "mixes the samples"},
	{"the number of samples as a factor", func(g graph) *ir.Value {
		n := g.Op("Gather", ir.In(g.Op("Shape", ir.In(g.x)), g.Const("i", tensor.Scalar[int64](0))))
		return g.Op("Mul", ir.In(g.x, g.Op("Cast", ir.In(n), ir.A("to", ir.Int(1)))))
	}, "depends on the number of samples"},
	{"positions along the batch", func(g graph) *ir.Value {
		n := g.Op("Gather", ir.In(g.Op("Shape", ir.In(g.x)), g.Const("i", tensor.Scalar[int64](0))))
		zero, one := g.Const("zero", tensor.Scalar[int64](0)), g.Const("one", tensor.Scalar[int64](1))
		r := g.Op("Cast", ir.In(g.Op("Range", ir.In(zero, n, one))), ir.A("to", ir.Int(1)))
		return g.Op("Add", ir.In(g.x, g.reshape(r, -1, 1, 1)))
	}, "depends on the number of samples"},

	{"first position", func(g graph) *ir.Value {
		return g.Op("Gather", ir.In(g.x, g.Const("i", tensor.Scalar[int64](0))), axisAttr(1))
	}, ""},
	{"first sample", func(g graph) *ir.Value {
		return g.Op("Add", ir.In(g.x, g.Op("Gather", ir.In(g.x, g.Ints(0)), axisAttr(0))))
	}, "picks samples"},
	{"embedding", func(g graph) *ir.Value { return g.Op("Gather", ir.In(g.values(1, 4, 5), g.ids)) }, ""},
	{"lookup by element", func(g graph) *ir.Value {
		i := g.Op("Expand", ir.In(g.Op("Unsqueeze", ir.In(g.ids, g.Ints(2))), g.Ints(1, 4, 6)))
		return g.Op("GatherElements", ir.In(g.x, i), axisAttr(1))
	}, ""},
	{"lookup by element of the batch", func(g graph) *ir.Value {
		i := g.Const("i", tensor.New(tensor.Int64, 1, 4, 6))
		return g.Op("GatherElements", ir.In(g.x, i), axisAttr(0))
	}, "not both of the samples"},
	{"the state at the largest id", func(g graph) *ir.Value { return g.Op("GatherND", ir.In(g.x, g.largest(0))) }, ""},
	{"the state at the largest id, of another sample", func(g graph) *ir.Value {
		two := g.Op("Tile", ir.In(g.x, g.Ints(1, 2, 1)))
		return g.Op("GatherND", ir.In(g.reshape(two, 2, 4, 6), g.largest(1)))
	}, "mixes the samples"},
	{"the state at the largest id, of half a sample", func(g graph) *ir.Value {
		return g.Op("GatherND", ir.In(g.reshape(g.x, 2, 2, 6), g.largest(0)))
	}, "mixes the samples"},
	{"slice", func(g graph) *ir.Value { return g.Op("Slice", ir.In(g.x, g.Ints(1), g.Ints(3), g.Ints(1))) }, ""},
	{"slice of all samples", func(g graph) *ir.Value { return g.Op("Slice", ir.In(g.x, g.Ints(0, 0), g.Ints(1, 2), g.Ints(0, 1))) }, ""},
	{"slice to the number of samples", func(g graph) *ir.Value {
		n := g.Op("Gather", ir.In(g.Op("Shape", ir.In(g.ids)), g.Ints(0)))
		return g.Op("Slice", ir.In(g.x, g.Ints(0), n, g.Ints(0)))
	}, ""},
	{"table cut to the number of samples", func(g graph) *ir.Value {
		n := g.Op("Gather", ir.In(g.Op("Shape", ir.In(g.ids)), g.Ints(0)))
		return g.Op("Add", ir.In(g.x, g.Op("Slice", ir.In(g.values(1, 9, 1, 1), g.Ints(0), n, g.Ints(0)))))
	}, "depends on the number of samples"},
	{"slice backwards", func(g graph) *ir.Value {
		return g.Op("Slice", ir.In(g.x, g.Ints(-1), g.Ints(-1<<40), g.Ints(0), g.Ints(-1)))
	}, "some of the samples"},
	{"split", func(g graph) *ir.Value {
		parts := g.Node("", "Split", ir.In(g.x, g.Ints(2, 4)), 2, axisAttr(2))
		return parts[1]
	}, ""},
	{"tile", func(g graph) *ir.Value { return g.Op("Tile", ir.In(g.x, g.Ints(1, 2, 1))) }, ""},
	{"tile the batch", func(g graph) *ir.Value { return g.Op("Tile", ir.In(g.x, g.Ints(2, 1, 1))) }, "repeats the samples"},
	{"pad", func(g graph) *ir.Value { return g.Op("Pad", ir.In(g.x, g.Ints(0, 1, 0, 0, 0, 2))) }, ""},
	{"pad the batch", func(g graph) *ir.Value { return g.Op("Pad", ir.In(g.x, g.Ints(1, 0, 0, 0, 0, 0))) }, "mixes the samples"},
	{"triangle", func(g graph) *ir.Value { return g.Op("Trilu", ir.In(g.x)) }, ""},
	{"one hot", func(g graph) *ir.Value {
		return g.Op("OneHot", ir.In(g.ids, g.Const("n", tensor.Scalar[int64](4)), g.Const("v", tensor.FromSlice([]float32{0, 1}, 2))))
	}, ""},

	{"convolution", func(g graph) *ir.Value {
		return g.Op("Conv", ir.In(g.x, g.values(1, 3, 4, 2)))
	}, ""},
	{"convolution over the batch", func(g graph) *ir.Value {
		return g.Op("Conv", ir.In(g.transpose(g.x, 1, 0, 2), g.values(1, 3, 1, 2)))
	}, "mixes the samples"},
	{"max pool", func(g graph) *ir.Value {
		return g.Op("MaxPool", ir.In(g.x), ir.A("kernel_shape", ir.Ints{2}))
	}, ""},
	{"indices of max pool", func(g graph) *ir.Value {
		out := g.Node("", "MaxPool", ir.In(g.x), 2, ir.A("kernel_shape", ir.Ints{2}))
		return g.Op("Cast", ir.In(out[1]), ir.A("to", ir.Int(1)))
	}, "count through all samples"},
	{"resize by sizes", func(g graph) *ir.Value {
		return g.Op("Resize", []*ir.Value{g.x, nil, nil, g.Ints(1, 4, 12)})
	}, ""},
	{"resize by scales", func(g graph) *ir.Value {
		return g.Op("Resize", []*ir.Value{g.x, nil, g.Const("scales", tensor.FromSlice([]float32{1, 1, 2}, 3))})
	}, ""},
	{"product of integers", func(g graph) *ir.Value {
		x := g.Op("Cast", ir.In(g.x), ir.A("to", ir.Int(3)))
		w := g.Const("w", tensor.FromSlice([]int8{1, 2, 3, 4, 5, 6}, 6, 1))
		return g.Op("Cast", ir.In(g.Op("MatMulInteger", ir.In(x, w))), ir.A("to", ir.Int(1)))
	}, ""},
	{"dynamic quantization", func(g graph) *ir.Value {
		q := g.Node("", "DynamicQuantizeLinear", ir.In(g.x), 3)
		return g.Op("DequantizeLinear", ir.In(q...))
	}, "mixes the samples"},
	{"quantization", func(g graph) *ir.Value {
		scale, zero := g.Const("scale", tensor.Scalar[float32](0.01)), g.Const("zero", tensor.Scalar[int8](3))
		return g.Op("DequantizeLinear", ir.In(g.Op("QuantizeLinear", ir.In(g.x, scale, zero)), scale, zero))
	}, ""},
	{"batch norm in training", func(g graph) *ir.Value {
		v := g.Const("var", tensor.FromSlice([]float32{1, 2, 3, 4}, 4))
		return g.Node("", "BatchNormalization", ir.In(g.x, v, v, v, v), 3, ir.A("training_mode", ir.Int(1)))[0]
	}, "mixes the samples"},
	{"resize of the batch", func(g graph) *ir.Value {
		return g.Op("Resize", []*ir.Value{g.x, nil, g.Const("scales", tensor.FromSlice([]float32{2, 1, 1}, 3))})
	}, "mixes the samples"},
	{"batch norm", func(g graph) *ir.Value {
		v := g.Const("var", tensor.FromSlice([]float32{1, 2, 3, 4}, 4))
		return g.Op("BatchNormalization", ir.In(g.x, v, v, v, v))
	}, ""},
	{"indices of what is not zero", func(g graph) *ir.Value {
		return g.Op("Cast", ir.In(g.Op("NonZero", ir.In(g.x))), ir.A("to", ir.Int(1)))
	}, "not known to treat each sample alone"},
	{"no batch at all", func(g graph) *ir.Value { return g.Op("Tanh", ir.In(g.values(1, 1, 2))) }, "does not depend on the inputs"},
}

func TestRules(t *testing.T) {
	for _, c := range ruleCases {
		t.Run(c.name, func(t *testing.T) {
			model := func() (*ir.Model, error) { return small(18, c.build) }
			m := build(t, model)
			before := build(t, model)
			_, err := extent.DynamicBatch(m, ops.Standard())
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), c.refused) {
					t.Fatalf("got %v, want an error with %q", err, c.refused)
				}
				if m.Graph.Len() != before.Graph.Len() || m.Graph.Inputs[0].TensorType().Dims[0] != ir.Fixed(1) {
					t.Error("a refused model was changed")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, batch := range []int{1, 2, 3} {
				rowByRow(t, before, m, smallFeed(batch), batch, run)
			}
		})
	}
}
