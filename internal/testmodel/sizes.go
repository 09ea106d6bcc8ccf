package testmodel

import (
	"fmt"
	"math/rand/v2"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Models of the sizes that people have. A language model's head is not tied to
// its embedding: exporters fold the transposition and write the weight twice.
var (
	GPT2Small   = GPT2{Vocab: 50257, Dim: 768, Heads: 12, Layers: 12, Context: 1024}
	BERTBase    = Encoder{Vocab: 30522, Dim: 768, Heads: 12, Hidden: 3072, Layers: 12, Context: 512, Labels: 2, Head: Linear}
	ViTB16      = ViT{Image: 224, Patch: 16, Dim: 768, Heads: 12, Hidden: 3072, Layers: 12, Labels: 1000}
	WhisperTiny = Whisper{Vocab: 51865, Mels: 80, Frames: 1500, Dim: 384, Heads: 6, Hidden: 1536, Layers: 4, Context: 448}
	// HalfBillion has the extents of Qwen2.5-0.5B.
	HalfBillion = GenAIDecoder{Vocab: 151936, Dim: 896, Heads: 14, KVHeads: 2, Width: 64, Hidden: 4864, Layers: 24, Context: 2048}
)

// Arrays are tensors by name: what a model is fed, or samples to train on.
type Arrays map[string]*tensor.Tensor

// A Size is one of them with the work that is measured on it.
type Size struct {
	Name  string // of its folder
	Title string
	Model func() (*ir.Model, error) // weights are made when they are read
	// Batch is how many samples a forward pass and a training step take, Each
	// what one sample is, for people.
	Batch int
	Each  string
	// Inputs are what n samples feed to a forward pass; Samples are n of them
	// with their labels, as train reads them.
	Inputs, Samples func(n int) Arrays
}

// Sizes are the models of `make sizes`, in the order of its table.
func Sizes() []Size {
	return []Size{
		textSize(),
		{Name: "bert-base", Title: "BERT-base classifier", Model: BERTBase.Model, Batch: 8, Each: "128 tokens",
			Inputs: bertInputs, Samples: labelled(bertInputs, BERTBase.Labels)},
		{Name: "vit-b16", Title: "ViT-B/16", Model: ViTB16.Model, Batch: 8, Each: "224 x 224 pixels",
			Inputs: vitInputs, Samples: labelled(vitInputs, ViTB16.Labels)},
		{Name: "whisper-tiny", Title: "Whisper-tiny", Model: WhisperTiny.Model, Batch: 4, Each: "30 s of sound, 64 tokens",
			Inputs: whisperInputs, Samples: labelled(whisperInputs, WhisperTiny.Vocab, whisperLength)},
		genaiSize(),
	}
}

// textSize is GPT-2, which is trained on windows of one token more.
func textSize() Size {
	const length = 256
	ids := func(length int) func(int) Arrays {
		return func(n int) Arrays { return Arrays{"input_ids": randomInts(GPT2Small.Vocab, n, length)} }
	}
	return Size{Name: "gpt2", Title: "GPT-2 small", Model: GPT2Small.Model, Batch: 4, Each: fmt.Sprintf("%d tokens", length),
		Inputs: ids(length), Samples: ids(length + 1)}
}

// genaiSize is HalfBillion with weights of 4 bits. A forward pass is fed an
// empty past, which train makes itself.
func genaiSize() Size {
	const length = 128
	c := HalfBillion
	return Size{Name: "llama-0.5b-int4", Title: "Llama 0.5 B, int4", Batch: 2, Each: fmt.Sprintf("%d tokens", length),
		Model: func() (*ir.Model, error) {
			m, err := c.Model()
			if err != nil {
				return nil, err
			}
			return Quantize(m, GenAIInt4)
		},
		Inputs: func(n int) Arrays {
			a := Arrays{"input_ids": randomInts(c.Vocab, n, length), "attention_mask": ones(n, length)}
			for i := range c.Layers {
				for _, what := range []string{"key", "value"} {
					a[fmt.Sprintf("past_key_values.%d.%s", i, what)] = tensor.New(tensor.Float32, n, c.KVHeads, 0, c.Width)
				}
			}
			return a
		},
		Samples: func(n int) Arrays { return Arrays{"input_ids": randomInts(c.Vocab, n, length+1)} }}
}

func bertInputs(n int) Arrays {
	const length = 128
	return Arrays{"input_ids": randomInts(BERTBase.Vocab, n, length), "attention_mask": ones(n, length),
		"token_type_ids": tensor.New(tensor.Int64, n, length)}
}

func vitInputs(n int) Arrays {
	return Arrays{"pixel_values": randomFloats(n, pixelChannels, ViTB16.Image, ViTB16.Image)}
}

// whisperLength is how many tokens its decoder writes.
const whisperLength = 64

func whisperInputs(n int) Arrays {
	return Arrays{"input_features": randomFloats(n, WhisperTiny.Mels, 2*WhisperTiny.Frames),
		"decoder_input_ids": randomInts(WhisperTiny.Vocab, n, whisperLength)}
}

// labelled adds labels below classes, of shape (n, shape...).
func labelled(inputs func(int) Arrays, classes int, shape ...int) func(int) Arrays {
	return func(n int) Arrays {
		a := inputs(n)
		a["labels"] = randomInts(classes, append([]int{n}, shape...)...)
		return a
	}
}

func ones(shape ...int) *tensor.Tensor {
	t := tensor.New(tensor.Int64, shape...)
	for i := range tensor.Data[int64](t) {
		tensor.Data[int64](t)[i] = 1
	}
	return t
}

func randomInts(below int, shape ...int) *tensor.Tensor {
	rng := rand.New(rand.NewPCG(uint64(below), 0x696473))
	t := tensor.New(tensor.Int64, shape...)
	for i := range tensor.Data[int64](t) {
		tensor.Data[int64](t)[i] = rng.Int64N(int64(below))
	}
	return t
}

func randomFloats(shape ...int) *tensor.Tensor {
	return normal(rand.New(rand.NewPCG(0, 0x666c6f6174)), 0, 1, shape)
}
