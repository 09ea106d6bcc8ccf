//go:build !noasm

package kernel

import "github.com/bonnx/bonnx/internal/cpu"

func hasAVX512(f cpu.Features) bool { return f.AVX512 }
func hasAVX2(f cpu.Features) bool   { return f.AVX2 }

// platformRows32 and platformRows64 are the rows written in assembly for this
// platform, best first.
func platformRows32() []gemmRow[float32] {
	return []gemmRow[float32]{
		{
			name: "avx512", mr: 12, nr: 32, supported: hasAVX512,
			micro: func(k int, a, b, c []float32, ldc, rows, cols int, alpha float32, acc bool, ahead int) {
				checkTile(len(a), len(b), len(c), k*12, k*32, ldc, rows, cols)
				microAVX512F32[(cols-1)/16][rows-1](k, &a[0], &b[0], &c[0], ldc, cols, alpha, acc, ahead)
			},
			axpy: func(k int, a []float32, inca int, b []float32, ldb int, t []float32) {
				checkRows(len(a), len(b), k, inca, ldb, len(t))
				axpyAVX512F32(k, &a[0], inca, &b[0], ldb, &t[0], len(t))
			},
			turn: turnAVX512, lines: linesAVX512,
		},
		{
			name: "avx2", mr: 4, nr: 24, supported: hasAVX2,
			micro: func(k int, a, b, c []float32, ldc, rows, cols int, alpha float32, acc bool, ahead int) {
				checkTile(len(a), len(b), len(c), k*4, k*24, ldc, rows, cols)
				microAVX2F32[(cols-1)/8][rows-1](k, &a[0], &b[0], &c[0], ldc, cols, alpha, acc, ahead)
			},
			axpy: func(k int, a []float32, inca int, b []float32, ldb int, t []float32) {
				checkRows(len(a), len(b), k, inca, ldb, len(t))
				axpyAVX2F32(k, &a[0], inca, &b[0], ldb, &t[0], len(t))
			},
			turn: turnWith(turnGroups{8, turnAVX2F32}, turnAddGroups{8, turnAddAVX2F32}), lines: linesAVX2,
		},
	}
}

func platformRows64() []gemmRow[float64] {
	return []gemmRow[float64]{
		{
			name: "avx512", mr: 12, nr: 16, supported: hasAVX512,
			micro: func(k int, a, b, c []float64, ldc, rows, cols int, alpha float64, acc bool, ahead int) {
				checkTile(len(a), len(b), len(c), k*12, k*16, ldc, rows, cols)
				microAVX512F64[(cols-1)/8][rows-1](k, &a[0], &b[0], &c[0], ldc, cols, alpha, acc, ahead)
			},
			axpy: func(k int, a []float64, inca int, b []float64, ldb int, t []float64) {
				checkRows(len(a), len(b), k, inca, ldb, len(t))
				axpyAVX512F64(k, &a[0], inca, &b[0], ldb, &t[0], len(t))
			},
			turn: turnRows[float64], lines: copyLines[float64],
		},
		{
			name: "avx2", mr: 4, nr: 12, supported: hasAVX2,
			micro: func(k int, a, b, c []float64, ldc, rows, cols int, alpha float64, acc bool, ahead int) {
				checkTile(len(a), len(b), len(c), k*4, k*12, ldc, rows, cols)
				microAVX2F64[(cols-1)/4][rows-1](k, &a[0], &b[0], &c[0], ldc, cols, alpha, acc, ahead)
			},
			axpy: func(k int, a []float64, inca int, b []float64, ldb int, t []float64) {
				checkRows(len(a), len(b), k, inca, ldb, len(t))
				axpyAVX2F64(k, &a[0], inca, &b[0], ldb, &t[0], len(t))
			},
			turn: turnRows[float64], lines: copyLines[float64],
		},
	}
}
