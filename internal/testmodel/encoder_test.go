package testmodel_test

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

func encoders() []family {
	var list []family
	add := func(name string, change func(*testmodel.Encoder), from rewrite.Source) {
		c := testmodel.SmallEncoder
		change(&c)
		feeds := []feed{encoderFeed(c, 3, 7), encoderFeed(c, 1, 1)}
		if c.Batch != 0 || c.Seq != 0 {
			feeds = []feed{encoderFeed(c, max(c.Batch, 1), max(c.Seq, 5))}
		}
		list = append(list, family{name: name, model: c.Model, feeds: feeds, paths: bertPaths(c.Layers), from: from})
	}
	add("classifier ending in Softmax", func(c *testmodel.Encoder) {}, rewrite.FromNode)
	add("classifier ending in Sigmoid", func(c *testmodel.Encoder) { c.Head = testmodel.Sigmoid }, rewrite.FromNode)
	add("regression", func(c *testmodel.Encoder) { c.Head, c.Labels = testmodel.Linear, 1 }, rewrite.FromNode)
	add("batch 1", func(c *testmodel.Encoder) { c.Batch = 1 }, rewrite.FromNode)
	add("batch 1, sequence 8", func(c *testmodel.Encoder) { c.Batch, c.Seq, c.Opset = 1, 8, 14 }, rewrite.FromNode)
	add("dynamo", func(c *testmodel.Encoder) { c.Exporter = testmodel.Dynamo }, rewrite.FromScopes)
	add("old TorchScript", func(c *testmodel.Encoder) { c.Exporter = testmodel.OldTorchScript }, rewrite.FromBias)
	// Gemm reads its weight as it is, so that keeps its name.
	list[len(list)-1].but = map[string]rewrite.Source{"bert.pooler.dense": rewrite.FromInitializer, "classifier": rewrite.FromInitializer}
	add("module functions", func(c *testmodel.Encoder) { c.Exporter = testmodel.ModuleFunctions }, rewrite.FromInitializer)
	list[len(list)-1].sealed = true
	return list
}

func encoderFeed(c testmodel.Encoder, batch, seq int) feed {
	mask := tensor.New(tensor.Int64, batch, seq)
	for i := range tensor.Data[int64](mask) {
		if i%seq <= seq-1-i/seq {
			tensor.Data[int64](mask)[i] = 1
		}
	}
	return feed{"input_ids": testutil.RandomInts(1, 0, int64(c.Vocab), batch, seq), "attention_mask": mask,
		"token_type_ids": testutil.RandomInts(2, 0, 2, batch, seq)}
}

func bertPaths(layers int) []string {
	var paths []string
	for i := range layers {
		for _, name := range []string{"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense", "intermediate.dense", "output.dense"} {
			paths = append(paths, fmt.Sprintf("bert.encoder.layer.%d.%s", i, name))
		}
	}
	return append(paths, "bert.pooler.dense", "classifier")
}

func gpt2s() []family {
	old, paths, fixed := testmodel.SmallGPT2, testmodel.SmallGPT2, testmodel.SmallGPT2
	paths.Exporter, fixed.Exporter, fixed.Batch = testmodel.TorchScript, testmodel.TorchScript, 1
	ids := func(batch, seq int) feed {
		return feed{"input_ids": testutil.RandomInts(1, 0, int64(old.Vocab), batch, seq)}
	}
	// The head's weight is tied to the embedding and was transposed by folding;
	// it has no bias: nothing tells of its module.
	const head = "MatMul_250"
	return []family{
		{name: "GPT-2, old TorchScript", model: old.Model, feeds: []feed{ids(2, 5), ids(1, 1)}, paths: append(gpt2Paths(old.Layers), head),
			from: rewrite.FromInitializer, but: map[string]rewrite.Source{head: rewrite.FromPosition}},
		{name: "GPT-2", model: paths.Model, feeds: []feed{ids(2, 5), ids(1, 1)}, paths: append(gpt2Paths(old.Layers), "lm_head"), from: rewrite.FromNode},
		{name: "GPT-2, batch 1", model: fixed.Model, feeds: []feed{ids(1, 5), ids(1, 2)}, paths: append(gpt2Paths(old.Layers), "lm_head"), from: rewrite.FromNode},
	}
}

func gpt2Paths(layers int) []string {
	var paths []string
	for i := range layers {
		for _, name := range []string{"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"} {
			paths = append(paths, fmt.Sprintf("transformer.h.%d.%s", i, name))
		}
	}
	return paths
}

func vits() []family {
	traced, dynamo, fixed := testmodel.SmallViT, testmodel.SmallViT, testmodel.SmallViT
	dynamo.Exporter, fixed.Batch = testmodel.Dynamo, 1
	pixels := func(batch int) feed {
		return feed{"pixel_values": testutil.Random(1, batch, 3, traced.Image, traced.Image)}
	}
	paths := vitPaths(traced.Layers)
	return []family{
		{name: "ViT", model: traced.Model, feeds: []feed{pixels(3), pixels(1)}, paths: paths, from: rewrite.FromNode},
		{name: "ViT, dynamo", model: dynamo.Model, feeds: []feed{pixels(3)}, paths: paths, from: rewrite.FromScopes},
		{name: "ViT, batch 1", model: fixed.Model, feeds: []feed{pixels(1)}, paths: paths, from: rewrite.FromNode},
	}
}

func vitPaths(layers int) []string {
	var paths []string
	for i := range layers {
		for _, name := range []string{"attention.attention.query", "attention.attention.key", "attention.attention.value", "attention.output.dense", "intermediate.dense", "output.dense"} {
			paths = append(paths, fmt.Sprintf("vit.encoder.layer.%d.%s", i, name))
		}
	}
	return append(paths, "classifier")
}
