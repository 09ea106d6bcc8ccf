package testmodel

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// UNet is a small diffusion model as diffusers exports it through TorchScript:
// residual blocks of convolutions that hear of the time step, transformer
// blocks that look at a text. Inputs sample float32 (batch, 4, height, width)
// with even height and width, timestep float32 (1 or batch), encoder_hidden_states
// float32 (batch, seq, Text); output out_sample of the sample's shape.
type UNet struct {
	Channels, Groups, Heads, Text int

	// ConvProjection makes proj_in and proj_out 1x1 convolutions, as the first
	// versions of Stable Diffusion have them, else they are linear layers.
	ConvProjection bool
	Batch          int // fixed, where not zero: then height and width are 8
	Seed           uint64
}

// SmallUNet goes down once and up once.
var SmallUNet = UNet{Channels: 16, Groups: 4, Heads: 2, Text: 12}

const sampleChannels = 4

// Model builds the graph.
func (c UNet) Model() (*ir.Model, error) {
	if c.Heads < 1 || c.Groups < 1 || c.Channels%c.Heads != 0 || c.Channels%(2*c.Groups) != 0 {
		return nil, fmt.Errorf("testmodel: %+v", c)
	}
	u := &unet{UNet: c, exporter: newExporter(TorchScript, 0, c.Seed)}
	side, steps := 0, ir.Symbol("steps")
	if c.Batch != 0 {
		side, steps = 8, ir.Fixed(1)
	}
	batch, four := axis(c.Batch, batchAxis), ir.Fixed(sampleChannels)
	height, width := axis(side, "height"), axis(side, "width")
	sample := u.Graph.AddInput("sample", ir.Tensor(tensor.Float32, batch, four, height, width))
	step := u.Graph.AddInput("timestep", ir.Tensor(tensor.Float32, steps))
	u.text = u.Graph.AddInput("encoder_hidden_states", ir.Tensor(tensor.Float32, batch, axis(side, seqAxis), ir.Fixed(int64(c.Text))))
	u.side = side
	y := u.body(sample, step)
	u.output("out_sample", y, batch, four, height, width)
	return u.finish()
}

type unet struct {
	UNet
	*exporter
	text, time *ir.Value
	side       int // of the sample, 0 where it varies
}

func (u *unet) body(sample, step *ir.Value) *ir.Value {
	root, c := scope(""), u.Channels
	u.time = u.embedTime(u.expand(step, u.dim(sample, 0, u.Batch)))
	x := u.conv(root.in("conv_in"), sample, sampleChannels, c, 3, 1)
	first := x

	down := root.in("down_blocks.0")
	x = u.resnet(down.in("resnets.0"), x, c, c)
	x = u.transformer(down.in("attentions.0"), x, u.side)
	skip := x
	x = u.conv(down.in("downsamplers.0").in("conv"), x, c, c, 3, 2)

	mid := root.in("mid_block")
	x = u.resnet(mid.in("resnets.0"), x, c, c)
	x = u.transformer(mid.in("attentions.0"), x, u.side/2)
	x = u.resnet(mid.in("resnets.1"), x, c, c)

	up := root.in("up_blocks.0")
	x = u.upsample(up.in("upsamplers.0"), x)
	x = u.resnet(up.in("resnets.0"), u.join(up, x, skip), 2*c, c)
	x = u.transformer(up.in("attentions.0"), x, u.side)
	x = u.resnet(up.in("resnets.1"), u.join(up, x, first), 2*c, c)

	x = silu(u.exporter, root.in("conv_act"), u.groupNorm(root.in("conv_norm_out"), x, c))
	return u.conv(root.in("conv_out"), x, c, sampleChannels, 3, 1)
}

// join puts channels behind each other.
func (u *unet) join(s scope, x, y *ir.Value) *ir.Value {
	defer u.at(s)()
	return u.with(u.op("Concat", x, y), "axis", ir.Int(1))
}

// embedTime is an MLP on sines of the step, (B) to (B,2C).
func (u *unet) embedTime(step *ir.Value) *ir.Value {
	c := u.Channels
	back := u.at(scope("").in("time_proj"))
	freq := make([]float32, c/2)
	for i := range freq {
		freq[i] = float32(math.Pow(10000, -float64(i)/float64(len(freq))))
	}
	angle := u.op("Mul", u.unsqueeze(step, 1), u.constant(tensor.FromSlice(freq, 1, c/2)))
	x := u.with(u.op("Concat", u.op("Cos", angle), u.op("Sin", angle)), "axis", ir.Int(-1))
	back()
	s := scope("").in("time_embedding")
	x = silu(u.exporter, s.in("act"), u.dense(s.in("linear_1"), x, c, 2*c))
	return u.dense(s.in("linear_2"), x, 2*c, 2*c)
}

// conv keeps height and width, or halves them with stride 2.
func (u *unet) conv(s scope, x *ir.Value, in, out, kernel, stride int) *ir.Value {
	defer u.at(s)()
	w := u.param(s.path()+".weight", 0, 1/math.Sqrt(float64(in*kernel*kernel)), out, in, kernel, kernel)
	square := func(n int) ir.Ints { return ir.Ints{int64(n), int64(n)} }
	pad := int64(kernel / 2)
	return u.node("", "Conv", ir.In(x, w, u.param(s.path()+".bias", 0, 0.1, out)), 1,
		ir.A("dilations", square(1)), ir.A("group", ir.Int(1)), ir.A("kernel_shape", square(kernel)),
		ir.A("pads", ir.Ints{pad, pad, pad, pad}), ir.A("strides", square(stride)))[0]
}

// groupNorm is an InstanceNormalization of groups and a scale for each channel,
// folded to (C,1,1): what PyTorch's exporter makes of GroupNorm.
func (u *unet) groupNorm(s scope, x *ir.Value, channels int) *ir.Value {
	defer u.at(s)()
	y := u.reshape(x, sizes(0, u.Groups, -1)...)
	ones, zeros := tensor.New(tensor.Float32, u.Groups), tensor.New(tensor.Float32, u.Groups)
	for i := range u.Groups {
		tensor.Data[float32](ones)[i] = 1
	}
	y = u.with(u.op("InstanceNormalization", y, u.constant(ones), u.constant(zeros)), "epsilon", ir.Float(1e-5))
	y = u.op("Reshape", y, u.op("Shape", x))
	scale := func(name, op string, mean float64) *ir.Value {
		v := u.param(s.path()+"."+name, mean, 0.1, channels, 1, 1)
		if !u.folded[v] {
			u.folded[v], v.Name = true, u.madeUp("onnx::"+op+"_")
		}
		return v
	}
	return u.op("Add", u.op("Mul", y, scale("weight", "Mul", 1)), scale("bias", "Add", 0))
}

// resnet is two convolutions with the time step in between.
func (u *unet) resnet(s scope, x *ir.Value, in, out int) *ir.Value {
	act := s.in("nonlinearity")
	y := u.conv(s.in("conv1"), silu(u.exporter, act, u.groupNorm(s.in("norm1"), x, in)), in, out, 3, 1)
	t := u.dense(s.in("time_emb_proj"), silu(u.exporter, act, u.time), 2*u.Channels, out)
	y = u.add(s, y, u.unsqueeze(t, 2, 3))
	y = u.conv(s.in("conv2"), silu(u.exporter, act, u.groupNorm(s.in("norm2"), y, out)), out, out, 3, 1)
	if in != out {
		x = u.conv(s.in("conv_shortcut"), x, in, out, 1, 1)
	}
	return u.add(s, x, y)
}

// upsample doubles height and width.
func (u *unet) upsample(s scope, x *ir.Value) *ir.Value {
	defer u.at(s)()
	scales := u.constant(tensor.FromSlice([]float32{1, 1, 2, 2}, 4))
	y := u.node("", "Resize", []*ir.Value{x, nil, scales}, 1, ir.A("coordinate_transformation_mode", ir.String("asymmetric")),
		ir.A("mode", ir.String("nearest")), ir.A("nearest_mode", ir.String("floor")))[0]
	return u.conv(s.in("conv"), y, u.Channels, u.Channels, 3, 1)
}

// transformer attends over the places of x (B,C,H,W), whose height and width
// are side where that is not zero.
func (u *unet) transformer(s scope, x *ir.Value, side int) *ir.Value {
	defer u.at(s)()
	batch, height, width := u.dim(x, 0, u.Batch), u.dim(x, 2, side), u.dim(x, 3, side)
	y, c := u.groupNorm(s.in("norm"), x, u.Channels), u.Channels
	flat := func(y *ir.Value) *ir.Value {
		return u.reshape(u.transpose(y, 0, 2, 3, 1), batch, size(-1), size(c))
	}
	square := func(y *ir.Value) *ir.Value {
		return u.transpose(u.reshape(y, batch, height, width, size(c)), 0, 3, 1, 2)
	}
	if u.ConvProjection {
		y = flat(u.conv(s.in("proj_in"), y, c, c, 1, 1))
	} else {
		y = u.linear(s.in("proj_in"), flat(y), c, c, true)
	}
	y = u.block(s.in("transformer_blocks.0"), y, batch)
	if u.ConvProjection {
		y = u.conv(s.in("proj_out"), square(y), c, c, 1, 1)
	} else {
		y = square(u.linear(s.in("proj_out"), y, c, c, true))
	}
	return u.op("Add", y, x)
}

// block is attention over itself, attention over the text, and a gated MLP.
func (u *unet) block(s scope, x *ir.Value, batch extent) *ir.Value {
	c := u.Channels
	x = u.add(s, u.attention(s.in("attn1"), u.layerNorm(s.in("norm1"), x, c), nil, batch), x)
	x = u.add(s, u.attention(s.in("attn2"), u.layerNorm(s.in("norm2"), x, c), u.text, batch), x)
	return u.add(s, u.feedForward(s.in("ff"), u.layerNorm(s.in("norm3"), x, c)), x)
}

// attention looks at the text, or at x where that is nil.
func (u *unet) attention(s scope, x, text *ir.Value, batch extent) *ir.Value {
	defer u.at(s)()
	c, in := u.Channels, u.Text
	if text == nil {
		text, in = x, u.Channels
	}
	heads := func(name string, x *ir.Value, in int) *ir.Value {
		y := u.linear(s.in(name), x, in, c, false)
		return u.transpose(u.reshape(y, batch, size(-1), size(u.Heads), size(c/u.Heads)), 0, 2, 1, 3)
	}
	q, k, v := heads("to_q", x, c), heads("to_k", text, in), heads("to_v", text, in)
	y := u.attend(q, k, v, nil, batch, size(-1), u.Heads, c/u.Heads)
	return u.linear(s.in("to_out.0"), y, c, c, true)
}

// feedForward is down(a * gelu(b)), a and b halves of one product (GEGLU).
func (u *unet) feedForward(s scope, x *ir.Value) *ir.Value {
	defer u.at(s)()
	c := u.Channels
	gate := s.in("net.0")
	halves := u.split(u.linear(gate.in("proj"), x, c, 8*c, true), 2, 4*c)
	y := u.op("Mul", halves[0], gelu(u.exporter, gate, halves[1]))
	return u.linear(s.in("net.2"), y, 4*c, c, true)
}
