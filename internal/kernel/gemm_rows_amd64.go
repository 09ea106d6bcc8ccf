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
			turn: turnWith(turnGroups{16, turnAVX512F32}, turnAdd8), lines: linesAVX512,
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
			turn: turnWith(turnGroups{8, turnAVX2F32}, turnAdd8), lines: linesAVX2,
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

// A turnGroups is an assembly function that transposes at most rows rows, in
// groups of four, for k of at least 4.
type turnGroups struct {
	rows int
	f    func(k, groups int, src *float32, lds int, dst *float32, ldd int)
}

// turnAdd8 transposes at most eight rows and adds.
func turnAdd8(k, groups int, src *float32, lds int, add *float32, lda int, dst *float32, ldd int) {
	turnAddAVX2F32(k, groups, src, lds, add, lda, dst, ldd)
}

// turnWith is turnRows by assembly, but for the last rows of no group and for
// few columns.
func turnWith(plain turnGroups, plus func(k, groups int, src *float32, lds int, add *float32, lda int, dst *float32, ldd int)) func(
	k, n int, src []float32, lds int, add []float32, lda int, dst []float32, ldd int) {
	return func(k, n int, src []float32, lds int, add []float32, lda int, dst []float32, ldd int) {
		c, step := 0, plain.rows
		if add != nil {
			step = 8
		}
		for k >= 4 && n-c >= 4 {
			rows := min(step, n-c) &^ 3
			_, _ = src[(c+rows-1)*lds+k-1], dst[(k-1)*ldd+c+rows-1]
			if add == nil {
				plain.f(k, rows/4, &src[c*lds], lds, &dst[c], ldd)
			} else {
				_ = add[(c+rows-1)*lda+k-1]
				plus(k, rows/4, &src[c*lds], lds, &add[c*lda], lda, &dst[c], ldd)
			}
			c += rows
		}
		if c == n {
			return
		}
		if add != nil {
			add = add[c*lda:]
		}
		turnRows(k, n-c, src[c*lds:], lds, add, lda, dst[c:], ldd)
	}
}

// linesAVX512 is copyLines for lines of at most two vectors.
func linesAVX512(k, n, w int, src []float32, lds int, add []float32, lda int, dst []float32) {
	_, _ = src[(k-1)*lds+n-1], dst[k*w-1]
	two := n > 16
	fill := w
	if !two {
		fill = min(w, 16) // no microkernel reads the vector after the last
	}
	switch {
	case w > 32:
		copyLines(k, n, w, src, lds, add, lda, dst)
	case add == nil && two:
		lines2AVX512F32(k, n, w, &src[0], lds, &dst[0], w)
	case add == nil:
		lines1AVX512F32(k, n, fill, &src[0], lds, &dst[0], w)
	default:
		_ = add[(k-1)*lda+n-1]
		if two {
			linesAdd2AVX512F32(k, n, w, &src[0], lds, &add[0], lda, &dst[0], w)
		} else {
			linesAdd1AVX512F32(k, n, fill, &src[0], lds, &add[0], lda, &dst[0], w)
		}
	}
}

// The moves of lines by vectors in a line, less one.
var (
	linesAVX2F32 = [3]func(lines, n, w int, src *float32, lds int, dst *float32, ldd int){
		lines1AVX2F32, lines2AVX2F32, lines3AVX2F32,
	}
	linesAddAVX2F32 = [3]func(lines, n, w int, src *float32, lds int, add *float32, lda int, dst *float32, ldd int){
		linesAdd1AVX2F32, linesAdd2AVX2F32, linesAdd3AVX2F32,
	}
)

// linesAVX2 is copyLines for lines of at most three vectors; no microkernel
// reads the vectors after the last.
func linesAVX2(k, n, w int, src []float32, lds int, add []float32, lda int, dst []float32) {
	_, _ = src[(k-1)*lds+n-1], dst[k*w-1]
	vecs := (n + 7) / 8
	switch {
	case n == 4 && w == 4 && add == nil:
		for p := range k {
			*(*[4]float32)(dst[p*4:]) = *(*[4]float32)(src[p*lds:])
		}
	case w != 24:
		copyLines(k, n, w, src, lds, add, lda, dst)
	case add == nil:
		linesAVX2F32[vecs-1](k, n, 8*vecs, &src[0], lds, &dst[0], w)
	default:
		_ = add[(k-1)*lda+n-1]
		linesAddAVX2F32[vecs-1](k, n, 8*vecs, &src[0], lds, &add[0], lda, &dst[0], w)
	}
}
