package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// dequantizeNBits is ai.bonnx.DequantizeNBits, the weight of com.microsoft's
// MatMulNBits as floats:
//
//	B (N,ceil(K/block),block*bits/8) uint8, scales (N,ceil(K/block)), of any shape
//	that has as many [, zero points, packed like B or of the type of scales]
//	-> W (N,K) of the type of scales = (q - zero) * scale
type dequantizeNBits struct{ nBits }

func newDequantizeNBits(a *Args) (Op, error) {
	o, err := newNBits(a)
	if err == nil && o.block%4 != 0 {
		err = fmt.Errorf("block_size is %d, want a multiple of 4", o.block)
	}
	return dequantizeNBits{o}, err
}

// weight adds the weight of packed numbers, as one node where that has kernels.
func (o dequantizeNBits) weight(b *Builder, q, scale, zeros *ir.Value) *ir.Value {
	if d := b.Fact(scale).DType; d != tensor.Float32 && d != tensor.Float64 || o.block%4 != 0 {
		return o.body(b, q, scale, zeros)
	}
	in := ir.In(q, scale)
	if zeros != nil {
		in = append(in, zeros)
	}
	return b.Composite("DequantizeNBits", in, 1, ir.A("K", ir.Int(o.k)), ir.A("N", ir.Int(o.n)),
		ir.A("bits", ir.Int(o.bits)), ir.A("block_size", ir.Int(o.block)))[0]
}

func (o dequantizeNBits) Infer(in []Fact) ([]Fact, error) {
	if err := needFloat("scales", in[1]); err != nil {
		return nil, err
	}
	sizes := []int{o.n * o.blocks() * o.block * o.bits / 8, o.n * o.blocks(), o.n * o.zeroBytes()}
	zero := at(in, 2)
	if zero.DType.IsFloat() {
		if sizes[2] = sizes[1]; zero.DType != in[1].DType {
			return nil, fmt.Errorf("zero points %v beside scales %v", zero, in[1])
		}
	}
	for i, f := range in {
		if i != 1 && !f.Absent() && !f.DType.IsFloat() && f.DType != tensor.Uint8 || i == 0 && f.DType != tensor.Uint8 {
			return nil, fmt.Errorf("input %d is %v, want uint8", i, f)
		}
		if s, ok := f.Shape(); ok && !f.Absent() && s.Size() != sizes[i] {
			return nil, fmt.Errorf("input %d is %v, want %d elements", i, f, sizes[i])
		}
	}
	return []Fact{Concrete(in[1].DType, o.n, o.k)}, nil
}

// zeroBytes is how many bytes the packed zero points of a row take.
func (o nBits) zeroBytes() int { return (o.blocks()*o.bits + 7) / 8 }

// nBitFormats are the formats of numbers by their bits.
var nBitFormats = map[int]kernel.Format{2: kernel.NarrowUint2, 4: kernel.NarrowUint4, 8: kernel.NarrowUint8}

// numbers are those of B, without scales.
func (o nBits) numbers(b []byte) kernel.Narrow {
	return kernel.Narrow{Format: nBitFormats[o.bits], Rows: o.n, Cols: o.k, Data: b, Stride: o.blocks() * o.block * o.bits / 8,
		Down: 1, Across: o.block}
}

// zeros makes floats of zero points of bytes; nil stands for half the range.
func (o nBits) zeros(dst []float32, zeros []byte) []float32 {
	if zeros == nil {
		dst[0] = float32(int(1) << (o.bits - 1))
		return dst[:1]
	}
	z := kernel.Narrow{Format: nBitFormats[o.bits], Rows: o.n, Cols: o.blocks(), Data: zeros, Stride: o.zeroBytes()}
	z.Widen(nil, dst)
	return dst
}

// narrow reads the numbers of B.
func (o dequantizeNBits) narrow(p *Binder, c Derived, in []Fact) (*kernel.Narrow, error) {
	if c.DType() != tensor.Float32 {
		return nil, nil
	}
	return p.stored(c, func() (*kernel.Narrow, error) {
		t, err := origin(in[0].Const).Tensor()
		if err != nil {
			return nil, err
		}
		w := o.numbers(t.Bytes())
		if w.Scales, err = constantFloats(in[1]); err != nil {
			return nil, err
		}
		switch z := at(in, 2); {
		case z.Absent():
			w.Zeros = o.zeros(make([]float32, 1), nil)
		case z.DType.IsFloat():
			w.Zeros, err = constantFloats(z)
		default:
			var packed *tensor.Tensor
			if packed, err = origin(z.Const).Tensor(); err == nil {
				w.Zeros = o.zeros(make([]float32, o.n*o.blocks()), packed.Bytes())
			}
		}
		return &w, err
	})
}

func (o dequantizeNBits) Bind(p *Binder, in, _ []Fact) (Step, error) {
	zeros := scratchOf[float32](p, o.n*o.blocks())
	if in[1].DType == tensor.Float64 {
		return o.bind64(p, zeros), nil
	}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		w := o.numbers(in[0].Bytes())
		w.Scales = tensor.Data[float32](in[1])
		if z := arg(in, 2); z != nil && z.DType().IsFloat() {
			w.Zeros = tensor.Data[float32](z)
		} else {
			w.Zeros = o.zeros(ScratchOf[float32](f, zeros), bytesOrNil(z))
		}
		w.Widen(f.Pool, tensor.Data[float32](out[0]))
		return nil
	}, nil
}

// bind64 takes two steps: the numbers, and what they stand for.
func (o dequantizeNBits) bind64(p *Binder, zeros Slot) Step {
	wide, numbers := scratchOf[float64](p, o.n*o.blocks()), scratchOf[float32](p, o.n*o.k)
	scales := kernel.Scales{Outer: o.n, Extent: o.k, Inner: 1, Block: o.block}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		zero := ScratchOf[float64](f, wide)
		if z := arg(in, 2); z != nil && z.DType().IsFloat() {
			zero = tensor.Data[float64](z)
		} else {
			narrow := o.zeros(ScratchOf[float32](f, zeros), bytesOrNil(z))
			for i := range zero {
				zero[i] = float64(narrow[min(i, len(narrow)-1)])
			}
		}
		w, q, y := o.numbers(in[0].Bytes()), ScratchOf[float32](f, numbers), tensor.Data[float64](out[0])
		w.Widen(f.Pool, q)
		for i, v := range q {
			y[i] = float64(v)
		}
		kernel.Dequantize(f.Pool, scales, y, y, tensor.Data[float64](in[1]), zero)
		return nil
	}
}

func bytesOrNil(t *tensor.Tensor) []byte {
	if t == nil {
		return nil
	}
	return t.Bytes()
}

// Expand is the body.
func (o dequantizeNBits) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	return ir.In(o.body(b, n.Input(0), n.Input(1), n.Input(2))), nil
}

func (o dequantizeNBits) body(b *Builder, q, scale, zeros *ir.Value) *ir.Value {
	w := b.Mul(o.fromZero(b, q, scale, zeros), b.ReshapeTo(scale, o.n, o.blocks(), 1))
	w = b.ReshapeTo(w, o.n, o.blocks()*o.block)
	if o.blocks()*o.block != o.k {
		w = b.slice(w, 1, 0, o.k, 1)
	}
	return w
}

// fromZero is q - zero as (N,blocks,block), of the type of scale.
func (o nBits) fromZero(b *Builder, q, scale, zeros *ir.Value) *ir.Value {
	d := b.Fact(scale).DType
	q = b.Cast(b.unpack(q, o.bits, o.n, o.blocks(), o.block), d)
	switch {
	case zeros == nil:
		return b.Sub(q, b.constOf(d, float64(int(1)<<(o.bits-1))))
	case b.Fact(zeros).DType.IsFloat():
		return b.Sub(q, b.ReshapeTo(zeros, o.n, o.blocks(), 1))
	}
	per := 8 / o.bits
	z := b.unpack(zeros, o.bits, o.n, 1, (o.blocks()+per-1)/per*per)
	return b.Sub(q, b.Cast(b.ReshapeTo(b.slice(z, 2, 0, o.blocks(), 1), o.n, o.blocks(), 1), d))
}

// Grad: the sums over a block of dW*(q - zero), and of -dW*scale for zero points
// that are floats.
func (o dequantizeNBits) Grad(b *GradBuilder) error {
	dw, scale := b.Grad(0), b.In(1)
	if more := o.blocks()*o.block - o.k; more > 0 {
		dw = b.Op("Pad", ir.In(dw, b.Ints(0, 0, 0, more)))
	}
	dw = b.ReshapeTo(dw, o.n, o.blocks(), o.block)
	if b.Needs(1) {
		b.Set(1, b.ReshapeLike(b.ReduceSum(b.Mul(dw, o.fromZero(b.Builder, b.In(0), scale, b.In(2))), false, 2), scale))
	}
	if b.Needs(2) {
		steps := b.Neg(b.Mul(b.ReduceSum(dw, true, 2), b.ReshapeTo(scale, o.n, o.blocks(), 1)))
		b.Set(2, b.ReshapeLike(steps, b.In(2)))
	}
	return nil
}
