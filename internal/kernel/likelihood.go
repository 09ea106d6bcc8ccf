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
	p.For(outer*inner, grain/4, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			l := label[i]
			if skip && l == ignore {
				loss[i], used[i] = 0, 0
				continue
			}
			w := T(1)
			if weight != nil {
				w = weight[l]
			}
			loss[i], used[i] = -w*logp[(i/inner*n+int(l))*inner+i%inner], w
		}
	})
	return -1
}
