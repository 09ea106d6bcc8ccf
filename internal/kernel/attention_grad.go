package kernel

import "github.com/bonnx/bonnx/internal/par"

func (a *Attention) backwardNeed(mr, nr, tile int) int {
	cols := roundUp(a.Cols, nr)
	packed := (a.Depth+a.Width)*cols + a.Cols*roundUp(a.Depth, nr)
	if a.narrow(mr, nr) {
		return packed + 2*tile*a.Cols + (a.Depth+a.Width)*a.Cols + max(tile*max(a.Depth, a.Width), a.narrowNeed(mr, nr, tile))
	}
	panels := max(tile*max(a.Depth, a.Width, min(a.Cols, blockK)), tile*(roundUp(a.Cols, mr)+roundUp(max(a.Depth, a.Width), nr)))
	return packed + 2*tile*a.Cols + panels
}

// AttendGradScratch is how many elements of scratch AttendGrad needs.
func AttendGradScratch[T Float](a Attention) int {
	row := chosenRow[T]()
	chunks, _ := a.cut(a.Batch * a.Groups)
	return chunks * a.backwardNeed(row.mr, row.nr, a.high(row.mr))
}

// AttendGrad is the gradient of Attend for q, k and v, whose layouts dq, dk and
// dv share, as y does that of dy. The scores are computed once more, a few rows
// at a time:
//
//	dp = dy v'; ds = p*(dp - sum over the row of p*dp)
//	dq = Scale ds k; dk = Scale ds' q; dv = p' dy
//
// dk and dv are summed over the heads of a group. Any of the three may be nil.
func AttendGrad[T Float](p *par.Pool, a Attention, dq, dk, dv, dy, q, k, v, bias []T, spans []Span, scratch []T) {
	row := chosenRow[T]()
	t := attending[T]{Attention: a, row: row, q: q, k: k, v: v, bias: bias, spans: spans, scratch: scratch,
		dy: dy, dq: dq, dk: dk, dv: dv}
	t.tile = a.high(row.mr)
	t.need = a.backwardNeed(row.mr, row.nr, t.tile)
	units := a.Batch * a.Groups
	_, t.size = a.cut(units)
	par.Do(p, units, t.size, &t)
}

// backward computes the gradients of a group.
func (t *attending[T]) backward(b, g int, scratch []T) {
	wide := roundUp(t.Cols, t.row.nr)
	kt, vt := carve(&scratch, t.Depth*wide), carve(&scratch, t.Width*wide)
	kp := carve(&scratch, t.Cols*roundUp(t.Depth, t.row.nr))
	s, ds := carve(&scratch, t.tile*t.Cols), carve(&scratch, t.tile*t.Cols)
	k := t.k[t.K.at(b, g):]
	t.packTurned(kt, k, t.K.Row, t.Depth)
	t.packTurned(vt, t.v[t.V.at(b, g):], t.V.Row, t.Width)
	t.packDeep(kp, k, t.K.Row, t.Depth)
	dk, dv := t.columnSums(b, g, &scratch)
	each := t.Heads / t.Groups
	for h := g * each; h < (g+1)*each; h++ {
		q, dy := t.q[t.Q.at(b, h):], t.dy[t.Y.at(b, h):]
		for i := 0; i < t.Rows; i += t.tile {
			rows := min(t.tile, t.Rows-i)
			n := t.scores(b, h, i, rows, s, kt, scratch)
			if n > 0 {
				packRows(t.row, scratch, &matrix[T]{data: dy, ld: t.Y.Row}, i, rows, 0, t.Width)
				t.row.panels(scratch, t.Width, vt, t.Width, rows, n, t.Width, 1, false, ds, n)
				t.addTurned(dv, t.V.Row, s, n, dy, t.Y.Row, i, rows, t.Width, 1, scratch)
				vec[T]().softmaxGrad(rows, n, ds, s, ds)
				t.addTurned(dk, t.K.Row, ds, n, q, t.Q.Row, i, rows, t.Depth, T(t.Scale), scratch)
			}
			if t.dq != nil {
				t.times(rows, n, ds, kp, t.Depth, T(t.Scale), t.dq[t.Q.at(b, h)+i*t.Q.Row:], t.Q.Row, scratch)
			}
		}
	}
	if t.narrow(t.row.mr, t.row.nr) {
		t.putSums(t.dk, t.K, b, g, t.Depth, dk)
		t.putSums(t.dv, t.V, b, g, t.Width, dv)
	}
}

// columnSums are where addTurned adds up dk and dv of a group, nil for those
// that are not wanted.
func (t *attending[T]) columnSums(b, g int, scratch *[]T) (dk, dv []T) {
	if t.narrow(t.row.mr, t.row.nr) {
		return t.sums(t.dk, t.Depth, scratch), t.sums(t.dv, t.Width, scratch)
	}
	return t.zeroed(t.dk, t.K, b, g, t.Depth), t.zeroed(t.dv, t.V, b, g, t.Width)
}

// zeroed is the rows of a group of d, set to zero; nil where d is.
func (t *attending[T]) zeroed(d []T, l Heads, b, g, width int) []T {
	if d == nil {
		return nil
	}
	d = d[l.at(b, g):]
	for i := range t.Cols {
		clear(d[i*l.Row:][:width])
	}
	return d
}

// addTurned is c (n,width) += alpha * s' x, s (rows,n) and x rows i to i+rows
// of a matrix.
func (t *attending[T]) addTurned(c []T, ldc int, s []T, n int, x []T, ldx, i, rows, width int, alpha T, scratch []T) {
	if c == nil {
		return
	}
	if t.narrow(t.row.mr, t.row.nr) {
		t.addNarrow(c, s, n, x, ldx, i, rows, width, alpha, scratch)
		return
	}
	a := carve(&scratch, roundUp(n, t.row.mr)*rows)
	packRows(t.row, a, &matrix[T]{data: s, ld: n, trans: true}, 0, n, 0, rows)
	packCols(t.row, scratch, &matrix[T]{data: x, ld: ldx}, i, rows, 0, width)
	t.row.panels(a, rows, scratch, rows, n, width, rows, alpha, true, c, ldc)
}
