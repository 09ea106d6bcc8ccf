package kernel

import (
	"unsafe"

	"github.com/bonnx/bonnx/internal/par"
)

// A Mover moves elements of one size, whatever their type. Its methods are the
// functions of the same names, on the bytes of the arrays, which must be
// aligned for the element size (16: for 8); index and condition stay typed.
type Mover interface {
	Expand(p *par.Pool, b *Broadcast, dst, x []byte)
	Where(p *par.Pool, b *Broadcast, dst []byte, cond []bool, x, y []byte)
	ReadView(p *par.Pool, v *View, dst, src []byte)
	WriteView(p *par.Pool, v *View, dst, src []byte)
	CopyBlocks(p *par.Pool, rows, width int, dst []byte, dstStep int, src []byte, srcStep int)
	Gather(p *par.Pool, outer, n, inner int, dst, src []byte, index []int64)
	Transpose(p *par.Pool, t *Transposition, dst, src []byte)
}

// movers is indexed by element size.
var movers = [...]Mover{
	1: moverOf[uint8]{}, 2: moverOf[uint16]{}, 4: moverOf[uint32]{}, 8: moverOf[uint64]{}, 16: moverOf[[2]uint64]{},
}

// MoverFor is the Mover for elements of 1, 2, 4, 8 or 16 bytes, nil for other
// sizes. Offsets, strides and sizes given to it count elements.
func MoverFor(size int) Mover {
	if size < 0 || size >= len(movers) {
		return nil
	}
	return movers[size]
}

type moverOf[T any] struct{}

// as is b seen as elements of type T.
func as[T any](b []byte) []T {
	var t T
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/int(unsafe.Sizeof(t)))
}

func (moverOf[T]) Expand(p *par.Pool, b *Broadcast, dst, x []byte) {
	Expand(p, b, as[T](dst), as[T](x))
}

func (moverOf[T]) Where(p *par.Pool, b *Broadcast, dst []byte, cond []bool, x, y []byte) {
	Where(p, b, as[T](dst), cond, as[T](x), as[T](y))
}

func (moverOf[T]) ReadView(p *par.Pool, v *View, dst, src []byte) {
	ReadView(p, v, as[T](dst), as[T](src))
}

func (moverOf[T]) WriteView(p *par.Pool, v *View, dst, src []byte) {
	WriteView(p, v, as[T](dst), as[T](src))
}

func (moverOf[T]) CopyBlocks(p *par.Pool, rows, width int, dst []byte, dstStep int, src []byte, srcStep int) {
	CopyBlocks(p, rows, width, as[T](dst), dstStep, as[T](src), srcStep)
}

func (moverOf[T]) Gather(p *par.Pool, outer, n, inner int, dst, src []byte, index []int64) {
	Gather(p, outer, n, inner, as[T](dst), as[T](src), index)
}

func (moverOf[T]) Transpose(p *par.Pool, t *Transposition, dst, src []byte) {
	Transpose(p, t, as[T](dst), as[T](src))
}
