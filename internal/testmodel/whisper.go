package testmodel

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Whisper recognises speech, encoder and decoder in one file: two convolutions
// over a mel spectrogram, of which the second halves the frames, and blocks
// with their norms in front. Inputs input_features float32 (batch, Mels,
// 2*Frames) and decoder_input_ids int64 (batch, seq); outputs logits float32
// (batch, seq, Vocab) and encoder_last_hidden_state float32 (batch, Frames,
// Dim).
type Whisper struct {
	Vocab, Mels, Frames, Dim, Heads, Hidden, Layers, Context int // Layers of each half; Context of the decoder

	Exporter Exporter
	Batch    int // fixed, where not zero
	Opset    int64
	Seed     uint64
}

// SmallWhisper has 2 layers in each half.
var SmallWhisper = Whisper{Vocab: 40, Mels: 6, Frames: 7, Dim: 16, Heads: 2, Hidden: 32, Layers: 2, Context: 24}

// Model builds the graph.
func (c Whisper) Model() (*ir.Model, error) {
	if c.Heads < 1 || c.Dim%c.Heads != 0 {
		return nil, fmt.Errorf("testmodel: %+v", c)
	}
	w := &whisper{Whisper: c, exporter: newExporter(c.Exporter, c.Opset, c.Seed)}
	batch, seq, dim := axis(c.Batch, batchAxis), ir.Symbol("decoder_sequence_length"), ir.Fixed(int64(c.Dim))
	features := w.Graph.AddInput("input_features", ir.Tensor(tensor.Float32, batch, ir.Fixed(int64(c.Mels)), ir.Fixed(int64(2*c.Frames))))
	ids := w.Graph.AddInput("decoder_input_ids", ir.Tensor(tensor.Int64, batch, seq))
	w.batch, w.seq, w.frames = w.dim(features, 0, c.Batch), w.dim(ids, 1, 0), size(c.Frames)
	model := scope("").in("model")
	heard := w.encoder(model.in("encoder"), features)
	x := w.decoder(model.in("decoder"), ids, heard)
	w.output("logits", w.linear(scope("").in("proj_out"), x, c.Dim, c.Vocab, false), batch, seq, ir.Fixed(int64(c.Vocab)))
	w.output("encoder_last_hidden_state", heard, batch, ir.Fixed(int64(c.Frames)), dim)
	return w.finish()
}

type whisper struct {
	Whisper
	*exporter
	batch, seq, frames extent
}

// encoder hears: features (B,Mels,2*Frames), result (B,Frames,Dim).
func (w *whisper) encoder(s scope, features *ir.Value) *ir.Value {
	x := gelu(w.exporter, s, w.conv(s.in("conv1"), features, w.Mels, 1))
	x = gelu(w.exporter, s, w.conv(s.in("conv2"), x, w.Dim, 2))
	back := w.at(s)
	x = w.op("Add", w.transpose(x, 0, 2, 1), w.param(s.path()+".embed_positions.weight", 0, 0.5, w.Frames, w.Dim))
	back()
	for i := range w.Layers {
		l := s.in(fmt.Sprintf("layers.%d", i))
		y := w.layerNorm(l.in("self_attn_layer_norm"), x, w.Dim)
		x = w.add(l, x, w.attention(l.in("self_attn"), y, y, nil, w.frames, w.frames))
		x = w.feedForward(l, x)
	}
	return w.layerNorm(s.in("layer_norm"), x, w.Dim)
}

// conv is a convolution of width 3 with zeros around, x (B,in,T).
func (w *whisper) conv(s scope, x *ir.Value, in, stride int) *ir.Value {
	defer w.at(s)()
	one := ir.Ints{1}
	weight := w.param(s.path()+".weight", 0, 1/math.Sqrt(float64(3*in)), w.Dim, in, 3)
	return w.node("", "Conv", ir.In(x, weight, w.param(s.path()+".bias", 0, 0.1, w.Dim)), 1, ir.A("dilations", one), ir.A("group", ir.Int(1)),
		ir.A("kernel_shape", ir.Ints{3}), ir.A("pads", ir.Ints{1, 1}), ir.A("strides", ir.Ints{int64(stride)}))[0]
}

// decoder writes: ids (B,T), heard (B,Frames,Dim), result (B,T,Dim).
func (w *whisper) decoder(s scope, ids, heard *ir.Value) *ir.Value {
	back := w.at(s)
	at := w.op("Range", w.index(0), w.scalarOf(w.seq), w.index(1))
	ahead := w.cast(w.unsqueeze(w.op("Greater", w.unsqueeze(at, 0), w.unsqueeze(at, 1)), 0, 1), tensor.Float32)
	causal := w.op("Mul", ahead, w.scalar(-1e9))
	back()
	back = w.at(s.in("embed_tokens"))
	x := w.op("Gather", w.param(s.path()+".embed_tokens.weight", 0, 0.5, w.Vocab, w.Dim), ids)
	back()
	back = w.at(s.in("embed_positions"))
	positions := w.op("Gather", w.param(s.path()+".embed_positions.weight", 0, 0.5, w.Context, w.Dim), at)
	back()
	x = w.add(s, x, positions)
	for i := range w.Layers {
		l := s.in(fmt.Sprintf("layers.%d", i))
		y := w.layerNorm(l.in("self_attn_layer_norm"), x, w.Dim)
		x = w.add(l, x, w.attention(l.in("self_attn"), y, y, causal, w.seq, w.seq))
		y = w.layerNorm(l.in("encoder_attn_layer_norm"), x, w.Dim)
		x = w.add(l, x, w.attention(l.in("encoder_attn"), y, heard, nil, w.seq, w.frames))
		x = w.feedForward(l, x)
	}
	return w.layerNorm(s.in("layer_norm"), x, w.Dim)
}

// attention is of x (B,T,Dim) over from (B,S,Dim); keys have no bias.
func (w *whisper) attention(s scope, x, from, mask *ir.Value, t, length extent) *ir.Value {
	defer w.at(s)()
	width := w.Dim / w.Heads
	q := w.op("Mul", w.linear(s.in("q_proj"), x, w.Dim, w.Dim, true), w.scalar(1/math.Sqrt(float64(width))))
	k := w.heads(w.linear(s.in("k_proj"), from, w.Dim, w.Dim, false), w.batch, length, width)
	v := w.heads(w.linear(s.in("v_proj"), from, w.Dim, w.Dim, true), w.batch, length, width)
	scores := w.op("MatMul", w.heads(q, w.batch, t, width), w.transpose(k, 0, 1, 3, 2))
	if mask != nil {
		scores = w.op("Add", scores, mask)
	}
	p := w.with(w.op("Softmax", scores), "axis", ir.Int(-1))
	y := w.transpose(w.op("MatMul", p, v), 0, 2, 1, 3)
	return w.linear(s.in("out_proj"), w.reshape(y, w.batch, t, size(w.Dim)), w.Dim, w.Dim, true)
}

func (w *whisper) feedForward(s scope, x *ir.Value) *ir.Value {
	y := w.linear(s.in("fc1"), w.layerNorm(s.in("final_layer_norm"), x, w.Dim), w.Dim, w.Hidden, true)
	y = w.linear(s.in("fc2"), gelu(w.exporter, s.in("activation_fn"), y), w.Hidden, w.Dim, true)
	return w.add(s, x, y)
}
