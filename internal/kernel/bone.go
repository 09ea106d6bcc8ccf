package kernel

import "github.com/bonnx/bonnx/internal/par"

// Fold adds up the columns of x (rows,n) that are equal modulo r, into
// s (rows,r):
//
//	s[i,l] = sum over k mod r == l of x[i,k]
//
// It is the reading side of Bone: y = x W + s D.
func Fold[T Float](p *par.Pool, rows, n, r int, s, x []T) {
	p.For(rows, rowsPerChunk(n), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			src, sum := x[i*n:][:n], s[i*r:][:r]
			clear(sum[copy(sum, src):]) // where r > n
			for k := r; k < n; k += r {
				part := src[k:min(k+r, n)]
				head := sum[:len(part)]
				vec[T]().add.vv(head, head, part)
			}
		}
	})
}

// Unfold is the transpose of Fold: it repeats the columns of s (rows,r) over
// x (rows,n):
//
//	x[i,k] = s[i,k mod r], plus x[i,k] where accumulate
func Unfold[T Float](p *par.Pool, rows, n, r int, x, s []T, accumulate bool) {
	p.For(rows, rowsPerChunk(n), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			dst, src := x[i*n:][:n], s[i*r:][:r]
			for k := 0; k < n; k += r {
				part := dst[k:min(k+r, n)]
				if accumulate {
					vec[T]().add.vv(part, part, src[:len(part)])
				} else {
					copy(part, src)
				}
			}
		}
	})
}

// TileAdd adds the block d (r,out) to w (in,out) again and again downwards:
//
//	w2[k,j] = w[k,j] + d[k mod r,j]
//
// w2 may be w.
func TileAdd[T Float](p *par.Pool, in, out, r int, w2, w, d []T) {
	p.For(in, rowsPerChunk(out), func(lo, hi int) {
		for k := lo; k < hi; k++ {
			vec[T]().add.vv(w2[k*out:][:out], w[k*out:][:out], d[k%r*out:][:out])
		}
	})
}

// TileAddGrad is the gradient of TileAdd for the block, from dw (in,out):
//
//	dd[l,j] = sum over k mod r == l of dw[k,j]
func TileAddGrad[T Float](p *par.Pool, in, out, r int, dd, dw []T) {
	p.For(r, rowsPerChunk(out*(in/r+1)), func(lo, hi int) {
		for l := lo; l < hi; l++ {
			sum := dd[l*out:][:out]
			if l >= in {
				clear(sum)
				continue
			}
			copy(sum, dw[l*out:][:out])
			for k := l + r; k < in; k += r {
				vec[T]().add.vv(sum, sum, dw[k*out:][:out])
			}
		}
	})
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
	return max(GemmBatchScratch[T](len(b.at.OffC), b.r, b.r, b.r), one*b.out/b.r)
}

// BatApply is the weight that Bat makes of w, W_ji being block (j,i):
//
//	W2_ji = W_ji + transposed(B_i) (W_ji + I)
//
// that is w2[j*r+p, i*r+q] = w[j*r+p, i*r+q] + sum_s b[i,s,p]*w[j*r+s, i*r+q] + b[i,q,p].
func BatApply[T Float](p *par.Pool, plan *Bat, w2, w, b, scratch []T) {
	r, out := plan.r, plan.out
	p.For(plan.in, rowsPerChunk(2*out), func(lo, hi int) {
		for k := lo; k < hi; k++ {
			row, src := w2[k*out:][:out], w[k*out:][:out]
			for c := range row { // c = i*r+q and b[i,q,p] is b[c*r+p]
				row[c] = src[c] + b[c*r+k%r]
			}
		}
	})
	GemmBatch(p, plan.at, true, false, r, r, r, 1, b, r, w, out, true, w2, out, scratch)
}

// BatGrad is the gradient of BatApply for the blocks, from dw2 (in,out):
//
//	dB_i = sum_j (W_ji + I) transposed(dW2_ji)
func BatGrad[T Float](p *par.Pool, plan *Bat, db, w, dw2, scratch []T) {
	r, out := plan.r, plan.out
	need := GemmScratch[T](r, r, r)
	p.For(out/r, rowsPerChunk(plan.in*r*r), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			d := db[i*r*r:][:r*r]
			clear(d)
			for k := range plan.in { // the identity's part: d[s,p] += dw2[j*r+p, i*r+s]
				for s, v := range dw2[k*out+i*r:][:r] {
					d[s*r+k%r] += v
				}
			}
			for j := range plan.in / r {
				at := j*r*out + i*r
				Gemm(nil, false, true, r, r, r, 1, w[at:], out, dw2[at:], out, true, d, r, scratch[i*need:][:need])
			}
		}
	})
}

// BatGradWeight is the gradient of BatApply for w, from dw2 (in,out):
//
//	dW_ji = dW2_ji + B_i dW2_ji
func BatGradWeight[T Float](p *par.Pool, plan *Bat, dw, dw2, b, scratch []T) {
	p.For(plan.in*plan.out, grain, func(lo, hi int) { copy(dw[lo:hi], dw2[lo:hi]) })
	GemmBatch(p, plan.at, false, false, plan.r, plan.r, plan.r, 1, b, plan.r, dw2, plan.out, true, dw, plan.out, scratch)
}
