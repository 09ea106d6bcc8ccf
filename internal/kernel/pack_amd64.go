//go:build !noasm

package kernel

// turnFourAVX512 is turnRows by groups of four rows.
var turnFourAVX512 = turnWith(turnGroups{16, turnAVX512F32}, turnAddGroups{8, turnAddAVX2F32})

// turnAVX512 is turnRows by sixteen rows and columns where that is faster: where
// rows lie close together, as in panels, and where something is added, unless
// they are a multiple of 4 KB apart. Sixteen such rows are in one set of the
// first-level cache, which has fewer lines.
func turnAVX512(k, n int, src []float32, lds int, add []float32, lda int, dst []float32, ldd int) {
	c := 0
	faster := k >= 16 && (lds <= 256 || add != nil && lds%1024 != 0)
	for ; faster && n-c >= 16; c += 16 {
		_, _ = src[(c+15)*lds+k-1], dst[(k-1)*ldd+c+15]
		if add == nil {
			turn16AVX512F32(k, &src[c*lds], lds, &dst[c], ldd)
		} else {
			_ = add[(c+15)*lda+k-1]
			turnAdd16AVX512F32(k, &src[c*lds], lds, &add[c*lda], lda, &dst[c], ldd)
		}
	}
	if c < n {
		turnFourAVX512(k, n-c, src[c*lds:], lds, from(add, c*lda), lda, dst[c:], ldd)
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
