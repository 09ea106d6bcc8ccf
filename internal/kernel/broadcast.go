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

// A liner computes rows lines of n consecutive output elements each, from o on,
// whose inputs begin at the offsets at and, for each line more, step further.
type liner interface {
	lines(o int, at [maxIn]int, rows, n int, step [maxIn]int)
}

// eachLine has l compute all lines. They are cut by the shapes alone.
func eachLine[L any, P interface {
	*L
	liner
}](p *par.Pool, b *Broadcast, l L) {
	n := b.dims[len(b.dims)-1]
	switch {
	case n == 0:
	case len(b.dims) == 1:
		par.Do(p, n, grain, &oneLine[L, P]{b, l})
	default:
		par.Do(p, b.size/n, rowsPerChunk(n+4), &manyLines[L, P]{b, l})
	}
}

// oneLine is a broadcast with a single axis, which may be cut.
type oneLine[L any, P interface {
	*L
	liner
}] struct {
	b *Broadcast
	l L
}

func (t *oneLine[L, P]) Run(lo, hi int) {
	var at [maxIn]int
	for i, s := range t.b.stride {
		if len(s) > 0 {
			at[i] = lo * s[0]
		}
	}
	P(&t.l).lines(lo, at, 1, hi-lo, [maxIn]int{})
}

// manyLines is a broadcast with more axes, of which the last is not cut.
type manyLines[L any, P interface {
	*L
	liner
}] struct {
	b *Broadcast
	l L
}

func (t *manyLines[L, P]) Run(lo, hi int) {
	b, last := t.b, len(t.b.dims)-1
	n, rows := b.dims[last], b.dims[last-1]
	var step [maxIn]int
	for i, s := range b.stride {
		if len(s) > 0 {
			step[i] = s[last-1]
		}
	}
	var index [maxDims]int
	at := b.seek(lo, &index)
	for line := lo; line < hi; {
		now := min(rows-index[last-1], hi-line)
		P(&t.l).lines(line*n, at, now, n, step)
		line += now
		if index[last-1] != 0 { // only the first run begins inside of its axis
			for i, s := range step {
				at[i] -= index[last-1] * s
			}
			index[last-1] = 0
		}
		b.next(&index, &at)
	}
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

// next moves on along the axes before the last two.
func (b *Broadcast) next(index *[maxDims]int, at *[maxIn]int) {
	for d := len(b.dims) - 3; d >= 0; d-- {
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
	eachLine(p, b, expanding[T]{b.inner(0), dst, x})
}

type expanding[T any] struct {
	step   int
	dst, x []T
}

func (t *expanding[T]) lines(o int, at [maxIn]int, rows, n int, step [maxIn]int) {
	u := at[0]
	for range rows {
		d := t.dst[o:][:n]
		spread(d, t.x[u:], t.step)
		o, u = o+n, u+step[0]
	}
}

// copyLine is copy for lines that may be short.
func copyLine[T any](d, s []T) {
	if len(d) > 8 {
		copy(d, s)
		return
	}
	s = s[:len(d)]
	for i := range d {
		d[i] = s[i]
	}
}

// Where chooses by cond, b's inputs being cond, x and y:
//
//	for i < len(dst): dst[i] = cond[.] ? x[.] : y[.]
func Where[T any](p *par.Pool, b *Broadcast, dst []T, cond []bool, x, y []T) {
	eachLine(p, b, choosing[T]{[maxIn]int{b.inner(0), b.inner(1), b.inner(2)}, dst, cond, x, y})
}

type choosing[T any] struct {
	inner [maxIn]int
	dst   []T
	cond  []bool
	x, y  []T
}

func (t *choosing[T]) lines(o int, at [maxIn]int, rows, n int, step [maxIn]int) {
	for range rows {
		t.line(t.dst[o:][:n], t.cond[at[0]:], t.x[at[1]:], t.y[at[2]:])
		o += n
		for i, s := range step {
			at[i] += s
		}
	}
}

// line writes no branch into the loops that matter: conditions are hard to
// predict.
func (t *choosing[T]) line(d []T, c []bool, x, y []T) {
	switch in := t.inner; {
	case in[0] == 0 && c[0]:
		spread(d, x, in[1])
	case in[0] == 0:
		spread(d, y, in[2])
	case in[1] != 0 && in[2] != 0:
		c, x, y = c[:len(d)], x[:len(d)], y[:len(d)]
		for i, v := range y {
			if u := x[i]; c[i] {
				v = u
			}
			d[i] = v
		}
	case in[1] != 0:
		c, x = c[:len(d)], x[:len(d)]
		w := y[0]
		for i, u := range x {
			v := w
			if c[i] {
				v = u
			}
			d[i] = v
		}
	case in[2] != 0:
		c, y = c[:len(d)], y[:len(d)]
		u := x[0]
		for i, v := range y {
			if c[i] {
				v = u
			}
			d[i] = v
		}
	default:
		c = c[:len(d)]
		for i := range d {
			v := y[0]
			if c[i] {
				v = x[0]
			}
			d[i] = v
		}
	}
}

// spread copies a line, or fills it where x is repeated.
func spread[T any](d, x []T, step int) {
	if step == 0 {
		fill(d, x[0])
		return
	}
	copyLine(d, x[:len(d)])
}

// fill makes all elements v, the later ones of a long line by copies of the
// first.
func fill[T any](d []T, v T) {
	first := d[:min(len(d), fillBlock)]
	for i := range first[:min(len(first), 32)] {
		first[i] = v
	}
	for n := 32; n < len(first); n *= 2 {
		copy(first[n:], first[:n])
	}
	for n := fillBlock; n < len(d); n += fillBlock {
		copy(d[n:], first)
	}
}

// fillBlock is how many elements are copied at a time: what stays close.
const fillBlock = 1 << 10
