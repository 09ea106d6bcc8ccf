package kernel

import "github.com/bonnx/bonnx/internal/par"

// fewRows is how many rows of C are computed without packing B: packing reads
// and writes B once, which that many rows do not pay for.
const fewRows = 3

// GemmScratch is how many elements of scratch Gemm, GemmPacked and GemmTiled
// need for their sizes.
func GemmScratch[T Float](m, n, k int) int { return gemmScratch(chosenRow[T](), m, n, k) }

func gemmScratch[T Float](row *gemmRow[T], m, n, k int) int {
	kc := min(k, blockK)
	blocks := kc * (min(roundUp(m, row.mr), blockM+row.mr) + min(roundUp(n, row.nr), stepN(row, m, k)))
	if m <= fewRows {
		return max(n, blocks) // n for runRows
	}
	return blocks
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

// GemmTiled is Gemm with a block D (r, ...) added to the stored B while it is
// packed, as Bone does to a weight: where B is stored as (rows, cols), its
// element [i,j] counts as b[i*ldb+j] + d[(i%r)*ldd+j].
func GemmTiled[T Float](p *par.Pool, transA, transB bool, m, n, k int, alpha T, a []T, lda int, b []T, ldb int,
	d []T, r, ldd int, accumulate bool, c []T, ldc int, scratch []T) {
	g := gemm[T]{p: p, row: chosenRow[T](), m: m, n: n, k: k, alpha: alpha, acc: accumulate, c: c, ldc: ldc}
	g.a = matrix[T]{data: a, ld: lda, trans: transA}
	g.b = matrix[T]{data: b, ld: ldb, trans: transB, tile: d, r: r, ldt: ldd}
	g.run(scratch)
}

// GemmPacked is Gemm with a B that PackB packed. Its results are Gemm's, bit
// for bit.
func GemmPacked[T Float](p *par.Pool, transA bool, m, n, k int, alpha T, a []T, lda int, packed []T,
	accumulate bool, c []T, ldc int, scratch []T) {
	g := gemm[T]{p: p, row: chosenRow[T](), m: m, n: n, k: k, alpha: alpha, acc: accumulate, c: c, ldc: ldc}
	g.a = matrix[T]{data: a, ld: lda, trans: transA}
	g.packed = packed
	g.run(scratch)
}

// GemmRepacked is GemmTiled with a stored B that PackB packed: of k rows and n
// columns, or where transB of n rows and k columns. d may be nil. It copies
// panels where GemmPacked reads them, which many rows of A pay for.
func GemmRepacked[T Float](p *par.Pool, transB bool, m, n, k int, alpha T, a []T, lda int, packed []T,
	d []T, r, ldd int, accumulate bool, c []T, ldc int, scratch []T) {
	g := gemm[T]{p: p, row: chosenRow[T](), m: m, n: n, k: k, alpha: alpha, acc: accumulate, c: c, ldc: ldc}
	g.a = matrix[T]{data: a, ld: lda}
	g.b = inPanels(g.row, transB, n, k, packed)
	g.b.tile, g.b.r, g.b.ldt = d, r, ldd
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
	packed  []T // in place of b
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
	if g.m <= fewRows && g.packed == nil && g.b.tile == nil && g.b.width == 0 && (g.row.dot != nil || !g.b.trans) {
		g.runRows(scratch)
		return
	}
	g.runBlocks(scratch)
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
	width := roundUp(g.n, g.row.nr)
	across, down := stepN(g.row, g.m, g.k), roundUp(blockM, g.row.mr)
	for j0 := 0; j0 < g.n; j0 += across {
		cols := min(across, g.n-j0)
		for p0 := 0; p0 < g.k; p0 += blockK {
			kc := min(blockK, g.k-p0)
			var b []T
			a := scratch
			if g.packed != nil {
				b = g.packed[p0*width+j0*kc:]
			} else {
				size := kc * roundUp(cols, g.row.nr)
				b, a = scratch[:size], scratch[size:]
				packBlock(g.p, g.row, &g.b, p0, kc, j0, cols, b)
			}
			for i0 := 0; i0 < g.m; i0 += down {
				rows := min(down, g.m-i0)
				packRowBlock(g.p, g.row, &g.a, i0, rows, p0, kc, a)
				g.tiles(a, b, i0, rows, j0, cols, p0, kc)
			}
		}
	}
}

// stepN is how many columns of B are packed at a time. Where k is cut, C is
// read and written once for each part: so many columns that they stay in the
// last-level cache until the next.
func stepN[T Float](row *gemmRow[T], m, k int) int {
	if k <= blockK {
		return roundUp(blockN, row.nr)
	}
	return roundUp(min(max(blockC/m, tileN), blockN), row.nr)
}

// tiles computes rows x cols elements of C at (i0,j0) from packed blocks, the
// terms from p0 on, in tasks of about equal size.
func (g *gemm[T]) tiles(a, b []T, i0, rows, j0, cols, p0, kc int) {
	down := (rows + tileM - 1) / tileM
	across := max((cols+tileN-1)/tileN, min(fewTiles/down, cols/(2*g.row.nr)))
	t := tiles[T]{g: *g, a: a, b: b, i0: i0, j0: j0, rows: rows, cols: cols, kc: kc, acc: g.acc || p0 > 0, last: p0+kc == g.k}
	t.high, t.wide = split(rows, down, g.row.mr), split(cols, across, g.row.nr)
	t.across = (cols + t.wide - 1) / t.wide
	cost := 2 * kc * min(t.high, rows) * min(t.wide, cols)
	par.Do(g.p, (rows+t.high-1)/t.high*t.across, rowsPerChunk(cost/4), &t)
}

// split is the size of parts, a multiple of unit, into which n is cut evenly.
func split(n, parts, unit int) int { return roundUp((n+parts-1)/parts, unit) }

// tiles is the tasks of a block of C.
type tiles[T Float] struct {
	g                  gemm[T]
	a, b               []T
	i0, j0, rows, cols int
	kc                 int
	high, wide, across int // a task, and how many lie beside each other
	acc, last          bool
}

func (t *tiles[T]) Run(lo, hi int) {
	g := &t.g
	for at := lo; at < hi; at++ {
		i, j := at/t.across*t.high, at%t.across*t.wide
		rows, cols := min(t.high, t.rows-i), min(t.wide, t.cols-j)
		c := g.c[(t.i0+i)*g.ldc+t.j0+j:]
		g.tile(t.a[i*t.kc:], t.b[j*t.kc:], c, rows, cols, t.kc, t.acc)
		if t.last {
			g.finish.apply(c, g.ldc, t.i0+i, rows, t.j0+j, cols)
		}
	}
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
