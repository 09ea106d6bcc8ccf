package kernel

import "github.com/bonnx/bonnx/internal/par"

// maxIn is how many inputs a Broadcast can have, maxDims how many axes may be
// left once axes that all inputs treat alike are merged.
const (
	maxIn   = 3
	maxDims = 16
)

// A Broadcast is the way up to three contiguous inputs are repeated to fill
// one contiguous output, by NumPy's rule. It is made once for given shapes and
// is then read only.
type Broadcast struct {
	size   int          // elements of the output
	dims   []int        // extents, outermost first, merged where possible; at least one
	stride [maxIn][]int // per input, in elements; 0 where it is repeated
}

// NewBroadcast plans the broadcast of the shapes in (at most 3) to the shape
// out. Each must be broadcastable to out. It panics where more than 16 axes
// remain after merging.
func NewBroadcast(out []int, in ...[]int) *Broadcast {
	b := &Broadcast{size: 1}
	for _, d := range out {
		b.size *= d
	}
	for axis, d := range out {
		if d == 1 {
			continue
		}
		var s [maxIn]int
		for i, shape := range in {
			s[i] = strideAt(shape, axis-(len(out)-len(shape)))
		}
		b.push(d, s, len(in))
	}
	b.close(len(in))
	return b
}

// strideAt is the stride of axis in a contiguous shape, 0 where the axis is
// repeated or lies outside.
func strideAt(shape []int, axis int) int {
	if axis < 0 || shape[axis] == 1 {
		return 0
	}
	s := 1
	for _, d := range shape[axis+1:] {
		s *= d
	}
	return s
}

// push adds an inner axis, or widens the last one where every input steps
// through both as through one.
func (b *Broadcast) push(d int, s [maxIn]int, inputs int) {
	last := len(b.dims) - 1
	merge := last >= 0
	for i := 0; merge && i < inputs; i++ {
		merge = b.stride[i][last] == s[i]*d
	}
	if merge {
		b.dims[last] *= d
		for i := range inputs {
			b.stride[i][last] = s[i]
		}
		return
	}
	b.dims = append(b.dims, d)
	for i := range inputs {
		b.stride[i] = append(b.stride[i], s[i])
	}
}

// close ends the list of axes: there is at least one, and not too many.
func (b *Broadcast) close(inputs int) {
	if len(b.dims) == 0 {
		b.push(1, [maxIn]int{1, 1, 1}, inputs)
	}
	if len(b.dims) > maxDims {
		panic("kernel: more than 16 axes")
	}
}

// inner is the stride of input i along a line: 1, or 0 where repeated.
func (b *Broadcast) inner(i int) int { return b.stride[i][len(b.dims)-1] }

// lines calls f for lines of n consecutive output elements from o on, whose
// inputs begin at the offsets at. Lines are cut by the shapes alone.
func (b *Broadcast) lines(p *par.Pool, f func(o int, at [maxIn]int, n int)) {
	last := len(b.dims) - 1
	if last == 0 {
		p.For(b.dims[0], grain, func(lo, hi int) {
			var at [maxIn]int
			for i, s := range b.stride {
				if len(s) > 0 {
					at[i] = lo * s[0]
				}
			}
			f(lo, at, hi-lo)
		})
		return
	}
	n := b.dims[last]
	if n == 0 {
		return
	}
	p.For(b.size/n, rowsPerChunk(n+4), func(lo, hi int) {
		var index [maxDims]int
		at := b.seek(lo, &index)
		for line := lo; line < hi; line++ {
			f(line*n, at, n)
			b.next(&index, &at)
		}
	})
}

// seek is the position of a line.
func (b *Broadcast) seek(line int, index *[maxDims]int) (at [maxIn]int) {
	for d := len(b.dims) - 2; d >= 0; d-- {
		index[d] = line % b.dims[d]
		line /= b.dims[d]
		for i, s := range b.stride {
			if len(s) > 0 {
				at[i] += index[d] * s[d]
			}
		}
	}
	return at
}

// next moves to the next line.
func (b *Broadcast) next(index *[maxDims]int, at *[maxIn]int) {
	for d := len(b.dims) - 2; d >= 0; d-- {
		index[d]++
		wrap := index[d] == b.dims[d]
		for i, s := range b.stride {
			if len(s) == 0 {
				continue
			}
			at[i] += s[d]
			if wrap {
				at[i] -= s[d] * b.dims[d]
			}
		}
		if !wrap {
			return
		}
		index[d] = 0
	}
}

// Expand copies x to dst, repeated as b's first input:
//
//	for i < len(dst): dst[i] = x[where b puts it]
func Expand[T any](p *par.Pool, b *Broadcast, dst, x []T) {
	step := b.inner(0)
	b.lines(p, func(o int, at [maxIn]int, n int) {
		d := dst[o:][:n]
		if step == 0 {
			fill(d, x[at[0]])
		} else {
			copy(d, x[at[0]:][:n])
		}
	})
}

// Where chooses by cond, b's inputs being cond, x and y:
//
//	for i < len(dst): dst[i] = cond[.] ? x[.] : y[.]
func Where[T any](p *par.Pool, b *Broadcast, dst []T, cond []bool, x, y []T) {
	sc, sx, sy := b.inner(0), b.inner(1), b.inner(2)
	b.lines(p, func(o int, at [maxIn]int, n int) {
		c, u, v := at[0], at[1], at[2]
		for i := range dst[o:][:n] {
			if cond[c] {
				dst[o+i] = x[u]
			} else {
				dst[o+i] = y[v]
			}
			c, u, v = c+sc, u+sx, v+sy
		}
	})
}

func fill[T any](d []T, v T) {
	for i := range d {
		d[i] = v
	}
}
