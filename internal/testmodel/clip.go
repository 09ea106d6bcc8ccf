package testmodel

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// CLIPText is the text encoder of CLIP as TorchScript exports it. Input
// input_ids int64 (batch, seq); outputs last_hidden_state float32 (batch, seq,
// Dim) and pooler_output (batch, Dim), the state at each row's largest id.
type CLIPText struct {
	Vocab, Dim, Heads, Hidden, Layers, Context int

	Batch, Seq int // fixed, where not zero
	Seed       uint64
}

// SmallCLIP has 2 layers.
var SmallCLIP = CLIPText{Vocab: 40, Dim: 16, Heads: 2, Hidden: 32, Layers: 2, Context: 20}

// Model builds the graph.
func (c CLIPText) Model() (*ir.Model, error) {
	if c.Heads < 1 || c.Dim%c.Heads != 0 {
		return nil, fmt.Errorf("testmodel: %+v", c)
	}
	e := &clip{CLIPText: c, exporter: newExporter(TorchScript, 0, c.Seed)}
	batch, seq := axis(c.Batch, batchAxis), axis(c.Seq, seqAxis)
	ids := e.Graph.AddInput("input_ids", ir.Tensor(tensor.Int64, batch, seq))
	e.batch, e.seq = e.dim(ids, 0, c.Batch), e.dim(ids, 1, c.Seq)
	text := scope("").in("text_model")
	x := e.embed(text.in("embeddings"), ids)
	e.causal(text)
	for i := range c.Layers {
		x = e.block(text.in("encoder").in(fmt.Sprintf("layers.%d", i)), x)
	}
	x = e.layerNorm(text.in("final_layer_norm"), x, c.Dim)
	e.output("last_hidden_state", x, batch, seq, ir.Fixed(int64(c.Dim)))
	e.output("pooler_output", e.pool(text, x, ids), batch, ir.Fixed(int64(c.Dim)))
	return e.finish()
}

type clip struct {
	CLIPText
	*exporter
	batch, seq extent
	bias       *ir.Value // (1,1,T,T)
}

func (e *clip) embed(s scope, ids *ir.Value) *ir.Value {
	defer e.at(s)()
	words := e.op("Gather", e.param(s.path()+".token_embedding.weight", 0, 0.5, e.Vocab, e.Dim), ids)
	if e.Seq != 0 {
		return e.op("Add", words, e.constant(e.normal(0, 0.5, 1, e.Seq, e.Dim)))
	}
	positions := e.unsqueeze(e.op("Range", e.index(0), e.seq.v, e.index(1)), 0)
	return e.op("Add", words, e.op("Gather", e.param(s.path()+".position_embedding.weight", 0, 0.5, e.Context, e.Dim), positions))
}

// causal is very negative above the diagonal.
func (e *clip) causal(s scope) {
	defer e.at(s)()
	full := e.expand(e.scalar(-1e9), e.seq, e.seq)
	e.bias = e.unsqueeze(e.op("Trilu", full, e.index(1)), 0, 1)
}

func (e *clip) block(s scope, x *ir.Value) *ir.Value {
	x = e.add(s, x, e.attention(s.in("self_attn"), e.layerNorm(s.in("layer_norm1"), x, e.Dim)))
	m := s.in("mlp")
	y := quickGelu(e.exporter, m.in("activation_fn"), e.linear(m.in("fc1"), e.layerNorm(s.in("layer_norm2"), x, e.Dim), e.Dim, e.Hidden, true))
	return e.add(s, x, e.linear(m.in("fc2"), y, e.Hidden, e.Dim, true))
}

// attention makes one axis of batch and heads, as bmm wants it.
func (e *clip) attention(s scope, x *ir.Value) *ir.Value {
	defer e.at(s)()
	width := e.Dim / e.Heads
	project := func(name string) *ir.Value { return e.linear(s.in(name), x, e.Dim, e.Dim, true) }
	shape := func(y *ir.Value) *ir.Value {
		y = e.transpose(e.reshape(y, e.batch, size(-1), size(e.Heads), size(width)), 0, 2, 1, 3)
		return e.reshape(y, e.times(e.batch, e.Heads), size(-1), size(width))
	}
	q := shape(e.op("Mul", project("q_proj"), e.scalar(1/math.Sqrt(float64(width)))))
	k, v := shape(project("k_proj")), shape(project("v_proj"))
	scores := e.op("MatMul", q, e.transpose(k, 0, 2, 1)) // (B*H,T,T)
	scores = e.op("Add", e.reshape(scores, e.batch, size(e.Heads), e.seq, e.seq), e.bias)
	p := e.with(e.op("Softmax", e.reshape(scores, e.times(e.batch, e.Heads), e.seq, e.seq)), "axis", ir.Int(-1))
	y := e.reshape(e.op("MatMul", p, v), e.batch, size(e.Heads), e.seq, size(width))
	y = e.reshape(e.transpose(y, 0, 2, 1, 3), e.batch, e.seq, size(e.Dim))
	return e.linear(s.in("out_proj"), y, e.Dim, e.Dim, true)
}

// times is a multiple of an extent.
func (b *exporter) times(x extent, n int) extent {
	if x.v == nil {
		return size(x.n * n)
	}
	return extent{v: b.op("Mul", x.v, b.index(n))}
}

// pool is x[arange(B), argmax(ids)].
func (e *clip) pool(s scope, x, ids *ir.Value) *ir.Value {
	defer e.at(s)()
	last := e.with(e.op("ArgMax", ids), "axis", ir.Int(-1))
	e.with(last, "keepdims", ir.Int(0))
	var rows *ir.Value
	if e.Batch != 0 {
		rows = e.constant(arange(e.Batch))
	} else {
		rows = e.op("Range", e.index(0), e.batch.v, e.index(1))
	}
	at := e.with(e.op("Concat", e.unsqueeze(rows, -1), e.unsqueeze(last, -1)), "axis", ir.Int(-1))
	return e.op("GatherND", x, at)
}

// arange is 0, 1, ... below n.
func arange(n int) *tensor.Tensor {
	t := tensor.New(tensor.Int64, n)
	for i := range n {
		tensor.Data[int64](t)[i] = int64(i)
	}
	return t
}
