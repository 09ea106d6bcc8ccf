package kernel

import "github.com/bonnx/bonnx/internal/par"

// Fold adds up the columns of x (rows,n) that are equal modulo r, into
// s (rows,r):
//
//	s[i,l] = sum over k mod r == l of x[i,k]
//
// It is the reading side of Bone: y = x W + s D.
func Fold[T Float](p *par.Pool, rows, n, r int, s, x []T) {
	par.Do(p, rows, rowsPerChunk(n), &columnFold[T]{n, r, s, x})
}

type columnFold[T Float] struct {
	n, r int
	s, x []T
}

func (t *columnFold[T]) Run(lo, hi int) {
	add := vec[T]().add.vv
	for i := lo; i < hi; i++ {
		src, sum := t.x[i*t.n:][:t.n], t.s[i*t.r:][:t.r]
		clear(sum[copy(sum, src):]) // where r > n
		for k := t.r; k < t.n; k += t.r {
			part := src[k:min(k+t.r, t.n)]
			head := sum[:len(part)]
			add(head, head, part)
		}
	}
}

// Unfold is the transpose of Fold: it repeats the columns of s (rows,r) over
// x (rows,n):
//
//	x[i,k] = s[i,k mod r], plus x[i,k] where accumulate
func Unfold[T Float](p *par.Pool, rows, n, r int, x, s []T, accumulate bool) {
	par.Do(p, rows, rowsPerChunk(n), &unfolding[T]{n, r, x, s, accumulate})
}

type unfolding[T Float] struct {
	n, r       int
	x, s       []T
	accumulate bool
}

func (t *unfolding[T]) Run(lo, hi int) {
	add := vec[T]().add.vv
	for i := lo; i < hi; i++ {
		dst, src := t.x[i*t.n:][:t.n], t.s[i*t.r:][:t.r]
		for k := 0; k < t.n; k += t.r {
			part := dst[k:min(k+t.r, t.n)]
			if t.accumulate {
				add(part, part, src[:len(part)])
			} else {
				copy(part, src)
			}
		}
	}
}

// TileAdd adds the block d (r,out) to w (in,out) again and again downwards:
//
//	w2[k,j] = w[k,j] + d[k mod r,j]
//
// w2 may be w.
func TileAdd[T Float](p *par.Pool, in, out, r int, w2, w, d []T) {
	par.Do(p, in, rowsPerChunk(out), &tiling[T]{out, r, w2, w, d})
}

type tiling[T Float] struct {
	out, r   int
	w2, w, d []T
}

func (t *tiling[T]) Run(lo, hi int) {
	add, out := vec[T]().add.vv, t.out
	for k := lo; k < hi; k++ {
		add(t.w2[k*out:][:out], t.w[k*out:][:out], t.d[k%t.r*out:][:out])
	}
}

// TileAddGrad is the gradient of TileAdd for the block, from dw (in,out):
//
//	dd[l,j] = sum over k mod r == l of dw[k,j]
func TileAddGrad[T Float](p *par.Pool, in, out, r int, dd, dw []T) {
	par.Do(p, r, rowsPerChunk(out*(in/r+1)), &tilingGrad[T]{in, out, r, dd, dw})
}

type tilingGrad[T Float] struct {
	in, out, r int
	dd, dw     []T
}

func (t *tilingGrad[T]) Run(lo, hi int) {
	add, out := vec[T]().add.vv, t.out
	for l := lo; l < hi; l++ {
		sum := t.dd[l*out:][:out]
		if l >= t.in {
			clear(sum)
			continue
		}
		copy(sum, t.dw[l*out:][:out])
		for k := l + t.r; k < t.in; k += t.r {
			add(sum, sum, t.dw[k*out:][:out])
		}
	}
}

// A Bat is the cut of a weight (in,out) into blocks of r by r, planned once and
// then read only. Block (j,i) has rows from j*r and columns from i*r; blocks
// B (out/r,r,r) act on it as B[i].
type Bat struct {
	in, out, r int
	at         Batch // the products of all blocks, block column by block column
}

// NewBat plans for sizes with r dividing in and out.
func NewBat(in, out, r int) *Bat {
	b := &Bat{in: in, out: out, r: r}
	for i := range out / r {
		for j := range in / r {
			b.at.OffA = append(b.at.OffA, i*r*r)
			b.at.OffB = append(b.at.OffB, j*r*out+i*r)
		}
	}
	b.at.OffC = b.at.OffB
	return b
}

// BatScratch is how many elements of scratch the Bat functions need.
func BatScratch[T Float](b *Bat) int {
	one := GemmScratch[T](b.r, b.r, b.r)
	return b.r*b.out + max(GemmBatchScratch[T](len(b.at.OffC), b.r, b.r, b.r), one*b.out/b.r)
}

// BatApply is the weight that Bat makes of w, W_ji being block (j,i):
//
//	W2_ji = W_ji + transposed(B_i) (W_ji + I)
//
// that is w2[j*r+p, i*r+q] = w[j*r+p, i*r+q] + sum_s b[i,s,p]*w[j*r+s, i*r+q] + b[i,q,p].
// Without the sum it is TileAdd with the transpose of all b as one matrix.
func BatApply[T Float](p *par.Pool, plan *Bat, w2, w, b, scratch []T) {
	r, out := plan.r, plan.out
	turned, scratch := scratch[:r*out], scratch[r*out:]
	par.Do(p, out/r, rowsPerChunk(r*r), &turning[T]{r, out, turned, b})
	TileAdd(p, plan.in, out, r, w2, w, turned)
	GemmBatch(p, plan.at, true, false, r, r, r, 1, b, r, w, out, true, w2, out, scratch)
}

// turning is turned (r,out) from blocks b, transposed as one matrix (out,r).
type turning[T Float] struct {
	r, out    int
	turned, b []T
}

func (t *turning[T]) Run(lo, hi int) {
	row := chosenRow[T]()
	for i := lo; i < hi; i++ {
		row.turn(t.r, t.r, t.b[i*t.r*t.r:], t.r, nil, 0, t.turned[i*t.r:], t.out)
	}
}

// BatGrad is the gradient of BatApply for the blocks, from dw2 (in,out):
//
//	dB_i = sum_j (W_ji + I) transposed(dW2_ji)
//
// The identity's part is the transpose of TileAddGrad.
func BatGrad[T Float](p *par.Pool, plan *Bat, db, w, dw2, scratch []T) {
	r, out := plan.r, plan.out
	sums, scratch := scratch[:r*out], scratch[r*out:]
	TileAddGrad(p, plan.in, out, r, sums, dw2)
	par.Do(p, out/r, rowsPerChunk(plan.in*r*r), &batGrad[T]{plan, db, w, dw2, sums, scratch, GemmScratch[T](r, r, r)})
}

type batGrad[T Float] struct {
	plan                      *Bat
	db, w, dw2, sums, scratch []T
	need                      int // of scratch for one block
}

func (t *batGrad[T]) Run(lo, hi int) {
	r, out := t.plan.r, t.plan.out
	row := chosenRow[T]()
	for i := lo; i < hi; i++ {
		d := t.db[i*r*r:][:r*r]
		row.turn(r, r, t.sums[i*r:], out, nil, 0, d, r)
		for j := range t.plan.in / r {
			at := j*r*out + i*r
			Gemm(nil, false, true, r, r, r, 1, t.w[at:], out, t.dw2[at:], out, true, d, r, t.scratch[i*t.need:][:t.need])
		}
	}
}

// BatGradWeight is the gradient of BatApply for w, from dw2 (in,out):
//
//	dW_ji = dW2_ji + B_i dW2_ji
func BatGradWeight[T Float](p *par.Pool, plan *Bat, dw, dw2, b, scratch []T) {
	copyAll(p, dw[:plan.in*plan.out], dw2)
	GemmBatch(p, plan.at, false, false, plan.r, plan.r, plan.r, 1, b, plan.r, dw2, plan.out, true, dw, plan.out, scratch)
}
