package kernel

import "github.com/bonnx/bonnx/internal/par"

// MatMulInteger is the matrix product of integers, wrapping around on
// overflow: a (m,k), b (k,n), c (m,n), all contiguous.
//
//	for i < m, j < n: c[i*n+j] = sum over p < k of a[i*k+p]*b[p*n+j]
func MatMulInteger[T Integer](p *par.Pool, m, n, k int, a, b, c []T) {
	par.Do(p, m, rowsPerChunk(n*k), &integerRows[T]{n, k, a, b, c})
}

type integerRows[T Integer] struct {
	n, k    int
	a, b, c []T
}

func (t *integerRows[T]) Run(lo, hi int) {
	for i := lo; i < hi; i++ {
		row := t.c[i*t.n:][:t.n]
		clear(row)
		for q := range t.k {
			v := t.a[i*t.k+q]
			for j, w := range t.b[q*t.n:][:t.n] {
				row[j] += v * w
			}
		}
	}
}

// exactK is how many products of numbers of at most eight bits and a sign have
// a sum that is exact in float32.
const exactK = 256

const _ = uint(1<<24 - exactK*255*255)

// MatMulSmallScratch is how many elements of scratch MatMulSmall needs.
func MatMulSmallScratch(m, n, k int) int { return m*n + GemmScratch[float32](m, n, min(k, exactK)) }

// MatMulSmall is MatMulInteger for integers between -255 and 255 that a and b
// hold as floats, whose products are as fast:
//
//	for i < m, j < n: c[i*n+j] = sum over p < k of a[i*k+p]*b[p*n+j]
//
// scratch holds MatMulSmallScratch elements; its content is lost.
func MatMulSmall(p *par.Pool, m, n, k int, a, b []float32, c []int32, scratch []float32) {
	part, scratch := scratch[:m*n], scratch[m*n:]
	if k == 0 {
		clear(c[:m*n])
		return
	}
	for p0 := 0; p0 < k; p0 += exactK {
		Gemm(p, false, false, m, n, min(exactK, k-p0), 1, a[p0:], k, b[p0*n:], n, false, part, n, scratch)
		par.Do(p, m*n, grain, &countingUp{c, part, p0 > 0})
	}
}

// countingUp is c = x, or c += x, of integers that x holds as floats.
type countingUp struct {
	c   []int32
	x   []float32
	add bool
}

func (t *countingUp) Run(lo, hi int) {
	c, x := t.c[lo:hi], t.x[lo:hi]
	if !t.add {
		for i, v := range x {
			c[i] = int32(v)
		}
		return
	}
	for i, v := range x {
		c[i] += int32(v)
	}
}
