package kernel

import "github.com/bonnx/bonnx/internal/par"

// narrowPanels is how many panels of a Narrow are packed in one go: a strip of
// the matrix as floats, that wide, stays in the first-level cache.
const narrowPanels = 4

// GemmNarrowScratch is how many elements of scratch GemmNarrow needs, with a
// block of r rows where that is not 0.
func GemmNarrowScratch(w *Narrow, transB bool, m, r int) int {
	n, k := w.products(transB)
	return narrowScratch(chosenRow[float32](), w, m, n, k, r)
}

func narrowScratch(row *gemmRow[float32], w *Narrow, m, n, k, r int) int {
	size := (&gemm[float32]{row: row, m: m, n: n, k: k, narrow: narrowB{w: w}}).scratch()
	if w.Trans {
		size += r * w.Rows
	}
	return size
}

// products are the extents of op(B).
func (w *Narrow) products(transB bool) (n, k int) {
	k, n = w.Size()
	if transB {
		n, k = k, n
	}
	return n, k
}

// GemmNarrow is Gemm with the matrix w, or its transpose where transB, for B.
// Its elements become floats while they are packed. Where d is not nil, it is a
// block of r rows ldd apart that is added to w as that of a Right is. The results
// are those of GemmFinished, bit for bit. scratch holds GemmNarrowScratch elements.
func GemmNarrow(p *par.Pool, transB bool, m int, alpha float32, a []float32, lda int, w *Narrow,
	d []float32, r, ldd int, finish Finish[float32], accumulate bool, c []float32, ldc int, scratch []float32) {
	g := narrowGemm(p, transB, m, a, lda, w, c, ldc)
	g.alpha, g.acc, g.finish = alpha, accumulate, finish
	g.run(addBlock(&g, d, r, ldd, scratch))
}

func narrowGemm(p *par.Pool, transB bool, m int, a []float32, lda int, w *Narrow, c []float32, ldc int) gemm[float32] {
	n, k := w.products(transB)
	g := gemm[float32]{p: p, row: chosenRow[float32](), m: m, n: n, k: k, alpha: 1, c: c, ldc: ldc}
	g.a = matrix[float32]{data: a, ld: lda}
	g.narrow = narrowB{w: w, along: w.Trans == transB}
	return g
}

// A narrowB is a Narrow as the B of a product. Where d is not nil, it is a block
// of r rows that is added to the matrix, and turned its transpose where stored
// rows are columns of the matrix: their elements (i,j) have d[(i%r)*ldd+j] added,
// or turned[i*r+j%r].
type narrowB struct {
	w         *Narrow
	d, turned []float32
	r, ldd    int
	along     bool // the lines of panels lie along stored rows
}

// addBlock adds a block to g's Narrow, and returns what it leaves of scratch.
func addBlock(g *gemm[float32], d []float32, r, ldd int, scratch []float32) []float32 {
	w := g.narrow.w
	g.narrow.d, g.narrow.r, g.narrow.ldd = d, r, ldd
	if d == nil || !w.Trans {
		return scratch
	}
	turned, rest := scratch[:r*w.Rows], scratch[r*w.Rows:]
	par.Do(g.p, w.Rows, rowsPerChunk(r), &turningBlock{g.row, turned, d, r, ldd})
	g.narrow.turned = turned
	return rest
}

// turningBlock is the transpose (cols,r) of d (r,cols), columns of d.
type turningBlock struct {
	row    *gemmRow[float32]
	dst, d []float32
	r, ldd int
}

func (t *turningBlock) Run(lo, hi int) {
	t.row.turn(hi-lo, t.r, t.d[lo:], t.ldd, nil, 0, t.dst[lo*t.r:], t.r)
}

// pack fills the panels of n columns of op(B) from j on; scratch holds stripSize
// elements.
func (b *narrowB) pack(row *gemmRow[float32], dst, scratch []float32, p0, kc, j, n int) {
	for c := 0; c < n; c += row.nr {
		panel, cols := dst[c*kc:][:row.nr*kc], min(row.nr, n-c)
		switch {
		case b.packPanel(row, panel, scratch, p0, kc, j+c, cols):
		case b.along: // all that are left
			b.packAlong(row, dst[c*kc:], scratch, p0, kc, j+c, n-c)
			return
		default:
			b.packAcross(row, panel, scratch, p0, kc, j+c, cols)
		}
	}
}

// packAlong fills panels whose lines lie along stored rows.
func (b *narrowB) packAlong(row *gemmRow[float32], dst, strip []float32, p0, kc, j, n int) {
	for p, lines := 0, 0; p < kc; p += lines {
		lines = min(stripSize/n, kc-p)
		b.lines(strip, n, lines, n, p0+p, j)
		for c := 0; c < n; c += row.nr {
			panel := dst[c*kc+p*row.nr:][:lines*row.nr]
			row.lines(lines, min(row.nr, n-c), row.nr, strip[c:], n, nil, 0, panel)
		}
	}
}

// packAcross fills a panel whose lines lie across stored rows.
func (b *narrowB) packAcross(row *gemmRow[float32], panel, strip []float32, p0, kc, j, n int) {
	nr := row.nr
	for p, lines := 0, 0; p < kc; p += lines {
		lines = min(stripSize/nr&^31, kc-p)
		b.lines(strip, lines, n, lines, j, p0+p)
		row.turn(lines, n, strip, lines, nil, 0, panel[p*nr:], nr)
	}
	for p := 0; n < nr && p < kc; p++ {
		clear(panel[p*nr+n : p*nr+nr])
	}
}

// lines is what Narrow.lines writes, with what is added to it.
func (b *narrowB) lines(dst []float32, ld, rows, cols, i, j int) {
	b.w.lines(dst, ld, rows, cols, i, j)
	for r := 0; b.d != nil && r < rows; r++ {
		b.addLine(dst[r*ld:][:cols], i+r, j)
	}
}

// addLine adds to stored elements from (i,j) on.
func (b *narrowB) addLine(dst []float32, i, j int) {
	if b.turned == nil {
		vec32.add.vv(dst, dst, b.d[i%b.r*b.ldd+j:][:len(dst)])
		return
	}
	for len(dst) > 0 {
		n := min(len(dst), b.r-j%b.r)
		vec32.add.vv(dst[:n], dst[:n], b.turned[i*b.r+j%b.r:][:n])
		dst, j = dst[n:], j+n
	}
}

// asFloat32 is a slice of float32 that generic code holds.
func asFloat32[T Float](x []T) []float32 {
	y, _ := any(x).([]float32)
	return y
}
