package kernel

import "github.com/bonnx/bonnx/internal/par"

// Loops that run in every step are tasks (package par) rather than functions,
// which would be allocated. Those of several kernels stand here.

// applied is y = f(x), one vector to one.
type applied[T, R any] struct {
	f func(y []R, x []T)
	y []R
	x []T
}

func (t *applied[T, R]) Run(lo, hi int) { t.f(t.y[lo:hi], t.x[lo:hi]) }

// applied2 is d = f(x, y).
type applied2[T any] struct {
	f       func(d, x, y []T)
	d, x, y []T
}

func (t *applied2[T]) Run(lo, hi int) { t.f(t.d[lo:hi], t.x[lo:hi], t.y[lo:hi]) }

// appliedWith is y = f(x, a) for a number a.
type appliedWith[T any] struct {
	f    func(y, x []T, a T)
	y, x []T
	a    T
}

func (t *appliedWith[T]) Run(lo, hi int) { t.f(t.y[lo:hi], t.x[lo:hi], t.a) }

// copied is a plain copy.
type copied[T any] struct{ dst, src []T }

func (t *copied[T]) Run(lo, hi int) { copy(t.dst[lo:hi], t.src[lo:hi]) }

// copyAll copies len(dst) elements.
func copyAll[T any](p *par.Pool, dst, src []T) { par.Do(p, len(dst), 4*grain, &copied[T]{dst, src}) }
