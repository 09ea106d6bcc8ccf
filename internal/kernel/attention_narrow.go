package kernel

// Heads that are narrower than a vector leave lanes idle where their columns are
// those of a product. With such heads the products are taken the other way
// round: heads are rows, of which a register tile has as many as it needs, and
// rows or columns of scores fill the vectors.

// narrow reports whether heads are so narrow. A register tile is mr rows and
// two vectors wide.
func (a *Attention) narrow(mr, nr int) bool {
	wide := max(a.Depth, a.Width)
	return wide <= mr && wide < nr/2
}

// narrowNeed is what timesNarrow and addNarrow take of the scratch, for scores
// of as many rows.
func (a *Attention) narrowNeed(mr, nr, tile int) int {
	return mr*tile + max(roundUp(tile, nr)*min(a.Cols, blockK), tile*roundUp(a.Cols, nr)) + mr*tile
}

// packNarrow packs the transpose of x (Cols,width) as rows.
func (t *attending[T]) packNarrow(dst, x []T, ld, width int) {
	packRows(t.row, dst, &matrix[T]{data: x, ld: ld, trans: true}, 0, width, 0, t.Cols)
}

// timesNarrow is times with what packNarrow packed.
func (t *attending[T]) timesNarrow(rows, n int, s, packed []T, width int, alpha T, c []T, ldc int, scratch []T) {
	y := carve(&scratch, width*rows)
	m := matrix[T]{data: s, ld: n, trans: true}
	for p := 0; p < n; p += blockK {
		k := min(blockK, n-p)
		packCols(t.row, scratch, &m, p, k, 0, rows)
		t.row.panels(packed[p*t.row.mr:], k, scratch, k, width, rows, k, alpha, p > 0, y, rows)
	}
	t.row.turn(rows, width, y, rows, nil, 0, c, ldc)
}

// addNarrow is addTurned for the transpose of c, whose rows are Cols elements
// apart.
func (t *attending[T]) addNarrow(c, s []T, n int, x []T, ldx, i, rows, width int, alpha T, scratch []T) {
	a := carve(&scratch, t.row.mr*rows)
	packRows(t.row, a, &matrix[T]{data: x, ld: ldx, trans: true}, 0, width, i, rows)
	packCols(t.row, scratch, &matrix[T]{data: s, ld: n}, 0, rows, 0, n)
	t.row.panels(a, rows, scratch, rows, width, n, rows, alpha, true, c, t.Cols)
}

// sums is the place in which addNarrow sums up d, set to zero; nil where d is.
func (t *attending[T]) sums(d []T, width int, scratch *[]T) []T {
	c := carve(scratch, width*t.Cols)
	if d == nil {
		return nil
	}
	clear(c)
	return c
}

// putSums writes the sums of addNarrow to the rows of a group of d.
func (t *attending[T]) putSums(d []T, l Heads, b, g, width int, c []T) {
	if c != nil {
		t.row.turn(t.Cols, width, c, t.Cols, nil, 0, d[l.at(b, g):], l.Row)
	}
}
