package testmodel

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Decoder is a language model with a cache of keys and values, Llama as optimum
// exports it through TorchScript or, where it is asked to, dynamo. Inputs input_ids, attention_mask,
// position_ids int64 (batch, seq; the mask over past and seq) and per layer
// past_key_values.N.key and .value float32 (batch, KVHeads, past, width);
// outputs logits and present.N.key and .value.
type Decoder struct {
	Vocab, Dim, Heads, KVHeads, Hidden, Layers int

	// Merged makes it optimum's decoder_model_merged: an If on the input
	// use_cache_branch, bool (1), whose branches compute with past and without
	// and read their weights from the graph around them.
	Merged   bool
	Exporter Exporter // TorchScript or Dynamo
	Batch    int      // fixed, where not zero
	Opset    int64    // 13 or newer; 0 is the exporter's own
	Seed     uint64
}

// SmallDecoder has 2 layers, and 2 heads of queries for each of keys.
var SmallDecoder = Decoder{Vocab: 40, Dim: 16, Heads: 4, KVHeads: 2, Hidden: 24, Layers: 2}

// Model builds the graph.
func (c Decoder) Model() (*ir.Model, error) {
	if c.Heads < 1 || c.KVHeads < 1 || c.Heads%c.KVHeads != 0 || c.Dim%(2*c.Heads) != 0 || c.Opset != 0 && c.Opset < 13 ||
		c.Exporter != TorchScript && (c.Merged || c.Exporter != Dynamo) {
		return nil, fmt.Errorf("testmodel: %+v", c)
	}
	d := &decoder{Decoder: c, exporter: newExporter(c.Exporter, c.Opset, c.Seed), width: c.Dim / c.Heads}
	d.inputs()
	if c.Merged {
		d.merged()
	} else {
		d.body(true)
	}
	return d.finish()
}

type decoder struct {
	Decoder
	*exporter
	width                int
	ids, mask, positions *ir.Value
	past                 []*ir.Value // key, value of layer 0, then of layer 1, ...

	batch, seq, total extent
	cos, sin, bias    *ir.Value
}

const (
	batchAxis = "batch_size"
	seqAxis   = "sequence_length"
	pastAxis  = "past_sequence_length"
	totalAxis = "past_sequence_length + sequence_length"
)

func (d *decoder) inputs() {
	g := d.model.Graph
	batch, seq := axis(d.Batch, batchAxis), ir.Symbol(seqAxis)
	d.ids = g.AddInput("input_ids", ir.Tensor(tensor.Int64, batch, seq))
	d.mask = g.AddInput("attention_mask", ir.Tensor(tensor.Int64, batch, ir.Symbol(totalAxis)))
	d.positions = g.AddInput("position_ids", ir.Tensor(tensor.Int64, batch, seq))
	for i := range d.Layers {
		for _, what := range []string{"key", "value"} {
			t := ir.Tensor(tensor.Float32, batch, ir.Fixed(int64(d.KVHeads)), ir.Symbol(pastAxis), ir.Fixed(int64(d.width)))
			d.past = append(d.past, g.AddInput(fmt.Sprintf("past_key_values.%d.%s", i, what), t))
		}
	}
}

// merged puts two bodies into an If. Both call their nodes and values alike,
// their outputs as those of the If: each is an export of its own that optimum
// joined, weights of both taken for one where they are equal.
func (d *decoder) merged() {
	cond := d.model.Graph.AddInput("use_cache_branch", ir.Tensor(tensor.Bool, ir.Fixed(1)))
	branch := func(name string, past bool) *ir.Graph {
		outer := d.Builder
		d.Builder = ir.NewBuilder(ir.NewGraph(name), ir.NewNames(d.model))
		d.body(past)
		g, err := d.Graph, d.Err()
		d.Builder = outer
		d.Fail(err)
		return g
	}
	without, with := branch("no_past", false), branch("with_past", true)
	n := ir.NewNode("", "If", cond)
	n.Name = "optimum::if"
	n.Attrs = []*ir.Attr{ir.A("then_branch", ir.GraphAttr{Graph: with}), ir.A("else_branch", ir.GraphAttr{Graph: without})}
	for i, v := range with.Outputs {
		out := d.Graph.NewValue(v.Name, v.Type)
		n.SetOutput(i, out)
		d.Graph.Outputs = append(d.Graph.Outputs, out)
	}
	d.Graph.Append(n)
}

// body is the model over what is in the past, or nothing.
func (d *decoder) body(past bool) {
	model := scope("").in("model")
	back := d.at(model)
	d.batch, d.seq = d.dim(d.ids, 0, d.Batch), d.dim(d.ids, 1, 0)
	d.total = d.seq
	if past {
		d.total = extent{v: d.op("Add", d.dim(d.past[0], 2, 0).v, d.seq.v)}
	}
	d.causal()
	d.rotary(model.in("rotary_emb"))
	back()

	back = d.at(model.in("embed_tokens"))
	x := d.op("Gather", d.param("model.embed_tokens.weight", 0, 0.5, d.Vocab, d.Dim), d.ids)
	back()
	var present []*ir.Value
	for i := range d.Layers {
		s := model.in(fmt.Sprintf("layers.%d", i))
		y, k, v := d.attention(s.in("self_attn"), d.rmsNorm(s.in("input_layernorm"), x, d.Dim), i, past)
		x = d.add(s, x, y)
		x = d.add(s, x, d.feedForward(s.in("mlp"), d.rmsNorm(s.in("post_attention_layernorm"), x, d.Dim)))
		present = append(present, k, v)
	}
	x = d.rmsNorm(model.in("norm"), x, d.Dim)
	batch, total := axis(d.Batch, batchAxis), ir.Symbol(totalAxis)
	d.output("logits", d.linear(scope("").in("lm_head"), x, d.Dim, d.Vocab, false), batch, ir.Symbol(seqAxis), ir.Fixed(int64(d.Vocab)))
	for i, v := range present {
		d.output(fmt.Sprintf("present.%d.%s", i/2, []string{"key", "value"}[i%2]), v, batch, ir.Fixed(int64(d.KVHeads)), total, ir.Fixed(int64(d.width)))
	}
}

func (b *exporter) add(s scope, x, y *ir.Value) *ir.Value {
	defer b.at(s)()
	return b.op("Add", x, y)
}

// causal makes the mask (B,1,T,S): 0 where the query may look, else the least
// float. Query t stands at S-T+t.
func (d *decoder) causal() {
	zero, one := d.index(0), d.index(1)
	first := d.op("Sub", d.scalarOf(d.total), d.scalarOf(d.seq))
	query := d.unsqueeze(d.op("Range", first, d.scalarOf(d.total), one), 1) // (T,1)
	key := d.unsqueeze(d.op("Range", zero, d.scalarOf(d.total), one), 0)    // (1,S)
	ahead := d.unsqueeze(d.op("Greater", key, query), 0, 1)                 // (1,1,T,S)
	hidden := d.unsqueeze(d.op("Equal", d.mask, zero), 1, 2)                // (B,1,1,S)
	least := d.scalar(-math.MaxFloat32)
	d.bias = d.op("Where", d.op("Or", ahead, hidden), least, d.scalar(0))
}

// rotary makes cos and sin of position times frequency, (B,1,T,width).
func (d *decoder) rotary(s scope) {
	defer d.at(s)()
	freq := make([]float32, d.width/2)
	for i := range freq {
		freq[i] = float32(math.Pow(10000, -float64(i)/float64(len(freq))))
	}
	inv := d.expand(d.constant(tensor.FromSlice(freq, 1, len(freq), 1)), d.batch, size(len(freq)), size(1))
	pos := d.cast(d.unsqueeze(d.positions, 1), tensor.Float32) // (B,1,T)
	angle := d.transpose(d.op("MatMul", inv, pos), 0, 2, 1)
	twice := d.with(d.op("Concat", angle, angle), "axis", ir.Int(-1))
	d.cos, d.sin = d.unsqueeze(d.op("Cos", twice), 1), d.unsqueeze(d.op("Sin", twice), 1)
}

// rotate turns pairs of x (B,H,T,width), halves apart.
func (d *decoder) rotate(x *ir.Value) *ir.Value {
	half, end := d.vector(d.width/2), d.vector(math.MaxInt64)
	lo, hi := d.slice(x, 3, d.vector(0), half), d.slice(x, 3, half, end)
	turned := d.with(d.op("Concat", d.op("Neg", hi), lo), "axis", ir.Int(-1))
	return d.op("Add", d.op("Mul", x, d.cos), d.op("Mul", turned, d.sin))
}

func (d *decoder) attention(s scope, x *ir.Value, layer int, past bool) (y, k, v *ir.Value) {
	defer d.at(s)()
	project := func(name string, heads int) *ir.Value {
		return d.heads(d.linear(s.in(name), x, d.Dim, heads*d.width, false), d.batch, d.seq, d.width)
	}
	q := d.rotate(project("q_proj", d.Heads))
	k, v = d.rotate(project("k_proj", d.KVHeads)), project("v_proj", d.KVHeads)
	if past {
		k = d.with(d.op("Concat", d.past[2*layer], k), "axis", ir.Int(-2))
		v = d.with(d.op("Concat", d.past[2*layer+1], v), "axis", ir.Int(-2))
	}
	y = d.attend(q, d.repeat(k), d.repeat(v), d.bias, d.batch, d.seq, d.Heads, d.width)
	return d.linear(s.in("o_proj"), y, d.Dim, d.Dim, false), k, v
}

// repeat gives each head of queries its head of keys: x (B,K,S,D) as (B,H,S,D).
func (d *decoder) repeat(x *ir.Value) *ir.Value {
	if d.Heads == d.KVHeads {
		return x
	}
	n := d.Heads / d.KVHeads
	y := d.expand(d.unsqueeze(x, 2), d.batch, size(d.KVHeads), size(n), d.total, size(d.width))
	return d.reshape(y, d.batch, size(d.Heads), d.total, size(d.width))
}

func (d *decoder) feedForward(s scope, x *ir.Value) *ir.Value {
	defer d.at(s)()
	gate := silu(d.exporter, s.in("act_fn"), d.linear(s.in("gate_proj"), x, d.Dim, d.Hidden, false))
	up := d.linear(s.in("up_proj"), x, d.Dim, d.Hidden, false)
	return d.linear(s.in("down_proj"), d.op("Mul", gate, up), d.Hidden, d.Dim, false)
}
