package kernel

import "github.com/bonnx/bonnx/internal/par"

// NegativeLogLikelihood picks the weighted log-probability of each label, for
// logp (outer,n,inner) and label (outer,inner):
//
//	w = weight[label[o,j]], 1 where weight is nil, 0 where label[o,j] == ignore
//	loss[o,j] = -w * logp[o,label[o,j],j]; used[o,j] = w
//
// ignore counts only where skip is set. It returns the first place whose label
// is neither ignored nor in [0,n), with the rest unfinished, else -1.
func NegativeLogLikelihood[T Float](p *par.Pool, outer, n, inner int, loss, used, logp, weight []T, label []int64, skip bool, ignore int64) (bad int) {
	for i, l := range label[:outer*inner] {
		if !(skip && l == ignore) && (l < 0 || l >= int64(n)) {
			return i
		}
	}
	par.Do(p, outer*inner, grain/4, &likelihood[T]{n, inner, loss, used, logp, weight, label, skip, ignore})
	return -1
}

type likelihood[T Float] struct {
	n, inner                 int
	loss, used, logp, weight []T
	label                    []int64
	skip                     bool
	ignore                   int64
}

func (t *likelihood[T]) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		l := t.label[i]
		if t.skip && l == t.ignore {
			t.loss[i], t.used[i] = 0, 0
			continue
		}
		w := T(1)
		if t.weight != nil {
			w = t.weight[l]
		}
		t.loss[i], t.used[i] = -w*t.logp[(i/t.inner*t.n+int(l))*t.inner+i%t.inner], w
	}
}
