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
			for k := 1; k <= 37; k++ {
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

// TestTurnFarApart is TestTurn for rows that lie multiples of 4 KB apart.
func TestTurnFarApart(t *testing.T) {
	const lds, k = 1024, 37
	src, add := apart(1, 40, k, lds), apart(2, 40, k, lds)
	eachRow32(t, func(t *testing.T, row *gemmRow[float32]) {
		for n := 1; n <= 40; n++ {
			for _, add := range [][]float32{nil, add} {
				got, want := make([]float32, k*n), make([]float32, k*n)
				row.turn(k, n, src, lds, add, lds, got, n)
				turnRows(k, n, src, lds, add, lds, want, n)
				checkSame(t, fmt.Sprintf("%d rows, added %v", n, add != nil), got, want)
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

// BenchmarkPack transposes panels of a weight (in,out), as a product with its
// transpose does: as it is stored, or in panels, with a block of 64 rows added
// or not.
func BenchmarkPack(b *testing.B) {
	row := chosenRow[float32]()
	for _, size := range [][2]int{{512, 1376}, {768, 3072}, {896, 4864}, {2048, 2048}} {
		in, out := size[0], size[1]
		w, packed := make([]float32, in*out), make([]float32, PackedSize[float32](out, in))
		stored := matrix[float32]{data: w, ld: out, trans: true}
		for _, panels := range []bool{false, true} {
			if panels {
				PackB(nil, false, out, in, w, out, packed)
				stored = inPanels(row, true, in, out, packed)
			}
			for _, r := range []int{0, 64} {
				b.Run(fmt.Sprintf("%dx%d,panels=%v,r=%d", in, out, panels, r), func(b *testing.B) {
					g := gemm[float32]{row: row, b: stored}
					if r > 0 {
						g.b.tile, g.b.r, g.b.ldt = make([]float32, r*out), r, out
					}
					dst := make([]float32, blockK*roundUp(in, row.nr))
					for b.Loop() {
						for p := 0; p < out; p += blockK {
							g.packBlock(p, min(blockK, out-p), 0, in, dst, lockers[float32]{})
						}
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(in*out), "ns/elem")
				})
			}
		}
	}
}
