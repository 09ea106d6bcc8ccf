package extent_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/extent"
	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// A file of batch 2 computes for any batch what it did for two.
func TestBatchOfTwo(t *testing.T) {
	for _, seq := range []int{0, 8} {
		c := testmodel.SmallEncoder
		c.Batch, c.Seq = 2, seq
		alone := c
		alone.Batch = 1
		m := build(t, c.Model)
		if rep := dynamic(t, m); rep.Was != 2 {
			t.Errorf("was %d, want 2", rep.Was)
		}
		feeds := encoders()[0].feeds
		if seq != 0 {
			feeds = encoders()[1].feeds
		}
		for _, batch := range []int{1, 2, 5} {
			rowByRow(t, build(t, alone.Model), m, feeds(batch), batch, run)
		}
	}
}

// Stable Diffusion's UNet is often exported with a batch of two, with and
// without the text, and one time step that is repeated for both.
func TestUNetOfTwo(t *testing.T) {
	c := testmodel.SmallUNet
	c.Batch = 2
	alone := c
	alone.Batch = 1
	m := build(t, c.Model)
	if rep := dynamic(t, m); rep.Was != 2 || !slices.Equal(rep.Inputs, []string{"sample", "encoder_hidden_states"}) {
		t.Errorf("got %+v", rep)
	}
	f := feed{"sample": testutil.Random(1, 3, 4, 8, 8), "timestep": testutil.Random(2, 1), "encoder_hidden_states": testutil.Random(3, 3, 8, c.Text)}
	rowByRow(t, build(t, alone.Model), m, f, 3, run)
}

// A constant with a row for each of two samples has none for a third.
func TestRowsOfConstants(t *testing.T) {
	m, err := smallOf(2, 18, func(g graph) *ir.Value { return g.Op("Add", ir.In(g.x, g.values(1, 2, 1, 6))) })
	if err != nil {
		t.Fatal(err)
	}
	refused(t, m, "has an extent of 2 along the batch")
}

func refused(t *testing.T, m *ir.Model, want string) {
	t.Helper()
	before := marshal(t, m)
	_, err := extent.DynamicBatch(m, ops.Standard())
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want an error with %q", err, want)
	}
	if !bytes.Equal(before, marshal(t, m)) {
		t.Error("a refused model was changed")
	}
}

func marshal(t testing.TB, m *ir.Model) []byte {
	t.Helper()
	b, err := onnx.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Both branches of an If are traced, weights and shapes from around it too.
func TestBranches(t *testing.T) {
	model := func() (*ir.Model, error) {
		return small(18, func(g graph) *ir.Value {
			flag := g.Graph.AddInput("flag", ir.Tensor(tensor.Bool, ir.Fixed(1)))
			shape := g.Ints(1, 4, 2, 3)
			branch := func(name string, op string) *ir.Graph {
				b := ir.NewBuilder(ir.NewGraph(name), g.Names())
				y := b.Op("Transpose", ir.In(b.Op("Reshape", ir.In(b.Op(op, ir.In(g.x)), shape))), ir.A("perm", ir.Ints{0, 2, 1, 3}))
				y.Type = ir.Tensor(tensor.Float32, ir.Fixed(1), ir.Fixed(2), ir.Fixed(4), ir.Fixed(3))
				b.Graph.Outputs = append(b.Graph.Outputs, y)
				return b.Graph
			}
			then, otherwise := branch("then", "Tanh"), branch("else", "Neg")
			return g.Op("If", ir.In(flag), ir.A("then_branch", ir.GraphAttr{Graph: then}), ir.A("else_branch", ir.GraphAttr{Graph: otherwise}))
		})
	}
	m := build(t, model)
	rep := dynamic(t, m)
	if len(rep.Nodes) != 2 {
		t.Errorf("changed %q, want the two Reshapes", rep.Nodes)
	}
	for _, on := range []bool{true, false} {
		with := func(t testing.TB, m *ir.Model, f feed) map[string]*tensor.Tensor {
			f["flag"] = tensor.FromSlice([]bool{on}, 1)
			defer delete(f, "flag")
			return run(t, m, f)
		}
		rowByRow(t, build(t, model), m, smallFeed(3), 3, with)
	}
}

// A Loop over samples, and functions with the batch inside, are refused.
func TestRefusedGraphs(t *testing.T) {
	loop, err := small(18, func(g graph) *ir.Value {
		body := ir.NewGraph("body")
		body.AddInput("i", ir.Tensor(tensor.Int64))
		cond := body.AddInput("cond", ir.Tensor(tensor.Bool))
		b := ir.NewBuilder(body, g.Names())
		y := b.Op("Tanh", ir.In(body.AddInput("state", ir.Tensor(tensor.Float32))))
		body.Outputs = append(body.Outputs, b.Op("Identity", ir.In(cond)), y)
		return g.Op("Loop", []*ir.Value{g.Const("n", tensor.Scalar[int64](3)), nil, g.x}, ir.A("body", ir.GraphAttr{Graph: body}))
	})
	if err != nil {
		t.Fatal(err)
	}
	refused(t, loop, `"Loop" (Loop): it runs a graph over the samples, of which "x" is one`)

	old, err := small(8, func(g graph) *ir.Value { return g.Op("Concat", ir.In(g.values(1, 1, 1, 6), g.x), axisAttr(1)) })
	if err != nil {
		t.Fatal(err)
	}
	refused(t, old, "needs operator set 9")

	strange, err := small(18, func(g graph) *ir.Value { return g.Node("com.example", "Secret", ir.In(g.x), 1)[0] })
	if err != nil {
		t.Fatal(err)
	}
	strange.SetOpset("com.example", 1)
	refused(t, strange, `(com.example.Secret): it is not known to treat each sample alone`)

	inside, err := small(18, func(g graph) *ir.Value { return g.Node("local", "Heads", ir.In(g.x), 1)[0] })
	if err != nil {
		t.Fatal(err)
	}
	body := ir.NewGraph("")
	x := body.AddInput("a", nil)
	b := ir.NewBuilder(body, ir.NewNames(inside))
	body.Outputs = append(body.Outputs, b.Op("Reshape", ir.In(x, b.Op("Constant", nil, ir.A("value", ir.TensorAttr{Data: ir.Dense(tensor.Ints(1, 4, 2, 3))})))))
	inside.Functions = append(inside.Functions, &ir.Function{Domain: "local", Name: "Heads", Opsets: []ir.Opset{{Version: 18}}, Body: body})
	inside.SetOpset("local", 1)
	refused(t, inside, "a function")
}

// In files of IR version 3 initializers are inputs, new ones too.
func TestOldIR(t *testing.T) {
	model := func() (*ir.Model, error) {
		m, err := small(11, func(g graph) *ir.Value { return g.reshape(g.x, 1, 24) })
		if err != nil {
			return nil, err
		}
		m.IRVersion = 3
		for _, v := range m.Graph.Initializers {
			v.Type = ir.TensorOf(v.Data.DType(), v.Data.Shape())
			m.Graph.Inputs = append(m.Graph.Inputs, v)
		}
		return m, nil
	}
	m := build(t, model)
	dynamic(t, m)
	rowByRow(t, build(t, model), m, smallFeed(2), 2, run)
}

// Inputs whose batch is dynamic already give their symbol to the others; a
// model with none that is fixed stays as it is.
func TestPartlyDynamic(t *testing.T) {
	m, err := small(18, func(g graph) *ir.Value {
		g.Graph.Inputs[0].Type = ir.Tensor(tensor.Float32, ir.Symbol("N"), ir.Fixed(4), ir.Fixed(6))
		return g.Op("Concat", ir.In(g.x, g.reshape(g.Op("Cast", ir.In(g.ids), ir.A("to", ir.Int(1))), 1, 4, 1)), axisAttr(2))
	})
	if err != nil {
		t.Fatal(err)
	}
	if rep := dynamic(t, m); rep.Symbol != "N" || !slices.Equal(rep.Inputs, []string{"x", "ids"}) {
		t.Errorf("got %+v", rep)
	}
	before := marshal(t, m)
	rep, err := extent.DynamicBatch(m, ops.Standard())
	if err != nil || rep.Was != 0 || !bytes.Equal(before, marshal(t, m)) {
		t.Errorf("a dynamic model: %+v, %v, want no change", rep, err)
	}
}

// What the file declares of values in between follows; what it declares of
// others stays.
func TestDeclaredTypes(t *testing.T) {
	m, err := small(18, func(g graph) *ir.Value {
		h := g.reshape(g.x, 1, 4, 2, 3)
		h.Name, h.Type = "heads", ir.Tensor(tensor.Float32, ir.Fixed(1), ir.Fixed(4), ir.Fixed(2), ir.Fixed(3))
		g.Graph.Annotated = append(g.Graph.Annotated, h)
		return g.Op("ReduceSum", ir.In(h, g.Ints(2)), ir.A("keepdims", ir.Int(0)))
	})
	if err != nil {
		t.Fatal(err)
	}
	dynamic(t, m)
	idx := m.Graph.Index()
	for name, want := range map[string]string{"heads": "float32[batch 4 2 3]", "y": "float32[batch 4 3]", "x": "float32[batch 4 6]"} {
		if got := idx[name].Type.String(); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// Adapters do not stand in the way, whichever comes first.
func TestAdapted(t *testing.T) {
	for _, method := range []adapter.Method{adapter.Bone, adapter.Bat, adapter.LoRA} {
		for _, form := range []rewrite.Form{rewrite.Auto, rewrite.Weighted} {
			t.Run(method.String()+" "+form.String(), func(t *testing.T) {
				c := testmodel.SmallEncoder
				c.Batch = 1
				cfg := adapter.Config{Method: method, Rank: 4, Init: adapter.InitRandom,
					Selection: adapter.Selection{Targets: adapter.Modules{Regex: adapter.AllLinear}}}
				adapted := func() (*ir.Model, error) {
					m := build(t, c.Model)
					_, err := rewrite.Inject(m, cfg, rewrite.Options{Form: form})
					return m, err
				}
				m := build(t, adapted)
				dynamic(t, m)
				rowByRow(t, build(t, adapted), m, encoders()[0].feeds(3), 3, run)

				base := build(t, c.Model)
				dynamic(t, base)
				if err := rewrite.Strip(m); err != nil {
					t.Fatal(err)
				}
				dynamicFeeds := encoders()[0].feeds(2)
				want := run(t, base, dynamicFeeds)
				for name, got := range run(t, m, dynamicFeeds) {
					testutil.Close(t, "stripped "+name, got, want[name], 0, 0)
				}
			})
		}
	}
}

func TestFixedDims(t *testing.T) {
	c := testmodel.SmallEncoder
	c.Batch, c.Seq = 1, 8
	list := extent.FixedDims(build(t, c.Model))
	var got []string
	for _, f := range list {
		got = append(got, f.Input+" "+string(f.Kind))
		if f.Extent != map[extent.Kind]int64{extent.Batch: 1, extent.Sequence: 8}[f.Kind] || len(f.Nodes) < 9 || f.Nodes[0] != "/bert/Expand" {
			t.Errorf("got %+v", f)
		}
	}
	want := []string{"input_ids batch", "input_ids sequence", "attention_mask batch", "attention_mask sequence", "token_type_ids batch", "token_type_ids sequence"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	unet := testmodel.SmallUNet
	unet.Batch = 1
	got = nil
	for _, f := range extent.FixedDims(build(t, unet.Model)) {
		got = append(got, f.Input+" "+string(f.Kind))
	}
	if want := []string{"sample batch", "timestep batch", "encoder_hidden_states batch", "encoder_hidden_states sequence"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if list := extent.FixedDims(build(t, testmodel.SmallDecoder.Model)); len(list) != 0 {
		t.Errorf("a dynamic model: got %+v", list)
	}
}

// A model that many have: MNIST of the ONNX model zoo, opset 8, IR version 3.
func TestORTMNIST(t *testing.T) {
	m, err := onnx.Load(testutil.Shared(t, "models/structure/mnist-8.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = onnx.Close(m) })
	base := m.Clone()
	rep := dynamic(t, m)
	if !slices.Equal(rep.Nodes, []string{"Times212_reshape0"}) {
		t.Errorf("changed %q", rep.Nodes)
	}
	images := feed{"Input3": testutil.Random(1, 3, 1, 28, 28)}
	rowByRow(t, base, m, images, 3, run)
	rowByRow(t, base, m, images, 3, inORT)
}

// Quantized weights are in nobody's way; scales that are computed from a whole
// batch are.
func TestQuantized(t *testing.T) {
	c := testmodel.SmallEncoder
	c.Batch, c.Seq = 1, 8
	for how, want := range map[testmodel.Quantization]string{
		testmodel.WeightInt8: "", testmodel.BlockInt4: "", testmodel.DynamicInt8: "it mixes the samples",
	} {
		t.Run(fmt.Sprint(how), func(t *testing.T) {
			model := func() (*ir.Model, error) {
				m, err := c.Model()
				if err != nil {
					return nil, err
				}
				return testmodel.Quantize(m, how)
			}
			m := build(t, model)
			if want != "" {
				refused(t, m, want)
				return
			}
			dynamic(t, m)
			rowByRow(t, build(t, model), m, encoders()[1].feeds(3), 3, run)
		})
	}
}
