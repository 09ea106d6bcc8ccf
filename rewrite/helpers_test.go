package rewrite_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// gb builds small graphs by hand, with chosen names.
type gb struct {
	m *ir.Model
	g *ir.Graph
}

func newModel(opset, irVersion int64) *gb {
	g := ir.NewGraph("g")
	return &gb{&ir.Model{IRVersion: irVersion, ProducerName: "test", Opsets: []ir.Opset{{Version: opset}}, Graph: g}, g}
}

func (b *gb) input(name string, d tensor.DType, dims ...ir.Dim) *ir.Value {
	return b.g.AddInput(name, ir.Tensor(d, dims...))
}

func (b *gb) init(name string, t *tensor.Tensor) *ir.Value {
	v := b.g.AddInitializer(name, ir.Dense(t))
	if b.m.IRVersion < 4 {
		v.Type = ir.TensorOf(t.DType(), t.Shape())
		b.g.Inputs = append(b.g.Inputs, v)
	}
	return v
}

func (b *gb) op(name, op, out string, in []*ir.Value, attrs ...*ir.Attr) *ir.Value {
	n := ir.NewNode("", op, in...)
	n.Name, n.Attrs = name, attrs
	v := b.g.NewValue(out, nil)
	n.SetOutput(0, v)
	b.g.Append(n)
	return v
}

func (b *gb) output(v *ir.Value, d tensor.DType, dims ...ir.Dim) {
	v.Type = ir.Tensor(d, dims...)
	b.g.Outputs = append(b.g.Outputs, v)
}

// layer is one way in which a linear layer stands in a graph.
type layer struct {
	name  string
	chain func(b *gb, w *tensor.Tensor) *ir.Value // w is as the node reads it
	dtype tensor.DType                            // of the layer, float32 where 0
	gemm  bool
	attrs []*ir.Attr
	x     tensor.Shape // without the last (transA: first) extent
}

func (l layer) flag(name string) bool {
	for _, a := range l.attrs {
		if a.Name == name {
			v, _ := a.Value.(ir.Int)
			return v == 1
		}
	}
	return false
}

func (l layer) alpha() float64 {
	for _, a := range l.attrs {
		if v, ok := a.Value.(ir.Float); ok && a.Name == "alpha" {
			return float64(v)
		}
	}
	return 1
}

func plainChain(b *gb, w *tensor.Tensor) *ir.Value { return b.init("weights", w) }

// layers are the chains and kinds that adapters are put on.
var layers = []layer{
	{name: "initializer", chain: plainChain, x: tensor.Shape{2, 3}},
	{name: "vector input", chain: plainChain, x: tensor.Shape{}},
	{name: "constant node", x: tensor.Shape{3}, chain: func(b *gb, w *tensor.Tensor) *ir.Value {
		return b.op("c", "Constant", "cv", nil, ir.A("value", ir.TensorAttr{Data: ir.Dense(w)}))
	}},
	{name: "transpose", x: tensor.Shape{2, 2}, chain: func(b *gb, w *tensor.Tensor) *ir.Value {
		return b.op("t", "Transpose", "wt", ir.In(b.init("weights", turned(w))), ir.A("perm", ir.Ints{1, 0}))
	}},
	{name: "transpose without perm, identity", x: tensor.Shape{4}, chain: func(b *gb, w *tensor.Tensor) *ir.Value {
		v := b.op("t", "Transpose", "wt", ir.In(b.init("weights", turned(w))))
		return b.op("i", "Identity", "wi", ir.In(v))
	}},
	{name: "reshape", x: tensor.Shape{2}, chain: func(b *gb, w *tensor.Tensor) *ir.Value {
		v := b.init("weights", w.Reshape(2, w.Shape()[0]/2, w.Shape()[1]))
		return b.op("r", "Reshape", "wr", ir.In(v, b.init("shape", tensor.Ints(-1, w.Shape()[1]))))
	}},
	{name: "cast", x: tensor.Shape{2}, chain: func(b *gb, w *tensor.Tensor) *ir.Value {
		h, _ := w.Cast(tensor.Float64)
		return b.op("k", "Cast", "wc", ir.In(b.init("weights", h)), ir.A("to", ir.Int(tensor.Float32)))
	}},
	{name: "float64 layer", chain: plainChain, dtype: tensor.Float64, x: tensor.Shape{3}},
	{name: "gemm", chain: plainChain, gemm: true, x: tensor.Shape{3}},
	{name: "gemm transB", chain: plainChain, gemm: true, x: tensor.Shape{3}, attrs: []*ir.Attr{ir.A("transB", ir.Int(1))}},
	{name: "gemm all", chain: plainChain, gemm: true, x: tensor.Shape{3}, attrs: []*ir.Attr{
		ir.A("transA", ir.Int(1)), ir.A("transB", ir.Int(1)), ir.A("alpha", ir.Float(0.5)), ir.A("beta", ir.Float(2))}},
	{name: "gemm transB of transpose", gemm: true, x: tensor.Shape{3}, attrs: []*ir.Attr{ir.A("transB", ir.Int(1))}, chain: func(b *gb, w *tensor.Tensor) *ir.Value {
		return b.op("t", "Transpose", "wt", ir.In(b.init("weights", turned(w))), ir.A("perm", ir.Ints{1, 0}))
	}},
}

func turned(w *tensor.Tensor) *tensor.Tensor {
	t, err := w.Transpose(1, 0)
	if err != nil {
		panic(err)
	}
	return t
}

func (l layer) type_() tensor.DType {
	if l.dtype == tensor.Undefined {
		return tensor.Float32
	}
	return l.dtype
}

// build makes x -> layer -> Relu -> y and returns the weight as (in, out) and
// the bias (nil for MatMul).
func (l layer) build(opset, irVersion int64, in, out int) (*ir.Model, *tensor.Tensor, *tensor.Tensor) {
	b := newModel(opset, irVersion)
	w, _ := testutil.Random(1, in, out).Cast(l.type_())
	seen := w
	if l.flag("transB") {
		seen = turned(w)
	}
	dims := make([]ir.Dim, len(l.x))
	for i := range dims {
		dims[i] = ir.Symbol("d" + string(rune('0'+i)))
	}
	all := append(dims, ir.Fixed(int64(in)))
	if l.flag("transA") {
		all = []ir.Dim{ir.Fixed(int64(in)), dims[0]}
	}
	x := b.input("x", l.type_(), all...)
	args := ir.In(x, l.chain(b, seen))
	op := "MatMul"
	var bias *tensor.Tensor
	if l.gemm {
		op = "Gemm"
		bias, _ = testutil.Random(2, out).Cast(l.type_())
		args = append(args, b.init("net.lin.bias", bias))
	}
	h := b.op("/net/lin/"+op, op, "h", args, l.attrs...)
	h.Type = ir.Tensor(l.type_(), append(dims[:len(dims):len(dims)], ir.Fixed(int64(out)))...)
	b.g.Annotated = append(b.g.Annotated, h)
	y := b.op("relu", "Relu", "y", ir.In(h))
	b.output(y, l.type_(), append(dims[:len(dims):len(dims)], ir.Fixed(int64(out)))...)
	b.output(h, l.type_(), append(dims[:len(dims):len(dims)], ir.Fixed(int64(out)))...)
	b.g.Outputs = b.g.Outputs[:1]
	return b.m, w, bias
}

// feed is the layer's input, and the same with rows first.
func (l layer) feed(in int) (fed, x *tensor.Tensor) {
	x, _ = testutil.Random(3, append(l.x.Clone(), in)...).Cast(l.type_())
	if l.flag("transA") {
		return turned(x), x
	}
	return x, x
}

// run computes the model's outputs.
func run(t *testing.T, m *ir.Model, feeds map[string]*tensor.Tensor) []*tensor.Tensor {
	t.Helper()
	m, err := ops.Canonical(m)
	if err != nil {
		t.Fatalf("canonical: %v", err)
	}
	p, err := runtime.Compile(m, runtime.Options{Threads: 1})
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	defer p.Close()
	s, err := p.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Run(context.Background(), feeds)
	if err != nil {
		t.Fatalf("run: %v", err)
	}
	for i := range out {
		out[i] = out[i].Clone()
	}
	return out
}

// save writes m to a file and returns its bytes.
func save(t *testing.T, m *ir.Model, name string) (path string, data []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), name)
	if err := onnx.Save(path, m, onnx.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, data
}

func load(t *testing.T, path string) *ir.Model {
	t.Helper()
	m, err := onnx.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// config is a configuration of the method on everything.
func config(m adapter.Method, rank int) adapter.Config {
	c := adapter.DefaultConfig()
	c.Method, c.Rank, c.Init, c.Seed = m, rank, adapter.InitRandom, 7
	if m == adapter.MiSSMini {
		c.MiniRank = 2
	}
	if m == adapter.LoRA {
		c.Alpha = 3
	}
	return c
}
