package testmodel

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// A Head is what stands behind an encoder's first token.
type Head uint8

// The heads.
const (
	Softmax Head = iota // probabilities of one of several labels
	Sigmoid             // a probability for each label
	Linear              // values: regression
)

// Encoder is a BERT classifier. Inputs input_ids, attention_mask and
// token_type_ids int64 (batch, seq); output logits float32 (batch, Labels),
// or probabilities where the head ends in Softmax or Sigmoid.
type Encoder struct {
	Vocab, Dim, Heads, Hidden, Layers, Context, Labels int

	Head     Head
	Exporter Exporter
	// Batch and Seq, where not zero, are extents that the exporter took for
	// constant and wrote into the graph.
	Batch, Seq int
	Opset      int64 // 0 is the exporter's own
	Seed       uint64
}

// SmallEncoder has 2 layers and 3 labels.
var SmallEncoder = Encoder{Vocab: 50, Dim: 16, Heads: 2, Hidden: 32, Layers: 2, Context: 24, Labels: 3}

// Model builds the graph.
func (c Encoder) Model() (*ir.Model, error) {
	if c.Heads < 1 || c.Dim%c.Heads != 0 || c.Labels < 1 || int(c.Head) >= len(headEnds) {
		return nil, fmt.Errorf("testmodel: %+v", c)
	}
	e := &encoder{Encoder: c, exporter: newExporter(c.Exporter, c.Opset, c.Seed)}
	batch, seq := axis(c.Batch, batchAxis), axis(c.Seq, seqAxis)
	var in [3]*ir.Value
	for i, name := range []string{"input_ids", "attention_mask", "token_type_ids"} {
		in[i] = e.Graph.AddInput(name, ir.Tensor(tensor.Int64, batch, seq))
	}
	e.batch, e.seq = e.dim(in[0], 0, c.Batch), e.dim(in[0], 1, c.Seq)
	bert := scope("").in("bert")
	e.hide(bert, in[1])
	x := e.embed(bert.in("embeddings"), in[0], in[2])
	for i := range c.Layers {
		x = e.block(bert.in("encoder").in(fmt.Sprintf("layer.%d", i)), x)
	}
	name, y := e.head(bert.in("pooler"), x)
	e.output(name, y, batch, ir.Fixed(int64(c.Labels)))
	return e.finish()
}

// axis is a declared extent: fixed where n is not zero.
func axis(n int, symbol string) ir.Dim {
	if n != 0 {
		return ir.Fixed(int64(n))
	}
	return ir.Symbol(symbol)
}

type encoder struct {
	Encoder
	*exporter
	batch, seq extent
	bias       *ir.Value // (B,1,T,T), very negative where the mask is 0
}

// hide turns the mask into what is added to the scores.
func (e *encoder) hide(s scope, mask *ir.Value) {
	defer e.at(s)()
	m := e.expand(e.unsqueeze(e.unsqueeze(mask, 1), 2), e.batch, size(1), e.seq, e.seq)
	inverted := e.op("Sub", e.scalar(1), e.cast(m, tensor.Float32))
	e.bias = e.op("Mul", inverted, e.scalar(-1e9))
}

// embed adds the embeddings of words, kinds and positions. Where the sequence
// is fixed the exporter has looked the positions up itself.
func (e *encoder) embed(s scope, ids, kinds *ir.Value) *ir.Value {
	lookup := func(name string, rows int, i *ir.Value) *ir.Value {
		defer e.at(s.in(name))()
		return e.op("Gather", e.param(s.path()+"."+name+".weight", 0, 0.5, rows, e.Dim), i)
	}
	back := e.at(s)
	x := lookup("word_embeddings", e.Vocab, ids)
	x = e.op("Add", x, lookup("token_type_embeddings", 2, kinds))
	if e.Seq != 0 {
		x = e.op("Add", x, e.constant(e.normal(0, 0.5, 1, e.Seq, e.Dim)))
	} else {
		table := make([]int64, e.Context)
		for i := range table {
			table[i] = int64(i)
		}
		end := e.unsqueeze(e.seq.v, 0)
		positions := e.slice(e.constant(tensor.FromSlice(table, 1, e.Context)), 1, e.vector(0), end)
		x = e.op("Add", x, lookup("position_embeddings", e.Context, positions))
	}
	back()
	return e.layerNorm(s.in("LayerNorm"), x, e.Dim)
}

// block is attention and feed-forward, each with a norm after the sum.
func (e *encoder) block(s scope, x *ir.Value) *ir.Value {
	a := s.in("attention")
	y := e.linear(a.in("output").in("dense"), e.attention(a.in("self"), x), e.Dim, e.Dim, true)
	x = e.layerNorm(a.in("output").in("LayerNorm"), e.add(a.in("output"), y, x), e.Dim)
	f := s.in("intermediate")
	y = gelu(e.exporter, f.in("intermediate_act_fn"), e.linear(f.in("dense"), x, e.Dim, e.Hidden, true))
	o := s.in("output")
	y = e.linear(o.in("dense"), y, e.Hidden, e.Dim, true)
	return e.layerNorm(o.in("LayerNorm"), e.add(o, y, x), e.Dim)
}

func (e *encoder) attention(s scope, x *ir.Value) *ir.Value {
	defer e.at(s)()
	width := e.Dim / e.Heads
	project := func(name string) *ir.Value {
		return e.heads(e.linear(s.in(name), x, e.Dim, e.Dim, true), e.batch, e.seq, width)
	}
	q, k, v := project("query"), project("key"), project("value")
	return e.attend(q, k, v, e.bias, e.batch, e.seq, e.Heads, width)
}

// headEnds is what each head's output is called and which operator makes it.
var headEnds = [...]struct{ output, op string }{
	Softmax: {"probabilities", "Softmax"},
	Sigmoid: {"probabilities", "Sigmoid"},
	Linear:  {"logits", ""},
}

// head classifies by the first token.
func (e *encoder) head(pooler scope, x *ir.Value) (string, *ir.Value) {
	back := e.at(pooler)
	first := e.with(e.op("Gather", x, e.index(0)), "axis", ir.Int(1))
	back()
	y := e.dense(pooler.in("dense"), first, e.Dim, e.Dim)
	back = e.at(pooler.in("activation"))
	y = e.op("Tanh", y)
	back()
	y = e.dense(scope("").in("classifier"), y, e.Dim, e.Labels)
	end := headEnds[e.Head]
	if end.op != "" {
		y = e.op(end.op, y)
	}
	if end.op == "Softmax" {
		e.with(y, "axis", ir.Int(-1))
	}
	return end.output, y
}
