package kernel

import "github.com/bonnx/bonnx/internal/par"

// A View is a strided part of a contiguous array: what Slice reads, what Pad
// and the gradient of Slice write. It is made once for given shapes and is
// then read only.
type View struct {
	base int       // of the first element, in the array
	walk Broadcast // over the part's elements; input 0 is the array
}

// NewView is the part of an array of the given shape that has size[a] elements
// along each axis a, from start[a] on, step[a] apart; a step may be negative.
// The part must lie inside. It panics like NewBroadcast on too many axes.
func NewView(shape, start, step, size []int) *View {
	v := &View{}
	v.walk.size = 1
	stride := 1
	strides := make([]int, len(shape))
	for a := len(shape) - 1; a >= 0; a-- {
		v.base += start[a] * stride
		strides[a] = step[a] * stride
		stride *= shape[a]
		v.walk.size *= size[a]
	}
	if v.walk.size == 0 {
		v.base = 0
	}
	for a, n := range size {
		if n != 1 {
			v.walk.push(n, [maxIn]int{strides[a]}, 1)
		}
	}
	v.walk.close(1)
	return v
}

// Len is the number of elements in the part.
func (v *View) Len() int { return v.walk.size }

// ReadView copies the part of src to the contiguous dst.
func ReadView[T any](p *par.Pool, v *View, dst, src []T) {
	step := v.walk.inner(0)
	v.walk.lines(p, func(o int, at [maxIn]int, n int) {
		i, d := v.base+at[0], dst[o:][:n]
		if step == 1 {
			copy(d, src[i:][:n])
			return
		}
		for j := range d {
			d[j] = src[i]
			i += step
		}
	})
}

// WriteView copies the contiguous src to the part of dst and leaves the rest
// of dst alone.
func WriteView[T any](p *par.Pool, v *View, dst, src []T) {
	step := v.walk.inner(0)
	v.walk.lines(p, func(o int, at [maxIn]int, n int) {
		i, s := v.base+at[0], src[o:][:n]
		if step == 1 {
			copy(dst[i:][:n], s)
			return
		}
		for _, x := range s {
			dst[i] = x
			i += step
		}
	})
}

// CopyBlocks copies rows of width elements between arrays whose rows lie apart,
// as Concat and Split do along an axis:
//
//	for i < rows, j < width: dst[i*dstStep+j] = src[i*srcStep+j]
func CopyBlocks[T any](p *par.Pool, rows, width int, dst []T, dstStep int, src []T, srcStep int) {
	if width == 0 {
		return
	}
	p.For(rows, rowsPerChunk(width), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			copy(dst[i*dstStep:][:width], src[i*srcStep:][:width])
		}
	})
}

// NewTile plans, for Expand, the repetition of an array of the given shape
// repeats[a] times along each axis a.
func NewTile(shape, repeats []int) *Broadcast {
	out := make([]int, 0, 2*len(shape))
	in := make([]int, 0, 2*len(shape))
	for a, d := range shape {
		out = append(out, repeats[a], d)
		in = append(in, 1, d)
	}
	return NewBroadcast(out, in)
}

// Gather copies slices along an axis of src (outer,n,inner), chosen by index,
// which must be in [0,n), to dst (outer,len(index),inner):
//
//	for o < outer, i < len(index), j < inner: dst[o,i,j] = src[o,index[i],j]
func Gather[T any](p *par.Pool, outer, n, inner int, dst, src []T, index []int64) {
	m := len(index)
	if m == 0 || inner == 0 {
		return
	}
	p.For(outer*m, rowsPerChunk(inner+4), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			from := (r/m*n + int(index[r%m])) * inner
			if inner == 1 {
				dst[r] = src[from]
				continue
			}
			copy(dst[r*inner:][:inner], src[from:][:inner])
		}
	})
}

// ScatterAdd is the gradient of Gather: it adds src (outer,len(index),inner)
// to slices of dst (outer,n,inner), in the order of index:
//
//	for o < outer, i < len(index), j < inner: dst[o,index[i],j] += src[o,i,j]
func ScatterAdd[T Numeric](p *par.Pool, outer, n, inner int, dst, src []T, index []int64) {
	const width = 64 // columns of one task
	m := len(index)
	blocks := (inner + width - 1) / width
	p.For(outer*blocks, rowsPerChunk(m*min(width, inner)), func(lo, hi int) {
		for t := lo; t < hi; t++ {
			o, j := t/blocks, t%blocks*width
			w := min(width, inner-j)
			for i, to := range index {
				d := dst[(o*n+int(to))*inner+j:][:w]
				for c, v := range src[(o*m+i)*inner+j:][:w] {
					d[c] += v
				}
			}
		}
	})
}

// NonNegative writes index to dst with n added to negative entries, and
// returns the position of the first that is outside of [-n,n), or -1. dst may
// be index.
func NonNegative(dst, index []int64, n int) int {
	for i, v := range index {
		if v < 0 {
			v += int64(n)
		}
		if v < 0 || v >= int64(n) {
			return i
		}
		dst[i] = v
	}
	return -1
}
