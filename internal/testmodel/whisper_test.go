package testmodel_test

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/rewrite"
)

func whispers() []family {
	traced, dynamo := testmodel.SmallWhisper, testmodel.SmallWhisper
	dynamo.Exporter, dynamo.Batch = testmodel.Dynamo, 1
	sound := func(batch, seq int) feed {
		return feed{"input_features": testutil.Random(1, batch, traced.Mels, 2*traced.Frames),
			"decoder_input_ids": testutil.RandomInts(2, 0, int64(traced.Vocab), batch, seq)}
	}
	paths := whisperPaths(traced.Layers)
	return []family{
		{name: "Whisper", model: traced.Model, feeds: []feed{sound(2, 5), sound(1, 1)}, paths: paths, from: rewrite.FromNode},
		{name: "Whisper, dynamo, batch 1", model: dynamo.Model, feeds: []feed{sound(1, 4)}, paths: paths, from: rewrite.FromScopes},
	}
}

func whisperPaths(layers int) []string {
	var paths []string
	add := func(half string, i int, modules ...string) {
		for _, module := range modules {
			for _, p := range []string{"q_proj", "k_proj", "v_proj", "out_proj"} {
				paths = append(paths, fmt.Sprintf("model.%s.layers.%d.%s.%s", half, i, module, p))
			}
		}
		for _, p := range []string{"fc1", "fc2"} {
			paths = append(paths, fmt.Sprintf("model.%s.layers.%d.%s", half, i, p))
		}
	}
	for i := range layers {
		add("encoder", i, "self_attn")
	}
	for i := range layers {
		add("decoder", i, "self_attn", "encoder_attn")
	}
	return append(paths, "proj_out")
}
