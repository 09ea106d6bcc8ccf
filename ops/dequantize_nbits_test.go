package ops_test

import (
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

func TestDequantizeNBits(t *testing.T) {
	attrs := func(k, n, bits, block int) []*ir.Attr {
		return []*ir.Attr{intAttr("K", int64(k)), intAttr("N", int64(n)), intAttr("bits", int64(bits)), intAttr("block_size", int64(block))}
	}
	bytesOf := func(shape ...int) *tensor.Tensor {
		x := tensor.New(tensor.Uint8, shape...)
		for i := range x.Bytes() {
			x.Bytes()[i] = byte(i*i*37 + 11)
		}
		return x
	}
	byHand := opcheck.Case{Name: "by hand", Domain: ops.Domain, Op: "DequantizeNBits", Attrs: attrs(6, 1, 4, 4), Inputs: []*tensor.Tensor{
		tensor.FromSlice([]byte{0x10, 0xf8, 0x73, 0xff}, 1, 2, 2), tensor.FromSlice([]float32{0.5, 2}, 2), tensor.FromSlice([]byte{0x41}, 1)}}
	opcheck.Forward(t, byHand, 0, tensor.FromSlice([]float32{-0.5, 0, 3.5, 7, -2, 6}, 1, 6))
	for _, c := range []struct {
		name                     string
		k, n, bits, block, zeros int // 0: none, 1: packed, 2: floats
	}{
		{"4 bits", 40, 3, 4, 16, 0}, {"4 bits, zeros", 40, 3, 4, 16, 1}, {"4 bits, float zeros", 32, 3, 4, 16, 2},
		{"2 bits", 20, 2, 2, 4, 1}, {"8 bits", 24, 2, 8, 8, 1},
	} {
		blocks := (c.k + c.block - 1) / c.block
		x := opcheck.Case{Name: c.name, Domain: ops.Domain, Op: "DequantizeNBits", Attrs: attrs(c.k, c.n, c.bits, c.block), Diff: []int{1},
			Inputs: []*tensor.Tensor{bytesOf(c.n, blocks, c.block*c.bits/8), opcheck.Random(1, -1, 1, c.n*blocks)}}
		switch c.zeros {
		case 1:
			x.Inputs = append(x.Inputs, bytesOf(c.n, (blocks*c.bits+7)/8))
		case 2:
			x.Inputs, x.Diff = append(x.Inputs, opcheck.Random(2, 3, 9, c.n, blocks)), []int{1, 2}
		}
		opcheck.Gradient(t, x)
		opcheck.Expansion(t, x, 0)
	}
}
