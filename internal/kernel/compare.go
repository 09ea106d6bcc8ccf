package kernel

import "github.com/bonnx/bonnx/internal/par"

// Comparisons have a loop for each kind of line, so that the compiler sees what
// is compared: a function of two elements would be called for each.

// Equal is x == y.
func Equal[T comparable](p *par.Pool, b *Broadcast, dst []bool, x, y []T) {
	eachLine(p, b, equating[T]{b.inner(0), b.inner(1), dst, x, y})
}

type equating[T comparable] struct {
	sx, sy int
	dst    []bool
	x, y   []T
}

func (t *equating[T]) lines(o int, at [maxIn]int, rows, n int, step [maxIn]int) {
	for range rows {
		d, x, y := t.dst[o:][:n], t.x[at[0]:], t.y[at[1]:]
		switch {
		case t.sx != 0 && t.sy != 0:
			equalVV(d, x, y)
		case t.sx != 0:
			equalVS(d, x, y[0])
		case t.sy != 0:
			equalVS(d, y, x[0])
		default:
			fill(d, x[0] == y[0])
		}
		o, at[0], at[1] = o+n, at[0]+step[0], at[1]+step[1]
	}
}

func equalVV[T comparable](d []bool, x, y []T) {
	x, y = x[:len(d)], y[:len(d)]
	for i := range d {
		d[i] = x[i] == y[i]
	}
}

func equalVS[T comparable](d []bool, x []T, y T) {
	x = x[:len(d)]
	for i := range d {
		d[i] = x[i] == y
	}
}

// Less is x < y.
func Less[T Numeric](p *par.Pool, b *Broadcast, dst []bool, x, y []T) {
	eachLine(p, b, ordering[T]{orderOf(b, 0), dst, x, y})
}

// LessEqual is x <= y.
func LessEqual[T Numeric](p *par.Pool, b *Broadcast, dst []bool, x, y []T) {
	o := orderOf(b, 0)
	o.orEqual = true
	eachLine(p, b, ordering[T]{o, dst, x, y})
}

// Greater is x > y.
func Greater[T Numeric](p *par.Pool, b *Broadcast, dst []bool, x, y []T) {
	eachLine(p, b, ordering[T]{orderOf(b, 1), dst, y, x})
}

// GreaterEqual is x >= y.
func GreaterEqual[T Numeric](p *par.Pool, b *Broadcast, dst []bool, x, y []T) {
	o := orderOf(b, 1)
	o.orEqual = true
	eachLine(p, b, ordering[T]{o, dst, y, x})
}

// An order says which input of a broadcast is to be the lesser one.
type order struct {
	first   int // the input
	sx, sy  int // steps of it, and of the other
	orEqual bool
}

func orderOf(b *Broadcast, first int) order {
	return order{first: first, sx: b.inner(first), sy: b.inner(1 - first)}
}

type ordering[T Numeric] struct {
	order
	dst  []bool
	x, y []T // the lesser one, and the other
}

func (t *ordering[T]) lines(o int, at [maxIn]int, rows, n int, step [maxIn]int) {
	first, other := t.first, 1-t.first
	for range rows {
		t.line(t.dst[o:][:n], t.x[at[first]:], t.y[at[other]:])
		o, at[0], at[1] = o+n, at[0]+step[0], at[1]+step[1]
	}
}

func (t *ordering[T]) line(d []bool, x, y []T) {
	switch {
	case t.sx != 0 && t.sy != 0 && t.orEqual:
		lessEqualVV(d, x, y)
	case t.sx != 0 && t.sy != 0:
		lessVV(d, x, y)
	case t.sx != 0 && t.orEqual:
		lessEqualVS(d, x, y[0])
	case t.sx != 0:
		lessVS(d, x, y[0])
	case t.sy != 0 && t.orEqual:
		lessEqualSV(d, x[0], y)
	case t.sy != 0:
		lessSV(d, x[0], y)
	default:
		fill(d, x[0] < y[0] || t.orEqual && x[0] == y[0])
	}
}

func lessVV[T Numeric](d []bool, x, y []T) {
	x, y = x[:len(d)], y[:len(d)]
	for i := range d {
		d[i] = x[i] < y[i]
	}
}

func lessVS[T Numeric](d []bool, x []T, y T) {
	x = x[:len(d)]
	for i := range d {
		d[i] = x[i] < y
	}
}

func lessSV[T Numeric](d []bool, x T, y []T) {
	y = y[:len(d)]
	for i := range d {
		d[i] = x < y[i]
	}
}

func lessEqualVV[T Numeric](d []bool, x, y []T) {
	x, y = x[:len(d)], y[:len(d)]
	for i := range d {
		d[i] = x[i] <= y[i]
	}
}

func lessEqualVS[T Numeric](d []bool, x []T, y T) {
	x = x[:len(d)]
	for i := range d {
		d[i] = x[i] <= y
	}
}

func lessEqualSV[T Numeric](d []bool, x T, y []T) {
	y = y[:len(d)]
	for i := range d {
		d[i] = x <= y[i]
	}
}

// And is x && y.
func And(p *par.Pool, b *Broadcast, dst, x, y []bool) { binary(p, b, dst, x, y, andLoops) }

// Or is x || y.
func Or(p *par.Pool, b *Broadcast, dst, x, y []bool) { binary(p, b, dst, x, y, orLoops) }

// Xor is x != y.
func Xor(p *par.Pool, b *Broadcast, dst, x, y []bool) { binary(p, b, dst, x, y, xorLoops) }

// Not is !x.
func Not(p *par.Pool, dst, x []bool) {
	par.Do(p, len(dst), grain, &applied[bool, bool]{notLoop, dst, x})
}

var (
	andLoops = truthLoops(andVV, func(d, x []bool, y bool) {
		if y {
			copyLine(d, x[:len(d)])
		} else {
			clear(d)
		}
	})
	orLoops = truthLoops(orVV, func(d, x []bool, y bool) {
		if y {
			fill(d, true)
		} else {
			copyLine(d, x[:len(d)])
		}
	})
	xorLoops = truthLoops(xorVV, func(d, x []bool, y bool) {
		if y {
			notLoop(d, x)
		} else {
			copyLine(d, x[:len(d)])
		}
	})
)

// truthLoops are the loops of a function in which x and y are alike.
func truthLoops(vv func(d, x, y []bool), vs func(d, x []bool, y bool)) fast[bool] {
	return fast[bool]{vv: vv, vs: vs, sv: func(d []bool, x bool, y []bool) { vs(d, y, x) }}
}

func andVV(d, x, y []bool) {
	x, y = x[:len(d)], y[:len(d)]
	for i := range d {
		u, v := x[i], y[i]
		d[i] = u && v
	}
}

func orVV(d, x, y []bool) {
	x, y = x[:len(d)], y[:len(d)]
	for i := range d {
		u, v := x[i], y[i]
		d[i] = u || v
	}
}

func xorVV(d, x, y []bool) {
	x, y = x[:len(d)], y[:len(d)]
	for i := range d {
		d[i] = x[i] != y[i]
	}
}

func notLoop(d, x []bool) {
	x = x[:len(d)]
	for i := range d {
		d[i] = !x[i]
	}
}
