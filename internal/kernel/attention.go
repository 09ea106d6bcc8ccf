package kernel

import "github.com/bonnx/bonnx/internal/par"

// Heads says where the rows of a tensor of heads lie: row i of head h of sample
// b is at b*Batch + h*Head + i*Row, its elements following each other.
type Heads struct{ Batch, Head, Row int }

func (l Heads) at(b, h int) int { return b*l.Batch + h*l.Head }

// An Attention is the sizes of scaled dot product attention and where its
// operands lie. Heads of q share the k and v of group h*Groups/Heads.
type Attention struct {
	Batch, Heads, Groups int
	Rows, Cols           int // of the scores
	Depth, Width         int // of q and k; of v and y
	Q, K, V, Y           Heads
	Scale                float64
	// Bias says where the rows of the bias lie, in rows: those of an extent of
	// 1 are 0 apart.
	Bias Heads
}

// A Span says which columns of a row of a bias matter: those before From are 0,
// those from To on are so far below the greatest that nothing is left of them
// after the softmax.
type Span struct{ From, To int32 }

// maskedOut is how far below the greatest of its row a bias leaves nothing of a
// score. Scores of that size have no meaning in a softmax of float32, where
// their steps are 8 apart.
const maskedOut = 1e8

// AttentionSpans finds the spans of the rows of a bias, n elements each.
func AttentionSpans[T Float](p *par.Pool, n int, bias []T, spans []Span) {
	par.Do(p, len(spans), rowsPerChunk(n), &spanning[T]{n, bias, spans})
}

type spanning[T Float] struct {
	n     int
	bias  []T
	spans []Span
}

func (t *spanning[T]) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		t.spans[i] = spanOf(t.bias[i*t.n:][:t.n])
	}
}

func spanOf[T Float](row []T) Span {
	from, to := 0, len(row)
	for from < len(row) && row[from] == 0 {
		from++
	}
	var top T
	if from == 0 && len(row) > 0 {
		top = row[0]
	}
	for _, v := range row[from:] {
		top = max(top, v) // NaN stays
	}
	if low := top - maskedOut; low < top && float64(top) > -1e30 { // else nothing stands out
		for to > 0 && row[to-1] <= low {
			to--
		}
	}
	return Span{int32(min(from, to)), int32(to)}
}

// attendRows is how many rows of scores are computed at a time, and attendScores
// how many elements they may have: what stays in the second-level cache.
const (
	attendRows   = 48
	attendScores = 1 << 16
)

// attendUnits bounds how many heads have scratch at a time.
const attendUnits = 16

// high is how many rows of scores are computed at a time.
func (a *Attention) high(mr int) int {
	return roundUp(min(attendRows, a.Rows, max(attendScores/max(a.Cols, 1), 1)), mr)
}

// cut says how many units of work share one scratch and how many such chunks
// there are.
func (a *Attention) cut(units int) (chunks, size int) {
	return par.Chunks(units, (units+attendUnits-1)/attendUnits)
}

// parts is into how many pieces the rows of a head are cut, for enough tasks
// where heads are few.
func (a *Attention) parts(high int) int {
	const few = 8
	return max(1, min(few/max(a.Batch*a.Groups, 1), a.Rows/max(high, 1)))
}

// An attending is one attention under way. Its matrices are packed as for Gemm:
// kt and vt are panels of columns k' and v', kp and vp of columns of k and v in
// blocks of blockK rows.
type attending[T Float] struct {
	Attention
	row            *gemmRow[T]
	q, k, v, y     []T
	bias           []T
	spans          []Span
	tile           int // rows of scores at a time
	pieces         int // of the rows of a head
	size, need     int // units that share a scratch, and its elements
	scratch        []T
	dy, dq, dk, dv []T
}

func (a *Attention) forwardNeed(mr, nr, tile int) int {
	need := a.Depth*roundUp(a.Cols, nr) + a.Cols*roundUp(a.Width, nr) + tile*(a.Depth+a.Cols)
	if a.narrow(mr, nr) {
		return need + a.narrowNeed(mr, nr, tile)
	}
	return need + tile*min(a.Cols, blockK)
}

// AttendScratch is how many elements of scratch Attend needs.
func AttendScratch[T Float](a Attention) int {
	row := chosenRow[T]()
	tile := a.high(row.mr)
	chunks, _ := a.cut(a.Batch * a.Groups * a.parts(tile))
	return chunks * a.forwardNeed(row.mr, row.nr, tile)
}

// Attend is attention, softmax over the columns t of the scores:
//
//	s[b,h,i,t] = Scale * sum_d q[b,h,i,d]*k[b,g,t,d] + bias[b,h,i,t], g = h*Groups/Heads
//	p = softmax(s)
//	y[b,h,i,e] = sum_t p[b,h,i,t]*v[b,g,t,e]
//
// A few rows of scores exist at a time. bias is nil or has the spans of its
// rows beside it.
func Attend[T Float](p *par.Pool, a Attention, y, q, k, v, bias []T, spans []Span, scratch []T) {
	row := chosenRow[T]()
	t := attending[T]{Attention: a, row: row, q: q, k: k, v: v, y: y, bias: bias, spans: spans, scratch: scratch}
	t.tile = a.high(row.mr)
	t.pieces = a.parts(t.tile)
	t.need = a.forwardNeed(row.mr, row.nr, t.tile)
	units := a.Batch * a.Groups * t.pieces
	_, t.size = a.cut(units)
	par.Do(p, units, t.size, &t)
}

// carve cuts n elements off scratch.
func carve[T any](scratch *[]T, n int) []T {
	part := (*scratch)[:n:n]
	*scratch = (*scratch)[n:]
	return part
}

func (t *attending[T]) Run(lo, hi int) {
	for u := lo; u < hi; u++ {
		mine := t.scratch[lo/t.size*t.need:][:t.need]
		if t.dy != nil {
			t.backward(u/t.Groups, u%t.Groups, mine)
			continue
		}
		group, piece := u/t.pieces, u%t.pieces
		tiles := (t.Rows + t.tile - 1) / t.tile
		first, last := piece*tiles/t.pieces, (piece+1)*tiles/t.pieces
		t.forward(group/t.Groups, group%t.Groups, first*t.tile, min(last*t.tile, t.Rows), mine)
	}
}

// forward computes rows [from,to) of the heads of a group.
func (t *attending[T]) forward(b, g, from, to int, scratch []T) {
	nr := t.row.nr
	kt, vp := carve(&scratch, t.Depth*roundUp(t.Cols, nr)), carve(&scratch, t.Cols*roundUp(t.Width, nr))
	s := carve(&scratch, t.tile*t.Cols)
	t.packTurned(kt, t.k[t.K.at(b, g):], t.K.Row, t.Depth)
	t.packDeep(vp, t.v[t.V.at(b, g):], t.V.Row, t.Width)
	each := t.Heads / t.Groups
	for h := g * each; h < (g+1)*each; h++ {
		for i := from; i < to; i += t.tile {
			rows := min(t.tile, to-i)
			n := t.scores(b, h, i, rows, s, kt, scratch)
			y := t.y[t.Y.at(b, h)+i*t.Y.Row:]
			t.times(rows, n, s, vp, t.Width, 1, y, t.Y.Row, scratch)
		}
	}
}

// scores computes the softmax of rows of scores from row i on, and returns how
// many columns each has: those beyond are zero.
func (t *attending[T]) scores(b, h, i, rows int, s, kt, scratch []T) (n int) {
	n = t.seen(b, h, i, rows)
	if n == 0 {
		return 0
	}
	q := matrix[T]{data: t.q[t.Q.at(b, h):], ld: t.Q.Row}
	packRows(t.row, scratch, &q, i, rows, 0, t.Depth)
	t.row.panels(scratch, t.Depth, kt, t.Depth, rows, n, t.Depth, T(t.Scale), false, s, n)
	if t.bias != nil {
		t.addBias(b, h, i, rows, n, s)
	}
	vec[T]().softmax(rows, n, s, s)
	return n
}

// seen is how many columns the rows from i on see.
func (t *attending[T]) seen(b, h, i, rows int) int {
	if t.bias == nil {
		return t.Cols
	}
	n := int32(0)
	at := t.Bias.at(b, h)
	for r := range rows {
		n = max(n, t.spans[at+(i+r)*t.Bias.Row].To)
	}
	return int(n)
}

func (t *attending[T]) addBias(b, h, i, rows, n int, s []T) {
	add, at := vec[T]().add.vv, t.Bias.at(b, h)
	for r := range rows {
		line := at + (i+r)*t.Bias.Row
		if from := int(t.spans[line].From); from < n {
			part := s[r*n+from : (r+1)*n]
			add(part, part, t.bias[line*t.Cols+from:][:len(part)])
		}
	}
}

// packTurned packs the transpose of x (Cols,depth) in panels of its columns.
func (t *attending[T]) packTurned(dst, x []T, ld, depth int) {
	packCols(t.row, dst, &matrix[T]{data: x, ld: ld, trans: true}, 0, depth, 0, t.Cols)
}

// packDeep packs x (Cols,width) in blocks of blockK rows, for times.
func (t *attending[T]) packDeep(dst, x []T, ld, width int) {
	if t.narrow(t.row.mr, t.row.nr) {
		t.packNarrow(dst, x, ld, width)
		return
	}
	m := matrix[T]{data: x, ld: ld}
	wide := roundUp(width, t.row.nr)
	for p := 0; p < t.Cols; p += blockK {
		packCols(t.row, dst[p*wide:], &m, p, min(blockK, t.Cols-p), 0, width)
	}
}

// times is c (rows,width) = alpha * s (rows,n) by the first n rows of what
// packDeep packed.
func (t *attending[T]) times(rows, n int, s, packed []T, width int, alpha T, c []T, ldc int, scratch []T) {
	if n == 0 {
		for r := range rows {
			clear(c[r*ldc:][:width])
		}
		return
	}
	if t.narrow(t.row.mr, t.row.nr) {
		t.timesNarrow(rows, n, s, packed, width, alpha, c, ldc, scratch)
		return
	}
	m := matrix[T]{data: s, ld: n}
	wide := roundUp(width, t.row.nr)
	for p := 0; p < n; p += blockK {
		k := min(blockK, n-p)
		packRows(t.row, scratch, &m, 0, rows, p, k)
		t.row.panels(scratch, k, packed[p*wide:], min(blockK, t.Cols-p), rows, width, k, alpha, p > 0, c, ldc)
	}
}

// panels multiplies packed rows by packed columns, panels of ka and kb elements
// a row or column of which k count.
func (row *gemmRow[T]) panels(a []T, ka int, b []T, kb, rows, cols, k int, alpha T, acc bool, c []T, ldc int) {
	mr, nr := row.mr, row.nr
	for j := 0; j < cols; j += nr {
		for i := 0; i < rows; i += mr {
			row.micro(k, a[i*ka:][:mr*k], b[j*kb:][:nr*k], c[i*ldc+j:], ldc, min(mr, rows-i), min(nr, cols-j), alpha, acc, 0)
		}
	}
}
