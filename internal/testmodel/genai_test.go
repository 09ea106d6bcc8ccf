package testmodel_test

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

func genais() []family {
	plain, packed := testmodel.SmallGenAI, testmodel.SmallGenAI
	packed.Packed = true
	feeds := []feed{genaiFeed(plain, 2, 5, 0), genaiFeed(plain, 1, 1, 4)}
	return []family{
		{name: "GenAI", model: plain.Model, feeds: feeds, paths: genaiPaths(plain.Layers, "q_proj", "k_proj", "v_proj"), from: rewrite.FromNode},
		{name: "GenAI, packed", model: packed.Model, feeds: feeds, paths: genaiPaths(plain.Layers, "qkv_proj"), from: rewrite.FromNode},
	}
}

func genaiFeed(c testmodel.GenAIDecoder, batch, seq, past int) feed {
	mask := tensor.New(tensor.Int64, batch, past+seq)
	for i := range tensor.Data[int64](mask) {
		tensor.Data[int64](mask)[i] = 1
	}
	f := feed{"input_ids": testutil.RandomInts(1, 0, int64(c.Vocab), batch, seq), "attention_mask": mask}
	for i := range c.Layers {
		for j, what := range []string{"key", "value"} {
			f[fmt.Sprintf("past_key_values.%d.%s", i, what)] = testutil.Random(uint64(2*i+j), batch, c.KVHeads, past, c.Width)
		}
	}
	return f
}

func genaiPaths(layers int, projections ...string) []string {
	var paths []string
	for i := range layers {
		for _, name := range append(append([]string{}, projections...), "o_proj") {
			paths = append(paths, fmt.Sprintf("model.layers.%d.attn.%s", i, name))
		}
		for _, name := range []string{"gate_proj", "up_proj", "down_proj"} {
			paths = append(paths, fmt.Sprintf("model.layers.%d.mlp.%s", i, name))
		}
	}
	return append(paths, "lm_head")
}
