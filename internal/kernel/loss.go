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
	par.Do(p, rows, rowsPerChunk(8*n), &crossEntropy[T]{n, loss, lse, x, label, ignore, smoothing})
	return -1
}

type crossEntropy[T Float] struct {
	n            int
	loss, lse, x []T
	label        []int64
	ignore       int64
	smoothing    float64
}

func (t *crossEntropy[T]) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		s := t.x[i*t.n:][:t.n]
		l := logSumExp(s, t.n, 1)
		t.lse[i] = T(l)
		if t.label[i] == t.ignore {
			t.loss[i] = 0
			continue
		}
		v := (1 - t.smoothing) * (l - float64(s[t.label[i]]))
		if t.smoothing != 0 {
			v += t.smoothing * (l - vec[T]().sum(s)/float64(t.n))
		}
		t.loss[i] = T(v)
	}
}

// CrossEntropyGrad is the gradient of CrossEntropy for x, from lse and the
// gradients dloss of the rows' losses (rows; or 1, the same for all rows):
//
//	dx[i,j] = dloss[i] * (exp(x[i,j]-lse[i]) - smoothing/n - (j == label[i] ? 1-smoothing : 0))
//
// and 0 where label[i] == ignore. It may work in place.
func CrossEntropyGrad[T Float](p *par.Pool, rows, n int, dx, x, lse, dloss []T, label []int64, ignore int64, smoothing float64) {
	par.Do(p, rows, rowsPerChunk(8*n), &crossEntropyGrad[T]{n, dx, x, lse, dloss, label, ignore, smoothing})
}

type crossEntropyGrad[T Float] struct {
	n                 int
	dx, x, lse, dloss []T
	label             []int64
	ignore            int64
	smoothing         float64
}

func (t *crossEntropyGrad[T]) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		d := t.dx[i*t.n:][:t.n]
		if t.label[i] == t.ignore {
			clear(d)
			continue
		}
		g := float64(t.dloss[min(i, len(t.dloss)-1)])
		vec[T]().expScaled(d, t.x[i*t.n:][:t.n], t.lse[i], T(g), T(g*t.smoothing/float64(t.n)))
		d[t.label[i]] -= T(g * (1 - t.smoothing))
	}
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
