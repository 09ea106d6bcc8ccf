package kernel

import (
	"fmt"
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/cpu"
)

// eachRow32 runs f for every row of the kernel table of float32 that this CPU
// supports.
func eachRow32(t *testing.T, f func(t *testing.T, row *gemmRow[float32])) {
	for i := range rows32 {
		if rows32[i].supported(cpu.Detect()) {
			t.Run(rows32[i].name, func(t *testing.T) { f(t, &rows32[i]) })
		}
	}
}

// apart is n lines of k numbers, ld apart, with NaNs between and after them.
func apart(seed, n, k, ld int) []float32 {
	x := afterNaN(seed, n*ld)
	for i := range n {
		fill(x[i*ld+k:][:ld-k], float32(math.NaN()))
	}
	return x[: (n-1)*ld+k : (n-1)*ld+k]
}

// TestTurn holds every row's turn to the portable one, for all numbers of rows
// that panels have and all ends of columns.
func TestTurn(t *testing.T) {
	eachRow32(t, func(t *testing.T, row *gemmRow[float32]) {
		for n := 1; n <= 40; n++ {
			for k := 1; k <= 21; k++ {
				src, add, ldd := apart(1, n, k, k+3), apart(2, n, k, k+5), n+n%3
				for _, add := range [][]float32{nil, add} {
					got, check := guarded[float32](t, (k-1)*ldd+n)
					want := make([]float32, len(got))
					fill(got, 0.5) // between the lines
					fill(want, 0.5)
					row.turn(k, n, src, k+3, add, k+5, got, ldd)
					turnRows(k, n, src, k+3, add, k+5, want, ldd)
					check()
					checkSame(t, fmt.Sprintf("%d rows of %d, added %v", n, k, add != nil), got, want)
				}
			}
		}
	})
}

// TestLines holds every row's lines to the portable ones, up to where the last
// vector of a line ends.
func TestLines(t *testing.T) {
	lanes := map[string]int{"avx512": 16, "avx2": 8, "neon": 4}
	eachRow32(t, func(t *testing.T, row *gemmRow[float32]) {
		for _, w := range []int{row.mr, row.nr} {
			for n := 1; n <= w; n++ {
				for _, k := range []int{1, 2, 7} {
					src, add := apart(1, k, n, n+3), apart(2, k, n, n+5)
					for _, add := range [][]float32{nil, add} {
						got, check := guarded[float32](t, k*w)
						want := make([]float32, k*w)
						row.lines(k, n, w, src, n+3, add, n+5, got)
						copyLines(k, n, w, src, n+3, add, n+5, want)
						check()
						ends := min(w, roundUp(n, max(lanes[row.name], 1)))
						for p := range k {
							checkSame(t, fmt.Sprintf("line %d of %d to %d, added %v", p, n, w, add != nil),
								got[p*w:][:ends], want[p*w:][:ends])
						}
					}
				}
			}
		}
	})
}
