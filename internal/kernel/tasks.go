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

// appliedWith2 is y = f(x, a, b) for numbers a and b.
type appliedWith2[T any] struct {
	f    func(y, x []T, a, b T)
	y, x []T
	a, b T
}

func (t *appliedWith2[T]) Run(lo, hi int) { t.f(t.y[lo:hi], t.x[lo:hi], t.a, t.b) }

// copied is a plain copy.
type copied[T any] struct{ dst, src []T }

func (t *copied[T]) Run(lo, hi int) { copy(t.dst[lo:hi], t.src[lo:hi]) }

// copyAll copies len(dst) elements.
func copyAll[T any](p *par.Pool, dst, src []T) { par.Do(p, len(dst), 4*grain, &copied[T]{dst, src}) }

// A function literal in a generic function, or a generic function as a value
// there, is allocated too: it holds the types. Functions of elements are
// therefore values with a method, which lie in the task: rule is one of an
// element, rule2 one of two.
type (
	rule[T, R any]  interface{ of(x T) R }
	rule2[T, R any] interface{ of(x, y T) R }
)

// mapRule is Map for a rule.
func mapRule[T, R any, F rule[T, R]](p *par.Pool, dst []R, x []T, f F) {
	par.Do(p, len(dst), grain, &ruled[T, R, F]{f, dst, x})
}

// ruled is dst[i] = f(x[i]).
type ruled[T, R any, F rule[T, R]] struct {
	f   F
	dst []R
	x   []T
}

func (t *ruled[T, R, F]) Run(lo, hi int) {
	d, s, f := t.dst[lo:hi], t.x[lo:hi], t.f
	for i, v := range s {
		d[i] = f.of(v)
	}
}

// binaryRule is Binary for a rule.
func binaryRule[T, R any, F rule2[T, R]](p *par.Pool, b *Broadcast, dst []R, x, y []T, f F) {
	eachLine(p, b, ruledPairs[T, R, F]{b.inner(0), b.inner(1), dst, x, y, f})
}

type ruledPairs[T, R any, F rule2[T, R]] struct {
	sx, sy int
	dst    []R
	x, y   []T
	f      F
}

func (t *ruledPairs[T, R, F]) lines(o int, at [maxIn]int, rows, n int, step [maxIn]int) {
	for range rows {
		u, v := at[0], at[1]
		d := t.dst[o:][:n]
		for i := range d {
			d[i] = t.f.of(t.x[u], t.y[v])
			u, v = u+t.sx, v+t.sy
		}
		o, at[0], at[1] = o+n, at[0]+step[0], at[1]+step[1]
	}
}
