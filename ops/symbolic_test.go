package ops_test

import (
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// shapeGraph builds on an input x of shape (batch, seq, 64).
type shapeGraph struct {
	t *testing.T
	*ops.Builder
	m *ir.Model
	x *ir.Value
}

func newShapeGraph(t *testing.T) *shapeGraph {
	t.Helper()
	g := ir.NewGraph("g")
	m := &ir.Model{IRVersion: 8, Opsets: []ir.Opset{{Version: ops.CanonicalOpset}, {Domain: ops.Domain, Version: 1}}, Graph: g}
	x := g.AddInput("x", ir.Tensor(tensor.Float32, ir.Symbol("batch"), ir.Symbol("seq"), ir.Fixed(64)))
	an, err := ops.Standard().Analyze(m, ops.AnalyzeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &shapeGraph{t, ops.NewBuilder(an, g, ir.NewNames(m)), m, x}
}

// dim is extent i of x by Shape, Gather, Unsqueeze, as exporters write it.
func (g *shapeGraph) dim(i int) *ir.Value {
	at := g.Const("i", tensor.Scalar(int64(i)))
	return g.Unsqueeze(g.Op("Gather", ir.In(g.Op("Shape", ir.In(g.x)), at), num("axis", 0)), 0)
}

func (g *shapeGraph) concat(v ...*ir.Value) *ir.Value { return g.Op("Concat", v, num("axis", 0)) }

// TestShapesFollow holds the patterns in which exporters compute shapes
// against what inference must make of them, and against a run.
func TestShapesFollow(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func(g *shapeGraph) *ir.Value
		want  string
	}{
		{"heads", func(g *shapeGraph) *ir.Value {
			return g.Reshape(g.x, g.concat(g.dim(0), g.dim(1), g.Ints(4), g.Ints(16)))
		}, "float32[batch seq 4 16]"},
		{"-1 for the sequence", func(g *shapeGraph) *ir.Value {
			return g.Reshape(g.x, g.concat(g.dim(0), g.Ints(-1, 8, 8)))
		}, "float32[batch seq 8 8]"},
		{"rows and back", func(g *shapeGraph) *ir.Value {
			return g.Reshape(g.ReshapeTo(g.x, -1, 64), g.Op("Shape", ir.In(g.x)))
		}, "float32[batch seq 64]"},
		{"rows", func(g *shapeGraph) *ir.Value { return g.ReshapeTo(g.x, -1, 32) }, "float32[((batch*seq)*2) 32]"},
		{"slice of a shape", func(g *shapeGraph) *ir.Value {
			s := g.Op("Slice", ir.In(g.Op("Shape", ir.In(g.x)), g.Ints(0), g.Ints(2), g.Ints(0)))
			return g.Op("ConstantOfShape", ir.In(s))
		}, "float32[batch seq]"},
		{"cast of a shape", func(g *shapeGraph) *ir.Value {
			s := g.Cast(g.Cast(g.Op("Shape", ir.In(g.x)), tensor.Int32), tensor.Int64)
			return g.Op("Expand", ir.In(g.Const("c", tensor.Scalar(float32(1))), s))
		}, "float32[batch seq 64]"},
		{"expand with -1 replaced", func(g *shapeGraph) *ir.Value {
			s := g.concat(g.dim(0), g.Ints(-1), g.Ints(64))
			ones := g.Op("ConstantOfShape", ir.In(g.Op("Shape", ir.In(s))), ir.A("value", ir.TensorAttr{Data: ir.Dense(tensor.Ints(1))}))
			s = g.Op("Where", ir.In(g.Op("Equal", ir.In(s, g.Ints(-1))), ones, s))
			return g.Op("Expand", ir.In(g.Const("row", tensor.New(tensor.Float32, 1, 64)), s))
		}, "float32[batch 1 64]"},
		{"positions", func(g *shapeGraph) *ir.Value {
			zero, one := g.Const("c", tensor.Scalar(int64(0))), g.Const("c", tensor.Scalar(int64(1)))
			return g.Op("Range", ir.In(zero, g.Op("Squeeze", ir.In(g.dim(1), g.Ints(0))), one))
		}, "int64[seq]"},
		{"mask cut to the sequence", func(g *shapeGraph) *ir.Value {
			return g.Op("Slice", ir.In(g.x, g.Ints(0), g.dim(1), g.Ints(1)))
		}, "float32[batch seq 64]"},
		{"table cut to the sequence", func(g *shapeGraph) *ir.Value {
			table := g.Const("table", tensor.New(tensor.Float32, 99, 64))
			return g.Add(g.x, g.Op("Slice", ir.In(table, g.Ints(0), g.dim(1), g.Ints(0))))
		}, "float32[batch seq 64]"},
		{"last token", func(g *shapeGraph) *ir.Value {
			return g.Op("Gather", ir.In(g.x, g.Const("i", tensor.Scalar(int64(-1)))), num("axis", 1))
		}, "float32[batch 64]"},
		{"split of a shape", func(g *shapeGraph) *ir.Value {
			p := g.Builder.Node("", "Split", ir.In(g.Op("Shape", ir.In(g.x))), 3, num("num_outputs", 3))
			return g.Op("ConstantOfShape", ir.In(g.concat(p[1], p[0])))
		}, "float32[seq batch]"},
		{"halves", func(g *shapeGraph) *ir.Value {
			p := g.Builder.Node("", "Split", ir.In(g.x), 2, num("axis", -1), num("num_outputs", 2))
			return g.Op("Concat", ir.In(p[1], p[0]), num("axis", -1))
		}, "float32[batch seq 64]"},
	} {
		g := newShapeGraph(t)
		y := c.build(g)
		if err := g.Err(); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := g.Fact(y).String(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		out, err := opcheck.Run(ops.Standard(), g.m, map[*ir.Value]*tensor.Tensor{g.x: tensor.New(tensor.Float32, 2, 3, 64)}, []*ir.Value{y})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if f := g.Fact(y); f.Rank() != out[0].Rank() || f.DType != out[0].DType() {
			t.Errorf("%s: inferred %v, ran to %v", c.name, f, out[0])
		}
	}
}

// TestExportersShapesFollow counts, in models that exporters wrote, the values
// of which inference knows no rank, or not every extent.
func TestExportersShapesFollow(t *testing.T) {
	for name, open := range map[string]int{
		"stories260k/stories260K_op14.onnx":           0,
		"stories260k/stories260K_op17.onnx":           0,
		"babyllama/babyllama_op17.onnx":               0,
		"structure/dummy_transformer.onnx":            0,
		"structure/mnist-8.onnx":                      0,
		"structure/optimum_tiny_classifier_op11.onnx": 0,
		"structure/random_encoder.onnx":               0,
		"structure/random_decoder.onnx":               4, // it adds (batch,t,s) and (1,batch,s)
	} {
		m, err := onnx.Load(testutil.Shared(t, "models/"+name))
		if err != nil {
			t.Fatal(err)
		}
		defer onnx.Close(m)
		c, err := ops.Canonical(m)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		an, err := ops.Standard().Analyze(c, ops.AnalyzeOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := 0
		for n := range c.Graph.Nodes() {
			if f := an.Fact(n.Output(0)); !f.Ranked || strings.Contains(f.String(), "?") {
				got++
			}
		}
		if got != open {
			t.Errorf("%s: %d values are not known, want %d", name, got, open)
		}
	}
}
