package kernel

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/internal/par"
)

// TestMatMulSmall holds the product of small integers as floats to the one of
// integers, with the largest numbers there are.
func TestMatMulSmall(t *testing.T) {
	withPools(t, func(t *testing.T, p *par.Pool) {
		for _, c := range []struct{ m, n, k int }{{1, 1, 1}, {3, 5, 0}, {2, 70, 300}, {40, 33, 1000}, {5, 4, 256}} {
			r := newRand()
			a, b := make([]int32, c.m*c.k), make([]int32, c.k*c.n)
			for _, x := range [][]int32{a, b} {
				for i := range x {
					x[i] = 255 - int32(r.IntN(3))
					if i%7 == 3 {
						x[i] = int32(r.IntN(511)) - 255
					}
				}
			}
			got, want := make([]int32, c.m*c.n), make([]int32, c.m*c.n)
			MatMulSmall(p, c.m, c.n, c.k, floats(a), floats(b), got, make([]float32, MatMulSmallScratch(c.m, c.n, c.k)))
			MatMulInteger(nil, c.m, c.n, c.k, a, b, want)
			checkSame(t, fmt.Sprintf("%+v", c), got, want)
		}
	})
}

func floats(x []int32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}
