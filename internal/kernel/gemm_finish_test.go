package kernel

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/internal/par"
)

// finishCases are products of few rows, of many, cut along k, and of nothing.
var finishCases = []struct{ m, n, k, r int }{{1, 40, 30, 7}, {3, 700, 20, 6}, {5, 33, 1030, 48}, {300, 290, 70, 16}, {1100, 70, 520, 64}, {4, 6, 0, 0}}

// finishInput is a product in every form, with a block and without.
type finishInput struct {
	a, b, block []float32
	bias, more  []float32
	lda         int // of more
	forms       []Right[float32]
	scratch     []float32
}

func newFinishInput(m, n, k, r int, block bool) *finishInput {
	rnd := newRand()
	in := &finishInput{lda: n + 3, a: randSlice[float32](rnd, m*k), b: randSlice[float32](rnd, k*n)}
	in.bias, in.more = randSlice[float32](rnd, n), randSlice[float32](rnd, m*in.lda)
	in.scratch = make([]float32, GemmScratch[float32](m, n, k))
	packed, turned := make([]float32, PackedSize[float32](n, k)), make([]float32, PackedSize[float32](k, n))
	PackB(nil, false, n, k, in.b, n, packed)
	PackB(nil, true, k, n, in.b, n, turned)
	in.forms = []Right[float32]{{Data: in.b, LD: n}, {Packed: packed}, {Packed: turned, Turned: true}}
	if !block || r == 0 {
		return in
	}
	// What is stored turned has rows where op(B) has columns, and so has its block.
	sizes := [3]struct{ r, ld int }{{r, n + 2}, {r, n + 2}, {min(r, n), k + 2}}
	in.block = randSlice[float32](rnd, r*(n+2))
	for i, s := range sizes {
		in.forms[i].Block, in.forms[i].R, in.forms[i].LDB = in.block, s.r, s.ld
	}
	in.forms[2].Block = randSlice[float32](rnd, sizes[2].r*(k+2))
	return in
}

// sum is op(B) of form i with its block added.
func (in *finishInput) sum(i, n, k int) []float32 {
	f, b := in.forms[i], append([]float32(nil), in.b...)
	if f.Block == nil {
		return b
	}
	for p := range k {
		for j := range n {
			if f.Turned {
				b[p*n+j] += f.Block[j%f.R*f.LDB+p]
			} else {
				b[p*n+j] += f.Block[p%f.R*f.LDB+j]
			}
		}
	}
	return b
}

// TestGemmFinished: bias, residual and activation come to the same, bit for bit,
// as when they follow the product, in every form of B.
func TestGemmFinished(t *testing.T) {
	withPools(t, func(t *testing.T, p *par.Pool) {
		for _, c := range finishCases {
			for _, block := range []bool{false, true} {
				in := newFinishInput(c.m, c.n, c.k, c.r, block)
				for form, right := range in.forms {
					want := make([]float32, c.m*c.n)
					Gemm(p, false, false, c.m, c.n, c.k, 1, in.a, c.k, in.sum(form, c.n, c.k), c.n, false, want, c.n, in.scratch)
					finished(want, in, c.m, c.n)
					got, check := guarded[float32](t, c.m*c.n)
					GemmFinished(p, false, c.m, c.n, c.k, 1, in.a, c.k, right,
						Finish[float32]{in.bias, in.more, in.lda, Tanh[float32]}, false, got, c.n, in.scratch)
					check()
					checkSame(t, fmt.Sprintf("%+v form %d block %v", c, form, block), got, want)
				}
			}
		}
	})
}

// finished does to a product what follows it.
func finished(c []float32, in *finishInput, m, n int) {
	for i := range m {
		for j := range n {
			c[i*n+j] += in.bias[j]
			c[i*n+j] += in.more[i*in.lda+j]
		}
	}
	Tanh(nil, c, c)
}

// TestGemmNarrowFinished: so it is where B is of few bits.
func TestGemmNarrowFinished(t *testing.T) {
	withPools(t, func(t *testing.T, p *par.Pool) {
		const m, r = 30, 16
		for _, rows := range []int{33, 1100} {
			w, dense := newNarrow(newRand(), NarrowInt8, narrowCase{rows, 96, 1, 32, 2})
			for _, block := range []bool{false, true} {
				in := newFinishInput(m, 96, rows, r, block)
				in.b = dense
				d := in.forms[0]
				want := make([]float32, m*96)
				Gemm(p, false, false, m, 96, rows, 1, in.a, rows, in.sum(0, 96, rows), 96, false, want, 96, in.scratch)
				finished(want, in, m, 96)
				got, check := guarded[float32](t, m*96)
				GemmNarrow(p, false, m, 1, in.a, rows, w, d.Block, d.R, d.LDB, Finish[float32]{in.bias, in.more, in.lda, Tanh[float32]},
					false, got, 96, make([]float32, GemmNarrowScratch(w, false, m, r)))
				check()
				checkSame(t, fmt.Sprintf("%d rows, block %v", rows, block), got, want)
			}
		}
	})
}
