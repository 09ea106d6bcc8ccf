package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
)

// rotaryEmbedding turns pairs of each head by angles that grow with the
// position. With R the rotary dimension (all of D where it is not given) and
// (a, b) the two halves of the first R elements, or its even and odd elements
// where interleaved:
//
//	x (B,H,S,D) or (B,S,H*D), cos, sin (P,R/2) and positions (B,S),
//	or cos, sin (B,S,R/2) -> y of x's shape: (a*cos - b*sin, a*sin + b*cos), rest
//
// https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html (since 23)
type rotaryEmbedding struct {
	function
	interleaved  bool
	heads, width int
}

func newRotaryEmbedding(a *Args) (Op, error) {
	return rotaryEmbedding{interleaved: a.Bool("interleaved", false), heads: a.Int("num_heads", 0), width: a.Int("rotary_embedding_dim", 0)}, nil
}

// Expand builds the body.
func (o rotaryEmbedding) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x, cos, sin := n.Input(0), n.Input(1), n.Input(2)
	if at := n.Input(3); at != nil {
		cos, sin = b.Op("Gather", ir.In(cos, at)), b.Op("Gather", ir.In(sin, at))
	}
	y, err := o.turn(b, x, cos, sin)
	return ir.In(y), err
}

// turn is the rotation of x by cos and sin (B,S,R/2).
func (o rotaryEmbedding) turn(b *Builder, x, cos, sin *ir.Value) (*ir.Value, error) {
	switch rank := b.Fact(x).Rank(); {
	case rank == 4:
		return o.rotate(b, x, b.Unsqueeze(cos, 1), b.Unsqueeze(sin, 1)), nil
	case rank != 3 || o.heads <= 0:
		return nil, fmt.Errorf("x is %v with num_heads %d, want rank 4, or rank 3 and a number of heads", b.Fact(x), o.heads)
	}
	y := o.rotate(b, b.bySeq(x, o.heads), b.Unsqueeze(cos, 2), b.Unsqueeze(sin, 2))
	return b.ReshapeLike(y, x), nil
}

// rotate turns the first elements of x's last axis.
func (o rotaryEmbedding) rotate(b *Builder, x, cos, sin *ir.Value) *ir.Value {
	var rest *ir.Value
	if d := b.Fact(x).Dim(-1); o.width > 0 && !(d.Known && d.Value == int64(o.width)) {
		rest = b.slice(x, -1, o.width, lastElement, 1)
		x = b.slice(x, -1, 0, o.width, 1)
	}
	y := o.turned(b, x, cos, sin)
	if rest != nil {
		y = b.Op("Concat", ir.In(y, rest), ir.A("axis", ir.Int(-1)))
	}
	return y
}

func (o rotaryEmbedding) turned(b *Builder, x, cos, sin *ir.Value) *ir.Value {
	var r, i *ir.Value
	if o.interleaved {
		r, i = b.slice(x, -1, 0, lastElement, 2), b.slice(x, -1, 1, lastElement, 2)
	} else {
		halves := b.Node("", "Split", ir.In(x), 2, ir.A("axis", ir.Int(-1)), ir.A("num_outputs", ir.Int(2)))
		r, i = halves[0], halves[1]
	}
	real, imag := b.Sub(b.Mul(r, cos), b.Mul(i, sin)), b.Add(b.Mul(r, sin), b.Mul(i, cos))
	if !o.interleaved {
		return b.Op("Concat", ir.In(real, imag), ir.A("axis", ir.Int(-1)))
	}
	pairs := b.Op("Concat", ir.In(b.Unsqueeze(real, -1), b.Unsqueeze(imag, -1)), ir.A("axis", ir.Int(-1)))
	return b.ReshapeLike(pairs, x)
}

// lastElement is an end that lies beyond every axis.
const lastElement = 1<<31 - 1

// slice is x[from:to:step] along an axis.
func (b *Builder) slice(x *ir.Value, axis, from, to, step int) *ir.Value {
	return b.Op("Slice", ir.In(x, b.Ints(from), b.Ints(to), b.Ints(axis), b.Ints(step)))
}
