package ops

import "github.com/bonnx/bonnx/tensor"

const (
	// tileSize is how many elements go through a chain at a time: with four
	// bytes each, a handful of such tiles stay in the second-level cache, are
	// read in runs long enough to be fetched ahead, and calling the kernels
	// costs next to nothing.
	tileSize = 1 << 14
	// leastTile is the tile from which on a chain is worth it.
	leastTile = 256
)

// tiles cuts tensors that are broadcast to one shape into tiles of rows of the
// last axis, or into parts of rows where these are long. Axes that all inputs
// treat alike are merged first.
type tiles struct {
	dims       []int   // of the result, at least two
	stride     [][]int // of each input, 0 where it is repeated
	rows, cols int     // of a tile, of which those at the end of an axis may be smaller
	down, over int     // tiles to one matrix of the last two axes
	count      int
}

// cutTiles cuts the shape out into tiles of about size elements.
func cutTiles(out tensor.Shape, in []tensor.Shape, size int) *tiles {
	t := &tiles{dims: []int{1}, stride: make([][]int, len(in))}
	for i := range t.stride {
		t.stride[i] = []int{0}
	}
	for axis, d := range out {
		if d != 1 {
			t.push(d, out, in, axis)
		}
	}
	if len(t.dims) == 1 {
		t.push(1, out, in, 0)
	}
	last := len(t.dims) - 1
	r, n := t.dims[last-1], t.dims[last]
	t.rows, t.cols = min(r, max(1, size/max(n, 1))), min(n, size)
	t.down, t.over = ceilDiv(r, t.rows), ceilDiv(n, t.cols)
	t.count = t.down * t.over
	for _, d := range t.dims[:last-1] {
		t.count *= d
	}
	return t
}

// push adds an inner axis, or widens the last one where every input steps
// through both as through one. The first axis, of extent 1, stays.
func (t *tiles) push(d int, out tensor.Shape, in []tensor.Shape, axis int) {
	last := len(t.dims) - 1
	merge := last > 0
	step := make([]int, len(in))
	for i, s := range in {
		if a := axis - (len(out) - len(s)); a >= 0 && len(s) > 0 && s[a] != 1 {
			step[i] = s[a+1:].Size()
		}
		merge = merge && t.stride[i][last] == step[i]*d
	}
	if !merge {
		t.dims = append(t.dims, 1)
		last++
	}
	t.dims[last] *= d
	for i := range in {
		t.stride[i] = append(t.stride[i][:last], step[i])
	}
}

func ceilDiv(a, b int) int { return (a + max(b, 1) - 1) / max(b, 1) }

// full is the size of a tile that is not at an end.
func (t *tiles) full() (rows, cols int) { return t.rows, t.cols }

// tail is the size of a tile at the end of its axis, where it is smaller.
func (t *tiles) tail() (rows, cols int, ok bool) {
	last := len(t.dims) - 1
	r, c := t.dims[last-1]%max(t.rows, 1), t.dims[last]%max(t.cols, 1)
	switch {
	case r != 0:
		return r, t.cols, true
	case c != 0:
		return t.rows, c, true
	}
	return 0, 0, false
}

// shape is what a tile of rows x cols takes of input i.
func (t *tiles) shape(i, rows, cols int) tensor.Shape {
	last := len(t.dims) - 1
	if t.stride[i][last-1] == 0 {
		rows = 1
	}
	if t.stride[i][last] == 0 {
		cols = 1
	}
	return tensor.Shape{rows, cols}
}

// place is where tile u begins in the result, whether it is a tail, and, put
// into at, where it begins in the inputs.
func (t *tiles) place(u int, at []int) (begin int, tail bool) {
	last := len(t.dims) - 1
	col := u % t.over * t.cols
	u /= t.over
	row := u % t.down * t.rows
	u /= t.down
	begin = (u*t.dims[last-1]+row)*t.dims[last] + col
	for i, s := range t.stride {
		at[i] = row*s[last-1] + col*s[last]
	}
	for a := last - 2; a >= 0; a-- {
		x := u % t.dims[a]
		u /= t.dims[a]
		for i, s := range t.stride {
			at[i] += x * s[a]
		}
	}
	return begin, row+t.rows > t.dims[last-1] || col+t.cols > t.dims[last]
}
