package kernel

import "github.com/bonnx/bonnx/internal/par"

// A Finish is what becomes of a product's elements while they are cached, in
// this order: Bias (n) is added to each row, Add (m, n) with rows LDA apart is
// added, and Act is applied. What is nil is left out.
type Finish[T Float] struct {
	Bias []T
	Add  []T
	LDA  int
	Act  func(p *par.Pool, dst, x []T)
}

// A Right is op(B) (k,n) of a product as it is stored: in rows LD apart, to be
// read transposed where Trans, or where Packed is not nil as PackB packed
// op(B) or, Turned, its transpose.
type Right[T Float] struct {
	Data   []T
	LD     int
	Trans  bool
	Packed []T
	Turned bool
	// Block (R, ...) with rows LDB apart, where it is not nil, is added to what
	// is stored, again and again downwards, as Bone does to a weight: element
	// [i,j] counts as what it is and Block[(i%R)*LDB+j].
	Block  []T
	R, LDB int
}

// matrix is how g reads its B. Panels are read as they are where nothing is to
// be done to them, and copied else, which many rows of A pay for.
func (b *Right[T]) matrix(g *gemm[T]) (m matrix[T], packed []T) {
	switch {
	case b.Packed == nil:
		m = matrix[T]{data: b.Data, ld: b.LD, trans: b.Trans}
	case b.Turned || b.Block != nil:
		m = inPanels(g.row, b.Turned, g.n, g.k, b.Packed)
	default:
		return m, b.Packed
	}
	m.tile, m.r, m.ldt = b.Block, b.R, b.LDB
	return m, nil
}

// GemmFinished is Gemm with the right operand in any of its forms, whose result
// is then finished. The results are Gemm's, bit for bit.
func GemmFinished[T Float](p *par.Pool, transA bool, m, n, k int, alpha T, a []T, lda int, b Right[T],
	f Finish[T], accumulate bool, c []T, ldc int, scratch []T) {
	g := gemm[T]{p: p, row: chosenRow[T](), m: m, n: n, k: k, alpha: alpha, acc: accumulate, c: c, ldc: ldc, finish: f}
	g.a = matrix[T]{data: a, ld: lda, trans: transA}
	g.b, g.packed = b.matrix(&g)
	g.run(scratch)
}

// finishRows finishes a product that was computed in tiles, where these did not.
// What is added lies far away: whole rows of it one after the other are fetched
// ahead, those of tiles are waited for.
func (g *gemm[T]) finishRows() {
	if g.finish.Add != nil {
		par.Do(g.p, g.m, rowsPerChunk(g.n), &finishing[T]{*g})
	}
}

// finishing is rows of a C to be finished.
type finishing[T Float] struct{ g gemm[T] }

func (t *finishing[T]) Run(lo, hi int) {
	t.g.finish.apply(t.g.c[lo*t.g.ldc:], t.g.ldc, lo, hi-lo, 0, t.g.n)
}

// apply finishes rows x cols elements of C, of which c holds those from (i,j) on.
func (f *Finish[T]) apply(c []T, ldc, i, rows, j, cols int) {
	if f.Bias == nil && f.Add == nil && f.Act == nil {
		return
	}
	add := vec[T]().add.vv
	for r := range rows {
		row := c[r*ldc:][:cols]
		if f.Bias != nil {
			add(row, row, f.Bias[j:][:cols])
		}
		if f.Add != nil {
			add(row, row, f.Add[(i+r)*f.LDA+j:][:cols])
		}
		if f.Act != nil {
			f.Act(nil, row, row)
		}
	}
}
