package testmodel_test

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

func decoders() []family {
	with, merged, wide, dynamo := testmodel.SmallDecoder, testmodel.SmallDecoder, testmodel.SmallDecoder, testmodel.SmallDecoder
	merged.Merged, dynamo.Exporter = true, testmodel.Dynamo
	wide.KVHeads, wide.Opset = wide.Heads, 14
	steps := []feed{decoderFeed(with, 2, 1, 5, 0), decoderFeed(with, 3, 4, 2, 2), decoderFeed(with, 1, 6, 0, 0)}
	return []family{
		{name: "decoder with past", model: with.Model, feeds: steps, paths: llamaPaths(with.Layers), from: rewrite.FromNode},
		{name: "decoder with past, opset 14", model: wide.Model, feeds: []feed{decoderFeed(wide, 2, 2, 3, 1)}, paths: llamaPaths(wide.Layers), from: rewrite.FromNode},
		{name: "decoder with past, dynamo", model: dynamo.Model, feeds: steps, paths: llamaPaths(with.Layers), from: rewrite.FromScopes},
		{name: "merged decoder", model: merged.Model, feeds: []feed{
			branch(decoderFeed(with, 2, 1, 5, 0), true),
			branch(decoderFeed(with, 2, 4, 0, 1), false),
		}, paths: llamaPaths(with.Layers), from: rewrite.FromNode},
	}
}

// decoderFeed is a step of the given lengths, with the last row padded on the
// left.
func decoderFeed(c testmodel.Decoder, batch, seq, past, padding int) feed {
	total := past + seq
	mask, positions := tensor.New(tensor.Int64, batch, total), tensor.New(tensor.Int64, batch, seq)
	for b := range batch {
		pad := 0
		if b == batch-1 {
			pad = padding
		}
		for i := range total {
			if i >= pad {
				tensor.Data[int64](mask)[b*total+i] = 1
			}
			if i >= past {
				tensor.Data[int64](positions)[b*seq+i-past] = int64(max(i-pad, 0))
			}
		}
	}
	f := feed{"input_ids": testutil.RandomInts(1, 0, int64(c.Vocab), batch, seq), "attention_mask": mask, "position_ids": positions}
	for i := range c.Layers {
		for j, what := range []string{"key", "value"} {
			f[fmt.Sprintf("past_key_values.%d.%s", i, what)] = testutil.Random(uint64(2*i+j), batch, c.KVHeads, past, c.Dim/c.Heads)
		}
	}
	return f
}

func branch(f feed, past bool) feed {
	f["use_cache_branch"] = tensor.FromSlice([]bool{past}, 1)
	return f
}

// llamaPaths are the layers of Llama's blocks and its head.
func llamaPaths(layers int) []string {
	var paths []string
	for i := range layers {
		for _, name := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"} {
			paths = append(paths, fmt.Sprintf("model.layers.%d.%s", i, name))
		}
	}
	return append(paths, "lm_head")
}
