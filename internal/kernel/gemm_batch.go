package kernel

import "github.com/bonnx/bonnx/internal/par"

// Products below smallProduct multiply-adds are computed one to a thread.
const smallProduct = 1 << 22

// batchChunks bounds how many small products have scratch at a time.
const batchChunks = 16

// A Batch says where the matrices of a batched product lie: product l reads A
// at a[OffA[l]:] and B at b[OffB[l]:] and writes C at c[OffC[l]:]. Broadcasting
// repeats offsets in OffA and OffB; the C must not overlap.
type Batch struct{ OffA, OffB, OffC []int }

// Strided are n offsets, step apart.
func Strided(n, step int) []int {
	off := make([]int, n)
	for i := range off {
		off[i] = i * step
	}
	return off
}

// batchCut is how many products share one scratch, and how many such chunks
// there are; zero chunks: run one product after the other, each on all threads.
func batchCut(batch, m, n, k int) (chunks, size int) {
	cost := m * n * k
	if batch < 2 || cost > smallProduct {
		return 0, batch
	}
	return par.Chunks(batch, max(rowsPerChunk(cost), (batch+batchChunks-1)/batchChunks))
}

// GemmBatchScratch is how many elements of scratch GemmBatch needs.
func GemmBatchScratch[T Float](batch, m, n, k int) int {
	chunks, _ := batchCut(batch, m, n, k)
	return max(chunks, 1) * GemmScratch[T](m, n, k)
}

// GemmBatch is Gemm for len(at.OffC) products of equal sizes.
func GemmBatch[T Float](p *par.Pool, at Batch, transA, transB bool, m, n, k int, alpha T, a []T, lda int,
	b []T, ldb int, accumulate bool, c []T, ldc int, scratch []T) {
	g := gemm[T]{p: p, row: chosenRow[T](), m: m, n: n, k: k, alpha: alpha, acc: accumulate, ldc: ldc}
	g.a = matrix[T]{ld: lda, trans: transA}
	g.b = matrix[T]{ld: ldb, trans: transB}
	t := products[T]{g: g, at: at, a: a, b: b, c: c, scratch: scratch}
	chunks, size := batchCut(len(at.OffC), m, n, k)
	if chunks == 0 {
		for l := range at.OffC {
			t.one(l, scratch)
		}
		return
	}
	t.g.p, t.size, t.need = nil, size, GemmScratch[T](m, n, k)
	par.Do(p, len(at.OffC), size, &t)
}

// products is a batched product under way.
type products[T Float] struct {
	g          gemm[T]
	at         Batch
	a, b, c    []T
	size, need int // products that share a scratch, and its elements
	scratch    []T
}

func (t *products[T]) Run(lo, hi int) {
	mine := t.scratch[lo/t.size*t.need:][:t.need]
	for l := lo; l < hi; l++ {
		t.one(l, mine)
	}
}

func (t *products[T]) one(l int, scratch []T) {
	g := t.g
	g.a.data, g.b.data, g.c = t.a[t.at.OffA[l]:], t.b[t.at.OffB[l]:], t.c[t.at.OffC[l]:]
	g.run(scratch)
}
