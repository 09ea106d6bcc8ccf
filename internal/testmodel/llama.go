// Package testmodel builds small models from nothing, for tests and for the
// demonstration: their graphs look like what exporters write, and they need no
// file from elsewhere.
package testmodel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Llama is a decoder-only language model: token embedding, blocks of rotary
// self-attention and gated feed-forward with RMS norms before each, a last
// norm and a head of its own. Input input_ids int64 (batch, seq), output
// logits float32 (batch, seq, Vocab).
type Llama struct {
	Vocab   int
	Dim     int // divisible by 2*Heads
	Heads   int
	Hidden  int // of the feed-forward
	Layers  int
	Context int    // the longest sequence
	Opset   int64  // 13 or newer; 0 is 17
	Seed    uint64 // of the weights
}

// Tiny is small enough for any test: 2 layers, 5,700 parameters.
var Tiny = Llama{Vocab: 40, Dim: 16, Heads: 2, Hidden: 24, Layers: 2, Context: 32}

// Demo is the model of `make demo`: bytes in, bytes out, 381,600 parameters.
var Demo = Llama{Vocab: 256, Dim: 96, Heads: 6, Hidden: 256, Layers: 3, Context: 256, Seed: 1}

// Model builds the graph with random weights, scaled so that training starts well.
func (c Llama) Model() (*ir.Model, error) {
	if c.Opset == 0 {
		c.Opset = 17
	}
	if c.Heads < 1 || c.Dim%(2*c.Heads) != 0 || c.Opset < 13 {
		return nil, fmt.Errorf("testmodel: dim %d, heads %d, opset %d", c.Dim, c.Heads, c.Opset)
	}
	m := &ir.Model{IRVersion: 8, ProducerName: "bonnx testmodel", Graph: ir.NewGraph("llama")}
	m.SetOpset("", c.Opset)
	b := &llamaBuilder{Llama: c, Builder: ir.NewBuilder(m.Graph, ir.NewNames(m)), rng: rand.New(rand.NewPCG(c.Seed, 0x6c6c616d61))}
	b.build(m.Graph)
	if err := b.Err(); err != nil {
		return nil, err
	}
	return m, ir.Verify(m)
}

type llamaBuilder struct {
	Llama
	*ir.Builder
	rng *rand.Rand

	// Made once, used by every block.
	two, eps, one *ir.Value // scalars
	cos, sin      *ir.Value // (T, hd/2)
	mask          *ir.Value // (T, T): 0 up to the diagonal, very negative above
	split, merge  *ir.Value // shapes (0, 0, heads, hd) and (0, 0, dim)
	first, half   *ir.Value // bounds of the halves of a head: 0, hd/2
	last, axis    *ir.Value // hd, and the axis -1
}

func (b *llamaBuilder) build(g *ir.Graph) {
	ids := g.AddInput("input_ids", ir.Tensor(tensor.Int64, ir.Symbol("batch"), ir.Symbol("seq")))
	b.Prefix = "/"
	b.shared(ids)
	b.Prefix = "/embed_tokens/"
	x := b.Op("Gather", ir.In(b.weight("embed_tokens.weight", 0.1, b.Vocab, b.Dim), ids))
	for i := range b.Layers {
		x = b.block(i, x)
	}
	x = b.norm("/norm/", "norm.weight", x)
	logits := b.linear("/lm_head/", "lm_head", x, b.Dim, b.Vocab, 1)
	logits.Name = "logits"
	logits.Type = ir.Tensor(tensor.Float32, ir.Symbol("batch"), ir.Symbol("seq"), ir.Fixed(int64(b.Vocab)))
	g.Outputs = append(g.Outputs, logits)
}

// shared makes the scalars, the rotary tables and the mask for the sequence at
// hand: tables for the longest one, cut to T at run time.
func (b *llamaBuilder) shared(ids *ir.Value) {
	hd := b.Dim / b.Heads
	b.two = b.Const("two", tensor.Scalar[float32](2))
	b.one = b.Const("one", tensor.Scalar[float32](1))
	b.eps = b.Const("eps", tensor.Scalar[float32](1e-5))
	b.split, b.merge = b.Ints(0, 0, b.Heads, hd), b.Ints(0, 0, b.Dim)
	b.first, b.half, b.last, b.axis = b.Ints(0), b.Ints(hd/2), b.Ints(hd), b.Ints(-1)

	cos, sin, pos := b.tables(hd / 2)
	t := b.Op("Gather", ir.In(b.Op("Shape", ir.In(ids)), b.Const("seq_axis", tensor.Scalar[int64](1))))
	end := b.Op("Unsqueeze", ir.In(t, b.first))
	cut := func(table *ir.Value) *ir.Value { return b.Op("Slice", ir.In(table, b.first, end, b.first)) }
	b.cos, b.sin = cut(cos), cut(sin)

	// Position of the key minus position of the query, where that is positive.
	p := cut(pos)
	ahead := b.Op("Relu", ir.In(b.Op("Sub", ir.In(b.Op("Unsqueeze", ir.In(p, b.first)), b.Op("Unsqueeze", ir.In(p, b.axis))))))
	b.mask = b.Op("Mul", ir.In(ahead, b.Const("far", tensor.Scalar[float32](-1e9))))
}

// tables are cos and sin of position times frequency, (Context, half), and the
// positions, (Context).
func (b *llamaBuilder) tables(half int) (cos, sin, pos *ir.Value) {
	c, s := make([]float32, b.Context*half), make([]float32, b.Context*half)
	p := make([]float32, b.Context)
	for t := range b.Context {
		p[t] = float32(t)
		for i := range half {
			angle := float64(t) * math.Pow(10000, -float64(i)/float64(half))
			c[t*half+i], s[t*half+i] = float32(math.Cos(angle)), float32(math.Sin(angle))
		}
	}
	return b.Const("cos", tensor.FromSlice(c, b.Context, half)), b.Const("sin", tensor.FromSlice(s, b.Context, half)),
		b.Const("positions", tensor.FromSlice(p, b.Context))
}

// block is x + attention(norm(x)), then y + feedforward(norm(y)).
func (b *llamaBuilder) block(i int, x *ir.Value) *ir.Value {
	node, name := fmt.Sprintf("/layers.%d/", i), fmt.Sprintf("layers.%d.", i)
	a := b.attention(node+"self_attn/", name+"self_attn.", b.norm(node+"input_layernorm/", name+"input_layernorm.weight", x))
	b.Prefix = node
	x = b.Op("Add", ir.In(x, a))
	f := b.feedForward(node+"mlp/", name+"mlp.", b.norm(node+"post_attention_layernorm/", name+"post_attention_layernorm.weight", x))
	b.Prefix = node
	return b.Op("Add", ir.In(x, f))
}

func (b *llamaBuilder) attention(node, name string, x *ir.Value) *ir.Value {
	heads := func(which string, perm ...int64) *ir.Value {
		y := b.linear(node+which+"/", name+which, x, b.Dim, b.Dim, 1)
		b.Prefix = node
		y = b.Op("Reshape", ir.In(y, b.split)) // (B,T,H,hd)
		return b.Op("Transpose", ir.In(y), ir.A("perm", ir.Ints(perm)))
	}
	q := b.rotate(heads("q_proj", 0, 2, 1, 3))
	k := b.rotate(heads("k_proj", 0, 2, 1, 3))
	v := heads("v_proj", 0, 2, 1, 3)
	k = b.Op("Transpose", ir.In(k), ir.A("perm", ir.Ints{0, 1, 3, 2}))
	scale := b.Const("scale", tensor.Scalar(float32(math.Sqrt(float64(b.Dim/b.Heads)))))
	scores := b.Op("Div", ir.In(b.Op("MatMul", ir.In(q, k)), scale)) // (B,H,T,T)
	p := b.Op("Softmax", ir.In(b.Op("Add", ir.In(scores, b.mask))), ir.A("axis", ir.Int(-1)))
	y := b.Op("Transpose", ir.In(b.Op("MatMul", ir.In(p, v))), ir.A("perm", ir.Ints{0, 2, 1, 3}))
	y = b.Op("Reshape", ir.In(y, b.merge))
	return b.linear(node+"o_proj/", name+"o_proj", y, b.Dim, b.Dim, b.residual())
}

// rotate turns the halves of each head by the position's angles, x (B,H,T,hd).
func (b *llamaBuilder) rotate(x *ir.Value) *ir.Value {
	lo := b.Op("Slice", ir.In(x, b.first, b.half, b.axis))
	hi := b.Op("Slice", ir.In(x, b.half, b.last, b.axis))
	mul := func(v, table *ir.Value) *ir.Value { return b.Op("Mul", ir.In(v, table)) }
	return b.Op("Concat", ir.In(
		b.Op("Sub", ir.In(mul(lo, b.cos), mul(hi, b.sin))),
		b.Op("Add", ir.In(mul(hi, b.cos), mul(lo, b.sin))),
	), ir.A("axis", ir.Int(-1)))
}

// feedForward is down(silu(gate(x)) * up(x)).
func (b *llamaBuilder) feedForward(node, name string, x *ir.Value) *ir.Value {
	gate := b.linear(node+"gate_proj/", name+"gate_proj", x, b.Dim, b.Hidden, 1)
	up := b.linear(node+"up_proj/", name+"up_proj", x, b.Dim, b.Hidden, 1)
	b.Prefix = node + "act_fn/"
	silu := b.Op("Mul", ir.In(gate, b.Op("Sigmoid", ir.In(gate))))
	b.Prefix = node
	return b.linear(node+"down_proj/", name+"down_proj", b.Op("Mul", ir.In(silu, up)), b.Hidden, b.Dim, b.residual())
}

// residual keeps the sum of all branches at the scale of one.
func (b *llamaBuilder) residual() float64 { return 1 / math.Sqrt(float64(2*b.Layers)) }

// norm is w * x / sqrt(mean(x^2) + eps) in the nodes that PyTorch's exporter writes.
func (b *llamaBuilder) norm(node, weight string, x *ir.Value) *ir.Value {
	b.Prefix = node
	mean := b.mean(b.Op("Pow", ir.In(x, b.two)))
	root := b.Op("Sqrt", ir.In(b.Op("Add", ir.In(mean, b.eps))))
	y := b.Op("Mul", ir.In(x, b.Op("Div", ir.In(b.one, root))))
	ones := tensor.New(tensor.Float32, b.Dim)
	for i := range b.Dim {
		tensor.Data[float32](ones)[i] = 1
	}
	return b.Op("Mul", ir.In(b.named(weight, ones), y))
}

// mean is over the last axis; axes became an input in opset 18.
func (b *llamaBuilder) mean(x *ir.Value) *ir.Value {
	if b.Opset >= 18 {
		return b.Op("ReduceMean", ir.In(x, b.axis))
	}
	return b.Op("ReduceMean", ir.In(x), ir.A("axes", ir.Ints{-1}))
}

func (b *llamaBuilder) linear(node, name string, x *ir.Value, in, out int, gain float64) *ir.Value {
	w := b.weight(name+".weight", gain/math.Sqrt(float64(in)), in, out)
	b.Prefix = node
	return b.Op("MatMul", ir.In(x, w))
}

// weight is a matrix of normal values with the standard deviation std.
func (b *llamaBuilder) weight(name string, std float64, shape ...int) *ir.Value {
	t := tensor.New(tensor.Float32, shape...)
	d := tensor.Data[float32](t)
	for i := range d {
		d[i] = float32(b.rng.NormFloat64() * std)
	}
	return b.named(name, t)
}

func (b *llamaBuilder) named(name string, t *tensor.Tensor) *ir.Value {
	return b.Graph.AddInitializer(b.Names().Fresh(name), ir.Dense(t))
}

// Weights are the initializers that training from nothing changes: those named
// like a module's weight, not tables and bounds.
func Weights(m *ir.Model) []*ir.Value {
	var out []*ir.Value
	for _, v := range m.Graph.Initializers {
		if strings.HasSuffix(v.Name, ".weight") {
			out = append(out, v)
		}
	}
	return out
}
