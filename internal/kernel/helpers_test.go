package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/bonnx/bonnx/internal/par"
)

// newRand is a fixed stream, so that failures repeat.
func newRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func randSlice[T Float](r *rand.Rand, n int) []T {
	x := make([]T, n)
	for i := range x {
		x[i] = T(r.NormFloat64())
	}
	return x
}

const guardLen = 9

// guarded is a slice of n elements with NaNs before and after it; check fails
// the test where one of them was written.
func guarded[T Float](t testing.TB, n int) (x []T, check func()) {
	all := make([]T, n+2*guardLen)
	for i := range all {
		all[i] = T(math.NaN())
	}
	x = all[guardLen : guardLen+n : guardLen+n]
	return x, func() {
		t.Helper()
		for i := range guardLen {
			if !isNaN(all[i]) || !isNaN(all[guardLen+n+i]) {
				t.Fatalf("guard %d beside %d elements was written", i, n)
			}
		}
	}
}

func isNaN[T Float](x T) bool { return x != x }

// withPools runs f inline and on pools of several sizes.
func withPools(t *testing.T, f func(t *testing.T, p *par.Pool)) {
	for _, threads := range []int{0, 2, 5} {
		var p *par.Pool
		if threads > 0 {
			p = par.New(threads)
			defer p.Close()
		}
		t.Run(fmt.Sprintf("threads=%d", p.Threads()), func(t *testing.T) { f(t, p) })
	}
}

// close64 reports whether got is want within tol times the scale of the sum
// that made it, or both are the same infinity or NaN.
func close64(got, want, tol, scale float64) bool {
	if got == want || (got != got && want != want) {
		return true
	}
	return math.Abs(got-want) <= tol*(math.Abs(want)+scale)
}

// checkClose compares a result with its float64 reference.
func checkClose[T Float](t testing.TB, what string, got []T, want []float64, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	for i := range got {
		if !close64(float64(got[i]), want[i], tol, 1) {
			t.Fatalf("%s: element %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// checkSame compares bit for bit (NaNs count as equal).
func checkSame[T comparable](t testing.TB, what string, got, want []T) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] && (got[i] == got[i] || want[i] == want[i]) {
			t.Fatalf("%s: element %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// tolOf is a tolerance for sums of a few hundred terms of size one.
func tolOf[T Float]() float64 {
	return pick64[T](2e-5, 1e-13)
}

func pick64[T Float](f32, f64 float64) float64 {
	var z T
	if _, ok := any(z).(float32); ok {
		return f32
	}
	return f64
}

func wide[T Float](x []T) []float64 {
	w := make([]float64, len(x))
	for i, v := range x {
		w[i] = float64(v)
	}
	return w
}
