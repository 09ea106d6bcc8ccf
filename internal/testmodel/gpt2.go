package testmodel

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// GPT2 is a language model whose linear layers are GPT-2's Conv1D: Gemm with
// an untransposed weight between two Reshapes, queries, keys and values in
// one. Input input_ids int64 (batch, seq), output logits float32 (batch, seq,
// Vocab).
type GPT2 struct {
	Vocab, Dim, Heads, Layers, Context int

	Exporter Exporter
	Batch    int   // fixed, where not zero
	Opset    int64 // 0 is the exporter's own
	Seed     uint64
}

// SmallGPT2 has 2 layers.
var SmallGPT2 = GPT2{Vocab: 40, Dim: 16, Heads: 2, Layers: 2, Context: 24, Exporter: OldTorchScript}

// Model builds the graph.
func (c GPT2) Model() (*ir.Model, error) {
	if c.Heads < 1 || c.Dim%c.Heads != 0 {
		return nil, fmt.Errorf("testmodel: %+v", c)
	}
	g := &gpt2{GPT2: c, exporter: newExporter(c.Exporter, c.Opset, c.Seed)}
	batch, seq := axis(c.Batch, batchAxis), ir.Symbol(seqAxis)
	ids := g.Graph.AddInput("input_ids", ir.Tensor(tensor.Int64, batch, seq))
	g.batch, g.seq = g.dim(ids, 0, c.Batch), g.dim(ids, 1, 0)
	s := scope("").in("transformer")
	x := g.embed(s, ids)
	for i := range c.Layers {
		x = g.block(s.in(fmt.Sprintf("h.%d", i)), x)
	}
	x = g.layerNorm(s.in("ln_f"), x, c.Dim)
	logits := g.linear(scope("").in("lm_head"), x, c.Dim, c.Vocab, false)
	g.output("logits", logits, batch, seq, ir.Fixed(int64(c.Vocab)))
	return g.finish()
}

type gpt2 struct {
	GPT2
	*exporter
	batch, seq extent
}

func (g *gpt2) embed(s scope, ids *ir.Value) *ir.Value {
	defer g.at(s)()
	positions := g.unsqueeze(g.op("Range", g.index(0), g.scalarOf(g.seq), g.index(1)), 0)
	words := g.op("Gather", g.param("transformer.wte.weight", 0, 0.5, g.Vocab, g.Dim), ids)
	return g.op("Add", words, g.op("Gather", g.param("transformer.wpe.weight", 0, 0.5, g.Context, g.Dim), positions))
}

func (g *gpt2) block(s scope, x *ir.Value) *ir.Value {
	x = g.add(s, x, g.attention(s.in("attn"), g.layerNorm(s.in("ln_1"), x, g.Dim)))
	m := s.in("mlp")
	y := g.conv1d(m.in("c_fc"), g.layerNorm(s.in("ln_2"), x, g.Dim), g.Dim, 4*g.Dim)
	y = g.conv1d(m.in("c_proj"), geluTanh(g.exporter, m.in("act"), y), 4*g.Dim, g.Dim)
	return g.add(s, x, y)
}

// conv1d is addmm(bias, x.view(-1, in), weight).view(batch, seq, out).
func (g *gpt2) conv1d(s scope, x *ir.Value, in, out int) *ir.Value {
	defer g.at(s)()
	w, bias := g.param(s.path()+".weight", 0, 1/math.Sqrt(float64(in)), in, out), g.param(s.path()+".bias", 0, 0.1, out)
	y := g.op("Gemm", g.reshape(x, sizes(-1, in)...), w, bias)
	return g.reshape(y, g.batch, g.seq, size(out))
}

// attention cuts the causal mask for the sequence out of a table, as GPT-2's
// buffer "bias".
func (g *gpt2) attention(s scope, x *ir.Value) *ir.Value {
	defer g.at(s)()
	width := g.Dim / g.Heads
	var qkv [3]*ir.Value
	for i, p := range g.split(g.conv1d(s.in("c_attn"), x, g.Dim, 3*g.Dim), 3, g.Dim) {
		qkv[i] = g.heads(p, g.batch, g.seq, width)
	}
	end := g.unsqueeze(g.seq.v, 0)
	table := g.shared(s.path()+".bias", g.causal)
	mask := g.slice(g.slice(table, 2, g.vector(0), end), 3, g.vector(0), end)
	y := g.attend(qkv[0], qkv[1], qkv[2], mask, g.batch, g.seq, g.Heads, width)
	return g.conv1d(s.in("c_proj"), y, g.Dim, g.Dim)
}

// causal is (1,1,Context,Context), 0 up to the diagonal, very negative above.
func (g *gpt2) causal() *tensor.Tensor {
	t := tensor.New(tensor.Float32, 1, 1, g.Context, g.Context)
	for i := range g.Context {
		for j := i + 1; j < g.Context; j++ {
			tensor.Data[float32](t)[i*g.Context+j] = -1e9
		}
	}
	return t
}
