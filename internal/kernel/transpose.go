package kernel

import (
	"unsafe"

	"github.com/bonnx/bonnx/internal/par"
)

// transposeBlock is the side of the square in which a plane is transposed, so
// that its reads and its writes stay in the first-level cache.
const transposeBlock = 32

// A Transposition is a reordering of axes, planned once for a shape and then
// read only.
type Transposition struct {
	plain bool // the elements keep their order

	// The result's axes, outermost first, without those of extent 1 and with
	// neighbours that stay together merged.
	dims   []int
	from   []int // stride in the source
	to     []int // stride in the result
	planes []int // axes other than the two of the planes, or than the last
	fast   int   // the result's axis along which the source is contiguous
}

// NewTransposition plans the transposition of an array of the given shape to
// one whose axis a is the source's axis perm[a].
func NewTransposition(shape, perm []int) *Transposition {
	t := &Transposition{}
	t.merge(shape, perm)
	last := len(t.dims) - 1
	if last <= 0 {
		t.plain = true
		return t
	}
	t.to = make([]int, len(t.dims))
	for a, s := last, 1; a >= 0; a-- {
		t.to[a] = s
		s *= t.dims[a]
		if t.from[a] == 1 {
			t.fast = a
		}
	}
	for a := range last {
		if a != t.fast {
			t.planes = append(t.planes, a)
		}
	}
	if len(t.planes) > maxDims {
		panic("kernel: more than 16 axes")
	}
	return t
}

// merge fills dims and from.
func (t *Transposition) merge(shape, perm []int) {
	stride := make([]int, len(shape))
	for a, s := len(shape)-1, 1; a >= 0; a-- {
		stride[a] = s
		s *= shape[a]
	}
	for _, a := range perm {
		d, s := shape[a], stride[a]
		if d == 1 {
			continue
		}
		if k := len(t.dims) - 1; k >= 0 && t.from[k] == s*d {
			t.dims[k] *= d
			t.from[k] = s
			continue
		}
		t.dims = append(t.dims, d)
		t.from = append(t.from, s)
	}
}

// Transpose writes src to dst with its axes in the planned order:
//
//	dst[i_perm[0], i_perm[1], ...] = src[i_0, i_1, ...]
func Transpose[T any](p *par.Pool, t *Transposition, dst, src []T) {
	last := len(t.dims) - 1
	switch {
	case t.plain:
		copyAll(p, dst, src)
	case t.fast == last:
		par.Do(p, t.count(), rowsPerChunk(t.dims[last]+8), &movingRows[T]{t, dst, src})
	default:
		rows, cols := t.dims[t.fast], t.dims[last]
		bands := (rows + transposeBlock - 1) / transposeBlock
		par.Do(p, t.count()*bands, rowsPerChunk(min(rows, transposeBlock)*cols), &movingBands[T]{t, dst, src, bands})
	}
}

// offsets are where plane number i begins in the source and in the result.
func (t *Transposition) offsets(i int) (from, to int) {
	for k := len(t.planes) - 1; k >= 0; k-- {
		a := t.planes[k]
		j := i % t.dims[a]
		i /= t.dims[a]
		from += j * t.from[a]
		to += j * t.to[a]
	}
	return from, to
}

// count is the number of planes.
func (t *Transposition) count() int {
	n := 1
	for _, a := range t.planes {
		n *= t.dims[a]
	}
	return n
}

// movingRows moves rows that are contiguous on both sides.
type movingRows[T any] struct {
	t        *Transposition
	dst, src []T
}

func (m *movingRows[T]) Run(lo, hi int) {
	t, n := m.t, m.t.dims[len(m.t.dims)-1]
	inner := t.planes[len(t.planes)-1]
	for r := lo; r < hi; {
		from, to := t.offsets(r)
		for range min(t.dims[inner]-r%t.dims[inner], hi-r) {
			copyLine(m.dst[to:][:n], m.src[from:][:n])
			from, to, r = from+t.from[inner], to+t.to[inner], r+1
		}
	}
}

// movingBands transposes planes of the axis that is contiguous in the source
// and the last axis of the result, by blocks.
type movingBands[T any] struct {
	t        *Transposition
	dst, src []T
	bands    int // of a plane
}

func (m *movingBands[T]) Run(lo, hi int) {
	t, last := m.t, len(m.t.dims)-1
	rows, cols := t.dims[t.fast], t.dims[last]
	for b := lo; b < hi; b++ {
		from, to := t.offsets(b / m.bands)
		i := b % m.bands * transposeBlock
		transposeBand(m.dst[to+i*t.to[t.fast]:], t.to[t.fast], m.src[from+i:], t.from[last],
			min(transposeBlock, rows-i), cols)
	}
}

// transposeBand is dst[i*ldd+j] = src[j*lds+i] for i < rows, j < cols.
func transposeBand[T any](dst []T, ldd int, src []T, lds, rows, cols int) {
	if turnWords(dst, ldd, src, lds, rows, cols) {
		return
	}
	for j0 := 0; j0 < cols; j0 += transposeBlock {
		w := min(transposeBlock, cols-j0)
		for i := range rows {
			d := dst[i*ldd+j0:][:w]
			k := j0*lds + i
			for j := range d {
				d[j] = src[k]
				k += lds
			}
		}
	}
}

// turnWords is transposeBand for elements of four bytes by the row of float32,
// which moves them without a look at them. It reports whether it did.
func turnWords[T any](dst []T, ldd int, src []T, lds, rows, cols int) bool {
	var t T
	if unsafe.Sizeof(t) != 4 || rows < 4 || cols < 4 {
		return false
	}
	d := unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(dst))), len(dst))
	s := unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(src))), len(src))
	chosen.f32.turn(rows, cols, s, lds, nil, 0, d, ldd)
	return true
}
