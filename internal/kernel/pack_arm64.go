//go:build !noasm

package kernel

// The moves of lines by vectors in a line, less one.
var (
	linesNEONF32 = [3]func(lines int, src *float32, lds int, dst *float32, ldd int){
		lines1NEONF32, lines2NEONF32, lines3NEONF32,
	}
	linesAddNEONF32 = [3]func(lines int, src *float32, lds int, add *float32, lda int, dst *float32, ldd int){
		linesAdd1NEONF32, linesAdd2NEONF32, linesAdd3NEONF32,
	}
)

// linesNEON is copyLines for lines of one to three whole vectors; no microkernel
// reads the vectors after the last.
func linesNEON(k, n, w int, src []float32, lds int, add []float32, lda int, dst []float32) {
	if k == 0 || n == 0 || n%4 != 0 || n > 12 {
		copyLines(k, n, w, src, lds, add, lda, dst)
		return
	}
	_, _ = src[(k-1)*lds+n-1], dst[k*w-1]
	if add == nil {
		linesNEONF32[n/4-1](k, &src[0], lds, &dst[0], w)
		return
	}
	_ = add[(k-1)*lda+n-1]
	linesAddNEONF32[n/4-1](k, &src[0], lds, &add[0], lda, &dst[0], w)
}
