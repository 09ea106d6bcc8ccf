package testmodel

import (
	"fmt"
	"math"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Seq2SeqDecoder is the decoder of BART as optimum exports it: attention over
// what was written and over what an encoder read. Inputs
// encoder_attention_mask int64 (batch, source), input_ids int64 (batch, seq)
// and encoder_hidden_states float32 (batch, source, Dim); with Past instead of
// the last, per layer past_key_values.N.decoder.key and .value (batch, Heads,
// past, width) and past_key_values.N.encoder.key and .value (batch, Heads,
// source, width). Outputs logits and present.N.decoder.key and .value, without
// Past those of the encoder too.
type Seq2SeqDecoder struct {
	Vocab, Dim, Heads, Hidden, Layers, Context int

	Past     bool
	Exporter Exporter
	Batch    int // fixed, where not zero
	Opset    int64
	Seed     uint64
}

// SmallSeq2Seq has 2 layers.
var SmallSeq2Seq = Seq2SeqDecoder{Vocab: 40, Dim: 16, Heads: 2, Hidden: 32, Layers: 2, Context: 24}

// Model builds the graph.
func (c Seq2SeqDecoder) Model() (*ir.Model, error) {
	if c.Heads < 1 || c.Dim%c.Heads != 0 {
		return nil, fmt.Errorf("testmodel: %+v", c)
	}
	s := &seq2seq{Seq2SeqDecoder: c, exporter: newExporter(c.Exporter, c.Opset, c.Seed), width: c.Dim / c.Heads}
	s.inputs()
	s.body()
	return s.finish()
}

type seq2seq struct {
	Seq2SeqDecoder
	*exporter
	width                        int
	sourceMask, ids, source      *ir.Value
	past                         map[string]*ir.Value // by its name
	present                      []string             // names, in order
	states                       []*ir.Value
	batch, seq, read, total, old extent
	causal, hidden               *ir.Value // masks (1,1,T,S) and (B,1,1,source)
}

const sourceAxis = "encoder_sequence_length"

func (s *seq2seq) inputs() {
	g, batch := s.model.Graph, axis(s.Batch, batchAxis)
	s.sourceMask = g.AddInput("encoder_attention_mask", ir.Tensor(tensor.Int64, batch, ir.Symbol(sourceAxis)))
	s.ids = g.AddInput("input_ids", ir.Tensor(tensor.Int64, batch, ir.Symbol(seqAxis)))
	if !s.Past {
		s.source = g.AddInput("encoder_hidden_states", ir.Tensor(tensor.Float32, batch, ir.Symbol(sourceAxis), ir.Fixed(int64(s.Dim))))
		return
	}
	s.past = map[string]*ir.Value{}
	for _, name := range s.cacheNames() {
		t := ir.Tensor(tensor.Float32, batch, ir.Fixed(int64(s.Heads)), ir.Symbol(cacheAxis(name, pastAxis)), ir.Fixed(int64(s.width)))
		s.past[name] = g.AddInput("past_key_values."+name, t)
	}
}

// cacheNames are 0.decoder.key and so on, in optimum's order.
func (s *seq2seq) cacheNames() []string {
	var names []string
	for i := range s.Layers {
		for _, side := range []string{"decoder", "encoder"} {
			names = append(names, fmt.Sprintf("%d.%s.key", i, side), fmt.Sprintf("%d.%s.value", i, side))
		}
	}
	return names
}

// cacheAxis is the symbol of a cache's length: the encoder's does not grow.
func cacheAxis(name, decoder string) string {
	if strings.Contains(name, ".encoder.") {
		return sourceAxis
	}
	return decoder
}

func (s *seq2seq) body() {
	root := scope("").in("model").in("decoder")
	back := s.at(root)
	s.batch, s.seq, s.read = s.dim(s.ids, 0, s.Batch), s.dim(s.ids, 1, 0), s.dim(s.sourceMask, 1, 0)
	s.old, s.total = extent{v: s.index(0)}, s.seq
	if s.Past {
		s.old = s.dim(s.past["0.decoder.key"], 2, 0)
		s.total = extent{v: s.op("Add", s.old.v, s.seq.v)}
	}
	s.masks()
	back()
	x := s.embed(root)
	for i := range s.Layers {
		x = s.block(root.in(fmt.Sprintf("layers.%d", i)), x, i)
	}
	logits := s.linear(scope("").in("lm_head"), x, s.Dim, s.Vocab, false)
	s.output("logits", logits, axis(s.Batch, batchAxis), ir.Symbol(seqAxis), ir.Fixed(int64(s.Vocab)))
	for i, name := range s.present {
		s.output("present."+name, s.states[i], axis(s.Batch, batchAxis), ir.Fixed(int64(s.Heads)), ir.Symbol(cacheAxis(name, totalAxis)), ir.Fixed(int64(s.width)))
	}
}

// masks are 0 where a query may look, very negative elsewhere.
func (s *seq2seq) masks() {
	one := s.index(1)
	query := s.unsqueeze(s.op("Range", s.old.v, s.total.v, one), 1)
	key := s.unsqueeze(s.op("Range", s.index(0), s.total.v, one), 0)
	ahead := s.cast(s.unsqueeze(s.op("Greater", key, query), 0, 1), tensor.Float32)
	s.causal = s.op("Mul", ahead, s.scalar(-1e9))
	seen := s.cast(s.unsqueeze(s.sourceMask, 1, 2), tensor.Float32)
	s.hidden = s.op("Mul", s.op("Sub", s.scalar(1), seen), s.scalar(-1e9))
}

// embed scales words and adds positions, which BART counts from 2.
func (s *seq2seq) embed(root scope) *ir.Value {
	back := s.at(root.in("embed_tokens"))
	words := s.op("Gather", s.param("model.shared.weight", 0, 0.5, s.Vocab, s.Dim), s.ids)
	back()
	back = s.at(root.in("embed_positions"))
	two := s.index(2)
	at := s.op("Add", s.op("Range", s.old.v, s.total.v, s.index(1)), two)
	positions := s.op("Gather", s.param("model.decoder.embed_positions.weight", 0, 0.5, s.Context+2, s.Dim), at)
	back()
	return s.layerNorm(root.in("layernorm_embedding"), s.add(root, words, positions), s.Dim)
}

func (s *seq2seq) block(at scope, x *ir.Value, layer int) *ir.Value {
	self := s.attention(at.in("self_attn"), x, layer, "decoder")
	x = s.layerNorm(at.in("self_attn_layer_norm"), s.add(at, x, self), s.Dim)
	cross := s.attention(at.in("encoder_attn"), x, layer, "encoder")
	x = s.layerNorm(at.in("encoder_attn_layer_norm"), s.add(at, x, cross), s.Dim)
	y := gelu(s.exporter, at.in("activation_fn"), s.linear(at.in("fc1"), x, s.Dim, s.Hidden, true))
	return s.layerNorm(at.in("final_layer_norm"), s.add(at, x, s.linear(at.in("fc2"), y, s.Hidden, s.Dim, true)), s.Dim)
}

// attention is over the decoder's own states or the encoder's. What the
// encoder read is projected once: with a past, it comes from there.
func (s *seq2seq) attention(at scope, x *ir.Value, layer int, side string) *ir.Value {
	defer s.at(at)()
	project := func(name string, x *ir.Value, length extent) *ir.Value {
		return s.heads(s.linear(at.in(name), x, s.Dim, s.Dim, true), s.batch, length, s.width)
	}
	q := s.op("Mul", s.linear(at.in("q_proj"), x, s.Dim, s.Dim, true), s.scalar(1/math.Sqrt(float64(s.width))))
	q = s.heads(q, s.batch, s.seq, s.width)
	names := [2]string{fmt.Sprintf("%d.%s.key", layer, side), fmt.Sprintf("%d.%s.value", layer, side)}
	var kv [2]*ir.Value
	from, length, mask := x, s.seq, s.causal
	if side == "encoder" {
		from, length, mask = s.source, s.read, s.hidden
	}
	for i, name := range names {
		if side == "encoder" && s.Past {
			kv[i] = s.past[name]
			continue
		}
		kv[i] = project([]string{"k_proj", "v_proj"}[i], from, length)
		if s.Past {
			kv[i] = s.with(s.op("Concat", s.past[name], kv[i]), "axis", ir.Int(2))
		}
		s.present, s.states = append(s.present, name), append(s.states, kv[i])
	}
	scores := s.op("Add", s.op("MatMul", q, s.transpose(kv[0], 0, 1, 3, 2)), mask)
	p := s.with(s.op("Softmax", scores), "axis", ir.Int(-1))
	y := s.transpose(s.op("MatMul", p, kv[1]), 0, 2, 1, 3)
	return s.linear(at.in("out_proj"), s.reshape(y, s.batch, s.seq, size(s.Dim)), s.Dim, s.Dim, true)
}
