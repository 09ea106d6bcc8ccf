package kernel

import "github.com/bonnx/bonnx/internal/cpu"

// rows32 and rows64 are the kernel table, best first.
var (
	rows32 = append(platformRows32(), portableRow[float32]())
	rows64 = append(platformRows64(), portableRow[float64]())
)

// portableRow is the row in plain Go. Its 2x4 tile is what fits the 16
// floating-point registers of the baseline amd64 that Go compiles for.
func portableRow[T Float]() gemmRow[T] {
	return gemmRow[T]{
		name: "portable", mr: 2, nr: 4,
		supported: func(cpu.Features) bool { return true },
		micro:     micro2x4[T],
		axpy:      axpyRows[T],
		dot:       dotRows[T],
		turn:      turnRows[T],
		lines:     copyLines[T],
	}
}

func micro2x4[T Float](k int, a, b, c []T, ldc, rows, cols int, alpha T, acc bool, _ int) {
	var c00, c01, c02, c03, c10, c11, c12, c13 T
	i, j := 0, 0
	for ; i+4 <= 2*k; i, j = i+4, j+8 {
		x, y := (*[4]T)(a[i:]), (*[8]T)(b[j:])
		a0, a1 := x[0], x[1]
		b0, b1, b2, b3 := y[0], y[1], y[2], y[3]
		c00 += a0 * b0
		c10 += a1 * b0
		c01 += a0 * b1
		c11 += a1 * b1
		c02 += a0 * b2
		c12 += a1 * b2
		c03 += a0 * b3
		c13 += a1 * b3
		a0, a1 = x[2], x[3]
		b0, b1, b2, b3 = y[4], y[5], y[6], y[7]
		c00 += a0 * b0
		c10 += a1 * b0
		c01 += a0 * b1
		c11 += a1 * b1
		c02 += a0 * b2
		c12 += a1 * b2
		c03 += a0 * b3
		c13 += a1 * b3
	}
	if i < 2*k {
		x, y := (*[2]T)(a[i:]), (*[4]T)(b[j:])
		a0, a1 := x[0], x[1]
		b0, b1, b2, b3 := y[0], y[1], y[2], y[3]
		c00 += a0 * b0
		c10 += a1 * b0
		c01 += a0 * b1
		c11 += a1 * b1
		c02 += a0 * b2
		c12 += a1 * b2
		c03 += a0 * b3
		c13 += a1 * b3
	}
	t := [8]T{c00, c01, c02, c03, c10, c11, c12, c13}
	storeTile(t[:], 4, c, ldc, rows, cols, alpha, acc)
}

// storeTile writes the sums t (rows x nr, the first cols of each row) to c.
func storeTile[T Float](t []T, nr int, c []T, ldc, rows, cols int, alpha T, acc bool) {
	for i := range rows {
		s, d := t[i*nr:][:cols], c[i*ldc:][:cols]
		if acc {
			for j, v := range s {
				d[j] += T(alpha * v)
			}
		} else {
			for j, v := range s {
				d[j] = alpha * v
			}
		}
	}
}

func axpyRows[T Float](k int, a []T, inca int, b []T, ldb int, t []T) {
	p := 0
	for ; p+4 <= k; p += 4 {
		a0, a1, a2, a3 := a[p*inca], a[(p+1)*inca], a[(p+2)*inca], a[(p+3)*inca]
		b0 := b[p*ldb:][:len(t)]
		b1 := b[(p+1)*ldb:][:len(t)]
		b2 := b[(p+2)*ldb:][:len(t)]
		b3 := b[(p+3)*ldb:][:len(t)]
		for j, s := range t {
			s += a0 * b0[j]
			s += a1 * b1[j]
			s += a2 * b2[j]
			s += a3 * b3[j]
			t[j] = s
		}
	}
	for ; p < k; p++ {
		a0, b0 := a[p*inca], b[p*ldb:][:len(t)]
		for j := range t {
			t[j] += a0 * b0[j]
		}
	}
}

func dotRows[T Float](k int, a []T, inca int, b []T, ldb int, t []T) {
	j := 0
	for ; j+4 <= len(t); j += 4 {
		b0 := b[j*ldb:][:k]
		b1 := b[(j+1)*ldb:][:k]
		b2 := b[(j+2)*ldb:][:k]
		b3 := b[(j+3)*ldb:][:k]
		var s0, s1, s2, s3 T
		for p := range b0 {
			v := a[p*inca]
			s0 += v * b0[p]
			s1 += v * b1[p]
			s2 += v * b2[p]
			s3 += v * b3[p]
		}
		t[j], t[j+1], t[j+2], t[j+3] = s0, s1, s2, s3
	}
	for ; j < len(t); j++ {
		var s T
		for p, v := range b[j*ldb:][:k] {
			s += a[p*inca] * v
		}
		t[j] = s
	}
}

func turnRows[T Float](k, n int, src []T, lds int, add []T, lda int, dst []T, ldd int) {
	for c := range n {
		from := src[c*lds:][:k]
		i := c
		if add == nil {
			for _, v := range from {
				dst[i] = v
				i += ldd
			}
			continue
		}
		for p, v := range add[c*lda:][:k] {
			dst[i] = from[p] + v
			i += ldd
		}
	}
}

func copyLines[T Float](k, n, w int, src []T, lds int, add []T, lda int, dst []T) {
	for p := range k {
		line := dst[p*w:][:w]
		copy(line, src[p*lds:][:n])
		clear(line[n:])
		if add != nil {
			for c, v := range add[p*lda:][:n] {
				line[c] += v
			}
		}
	}
}
