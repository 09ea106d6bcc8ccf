package testmodel

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// ViT is an image classifier: patches by a convolution, a token of the class
// before them, blocks with their norms in front. Input pixel_values float32
// (batch, 3, Image, Image), output logits float32 (batch, Labels).
type ViT struct {
	Image, Patch, Dim, Heads, Hidden, Layers, Labels int

	Exporter Exporter
	Batch    int // fixed, where not zero
	Opset    int64
	Seed     uint64
}

// SmallViT looks at 4 patches.
var SmallViT = ViT{Image: 8, Patch: 4, Dim: 16, Heads: 2, Hidden: 32, Layers: 2, Labels: 3}

const pixelChannels = 3

// Model builds the graph.
func (c ViT) Model() (*ir.Model, error) {
	if c.Heads < 1 || c.Dim%c.Heads != 0 || c.Patch < 1 || c.Image%c.Patch != 0 {
		return nil, fmt.Errorf("testmodel: %+v", c)
	}
	v := &vit{ViT: c, exporter: newExporter(c.Exporter, c.Opset, c.Seed)}
	batch, side := axis(c.Batch, batchAxis), ir.Fixed(int64(c.Image))
	pixels := v.Graph.AddInput("pixel_values", ir.Tensor(tensor.Float32, batch, ir.Fixed(pixelChannels), side, side))
	v.batch = v.dim(pixels, 0, c.Batch)
	v.tokens = size(1 + c.Image/c.Patch*c.Image/c.Patch)
	root := scope("").in("vit")
	x := v.embed(root.in("embeddings"), pixels)
	for i := range c.Layers {
		x = v.block(root.in("encoder").in(fmt.Sprintf("layer.%d", i)), x)
	}
	x = v.layerNorm(root.in("layernorm"), x, c.Dim)
	first := v.with(v.op("Gather", x, v.index(0)), "axis", ir.Int(1))
	v.output("logits", v.dense(scope("").in("classifier"), first, c.Dim, c.Labels), batch, ir.Fixed(int64(c.Labels)))
	return v.finish()
}

type vit struct {
	ViT
	*exporter
	batch, tokens extent
}

// embed makes a token of each patch, and one for the class.
func (v *vit) embed(s scope, pixels *ir.Value) *ir.Value {
	defer v.at(s)()
	p := s.in("patch_embeddings").in("projection")
	back := v.at(p)
	square := func(n int) ir.Ints { return ir.Ints{int64(n), int64(n)} }
	w := v.param(p.path()+".weight", 0, 1/math.Sqrt(float64(pixelChannels*v.Patch*v.Patch)), v.Dim, pixelChannels, v.Patch, v.Patch)
	x := v.node("", "Conv", ir.In(pixels, w, v.param(p.path()+".bias", 0, 0.1, v.Dim)), 1, ir.A("dilations", square(1)), ir.A("group", ir.Int(1)),
		ir.A("kernel_shape", square(v.Patch)), ir.A("pads", ir.Ints{0, 0, 0, 0}), ir.A("strides", square(v.Patch)))[0]
	back()
	x = v.transpose(v.reshape(x, v.batch, size(v.Dim), size(-1)), 0, 2, 1)
	class := v.expand(v.param(s.path()+".cls_token", 0, 0.5, 1, 1, v.Dim), v.batch, size(1), size(v.Dim))
	x = v.with(v.op("Concat", class, x), "axis", ir.Int(1))
	return v.op("Add", x, v.param(s.path()+".position_embeddings", 0, 0.5, 1, v.tokens.n, v.Dim))
}

func (v *vit) block(s scope, x *ir.Value) *ir.Value {
	a := s.in("attention")
	y := v.attention(a.in("attention"), v.layerNorm(s.in("layernorm_before"), x, v.Dim))
	x = v.add(s, v.linear(a.in("output").in("dense"), y, v.Dim, v.Dim, true), x)
	f := s.in("intermediate")
	y = v.linear(f.in("dense"), v.layerNorm(s.in("layernorm_after"), x, v.Dim), v.Dim, v.Hidden, true)
	y = gelu(v.exporter, f.in("intermediate_act_fn"), y)
	return v.add(s.in("output"), v.linear(s.in("output").in("dense"), y, v.Hidden, v.Dim, true), x)
}

func (v *vit) attention(s scope, x *ir.Value) *ir.Value {
	defer v.at(s)()
	width := v.Dim / v.Heads
	project := func(name string) *ir.Value {
		return v.heads(v.linear(s.in(name), x, v.Dim, v.Dim, true), v.batch, v.tokens, width)
	}
	q, k, val := project("query"), project("key"), project("value")
	return v.attend(q, k, val, nil, v.batch, v.tokens, v.Heads, width)
}
