package kernel

import "github.com/bonnx/bonnx/internal/par"

// CrossEntropy is the softmax cross entropy of logits x (rows,n) with labels:
//
//	lse[i] = log(sum_j exp(x[i,j]))
//	nll = lse[i] - x[i,label[i]]
//	flat = lse[i] - sum_j x[i,j]/n
//	loss[i] = (1-smoothing)*nll + smoothing*flat; 0 where label[i] == ignore
//
// It returns the first row whose label is neither ignore nor in [0,n), with
// loss and lse unfinished, else -1.
func CrossEntropy[T Float](p *par.Pool, rows, n int, loss, lse, x []T, label []int64, ignore int64, smoothing float64) (bad int) {
	for i, l := range label[:rows] {
		if l != ignore && (l < 0 || l >= int64(n)) {
			return i
		}
	}
	p.For(rows, rowsPerChunk(8*n), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			s := x[i*n:][:n]
			l := logSumExp(s, n, 1)
			lse[i] = T(l)
			if label[i] == ignore {
				loss[i] = 0
				continue
			}
			v := (1 - smoothing) * (l - float64(s[label[i]]))
			if smoothing != 0 {
				v += smoothing * (l - vec[T]().sum(s)/float64(n))
			}
			loss[i] = T(v)
		}
	})
	return -1
}

// CrossEntropyGrad is the gradient of CrossEntropy for x, from lse and the
// gradients dloss of the rows' losses (rows; or 1, the same for all rows):
//
//	dx[i,j] = dloss[i] * (exp(x[i,j]-lse[i]) - smoothing/n - (j == label[i] ? 1-smoothing : 0))
//
// and 0 where label[i] == ignore. It may work in place.
func CrossEntropyGrad[T Float](p *par.Pool, rows, n int, dx, x, lse, dloss []T, label []int64, ignore int64, smoothing float64) {
	p.For(rows, rowsPerChunk(8*n), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			d := dx[i*n:][:n]
			if label[i] == ignore {
				clear(d)
				continue
			}
			g := float64(dloss[min(i, len(dloss)-1)])
			vec[T]().expScaled(d, x[i*n:][:n], lse[i], T(g), T(g*smoothing/float64(n)))
			d[label[i]] -= T(g * (1 - smoothing))
		}
	})
}

// CountLabels is how many labels are not ignore.
func CountLabels(label []int64, ignore int64) int {
	n := 0
	for _, l := range label {
		if l != ignore {
			n++
		}
	}
	return n
}
