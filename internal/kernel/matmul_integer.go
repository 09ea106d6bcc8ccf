package kernel

import "github.com/bonnx/bonnx/internal/par"

// MatMulInteger is the matrix product of integers, wrapping around on
// overflow: a (m,k), b (k,n), c (m,n), all contiguous.
//
//	for i < m, j < n: c[i*n+j] = sum over p < k of a[i*k+p]*b[p*n+j]
func MatMulInteger[T Integer](p *par.Pool, m, n, k int, a, b, c []T) {
	p.For(m, rowsPerChunk(n*k), func(lo, hi int) {
		for i := lo; i < hi; i++ {
			row := c[i*n:][:n]
			clear(row)
			for q := range k {
				v := a[i*k+q]
				for j, w := range b[q*n:][:n] {
					row[j] += v * w
				}
			}
		}
	})
}
