package kernel

import "github.com/bonnx/bonnx/internal/cpu"

// A gemmRow is one implementation of the inner loops of a matrix product: a
// row of the kernel table. All of a row's functions add the products of one
// element of C in the same order with the same rounding, so an element does
// not depend on which of them computed it.
type gemmRow[T Float] struct {
	name      string
	mr, nr    int // the register tile
	supported func(cpu.Features) bool

	// micro computes one tile from packed panels a (k,mr) and b (k,nr), both
	// element p of a row or column at stride mr, nr:
	//
	//	for i < rows, j < cols:
	//		s = sum over p in order of a[p*mr+i]*b[p*nr+j]
	//		c[i*ldc+j] = alpha*s, plus c[i*ldc+j] where acc
	//
	// rows <= mr and cols <= nr; nothing outside of them is written. What lies
	// ahead elements after b, where anything does, is fetched into the caches.
	micro func(k int, a, b, c []T, ldc, rows, cols int, alpha T, acc bool, ahead int)

	// axpy adds k rows of b to t, one after the other:
	//
	//	for p < k in order, j < len(t): t[j] += a[p*inca]*b[p*ldb+j]
	axpy func(k int, a []T, inca int, b []T, ldb int, t []T)

	// dot multiplies by rows of b. Where it is nil, packing b costs less:
	//
	//	for j < len(t): t[j] = sum over p < k in order of a[p*inca]*b[j*ldb+p]
	dot func(k int, a []T, inca int, b []T, ldb int, t []T)

	// turn moves n rows of src to columns of dst, added to rows of add where
	// that is not nil:
	//
	//	for c < n, p < k: dst[p*ldd+c] = src[c*lds+p] + add[c*lda+p]
	turn func(k, n int, src []T, lds int, add []T, lda int, dst []T, ldd int)

	// lines moves k lines, added to lines of add where that is not nil, and
	// fills them up with zeros:
	//
	//	for p < k, c < w: dst[p*w+c] = c < n ? src[p*lds+c] + add[p*lda+c] : 0
	lines func(k, n, w int, src []T, lds int, add []T, lda int, dst []T)
}

// A selection is the row in use for each type.
type selection struct {
	f32 *gemmRow[float32]
	f64 *gemmRow[float64]
}

// chosen is fixed when the program starts.
var chosen = choose(cpu.Detect())

func choose(f cpu.Features) selection {
	return selection{f32: firstSupported(rows32, f), f64: firstSupported(rows64, f)}
}

// firstSupported takes the first row that runs on f; tables are in order of
// preference and end in a row that runs everywhere.
func firstSupported[T Float](rows []gemmRow[T], f cpu.Features) *gemmRow[T] {
	for i := range rows {
		if rows[i].supported(f) {
			return &rows[i]
		}
	}
	panic("kernel: table without a portable row")
}

// chosenRow is the row in use for T.
func chosenRow[T Float]() *gemmRow[T] { return pick[*gemmRow[T]](chosen.f32, chosen.f64) }

// Chosen names the kernels in use, such as "portable" or "avx512". Results are
// bit-equal between runs only under equal names.
func Chosen() string {
	if chosen.f32.name == chosen.f64.name {
		return chosen.f32.name
	}
	return chosen.f32.name + "/" + chosen.f64.name
}

// Features names the instruction sets found, after BONNX_CPU's limit.
func Features() []string { return cpu.Detect().Names() }
