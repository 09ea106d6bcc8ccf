//go:build !noasm

package kernel

import (
	"math"

	"github.com/bonnx/bonnx/internal/cpu"
)

func hasNEON(f cpu.Features) bool { return f.NEON }

// platformRows32 and platformRows64 are the rows written in assembly for this
// platform, best first.
func platformRows32() []gemmRow[float32] {
	return []gemmRow[float32]{{
		name: "neon", mr: 8, nr: 12, supported: hasNEON,
		micro: func(k int, a, b, c []float32, ldc, rows, cols int, alpha float32, acc bool, ahead int) {
			checkTile(len(a), len(b), len(c), k*8, k*12, ldc, rows, cols)
			microNEONF32[(cols-1)/4][rows-1](k, &a[0], &b[0], &c[0], ldc, cols, alpha, acc, ahead)
		},
		axpy: func(k int, a []float32, inca int, b []float32, ldb int, t []float32) {
			checkRows(len(a), len(b), k, inca, ldb, len(t))
			axpyNEONF32(k, &a[0], inca, &b[0], ldb, &t[0], len(t))
		},
		turn: turnWith(turnGroups{math.MaxInt, turnNEONF32}, turnAddGroups{math.MaxInt, turnAddNEONF32}), lines: linesNEON,
	}}
}

func platformRows64() []gemmRow[float64] { return nil }
