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

// GemmFinished is C = finish(A op(B)), with op(B) as it lies or, where packed is
// not nil, as PackB packed it or, turned, its transpose.
func GemmFinished[T Float](p *par.Pool, transB bool, m, n, k int, a []T, lda int, b []T, ldb int, packed []T, turned bool,
	f Finish[T], c []T, ldc int, scratch []T) {
	g := gemm[T]{p: p, row: chosenRow[T](), m: m, n: n, k: k, alpha: 1, c: c, ldc: ldc, finish: f}
	g.a = matrix[T]{data: a, ld: lda}
	g.b = matrix[T]{data: b, ld: ldb, trans: transB}
	if turned {
		g.b = matrix[T]{data: packed, trans: true, rows: n, width: roundUp(k, g.row.nr)}
	} else {
		g.packed = packed
	}
	g.run(scratch)
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
