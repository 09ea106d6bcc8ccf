package kernel

import "github.com/bonnx/bonnx/internal/par"

// fewRows is how many rows of C are computed without packing B: packing reads
// and writes B once, which that many rows do not pay for.
const fewRows = 3

// GemmScratch is how many elements of scratch Gemm and GemmFinished need for
// their sizes.
func GemmScratch[T Float](m, n, k int) int { return gemmScratch(chosenRow[T](), m, n, k) }

func gemmScratch[T Float](row *gemmRow[T], m, n, k int) int {
	size := (&gemm[T]{row: row, m: m, n: n, k: k}).scratch()
	if m <= fewRows {
		return max(n, size) // n for runRows
	}
	return size
}

// scratch is how many elements of scratch runBlocks needs.
func (g *gemm[T]) scratch() int {
	if g.m <= 0 || g.n <= 0 {
		return 0
	}
	shared, lockers := g.room()
	return shared + lockers.count*lockers.size + g.packedRows()
}

// packedRows is how many elements of A are packed at a time.
func (g *gemm[T]) packedRows() int {
	if g.keepsRows() {
		return g.k * roundUp(g.m, g.row.mr)
	}
	return min(g.k, blockK) * min(roundUp(g.m, g.row.mr), blockM+g.row.mr)
}

// keepsRows tells whether A stays packed from one part of C's columns to the
// next, and is not packed for each.
func (g *gemm[T]) keepsRows() bool {
	return g.m <= blockM && g.k <= 2*blockK && g.n > g.across()
}

// Gemm is the matrix product
//
//	for i < m, j < n:
//		s = sum over p < k of op(A)[i,p]*op(B)[p,j]
//		c[i*ldc+j] = alpha*s, plus c[i*ldc+j] where accumulate
//
// with op(A)[i,p] = a[i*lda+p], or a[p*lda+i] where transA, and op(B)[p,j] =
// b[p*ldb+j], or b[j*ldb+p] where transB. Row i of C does not depend on m, nor
// column j on n. scratch holds GemmScratch elements; its content is lost.
func Gemm[T Float](p *par.Pool, transA, transB bool, m, n, k int, alpha T, a []T, lda int, b []T, ldb int,
	accumulate bool, c []T, ldc int, scratch []T) {
	g := gemm[T]{p: p, row: chosenRow[T](), m: m, n: n, k: k, alpha: alpha, acc: accumulate, c: c, ldc: ldc}
	g.a = matrix[T]{data: a, ld: lda, trans: transA}
	g.b = matrix[T]{data: b, ld: ldb, trans: transB}
	g.run(scratch)
}

// inPanels is a B that PackB packed: of k rows and n columns, or where transB of
// n rows and k columns.
func inPanels[T Float](row *gemmRow[T], transB bool, n, k int, packed []T) matrix[T] {
	rows, cols := k, n
	if transB {
		rows, cols = n, k
	}
	return matrix[T]{data: packed, trans: transB, rows: rows, width: roundUp(cols, row.nr)}
}

// A gemm is one product under way.
type gemm[T Float] struct {
	p       *par.Pool
	row     *gemmRow[T]
	m, n, k int
	alpha   T
	a, b    matrix[T]
	packed  []T     // in place of b
	narrow  narrowB // in place of b
	acc     bool
	c       []T
	ldc     int
	finish  Finish[T]
}

func (g *gemm[T]) run(scratch []T) {
	if g.m <= 0 || g.n <= 0 {
		return
	}
	if g.k <= 0 {
		g.zero()
		g.finish.apply(g.c, g.ldc, 0, g.m, 0, g.n)
		return
	}
	if g.m <= fewRows && g.packed == nil && g.narrow.w == nil && g.b.tile == nil && g.b.width == 0 && (g.row.dot != nil || !g.b.trans) {
		g.runRows(scratch)
		return
	}
	g.runBlocks(scratch)
	g.finishRows()
}

// zero is the product of no terms.
func (g *gemm[T]) zero() {
	if g.acc {
		return
	}
	for i := range g.m {
		clear(g.c[i*g.ldc:][:g.n])
	}
}

// runBlocks packs blocks of B and A and computes the tiles of C under them.
func (g *gemm[T]) runBlocks(scratch []T) {
	across, down := g.across(), roundUp(blockM, g.row.mr)
	shared, l := g.room()
	l.all, scratch = scratch[:l.count*l.size], scratch[l.count*l.size:]
	b, a, kept := scratch[:shared], scratch[shared:], g.keepsRows()
	for j0 := 0; j0 < g.n; j0 += across {
		cols := min(across, g.n-j0)
		for p0 := 0; p0 < g.k; p0 += blockK {
			kc := min(blockK, g.k-p0)
			if g.packed != nil {
				b = g.packed[p0*roundUp(g.n, g.row.nr)+j0*kc:]
			} else if !g.late() {
				g.packBlock(p0, kc, j0, cols, b, l)
			}
			for i0 := 0; i0 < g.m; i0 += down {
				rows, part := min(down, g.m-i0), a
				if kept {
					part = a[p0*roundUp(g.m, g.row.mr):]
				}
				if !kept || j0 == 0 {
					packRowBlock(g.p, g.row, &g.a, i0, rows, p0, kc, part)
				}
				g.tiles(&tiles[T]{g: *g, a: part, b: b, l: l, i0: i0, j0: j0, rows: rows, cols: cols, p0: p0, kc: kc})
			}
		}
	}
}

// across is how many columns of C are computed before the next. A is packed
// once for them. Where k is cut, C is read and written once for each part: so
// many columns that they stay in the last-level cache until the next.
func (g *gemm[T]) across() int {
	nr, wide := g.row.nr, max(blockC/g.m, tileN)
	switch {
	case g.packed != nil && g.m <= blockM:
		return roundUp(wide, nr)
	case g.late():
		return min(wide, lateTasks*tileN) / nr * nr
	case g.k <= blockK:
		return roundUp(blockN, nr)
	default:
		return roundUp(min(wide, blockN), nr)
	}
}

// late tells whether tasks pack the panels of B that they multiply by, to have
// them in a cache of their own: a task has all rows then.
func (g *gemm[T]) late() bool { return g.packed == nil && g.m <= lateM }

// lateCols is how many columns of B a task then packs at a time: so many that
// lines of a Narrow are long.
func (g *gemm[T]) lateCols() int {
	if g.narrow.byStrips(g.row.nr) {
		return narrowPanels * g.row.nr
	}
	return lateN / g.row.nr * g.row.nr
}

// room is how many elements a block of B takes that is packed for all tasks, and
// what tasks have for themselves.
func (g *gemm[T]) room() (shared int, l lockers[T]) {
	if g.packed != nil {
		return 0, l
	}
	kc, cols := min(g.k, blockK), min(g.n, g.across())
	if g.narrow.w != nil {
		l = lockers[T]{count: lateTasks, size: stripSize}
	}
	if !g.late() {
		return kc * roundUp(cols, g.row.nr), l
	}
	_, wide := g.cut(g.m, cols)
	l.count = max(1, min(lateTasks, cols/(2*g.row.nr)))
	l.size += kc * min(wide, g.lateCols())
	return 0, l
}

// cut is the extents of tasks of about equal size for a block of C. A task that
// packs is at least two panels wide.
func (g *gemm[T]) cut(rows, cols int) (high, wide int) {
	down := (rows + tileM - 1) / tileM
	if g.late() {
		down = 1
	}
	across, unit := max((cols+tileN-1)/tileN, min(fewTiles/down, cols/(2*g.row.nr))), g.row.nr
	if g.late() && g.narrow.byStrips(unit) {
		unit = g.lateCols()
	}
	return split(rows, down, g.row.mr), split(cols, across, unit)
}

// tiles computes a block of C.
func (g *gemm[T]) tiles(t *tiles[T]) {
	t.high, t.wide = g.cut(t.rows, t.cols)
	t.across = (t.cols + t.wide - 1) / t.wide
	cost := 2 * t.kc * min(t.high, t.rows) * min(t.wide, t.cols)
	par.Do(g.p, (t.rows+t.high-1)/t.high*t.across, rowsPerChunk(cost/4), t)
}

// split is the size of parts, a multiple of unit, into which n is cut evenly.
func split(n, parts, unit int) int { return roundUp((n+parts-1)/parts, unit) }

// tiles is the tasks of a block of C: its rows and cols from (i0,j0) on get the
// terms from p0 on, of packed blocks.
type tiles[T Float] struct {
	g                  gemm[T]
	a, b               []T // b is nil where tasks pack it
	l                  lockers[T]
	i0, j0, rows, cols int
	p0, kc             int
	high, wide, across int // a task, and how many lie beside each other
}

func (t *tiles[T]) Run(lo, hi int) {
	g := &t.g
	for at := lo; at < hi; at++ {
		i, j := at/t.across*t.high, at%t.across*t.wide
		rows, cols := min(t.high, t.rows-i), min(t.wide, t.cols-j)
		a, c := t.a[i*t.kc:], g.c[(t.i0+i)*g.ldc+t.j0+j:]
		if g.late() {
			t.late(a, c, rows, j, cols)
		} else {
			g.tile(a, t.b[j*t.kc:], c, rows, cols, t.kc, g.acc || t.p0 > 0)
		}
		if t.p0+t.kc == g.k && g.finish.Add == nil {
			g.finish.apply(c, g.ldc, t.i0+i, rows, t.j0+j, cols)
		}
	}
}

// late is a tile for which B is packed here, some columns at a time.
func (t *tiles[T]) late(a, c []T, rows, j, cols int) {
	g := &t.g
	l := t.l.take()
	b, step := t.l.of(l), min(t.wide, g.lateCols())
	for ; cols > 0; cols -= step {
		n := min(step, cols)
		g.fill(b, b, t.p0, t.kc, t.j0+j, n)
		g.tile(a, b, c, rows, n, t.kc, g.acc || t.p0 > 0)
		j, c = j+n, c[n:]
	}
	t.l.leave(l)
}

// line is the elements of a line of cache, of float32.
const line = 16

// tile runs the microkernel over the panels of one tile, a panel of B staying
// near while the panels of A pass. Meanwhile each of them fetches a part of the
// panel behind, a line for four steps.
func (g *gemm[T]) tile(a, b, c []T, rows, cols, kc int, acc bool) {
	mr, nr := g.row.mr, g.row.nr
	for j := 0; j < cols; j += nr {
		panel := b[j*kc:][:nr*kc]
		ahead := nr * kc
		for i := 0; i < rows; i += mr {
			g.row.micro(kc, a[i*kc:][:mr*kc], panel, c[i*g.ldc+j:], g.ldc, min(mr, rows-i), min(nr, cols-j), g.alpha, acc, ahead)
			ahead += kc / 4 * line
		}
	}
}

// runRows computes a C of few rows from B as it lies. scratch takes the sums
// of one row.
func (g *gemm[T]) runRows(scratch []T) {
	par.Do(g.p, g.n, max(64, rowsPerChunk(g.k*g.m)), &rowParts[T]{*g, scratch})
}

// rowParts is columns of a C of few rows.
type rowParts[T Float] struct {
	g       gemm[T]
	scratch []T
}

func (t *rowParts[T]) Run(lo, hi int) {
	for i := range t.g.m {
		for p0 := 0; p0 < t.g.k; p0 += blockK {
			t.g.rowPart(i, p0, min(blockK, t.g.k-p0), lo, t.scratch[lo:hi])
		}
		t.g.finish.apply(t.g.c[i*t.g.ldc+lo:], t.g.ldc, i, 1, lo, hi-lo)
	}
}

// rowPart adds kc terms from p0 on to len(t) elements of row i from column j.
func (g *gemm[T]) rowPart(i, p0, kc, j int, t []T) {
	first, inca := i*g.a.ld+p0, 1
	if g.a.trans {
		first, inca = p0*g.a.ld+i, g.a.ld
	}
	a := g.a.data[first:]
	if g.b.trans {
		g.row.dot(kc, a, inca, g.b.data[j*g.b.ld+p0:], g.b.ld, t)
	} else {
		clear(t)
		g.row.axpy(kc, a, inca, g.b.data[p0*g.b.ld+j:], g.b.ld, t)
	}
	storeTile(t, len(t), g.c[i*g.ldc+j:], g.ldc, 1, len(t), g.alpha, g.acc || p0 > 0)
}
