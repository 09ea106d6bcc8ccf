package hugepage

import "testing"

// Advise changes nothing that can be seen, whatever it is given.
func TestAdvise(t *testing.T) {
	for _, n := range []int{0, 1, least/8 - 1, least / 8, 3<<20 + 5} {
		x := make([]float64, n)
		for i := range x {
			x[i] = float64(i)
		}
		for _, part := range [][]float64{x, x[n/3:], x[:n/2]} {
			Advise(part)
		}
		for i, v := range x {
			if v != float64(i) {
				t.Fatalf("%d elements: element %d is %g", n, i, v)
			}
		}
	}
}
