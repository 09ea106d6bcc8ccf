package testmodel_test

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/rewrite"
)

func seq2seqs() []family {
	first, past := testmodel.SmallSeq2Seq, testmodel.SmallSeq2Seq
	past.Past = true
	return []family{
		{name: "seq2seq decoder", model: first.Model, feeds: []feed{seq2seqFeed(first, 2, 4, 6, 0), seq2seqFeed(first, 1, 1, 3, 0)},
			paths: bartPaths(first.Layers, "q_proj", "k_proj", "v_proj"), from: rewrite.FromNode},
		{name: "seq2seq decoder with past", model: past.Model, feeds: []feed{seq2seqFeed(past, 2, 1, 6, 4), seq2seqFeed(past, 1, 3, 5, 2)},
			paths: bartPaths(past.Layers, "q_proj"), from: rewrite.FromNode},
	}
}

func seq2seqFeed(c testmodel.Seq2SeqDecoder, batch, seq, source, past int) feed {
	f := feed{"input_ids": testutil.RandomInts(1, 0, int64(c.Vocab), batch, seq),
		"encoder_attention_mask": encoderFeed(testmodel.SmallEncoder, batch, source)["attention_mask"]}
	if !c.Past {
		f["encoder_hidden_states"] = testutil.Random(2, batch, source, c.Dim)
		return f
	}
	for i := range c.Layers {
		for j, what := range []string{"key", "value"} {
			f[fmt.Sprintf("past_key_values.%d.decoder.%s", i, what)] = testutil.Random(uint64(4*i+j), batch, c.Heads, past, c.Dim/c.Heads)
			f[fmt.Sprintf("past_key_values.%d.encoder.%s", i, what)] = testutil.Random(uint64(4*i+j+2), batch, c.Heads, source, c.Dim/c.Heads)
		}
	}
	return f
}

// bartPaths are the layers of BART's decoder; of the encoder's states it
// projects what cross names.
func bartPaths(layers int, cross ...string) []string {
	var paths []string
	for i := range layers {
		add := func(module string, names ...string) {
			for _, n := range names {
				paths = append(paths, fmt.Sprintf("model.decoder.layers.%d.%s%s", i, module, n))
			}
		}
		add("self_attn.", "q_proj", "k_proj", "v_proj", "out_proj")
		add("encoder_attn.", append(cross, "out_proj")...)
		add("", "fc1", "fc2")
	}
	return append(paths, "lm_head")
}
