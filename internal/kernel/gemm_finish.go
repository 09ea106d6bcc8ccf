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

// GemmFinished is Gemm whose result is then finished, with op(B) as it lies or,
// where packed is not nil, as PackB packed it or, turned, its transpose.
func GemmFinished[T Float](p *par.Pool, transA, transB bool, m, n, k int, alpha T, a []T, lda int, b []T, ldb int,
	packed []T, turned bool, f Finish[T], accumulate bool, c []T, ldc int, scratch []T) {
	g := gemm[T]{p: p, row: chosenRow[T](), m: m, n: n, k: k, alpha: alpha, acc: accumulate, c: c, ldc: ldc, finish: f}
	g.a = matrix[T]{data: a, ld: lda, trans: transA}
	g.b = matrix[T]{data: b, ld: ldb, trans: transB}
	if turned {
		g.b = inPanels(g.row, true, n, k, packed)
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
