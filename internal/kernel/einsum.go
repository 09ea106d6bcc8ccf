package kernel

import "github.com/bonnx/bonnx/internal/par"

// A Contraction is a sum of products over named indices: how each operand and
// the result step along them. It is made once for given shapes.
type Contraction struct {
	Out, Sum []int   // extents of the indices of the result, and of those summed over
	Strides  [][]int // per operand, of the indices of Out and then of Sum; 0 where it lacks one
}

// Contract computes a contraction by plain loops:
//
//	for o in Out: y[o] = sum over s in Sum of product over operands of x[Strides . (o,s)]
func Contract[T Float](p *par.Pool, c *Contraction, y []T, x [][]T) {
	sum := volume(c.Sum)
	par.Do(p, volume(c.Out), rowsPerChunk(sum*len(x)), &contraction[T]{c, sum, y, x})
}

type contraction[T Float] struct {
	c   *Contraction
	sum int
	y   []T
	x   [][]T
}

func (t *contraction[T]) Run(lo, hi int) {
	for o := lo; o < hi; o++ {
		t.y[o] = contractOne(t.c, o, t.sum, t.x)
	}
}

func contractOne[T Float](c *Contraction, o, sum int, x [][]T) T {
	var s float64
	for k := range sum {
		v := 1.0
		for i, operand := range x {
			at := offset(c.Out, c.Strides[i], o) + offset(c.Sum, c.Strides[i][len(c.Out):], k)
			v *= float64(operand[at])
		}
		s += v
	}
	return T(s)
}

// offset is where the element counted i through dims lies.
func offset(dims, strides []int, i int) int {
	at := 0
	for d := len(dims) - 1; d >= 0; d-- {
		at += i % dims[d] * strides[d]
		i /= dims[d]
	}
	return at
}
