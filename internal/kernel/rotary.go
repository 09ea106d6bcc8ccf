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
	h := t.Depth / 2
	for row := lo; row < hi; row++ {
		at := row/(t.B*t.C)*t.At.Batch + row/t.C%t.B*t.At.Head + row%t.C*t.At.Row
		c, s := t.cos[at*t.Wide:][:t.Wide], t.sin[at*t.Wide:][:t.Wide]
		y, x := t.y[row*t.Depth:][:t.Depth], t.x[row*t.Depth:][:t.Depth]
		switch {
		case t.Interleaved:
			t.pairs(y, x, c, s)
		case t.back:
			turnHalves(y[h:], y[:h], x[h:], x[:h], c[t.Wide-h:], c[:h], s[:h], s[t.Wide-h:])
		default:
			turnHalves(y[:h], y[h:], x[:h], x[h:], c[:h], c[t.Wide-h:], s[:h], s[t.Wide-h:])
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

// pairs turns a vector whose pairs are beside each other.
func (t *rotating[T]) pairs(y, x, c, s []T) {
	wide := t.Wide == t.Depth
	for i := 0; i+1 < len(x); i += 2 {
		j, k := i/2, i/2
		if wide {
			j, k = i, i+1
		}
		a, b := x[i], x[i+1]
		if t.back {
			y[i], y[i+1] = T(a*c[j])+T(b*s[k]), T(b*c[k])-T(a*s[j])
		} else {
			y[i], y[i+1] = T(a*c[j])-T(b*s[j]), T(b*c[k])+T(a*s[k])
		}
	}
}
