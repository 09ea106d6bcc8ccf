package testmodel_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/rewrite"
)

func diffusion() []family {
	text, one := testmodel.SmallCLIP, testmodel.SmallCLIP
	one.Batch, one.Seq = 1, 9
	linear, conv, fixed := testmodel.SmallUNet, testmodel.SmallUNet, testmodel.SmallUNet
	conv.ConvProjection, fixed.Batch = true, 1
	ids := func(batch, seq int) feed {
		return feed{"input_ids": testutil.RandomInts(1, 0, int64(text.Vocab), batch, seq)}
	}
	noise := func(batch, height, width, seq int) feed {
		return feed{"sample": testutil.Random(1, batch, 4, height, width), "timestep": testutil.Random(2, batch),
			"encoder_hidden_states": testutil.Random(3, batch, seq, linear.Text)}
	}
	return []family{
		{name: "CLIP text", model: text.Model, feeds: []feed{ids(3, 7), ids(1, 1)}, paths: clipPaths(text.Layers), from: rewrite.FromNode},
		{name: "CLIP text, batch 1", model: one.Model, feeds: []feed{ids(1, 9)}, paths: clipPaths(text.Layers), from: rewrite.FromNode},
		{name: "UNet", model: linear.Model, feeds: []feed{noise(2, 4, 6, 5), noise(1, 8, 8, 1)}, paths: unetPaths(true), from: rewrite.FromNode},
		{name: "UNet, 1x1 convolutions", model: conv.Model, feeds: []feed{noise(2, 4, 6, 5)}, paths: unetPaths(false), from: rewrite.FromNode},
		{name: "UNet, batch 1", model: fixed.Model, feeds: []feed{noise(1, 8, 8, 8)}, paths: unetPaths(true), from: rewrite.FromNode},
	}
}

func clipPaths(layers int) []string {
	var paths []string
	for i := range layers {
		for _, name := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2"} {
			paths = append(paths, fmt.Sprintf("text_model.encoder.layers.%d.%s", i, name))
		}
	}
	return paths
}

// unetPaths are the linear layers of SmallUNet in the graph's order.
func unetPaths(projections bool) []string {
	var paths []string
	add := func(format string, names ...string) {
		for _, n := range names {
			paths = append(paths, strings.ReplaceAll(format, "*", n))
		}
	}
	transformer := func(block string) {
		s := block + ".attentions.0."
		if projections {
			add(s+"*", "proj_in")
		}
		for _, attn := range []string{"attn1", "attn2"} {
			add(s+"transformer_blocks.0."+attn+".*", "to_q", "to_k", "to_v", "to_out.0")
		}
		add(s+"transformer_blocks.0.ff.net.*", "0.proj", "2")
		if projections {
			add(s+"*", "proj_out")
		}
	}
	add("time_embedding.*", "linear_1", "linear_2")
	add("down_blocks.0.resnets.0.*", "time_emb_proj")
	transformer("down_blocks.0")
	add("mid_block.resnets.0.*", "time_emb_proj")
	transformer("mid_block")
	add("mid_block.resnets.1.*", "time_emb_proj")
	add("up_blocks.0.resnets.0.*", "time_emb_proj")
	transformer("up_blocks.0")
	add("up_blocks.0.resnets.1.*", "time_emb_proj")
	return slices.Clip(paths)
}
