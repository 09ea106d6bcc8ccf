package kernel

import (
	"math"

	"github.com/bonnx/bonnx/internal/par"
)

// Cache blocking. A sum over k is cut at multiples of blockK whatever the
// other sizes are, so an element of C depends on its row, its column and k.
const (
	blockK = 512       // depth of a packed panel
	blockM = 1024      // rows of A packed at a time
	blockN = 1024      // columns of B packed at a time
	blockC = 1 << 20   // elements of C that are added to part by part of k before the next
	tileM  = 144       // rows of the tile of C that is one task
	tileN  = 256       // its columns
	lateM  = 2 * tileM // rows of C up to which a task has all, and packs its part of B
	lateN  = 64        // columns of B that it packs at a time
	// lateTasks is how many such tasks there are at most.
	lateTasks = 16

	fewTiles = 16 // with fewer, tiles get narrower: some thread would wait for the last
)

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

// A matrix is an operand: element (i,j) is data[i*ld+j], or data[j*ld+i] where
// trans. Where tile is not nil, a block of r rows is added to the stored
// matrix, again and again downwards: stored element (i,j) counts as
// data[i*ld+j] + tile[(i%r)*ldt+j]. Where width is not 0, the stored matrix is
// rows high and lies in panels, as packAll wrote it, width wide.
type matrix[T Float] struct {
	data  []T
	ld    int
	trans bool

	tile   []T
	r, ldt int

	rows, width int
}

// from is the stored matrix from (i,j) on: rows ld apart, of which down follow
// each other, with right columns.
func (m *matrix[T]) from(nr, i, j int) (src []T, ld, down, right int) {
	if m.width == 0 {
		return m.data[i*m.ld+j:], m.ld, math.MaxInt, math.MaxInt
	}
	k0 := i / blockK * blockK
	kc := min(blockK, m.rows-k0)
	panel := m.data[k0*m.width+j/nr*nr*kc:][:nr*kc]
	return panel[(i-k0)*nr+j%nr:], nr, k0 + kc - i, nr - j%nr
}

// block is the tile's part that is added to the stored matrix from (i,j) on,
// and of how many rows it is; nil where there is no tile.
func (m *matrix[T]) block(i, j int) (add []T, down int) {
	if m.tile == nil {
		return nil, math.MaxInt
	}
	return m.tile[i%m.r*m.ldt+j:], m.r - i%m.r
}

// packRows writes rows [i0,i0+rows) and columns [p0,p0+k) of m as panels of mr
// rows: dst[(i/mr)*mr*k + p*mr + i%mr]. Rows up to the next multiple of mr are
// zeros.
func packRows[T Float](row *gemmRow[T], dst []T, m *matrix[T], i0, rows, p0, k int) {
	packPanels(row, dst, m, m.trans, p0, k, i0, rows, row.mr)
}

// packCols is packRows for columns [j0,j0+cols) and rows [p0,p0+k):
// dst[(j/nr)*nr*k + p*nr + j%nr].
func packCols[T Float](row *gemmRow[T], dst []T, m *matrix[T], p0, k, j0, cols int) {
	packPanels(row, dst, m, !m.trans, p0, k, j0, cols, row.nr)
}

// stripSize is how many elements of stored rows are packed before the next
// rows: they stay in the first-level cache from panel to panel.
const stripSize = 8192

// packPanels packs n rows or columns from c0 on as panels of w. Where the
// lines of panels lie along stored rows it goes down in strips.
func packPanels[T Float](row *gemmRow[T], dst []T, m *matrix[T], along bool, p0, k, c0, n, w int) {
	if !along {
		for c := 0; c < n; c += w {
			packAcross(row, dst[c*k:][:w*k], m, c0+c, min(w, n-c), p0, k, w)
		}
		return
	}
	strip := max(stripSize/n, 8)
	for p := 0; p < k; p += strip {
		lines := min(strip, k-p)
		for c := 0; c < n; c += w {
			packAlong(row, dst[c*k+p*w:][:w*lines], m, p0+p, lines, c0+c, min(w, n-c), w)
		}
	}
}

// packAlong fills a panel whose lines of w elements lie along stored rows:
// panel[p*w+c] = stored(p0+p, c0+c) for c < n, else 0. Where m lies in panels
// they are as wide.
func packAlong[T Float](row *gemmRow[T], panel []T, m *matrix[T], p0, k, c0, n, w int) {
	for p := 0; p < k; {
		src, ld, down, _ := m.from(row.nr, p0+p, c0)
		add, again := m.block(p0+p, c0)
		lines := min(k-p, down, again)
		row.lines(lines, n, w, src, ld, add, m.ldt, panel[p*w:])
		p += lines
	}
}

// packAcross fills a panel whose lines lie across stored rows:
// panel[p*w+c] = stored(r0+c, p0+p) for c < n, else 0.
func packAcross[T Float](row *gemmRow[T], panel []T, m *matrix[T], r0, n, p0, k, w int) {
	for c := 0; c < n; {
		var rows int
		for p := 0; p < k; {
			src, ld, down, right := m.from(row.nr, r0+c, p0+p)
			add, again := m.block(r0+c, p0+p)
			rows = min(n-c, down, again)
			lines := min(k-p, right)
			row.turn(lines, rows, src, ld, add, m.ldt, panel[p*w+c:], w)
			p += lines
		}
		c += rows
	}
	if n == w {
		return
	}
	for p := range k {
		clear(panel[p*w+n : p*w+w])
	}
}

// PackedSize is the length of the slice PackB fills for op(B) of k rows and n
// columns.
func PackedSize[T Float](n, k int) int { return k * roundUp(n, chosenRow[T]().nr) }

// PackB packs op(B) (k,n) for a Right; b is (k,n) or, where transB, (n,k),
// with rows ldb apart. dst holds PackedSize elements. What it writes suits the
// kernels chosen in this process only; it is not to be stored.
func PackB[T Float](p *par.Pool, transB bool, n, k int, b []T, ldb int, dst []T) {
	packAll(p, chosenRow[T](), &matrix[T]{data: b, ld: ldb, trans: transB}, n, k, dst)
}

func packAll[T Float](p *par.Pool, row *gemmRow[T], b *matrix[T], n, k int, dst []T) {
	g := gemm[T]{p: p, row: row, b: *b}
	width := roundUp(n, row.nr)
	for p0 := 0; p0 < k; p0 += blockK {
		g.packBlock(p0, min(blockK, k-p0), 0, n, dst[p0*width:], lockers[T]{})
	}
}

// packBlock packs the block of B at (p0,j0), kc deep and cols wide.
func (g *gemm[T]) packBlock(p0, kc, j0, cols int, dst []T, l lockers[T]) {
	panels, each := (cols+g.row.nr-1)/g.row.nr, rowsPerChunk(kc*g.row.nr)
	if g.narrow.w != nil {
		each = max(narrowPanels, (panels+lateTasks-1)/lateTasks)
	}
	par.Do(g.p, panels, each, &packing[T]{*g, dst, l, p0, kc, j0, cols})
}

// packing is panels of a block of B.
type packing[T Float] struct {
	g            gemm[T]
	dst          []T
	l            lockers[T]
	p0, kc, j, n int
}

func (t *packing[T]) Run(lo, hi int) {
	var strip []T
	if t.l.size > 0 {
		l := t.l.take()
		defer t.l.leave(l)
		strip = t.l.of(l)
	}
	j := lo * t.g.row.nr
	t.g.fill(t.dst[j*t.kc:], strip, t.p0, t.kc, t.j+j, min(hi*t.g.row.nr, t.n)-j)
}

// fill packs the panels of n columns of B from j on. The last stripSize elements
// of scratch are for a Narrow.
func (g *gemm[T]) fill(dst, scratch []T, p0, kc, j, n int) {
	if g.narrow.w == nil {
		packCols(g.row, dst, &g.b, p0, kc, j, n)
		return
	}
	row, _ := any(g.row).(*gemmRow[float32])
	g.narrow.pack(row, asFloat32(dst), asFloat32(scratch[len(scratch)-stripSize:]), p0, kc, j, n)
}

// packRowBlock packs the block of A at (i0,p0), rows high and kc deep.
func packRowBlock[T Float](p *par.Pool, row *gemmRow[T], a *matrix[T], i0, rows, p0, kc int, dst []T) {
	panels := (rows + row.mr - 1) / row.mr
	par.Do(p, panels, rowsPerChunk(kc*row.mr), &rowPacking[T]{row, *a, dst, i0, rows, p0, kc})
}

// rowPacking is panels of a block of A.
type rowPacking[T Float] struct {
	row          *gemmRow[T]
	m            matrix[T]
	dst          []T
	i, n, p0, kc int
}

func (t *rowPacking[T]) Run(lo, hi int) {
	i := lo * t.row.mr
	packRows(t.row, t.dst[i*t.kc:], &t.m, t.i+i, min(hi*t.row.mr, t.n)-i, t.p0, t.kc)
}
