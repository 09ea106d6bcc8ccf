package kernel

import (
	"math"

	"github.com/bonnx/bonnx/internal/par"
)

// AdamW does step number step (from 1) of AdamW with decoupled decay
// (Loshchilov and Hutter, arXiv 1711.05101) on w, m and v in place:
//
//	w -= lr*decay*w
//	m = beta1*m + (1-beta1)*g
//	v = beta2*v + (1-beta2)*g*g
//	w -= lr/(1-beta1**step) * m / (sqrt(v/(1-beta2**step)) + eps)
func AdamW[T Float](p *par.Pool, w, m, v, g []T, lr, beta1, beta2, eps, decay float64, step int) {
	rate := lr / (1 - math.Pow(beta1, float64(step)))
	unbias := 1 / math.Sqrt(1-math.Pow(beta2, float64(step)))
	keep := 1 - lr*decay
	s := adamWStep{rate: rate, unbias: unbias, keep: keep, beta1: beta1, beta2: beta2, eps: eps}
	par.Do(p, len(w), grain/4, &adamWTask[T]{w, m, v, g, s})
}

type adamWTask[T Float] struct {
	w, m, v, g []T
	step       adamWStep
}

func (t *adamWTask[T]) Run(lo, hi int) {
	vec[T]().adamW(t.w[lo:hi], t.m[lo:hi], t.v[lo:hi], t.g[lo:hi], t.step)
}

// SGD does a step of gradient descent on w, and on the velocity u where
// momentum is not 0 (else u may be nil), in place:
//
//	g += decay*w
//	u = momentum*u + g
//	w -= lr*u, or lr*(g + momentum*u) where nesterov
func SGD[T Float](p *par.Pool, w, u, g []T, lr, momentum, decay float64, nesterov bool) {
	par.Do(p, len(w), grain, &sgdTask[T]{w, u, g, lr, momentum, decay, nesterov})
}

type sgdTask[T Float] struct {
	w, u, g             []T
	lr, momentum, decay float64
	nesterov            bool
}

func (t *sgdTask[T]) Run(lo, hi int) {
	w, g, lr, momentum, decay := t.w, t.g, t.lr, t.momentum, t.decay
	for i := lo; i < hi; i++ {
		wi := float64(w[i])
		step := float64(g[i]) + float64(decay*wi)
		if momentum != 0 {
			ui := float64(momentum*float64(t.u[i])) + step
			t.u[i] = T(ui)
			if t.nesterov {
				step += float64(momentum * ui)
			} else {
				step = ui
			}
		}
		w[i] = T(wi - float64(lr*step))
	}
}

// SumSquares is sum_i x[i]**2, added in a fixed tree.
func SumSquares[T Float](p *par.Pool, x []T) float64 {
	if len(x) < splitRow {
		return foldRow(squares, x)
	}
	return foldLong(p, x, squares)
}

// AddScaled is y += alpha*x.
func AddScaled[T Float](p *par.Pool, y, x []T, alpha T) {
	par.Do(p, len(y), grain, &appliedWith[T]{vec[T]().addScaled, y, x, alpha})
}

// FirstNonFinite is the index of the first NaN or infinity, or -1.
func FirstNonFinite[T Float](x []T) int {
	for i, v := range x {
		if v-v != 0 { // NaN for both
			return i
		}
	}
	return -1
}
