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
	eachLine(p, &v.walk, viewing[T]{v, v.walk.inner(0), dst, src, false})
}

// WriteView copies the contiguous src to the part of dst and leaves the rest
// of dst alone.
func WriteView[T any](p *par.Pool, v *View, dst, src []T) {
	eachLine(p, &v.walk, viewing[T]{v, v.walk.inner(0), src, dst, true})
}

// viewing copies between a part of whole and the contiguous part.
type viewing[T any] struct {
	v           *View
	inner       int
	part, whole []T
	write       bool
}

func (t *viewing[T]) lines(o int, at [maxIn]int, rows, n int, step [maxIn]int) {
	i := t.v.base + at[0]
	for range rows {
		line := t.part[o:][:n]
		switch {
		case t.inner == 1 && t.write:
			copyLine(t.whole[i:][:n], line)
		case t.inner == 1:
			copyLine(line, t.whole[i:][:n])
		case t.write:
			k := i
			for _, x := range line {
				t.whole[k] = x
				k += t.inner
			}
		default:
			k := i
			for j := range line {
				line[j] = t.whole[k]
				k += t.inner
			}
		}
		o, i = o+n, i+step[0]
	}
}

// CopyBlocks copies rows of width elements between arrays whose rows lie apart,
// as Concat and Split do along an axis:
//
//	for i < rows, j < width: dst[i*dstStep+j] = src[i*srcStep+j]
func CopyBlocks[T any](p *par.Pool, rows, width int, dst []T, dstStep int, src []T, srcStep int) {
	if width == 0 {
		return
	}
	par.Do(p, rows, rowsPerChunk(width), &copyingRows[T]{width, dst, dstStep, src, srcStep})
}

type copyingRows[T any] struct {
	width   int
	dst     []T
	dstStep int
	src     []T
	srcStep int
}

func (t *copyingRows[T]) Run(lo, hi int) {
	if t.width == 1 {
		for i := lo; i < hi; i++ {
			t.dst[i*t.dstStep] = t.src[i*t.srcStep]
		}
		return
	}
	for i := lo; i < hi; i++ {
		copyLine(t.dst[i*t.dstStep:][:t.width], t.src[i*t.srcStep:][:t.width])
	}
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
	par.Do(p, outer*m, rowsPerChunk(inner+4), &gathering[T]{n, inner, dst, src, index})
}

type gathering[T any] struct {
	n, inner int
	dst, src []T
	index    []int64
}

func (t *gathering[T]) Run(lo, hi int) {
	if t.inner == 1 {
		t.elements(lo, hi)
		return
	}
	m, width := len(t.index), t.inner
	o, i := lo/m, lo%m
	for r := lo; r < hi; r++ {
		copyLine(t.dst[r*width:][:width], t.src[(o*t.n+int(t.index[i]))*width:][:width])
		if i++; i == m {
			o, i = o+1, 0
		}
	}
}

// elements is for inner = 1.
func (t *gathering[T]) elements(lo, hi int) {
	m := len(t.index)
	dst := t.dst[lo:hi]
	if m == 1 {
		at := lo*t.n + int(t.index[0])
		for r := range dst {
			dst[r] = t.src[at]
			at += t.n
		}
		return
	}
	base, i := lo/m*t.n, lo%m
	for r := range dst {
		dst[r] = t.src[base+int(t.index[i])]
		if i++; i == m {
			base, i = base+t.n, 0
		}
	}
}

// ScatterAdd is the gradient of Gather: it adds src (outer,len(index),inner)
// to slices of dst (outer,n,inner), in the order of index:
//
//	for o < outer, i < len(index), j < inner: dst[o,index[i],j] += src[o,i,j]
func ScatterAdd[T Numeric](p *par.Pool, outer, n, inner int, dst, src []T, index []int64) {
	blocks := (inner + scatterWidth - 1) / scatterWidth
	par.Do(p, outer*blocks, rowsPerChunk(len(index)*min(scatterWidth, inner)), &scattering[T]{n, inner, blocks, dst, src, index})
}

// scatterWidth is how many columns one task of ScatterAdd takes.
const scatterWidth = 64

type scattering[T Numeric] struct {
	n, inner, blocks int
	dst, src         []T
	index            []int64
}

func (t *scattering[T]) Run(lo, hi int) {
	if t.inner == 1 {
		for o := lo; o < hi; o++ {
			d, at := t.dst[o*t.n:][:t.n], o*len(t.index)
			for i, to := range t.index {
				d[to] += t.src[at+i]
			}
		}
		return
	}
	for b := lo; b < hi; b++ {
		o, j := b/t.blocks, b%t.blocks*scatterWidth
		w := min(scatterWidth, t.inner-j)
		at := o*len(t.index)*t.inner + j
		for _, to := range t.index {
			d := t.dst[(o*t.n+int(to))*t.inner+j:][:w]
			for c, v := range t.src[at:][:w] {
				d[c] += v
			}
			at += t.inner
		}
	}
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
