package kernel

import "github.com/bonnx/bonnx/internal/par"

// A Rotary says what Rotate turns: vectors x (A,B,C,Depth) by tables whose rows
// have Depth or Depth/2 elements. Row (a,b,c) uses row a*At.Batch + b*At.Head +
// c*At.Row of both tables.
type Rotary struct {
	A, B, C int
	Depth   int
	Wide    int // of a row of the tables
	At      Heads
	// Interleaved vectors have the parts of a pair beside each other, the
	// others in two halves; rows of wide tables are like the vectors.
	Interleaved bool
}

// Rotate turns the pairs (x0,x1) of each vector by its row of the tables,
// which has (c0,c1) and (s0,s1) for each pair, equal where the tables have half
// the width:
//
//	y0 = x0*c0 - x1*s0; y1 = x1*c1 + x0*s1
//
// and where back, what is the gradient of that:
//
//	y0 = x0*c0 + x1*s1; y1 = x1*c1 - x0*s0
//
// It may work in place.
func Rotate[T Float](p *par.Pool, r Rotary, y, x, cos, sin []T, back bool) {
	par.Do(p, r.A*r.B*r.C, rowsPerChunk(4*r.Depth), &rotating[T]{r, y, x, cos, sin, back})
}

type rotating[T Float] struct {
	Rotary
	y, x, cos, sin []T
	back           bool
}

func (t *rotating[T]) Run(lo, hi int) {
	a, b, c := lo/(t.B*t.C), lo/t.C%t.B, lo%t.C
	for row := lo; row < hi; b, c = b+1, 0 {
		if b == t.B {
			a, b = a+1, 0
		}
		rows := min(t.C-c, hi-row)
		t.rows(row, rows, a*t.At.Batch+b*t.At.Head+c*t.At.Row)
		row += rows
	}
}

// rows turns rows whose tables begin at their row at and lie At.Row apart.
func (t *rotating[T]) rows(row, rows, at int) {
	h, v := t.Depth/2, vec[T]()
	if t.Interleaved && t.Wide == h {
		v.turnPairs(rows, h, t.y[row*t.Depth:], t.x[row*t.Depth:], t.cos[at*h:], t.sin[at*h:], t.At.Row*h, t.back)
		return
	}
	for r := range rows {
		from := (at + r*t.At.Row) * t.Wide
		c, s := t.cos[from:][:t.Wide], t.sin[from:][:t.Wide]
		y, x := t.y[(row+r)*t.Depth:][:t.Depth], t.x[(row+r)*t.Depth:][:t.Depth]
		switch {
		case t.Interleaved:
			t.widePairs(y, x, c, s)
		case t.back:
			v.turnHalves(y[h:], y[:h], x[h:], x[:h], c[t.Wide-h:], c[:h], s[:h], s[t.Wide-h:])
		default:
			v.turnHalves(y[:h], y[h:], x[:h], x[h:], c[:h], c[t.Wide-h:], s[:h], s[t.Wide-h:])
		}
	}
}

// turnHalves is y0 = x0*c0 - x1*s0, y1 = x1*c1 + x0*s1 for len(y0) pairs.
func turnHalves[T Float](y0, y1, x0, x1, c0, c1, s0, s1 []T) {
	n := len(y0)
	y1, x0, x1 = y1[:n], x0[:n], x1[:n]
	c0, c1, s0, s1 = c0[:n], c1[:n], s0[:n], s1[:n]
	for i := range n {
		a, b := x0[i], x1[i]
		y0[i] = T(a*c0[i]) - T(b*s0[i])
		y1[i] = T(b*c1[i]) + T(a*s1[i])
	}
}

func turnPairs[T Float](rows, pairs int, y, x, cos, sin []T, step int, back bool) {
	for r := range rows {
		y, x := y[2*r*pairs:][:2*pairs], x[2*r*pairs:][:2*pairs]
		c, s := cos[r*step:][:pairs], sin[r*step:][:pairs]
		for i := range pairs {
			a, b, turn := x[2*i], x[2*i+1], s[i]
			if back {
				turn = -turn
			}
			y[2*i], y[2*i+1] = T(a*c[i])-T(b*turn), T(b*c[i])+T(a*turn)
		}
	}
}

// widePairs turns a vector whose pairs are beside each other by wide tables.
func (t *rotating[T]) widePairs(y, x, c, s []T) {
	for i := 0; i+1 < len(x); i += 2 {
		a, b := x[i], x[i+1]
		if t.back {
			y[i], y[i+1] = T(a*c[i])+T(b*s[i+1]), T(b*c[i+1])-T(a*s[i])
		} else {
			y[i], y[i+1] = T(a*c[i])-T(b*s[i]), T(b*c[i+1])+T(a*s[i+1])
		}
	}
}
