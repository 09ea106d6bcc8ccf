package ops

import (
	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/tensor"
)

// A mover runs the kernels that move elements on tensors of one element type.
// Offsets, widths and strides count elements.
type mover interface {
	expand(p *par.Pool, b *kernel.Broadcast, dst, x *tensor.Tensor)
	where(p *par.Pool, b *kernel.Broadcast, dst *tensor.Tensor, cond []bool, x, y *tensor.Tensor)
	readView(p *par.Pool, v *kernel.View, dst, src *tensor.Tensor)
	writeView(p *par.Pool, v *kernel.View, dst, src *tensor.Tensor)
	copyBlocks(p *par.Pool, rows, width int, dst *tensor.Tensor, dstAt, dstStep int, src *tensor.Tensor, srcAt, srcStep int)
	gather(p *par.Pool, outer, n, inner int, dst, src *tensor.Tensor, index []int64)
	transpose(p *par.Pool, t *kernel.Transposition, dst, src *tensor.Tensor)
	// scatter sets blocks of inner elements: block index[i] of dst is block i of src.
	scatter(inner int, dst, src *tensor.Tensor, index []int64)
}

// moverFor is the mover of an element type.
func moverFor(d tensor.DType) mover {
	switch bits := d.Bits(); {
	case d == tensor.String:
		return stringMover{}
	case bits < 8:
		return packedMover{}
	default:
		return byteMover{kernel.MoverFor(bits / 8), bits / 8}
	}
}

// byteMover is for elements of whole bytes.
type byteMover struct {
	k    kernel.Mover
	size int
}

func (m byteMover) expand(p *par.Pool, b *kernel.Broadcast, dst, x *tensor.Tensor) {
	m.k.Expand(p, b, dst.Bytes(), x.Bytes())
}

func (m byteMover) where(p *par.Pool, b *kernel.Broadcast, dst *tensor.Tensor, cond []bool, x, y *tensor.Tensor) {
	m.k.Where(p, b, dst.Bytes(), cond, x.Bytes(), y.Bytes())
}

func (m byteMover) readView(p *par.Pool, v *kernel.View, dst, src *tensor.Tensor) {
	m.k.ReadView(p, v, dst.Bytes(), src.Bytes())
}

func (m byteMover) writeView(p *par.Pool, v *kernel.View, dst, src *tensor.Tensor) {
	m.k.WriteView(p, v, dst.Bytes(), src.Bytes())
}

func (m byteMover) copyBlocks(p *par.Pool, rows, width int, dst *tensor.Tensor, dstAt, dstStep int, src *tensor.Tensor, srcAt, srcStep int) {
	if rows*width > 0 {
		m.k.CopyBlocks(p, rows, width, dst.Bytes()[dstAt*m.size:], dstStep, src.Bytes()[srcAt*m.size:], srcStep)
	}
}

func (m byteMover) gather(p *par.Pool, outer, n, inner int, dst, src *tensor.Tensor, index []int64) {
	m.k.Gather(p, outer, n, inner, dst.Bytes(), src.Bytes(), index)
}

func (m byteMover) transpose(p *par.Pool, t *kernel.Transposition, dst, src *tensor.Tensor) {
	m.k.Transpose(p, t, dst.Bytes(), src.Bytes())
}

func (m byteMover) scatter(inner int, dst, src *tensor.Tensor, index []int64) {
	w, d, s := inner*m.size, dst.Bytes(), src.Bytes()
	for i, at := range index {
		copy(d[int(at)*w:][:w], s[i*w:][:w])
	}
}

// stringMover is for strings.
type stringMover struct{}

func (stringMover) expand(p *par.Pool, b *kernel.Broadcast, dst, x *tensor.Tensor) {
	kernel.Expand(p, b, dst.Strings(), x.Strings())
}

func (stringMover) where(p *par.Pool, b *kernel.Broadcast, dst *tensor.Tensor, cond []bool, x, y *tensor.Tensor) {
	kernel.Where(p, b, dst.Strings(), cond, x.Strings(), y.Strings())
}

func (stringMover) readView(p *par.Pool, v *kernel.View, dst, src *tensor.Tensor) {
	kernel.ReadView(p, v, dst.Strings(), src.Strings())
}

func (stringMover) writeView(p *par.Pool, v *kernel.View, dst, src *tensor.Tensor) {
	kernel.WriteView(p, v, dst.Strings(), src.Strings())
}

func (stringMover) copyBlocks(p *par.Pool, rows, width int, dst *tensor.Tensor, dstAt, dstStep int, src *tensor.Tensor, srcAt, srcStep int) {
	if rows*width > 0 {
		kernel.CopyBlocks(p, rows, width, dst.Strings()[dstAt:], dstStep, src.Strings()[srcAt:], srcStep)
	}
}

func (stringMover) gather(p *par.Pool, outer, n, inner int, dst, src *tensor.Tensor, index []int64) {
	kernel.Gather(p, outer, n, inner, dst.Strings(), src.Strings(), index)
}

func (stringMover) transpose(p *par.Pool, t *kernel.Transposition, dst, src *tensor.Tensor) {
	kernel.Transpose(p, t, dst.Strings(), src.Strings())
}

func (stringMover) scatter(inner int, dst, src *tensor.Tensor, index []int64) {
	d, s := dst.Strings(), src.Strings()
	for i, at := range index {
		copy(d[int(at)*inner:][:inner], s[i*inner:][:inner])
	}
}

// packedMover is for elements below a byte. It goes through bytes, which
// allocates: such tensors are weights, whose moves are folded once.
type packedMover struct{}

// through runs move on unpacked tensors.
func (packedMover) through(dst *tensor.Tensor, move func(m mover, dst *tensor.Tensor, unpacked func(*tensor.Tensor) *tensor.Tensor)) {
	unpack := func(t *tensor.Tensor) *tensor.Tensor {
		c, err := t.Codes()
		if err != nil {
			panic(err) // packed types have codes
		}
		return c
	}
	d := unpack(dst)
	move(moverFor(tensor.Uint8), d, unpack)
	packed, err := tensor.FromCodes(dst.DType(), d)
	if err != nil {
		panic(err)
	}
	copy(dst.Bytes(), packed.Bytes())
}

func (m packedMover) expand(p *par.Pool, b *kernel.Broadcast, dst, x *tensor.Tensor) {
	m.through(dst, func(m mover, dst *tensor.Tensor, un func(*tensor.Tensor) *tensor.Tensor) {
		m.expand(p, b, dst, un(x))
	})
}

func (m packedMover) where(p *par.Pool, b *kernel.Broadcast, dst *tensor.Tensor, cond []bool, x, y *tensor.Tensor) {
	m.through(dst, func(m mover, dst *tensor.Tensor, un func(*tensor.Tensor) *tensor.Tensor) {
		m.where(p, b, dst, cond, un(x), un(y))
	})
}

func (m packedMover) readView(p *par.Pool, v *kernel.View, dst, src *tensor.Tensor) {
	m.through(dst, func(m mover, dst *tensor.Tensor, un func(*tensor.Tensor) *tensor.Tensor) {
		m.readView(p, v, dst, un(src))
	})
}

func (m packedMover) writeView(p *par.Pool, v *kernel.View, dst, src *tensor.Tensor) {
	m.through(dst, func(m mover, dst *tensor.Tensor, un func(*tensor.Tensor) *tensor.Tensor) {
		m.writeView(p, v, dst, un(src))
	})
}

func (m packedMover) copyBlocks(p *par.Pool, rows, width int, dst *tensor.Tensor, dstAt, dstStep int, src *tensor.Tensor, srcAt, srcStep int) {
	m.through(dst, func(m mover, dst *tensor.Tensor, un func(*tensor.Tensor) *tensor.Tensor) {
		m.copyBlocks(p, rows, width, dst, dstAt, dstStep, un(src), srcAt, srcStep)
	})
}

func (m packedMover) gather(p *par.Pool, outer, n, inner int, dst, src *tensor.Tensor, index []int64) {
	m.through(dst, func(m mover, dst *tensor.Tensor, un func(*tensor.Tensor) *tensor.Tensor) {
		m.gather(p, outer, n, inner, dst, un(src), index)
	})
}

func (m packedMover) transpose(p *par.Pool, t *kernel.Transposition, dst, src *tensor.Tensor) {
	m.through(dst, func(m mover, dst *tensor.Tensor, un func(*tensor.Tensor) *tensor.Tensor) {
		m.transpose(p, t, dst, un(src))
	})
}

func (m packedMover) scatter(inner int, dst, src *tensor.Tensor, index []int64) {
	m.through(dst, func(m mover, dst *tensor.Tensor, un func(*tensor.Tensor) *tensor.Tensor) {
		m.scatter(inner, dst, un(src), index)
	})
}
