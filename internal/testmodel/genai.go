package testmodel

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// microsoft is the domain of ONNX Runtime's own operators.
const microsoft = "com.microsoft"

// GenAIDecoder is Llama as ONNX Runtime GenAI's model builder writes it:
// GroupQueryAttention with rotation and cache inside, norms that add the
// residual themselves. Inputs input_ids int64 (batch, seq), attention_mask
// int64 (batch, past+seq) and per layer past_key_values.N.key and .value
// float32 (batch, KVHeads, past, Width); outputs logits and present.N.key and
// .value.
type GenAIDecoder struct {
	Vocab, Dim, Heads, KVHeads, Width, Hidden, Layers, Context int

	Packed bool // queries, keys and values are one product, qkv_proj
	Seed   uint64
}

// SmallGenAI has 2 layers; ONNX Runtime rotates heads whose width 16 divides.
var SmallGenAI = GenAIDecoder{Vocab: 40, Dim: 32, Heads: 4, KVHeads: 2, Width: 16, Hidden: 48, Layers: 2, Context: 32}

// Model builds the graph.
func (c GenAIDecoder) Model() (*ir.Model, error) {
	if c.KVHeads < 1 || c.Heads%c.KVHeads != 0 || c.Width%16 != 0 {
		return nil, fmt.Errorf("testmodel: %+v", c)
	}
	g := &genai{GenAIDecoder: c, exporter: newExporter(GenAI, 0, c.Seed)}
	g.model.SetOpset(microsoft, 1)
	batch, seq, past := ir.Symbol("batch_size"), ir.Symbol("sequence_length"), ir.Symbol("past_sequence_length")
	total := ir.Symbol("total_sequence_length")
	kv, width := ir.Fixed(int64(c.KVHeads)), ir.Fixed(int64(c.Width))
	ids := g.Graph.AddInput("input_ids", ir.Tensor(tensor.Int64, batch, seq))
	mask := g.Graph.AddInput("attention_mask", ir.Tensor(tensor.Int64, batch, total))
	for i := range c.Layers {
		for _, what := range []string{"key", "value"} {
			g.past = append(g.past, g.Graph.AddInput(fmt.Sprintf("past_key_values.%d.%s", i, what), ir.Tensor(tensor.Float32, batch, kv, past, width)))
		}
	}
	logits := g.body(ids, mask)
	g.output("logits", logits, batch, seq, ir.Fixed(int64(c.Vocab)))
	for i, v := range g.present {
		g.output(fmt.Sprintf("present.%d.%s", i/2, []string{"key", "value"}[i%2]), v, batch, kv, total, width)
	}
	return g.finish()
}

type genai struct {
	GenAIDecoder
	*exporter
	past, present  []*ir.Value
	lengths, total *ir.Value // int32: keys of each row but one (B), keys of all
	residual       *ir.Value // the sum that the next norm adds to
}

func (g *genai) body(ids, mask *ir.Value) *ir.Value {
	model := scope("").in("model")
	g.measure(model.in("attn_mask_reformat").in("attn_mask_subgraph"), mask)
	back := g.at(model.in("embed_tokens"))
	x := g.op("Gather", g.param("model.embed_tokens.weight", 0, 0.5, g.Vocab, g.Dim), ids)
	back()
	for i := range g.Layers {
		s := model.in(fmt.Sprintf("layers.%d", i))
		x = g.attention(s.in("attn"), g.norm(s.in("input_layernorm"), x), i)
		x = g.feedForward(s.in("mlp"), g.norm(s.in("post_attention_layernorm"), x))
	}
	x = g.norm(model.in(fmt.Sprintf("layers.%d", g.Layers)).in("final_norm_layernorm"), x)
	return g.linear(scope("").in("lm_head"), x, g.Dim, g.Vocab, false)
}

// measure counts keys.
func (g *genai) measure(s scope, mask *ir.Value) {
	defer g.at(s)()
	sum := g.with(g.op("ReduceSum", mask, g.vector(1)), "keepdims", ir.Int(0))
	g.lengths = g.cast(g.op("Sub", sum, g.vector(1)), tensor.Int32)
	g.total = g.cast(g.with(g.op("Gather", g.op("Shape", mask), g.index(1)), "axis", ir.Int(0)), tensor.Int32)
}

// norm adds x to the residual, where there is one, and normalises the sum.
func (g *genai) norm(s scope, x *ir.Value) *ir.Value {
	defer g.at(s)()
	w := g.param(s.path()+".weight", 1, 0.1, g.Dim)
	if g.residual == nil {
		g.residual = x
		y := g.node("", "SimplifiedLayerNormalization", ir.In(x, w), 1,
			ir.A("axis", ir.Int(-1)), ir.A("epsilon", ir.Float(1e-6)), ir.A("stash_type", ir.Int(1)))
		return g.called("LayerNorm", y)[0]
	}
	out := g.node(microsoft, "SkipSimplifiedLayerNormalization", ir.In(g.residual, x, w), 4, ir.A("epsilon", ir.Float(1e-6)))
	g.called("SkipLayerNorm", out)
	n := out[0].Producer()
	g.residual = out[3]
	n.SetOutput(1, nil)
	n.SetOutput(2, nil)
	if s.last() == "final_norm_layernorm" {
		n.TruncateOutputs(1)
	}
	return n.Output(0)
}

// called names a node otherwise than by its operator.
func (g *genai) called(name string, out []*ir.Value) []*ir.Value {
	out[0].Producer().Name = string(g.here.in(name))
	return out
}

func (g *genai) attention(s scope, x *ir.Value, layer int) *ir.Value {
	defer g.at(s)()
	q, kv := g.Heads*g.Width, g.KVHeads*g.Width
	in := make([]*ir.Value, 3, 9)
	if g.Packed {
		in[0] = g.linear(s.in("qkv_proj"), x, g.Dim, q+2*kv, false)
	} else {
		in[0] = g.linear(s.in("q_proj"), x, g.Dim, q, false)
		in[1] = g.linear(s.in("k_proj"), x, g.Dim, kv, false)
		in[2] = g.linear(s.in("v_proj"), x, g.Dim, kv, false)
	}
	in = append(in, g.past[2*layer], g.past[2*layer+1], g.lengths, g.total,
		g.shared("cos_cache", func() *tensor.Tensor { return g.table(math.Cos) }),
		g.shared("sin_cache", func() *tensor.Tensor { return g.table(math.Sin) }))
	out := g.node(microsoft, "GroupQueryAttention", in, 3,
		ir.A("num_heads", ir.Int(g.Heads)), ir.A("kv_num_heads", ir.Int(g.KVHeads)),
		ir.A("scale", ir.Float(1/math.Sqrt(float64(g.Width)))), ir.A("local_window_size", ir.Int(-1)),
		ir.A("do_rotary", ir.Int(1)), ir.A("rotary_interleaved", ir.Int(0)))
	g.present = append(g.present, out[1], out[2])
	return g.linear(s.in("o_proj"), out[0], q, g.Dim, false)
}

// table is a function of position times frequency, (Context, Width/2).
func (g *genai) table(f func(float64) float64) *tensor.Tensor {
	half := g.Width / 2
	t := tensor.New(tensor.Float32, g.Context, half)
	for i := range tensor.Data[float32](t) {
		angle := float64(i/half) * math.Pow(10000, -float64(i%half)/float64(half))
		tensor.Data[float32](t)[i] = float32(f(angle))
	}
	return t
}

func (g *genai) feedForward(s scope, x *ir.Value) *ir.Value {
	defer g.at(s)()
	gate := silu(g.exporter, s.in("act_fn"), g.linear(s.in("gate_proj"), x, g.Dim, g.Hidden, false))
	up := g.linear(s.in("up_proj"), x, g.Dim, g.Hidden, false)
	return g.linear(s.in("down_proj"), g.op("Mul", gate, up), g.Hidden, g.Dim, false)
}
