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
	size := gemmScratch(row, m, n, k) + stripSize*narrowStrips(row, min(n, stepN(row, m, k)))
	if w.Trans {
		size += r * w.Rows
	}
	return size
}

// narrowStrips is how many strips are under way at once where a block of cols
// columns is packed.
func narrowStrips(row *gemmRow[float32], cols int) int {
	count, _ := par.Chunks((cols+row.nr-1)/row.nr, narrowPanels)
	return count
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
// block of r rows ldd apart that is added to w as GemmTiled does it. The results
// are those of Gemm and GemmTiled, bit for bit. scratch holds GemmNarrowScratch
// elements.
func GemmNarrow(p *par.Pool, transB bool, m int, alpha float32, a []float32, lda int, w *Narrow,
	d []float32, r, ldd int, accumulate bool, c []float32, ldc int, scratch []float32) {
	g := newNarrowGemm(p, transB, m, a, lda, w, c, ldc)
	g.alpha, g.acc, g.block, g.r, g.ldt = alpha, accumulate, d, r, ldd
	g.run(scratch)
}

// GemmNarrowFinished is GemmFinished with the matrix w, or its transpose where
// transB, for B.
func GemmNarrowFinished(p *par.Pool, transB bool, m int, alpha float32, a []float32, lda int, w *Narrow,
	finish Finish[float32], accumulate bool, c []float32, ldc int, scratch []float32) {
	g := newNarrowGemm(p, transB, m, a, lda, w, c, ldc)
	g.alpha, g.acc, g.finish = alpha, accumulate, finish
	g.run(scratch)
}

func newNarrowGemm(p *par.Pool, transB bool, m int, a []float32, lda int, w *Narrow, c []float32, ldc int) narrowGemm {
	n, k := w.products(transB)
	g := narrowGemm{w: w, along: w.Trans == transB}
	g.gemm = gemm[float32]{p: p, row: chosenRow[float32](), m: m, n: n, k: k, alpha: 1, c: c, ldc: ldc}
	g.a = matrix[float32]{data: a, ld: lda}
	return g
}

// A narrowGemm is a product with a Narrow under way. What is added to its stored
// elements (i,j) is block[(i%r)*ldt+j], or block[i*r+j%r] where it is Trans.
type narrowGemm struct {
	gemm[float32]
	w      *Narrow
	block  []float32
	r, ldt int
	along  bool // the lines of panels lie along stored rows
}

func (g *narrowGemm) run(scratch []float32) {
	switch {
	case g.m <= 0 || g.n <= 0:
		return
	case g.k <= 0:
		g.zero()
		g.finish.apply(g.c, g.ldc, 0, g.m, 0, g.n)
		return
	case g.block != nil && g.w.Trans:
		turned := scratch[:g.r*g.w.Rows]
		scratch = scratch[len(turned):]
		par.Do(g.p, g.w.Rows, rowsPerChunk(g.r), &turningBlock{g.row, turned, g.block, g.r, g.ldt})
		g.block = turned
	}
	across, down := stepN(g.row, g.m, g.k), roundUp(blockM, g.row.mr)
	strips := scratch[:stripSize*narrowStrips(g.row, min(g.n, across))]
	scratch = scratch[len(strips):]
	for j0 := 0; j0 < g.n; j0 += across {
		cols := min(across, g.n-j0)
		for p0 := 0; p0 < g.k; p0 += blockK {
			kc := min(blockK, g.k-p0)
			size := kc * roundUp(cols, g.row.nr)
			b, a := scratch[:size], scratch[size:]
			panels := (cols + g.row.nr - 1) / g.row.nr
			_, each := par.Chunks(panels, narrowPanels)
			par.Do(g.p, panels, narrowPanels, &narrowPacking{*g, b, strips, each, p0, kc, j0, cols})
			for i0 := 0; i0 < g.m; i0 += down {
				rows := min(down, g.m-i0)
				packRowBlock(g.p, g.row, &g.a, i0, rows, p0, kc, a)
				g.tiles(a, b, i0, rows, j0, cols, p0, kc)
			}
		}
	}
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

// narrowPacking is panels of a block of a Narrow, each of them to be in one
// chunk of tasks, which have a strip each.
type narrowPacking struct {
	g             narrowGemm
	dst, strips   []float32
	each          int // panels in a chunk
	p0, kc, j0, n int
}

func (t *narrowPacking) Run(lo, hi int) {
	nr := t.g.row.nr
	strip := t.strips[lo/t.each*stripSize:][:stripSize]
	first, n := lo*nr, min(hi*nr, t.n)-lo*nr
	if t.g.along {
		t.packAlong(strip, first, n)
		return
	}
	for c := 0; c < n; c += nr {
		t.packAcross(strip, first+c, min(nr, n-c))
	}
}

// packAlong fills the panels of n columns from c0 on, whose lines lie along
// stored rows.
func (t *narrowPacking) packAlong(strip []float32, c0, n int) {
	nr := t.g.row.nr
	for p, lines := 0, 0; p < t.kc; p += lines {
		lines = min(stripSize/n, t.kc-p)
		for i := range lines {
			t.g.line(strip[i*n:][:n], t.p0+p+i, t.j0+c0)
		}
		for c := 0; c < n; c += nr {
			panel := t.dst[(c0+c)*t.kc+p*nr:][:lines*nr]
			t.g.row.lines(lines, min(nr, n-c), nr, strip[c:], n, nil, 0, panel)
		}
	}
}

// packAcross fills the panel of n columns from c0 on, whose lines lie across
// stored rows.
func (t *narrowPacking) packAcross(strip []float32, c0, n int) {
	nr := t.g.row.nr
	panel := t.dst[c0*t.kc:][:nr*t.kc]
	for p, lines := 0, 0; p < t.kc; p += lines {
		lines = min(stripSize/nr&^31, t.kc-p)
		for i := range n {
			t.g.line(strip[i*lines:][:lines], t.j0+c0+i, t.p0+p)
		}
		t.g.row.turn(lines, n, strip, lines, nil, 0, panel[p*nr:], nr)
	}
	for p := 0; n < nr && p < t.kc; p++ {
		clear(panel[p*nr+n : p*nr+nr])
	}
}

// line is stored elements (i,j) to (i,j+len(dst)) with what is added to them.
func (g *narrowGemm) line(dst []float32, i, j int) {
	g.w.line(dst, i, j)
	switch {
	case g.block == nil:
	case !g.w.Trans:
		vec32.add.vv(dst, dst, g.block[i%g.r*g.ldt+j:][:len(dst)])
	default:
		for len(dst) > 0 {
			n := min(len(dst), g.r-j%g.r)
			vec32.add.vv(dst[:n], dst[:n], g.block[i*g.r+j%g.r:][:n])
			dst, j = dst[n:], j+n
		}
	}
}
