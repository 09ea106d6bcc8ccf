package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// The linear layers of com.microsoft with quantized weights stand for products
// with dequantized ones.

// matMulNBits is com.microsoft.MatMulNBits: a weight of 2, 4 or 8 bits, in
// blocks along its input side that have a scale and a zero point each.
//
//	A (...,K), B (N,ceil(K/block),block*bits/8) uint8, scales (N,ceil(K/block))
//	[, zero points, group index, bias (N)] -> y (...,N) = A W^T + bias
//	W = (q - zero) * scale
//
// Zero points are packed like B, or of A's type; without them half the range is
// taken.
type matMulNBits struct {
	function
	nBits
}

// nBits is how a weight of few bits lies in blocks.
type nBits struct{ k, n, bits, block int }

func newNBits(a *Args) (nBits, error) {
	o := nBits{k: a.Int("K", 0), n: a.Int("N", 0), bits: a.Int("bits", 4), block: a.Int("block_size", 0)}
	switch {
	case o.k <= 0 || o.n <= 0 || o.block <= 0:
		return o, fmt.Errorf("attributes K, N and block_size are %d, %d and %d", o.k, o.n, o.block)
	case o.bits != 2 && o.bits != 4 && o.bits != 8:
		return o, fmt.Errorf("bits is %d, want 2, 4 or 8", o.bits)
	}
	return o, nil
}

// blocks is how many blocks a row has.
func (o nBits) blocks() int { return (o.k + o.block - 1) / o.block }

func newMatMulNBits(a *Args) (Op, error) {
	o, err := newNBits(a)
	a.Skip("accuracy_level")
	switch {
	case err != nil:
		return nil, err
	case a.Node.Input(4) != nil:
		return nil, errors.New("a group index is not supported")
	case a.Int("weight_prepacked", 0) != 0:
		return nil, errors.New("a prepacked weight is not supported")
	}
	return matMulNBits{nBits: o}, nil
}

// Expand builds the body. The weight is one node where products can read it as
// it is stored. With 16-bit floats it is of float32, and the sum is rounded once.
func (o matMulNBits) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x := n.Input(0)
	d := b.Fact(x).DType
	wide := d
	if isNarrow(d) {
		wide = tensor.Float32
	}
	scale, zeros := b.Cast(n.Input(2), wide), n.Input(3)
	if zeros != nil && b.Fact(zeros).DType.IsFloat() {
		zeros = b.Cast(zeros, wide)
	}
	w := dequantizeNBits{o.nBits}.weight(b, n.Input(1), scale, zeros)
	y := b.MatMul(b.Cast(x, wide), b.Transpose(w, 1, 0))
	if bias := n.Input(5); bias != nil {
		y = b.Add(y, b.Cast(bias, wide))
	}
	return ir.In(b.Cast(y, d)), nil
}

// unpack is packed numbers of some bits, the first in the low ones, as uint8
// (n,blocks,block).
func (b *Builder) unpack(x *ir.Value, bits, n, blocks, block int) *ir.Value {
	if bits == 8 {
		return b.ReshapeTo(x, n, blocks, block)
	}
	per := 8 / bits
	bytes := b.ReshapeTo(x, n, blocks, block/per, 1)
	parts := make([]*ir.Value, per)
	u8 := func(v int) *ir.Value { return b.Const("bits", tensor.Scalar(uint8(v))) }
	for i := range parts {
		p := bytes
		if i > 0 {
			p = b.Op("BitShift", ir.In(p, u8(i*bits)), ir.A("direction", ir.String("RIGHT")))
		}
		if i < per-1 {
			p = b.Op("BitwiseAnd", ir.In(p, u8(1<<bits-1)))
		}
		parts[i] = p
	}
	return b.ReshapeTo(b.Op("Concat", parts, ir.A("axis", ir.Int(3))), n, blocks, block)
}

// dynamicQuantizeMatMul is com.microsoft.DynamicQuantizeMatMul: A is quantized
// over its own range.
//
//	A (...,K) float32, B (K,N) 8-bit, scale, [zero point, bias (N)] -> y (...,N)
type dynamicQuantizeMatMul struct{ roundedFunction }

func newDynamicQuantizeMatMul(*Args) (Op, error) { return dynamicQuantizeMatMul{}, nil }

// Expand builds the body.
func (dynamicQuantizeMatMul) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x := n.Input(0)
	scale, zero := b.rangeOf(x)
	x = b.dequantize(b.Op("QuantizeLinear", ir.In(x, scale, zero)), scale, zero, -1)
	return b.withBias(b.MatMul(x, b.dequantize(n.Input(1), n.Input(2), n.Input(3), -1)), n.Input(4)), nil
}

func (b *Builder) withBias(y, bias *ir.Value) []*ir.Value {
	if bias != nil {
		y = b.Add(y, bias)
	}
	return ir.In(y)
}

// matMulIntegerToFloat is com.microsoft.MatMulIntegerToFloat:
//
//	A (...,K), B (K,N) 8-bit, scale of A, scale of B [, zero points of A and B,
//	bias (N)] -> y (...,N) = dequantize(A) dequantize(B) + bias
type matMulIntegerToFloat struct{ roundedFunction }

func newMatMulIntegerToFloat(*Args) (Op, error) { return matMulIntegerToFloat{}, nil }

// Expand builds the body.
func (matMulIntegerToFloat) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x := b.dequantize(n.Input(0), n.Input(2), n.Input(4), -1)
	w := b.dequantize(n.Input(1), n.Input(3), n.Input(5), -1)
	y := b.Cast(b.MatMul(x, w), b.Fact(n.Input(2)).DType)
	return b.withBias(y, n.Input(6)), nil
}

// qAttention is com.microsoft.QAttention: microsoftAttention with x and W of
// 8 bits.
//
//	x, W, bias, scale of x, scale of W [, mask, zero of x, zero of W, past]
//	-> y (B,S,V) [, present]
type qAttention struct {
	roundedFunction
	heads
}

func newQAttention(a *Args) (Op, error) {
	h, err := newHeads(a)
	if err == nil && (a.Bool("do_rotary", false) || a.Bool("past_present_share_buffer", false)) {
		err = errors.New("do_rotary and past_present_share_buffer are not supported")
	}
	return qAttention{heads: h}, err
}

// Expand builds the body.
func (o qAttention) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x := b.dequantize(n.Input(0), n.Input(3), n.Input(6), -1)
	w := b.dequantize(n.Input(1), n.Input(4), n.Input(7), -1)
	all := b.Add(b.MatMul(x, w), n.Input(2))
	y, present, err := o.packed(b, all, nil, n.Input(5), n.Input(8), nil)
	return ir.In(y, present), err
}
