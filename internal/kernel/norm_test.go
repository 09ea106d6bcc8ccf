package kernel

import (
	"fmt"
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/par"
)

// normReference is a norm of one row and its gradient in float64.
func normReference(x, dy, gamma, beta []float64, eps float64, centred bool) (y, dx, xh []float64, mean, inv float64) {
	n := float64(len(x))
	if centred {
		mean = naiveSum(x, ident) / n
	}
	inv = 1 / math.Sqrt(naiveSum(x, func(v float64) float64 { return square(v - mean) })/n+eps)
	y, dx, xh = make([]float64, len(x)), make([]float64, len(x)), make([]float64, len(x))
	var sg, sgx float64
	for j := range x {
		xh[j] = (x[j] - mean) * inv
		y[j] = xh[j]*gamma[j] + beta[j]
		sg += dy[j] * gamma[j]
		sgx += dy[j] * gamma[j] * xh[j]
	}
	if !centred {
		sg = 0
	}
	for j := range x {
		dx[j] = inv * (dy[j]*gamma[j] - sg/n - xh[j]*sgx/n)
	}
	return
}

func testNorm[T Float](t *testing.T, rows, n int, centred, params bool) {
	const eps = 1e-5
	r := newRand()
	x, dy := randSlice[T](r, rows*n), randSlice[T](r, rows*n)
	gamma, beta := randSlice[T](r, n), randSlice[T](r, n)
	if !params {
		for j := range gamma {
			gamma[j], beta[j] = 1, 0
		}
	}
	if !centred {
		clear(beta)
	}
	var wantY, wantDX, wantM, wantInv []float64
	wantDG, wantDB := make([]float64, n), make([]float64, n)
	for i := range rows {
		y, dx, xh, m, inv := normReference(wide(x[i*n:][:n]), wide(dy[i*n:][:n]), wide(gamma), wide(beta), eps, centred)
		wantY, wantDX = append(wantY, y...), append(wantDX, dx...)
		wantM, wantInv = append(wantM, m), append(wantInv, inv)
		for j := range n {
			wantDG[j] += xh[j] * float64(dy[i*n+j])
			wantDB[j] += float64(dy[i*n+j])
		}
	}
	if !params {
		gamma, beta = nil, nil
	}
	tol := pick64[T](3e-6, 1e-12)
	withPools(t, func(t *testing.T, p *par.Pool) {
		what := fmt.Sprintf("%dx%d centred=%v params=%v", rows, n, centred, params)
		var checks []func()
		buf := func(n int) []T {
			b, c := guarded[T](t, n)
			checks = append(checks, c)
			return b
		}
		y, dx, m, inv, dg, db := buf(rows*n), buf(rows*n), buf(rows), buf(rows), buf(n), buf(n)
		if centred {
			LayerNorm(p, rows, n, y, x, gamma, beta, m, inv, eps)
			LayerNormGrad(p, rows, n, dx, dg, db, x, gamma, m, inv, dy)
			checkClose(t, what+" mean", m, wantM, tol)
			checkClose(t, what+" dbeta", db, wantDB, tol)
		} else {
			RMSNorm(p, rows, n, y, x, gamma, inv, eps)
			RMSNormGrad(p, rows, n, dx, dg, x, gamma, inv, dy)
		}
		checkClose(t, what+" y", y, wantY, tol)
		checkClose(t, what+" inv", inv, wantInv, tol)
		checkClose(t, what+" dx", dx, wantDX, 20*tol)
		checkClose(t, what+" dgamma", dg, wantDG, 20*tol)
		for _, c := range checks {
			c()
		}
	})
}

func TestNorms(t *testing.T) {
	for _, s := range [][2]int{{1, 1}, {2, 2}, {3, 5}, {4, 64}, {7, 129}, {300, 70}} {
		for i := range 4 {
			if s[1] > 2 || i&1 == 0 { // of two elements, centred and scaled is ill-conditioned
				testNorm[float32](t, s[0], s[1], i&1 != 0, i&2 != 0)
			}
			testNorm[float64](t, s[0], s[1], i&1 != 0, i&2 != 0)
		}
	}
	y := []float32{3, 4}
	LayerNorm(nil, 1, 2, y, y, nil, nil, nil, nil, 0)
	checkClose(t, "in place without statistics", y, []float64{-1, 1}, 1e-6)
}

func TestCrossEntropy(t *testing.T) {
	for _, s := range []float64{0, 0.1, 1} {
		for _, size := range [][2]int{{1, 1}, {4, 3}, {6, 1000}, {200, 50}} {
			testCrossEntropy[float32](t, size[0], size[1], s, 2e-6)
			testCrossEntropy[float64](t, size[0], size[1], s, 1e-12)
		}
	}
	x, loss, lse := make([]float32, 6), make([]float32, 3), make([]float32, 3)
	for _, bad := range []int64{-1, 2, 1 << 40} {
		if got := CrossEntropy(nil, 3, 2, loss, lse, x, []int64{-100, 1, bad}, -100, 0); got != 2 {
			t.Errorf("label %d: bad row %d, want 2", bad, got)
		}
	}
	if got := CountLabels([]int64{-100, 0, 3, -100}, -100); got != 2 {
		t.Errorf("CountLabels = %d, want 2", got)
	}
}

func testCrossEntropy[T Float](t *testing.T, rows, n int, smoothing, tol float64) {
	r := newRand()
	x, dloss := randSlice[T](r, rows*n), randSlice[T](r, rows)
	label := make([]int64, rows)
	for i := range label {
		label[i] = int64(r.IntN(n))
		if i%5 == 2 {
			label[i] = -100
		}
	}
	wantLoss, wantLSE, wantDX := make([]float64, rows), make([]float64, rows), make([]float64, rows*n)
	for i := range rows {
		v := wide(x[i*n:][:n])
		wantLSE[i] = naiveLSE(v)
		if label[i] == -100 {
			continue
		}
		for j, e := range v {
			target := smoothing / float64(n)
			if int64(j) == label[i] {
				target += 1 - smoothing
			}
			wantLoss[i] -= target * (e - wantLSE[i])
			wantDX[i*n+j] = float64(dloss[i]) * (math.Exp(e-wantLSE[i]) - target)
		}
	}
	withPools(t, func(t *testing.T, p *par.Pool) {
		what := fmt.Sprintf("%dx%d smoothing %v", rows, n, smoothing)
		loss, check1 := guarded[T](t, rows)
		lse, check2 := guarded[T](t, rows)
		dx, check3 := guarded[T](t, rows*n)
		if bad := CrossEntropy(p, rows, n, loss, lse, x, label, -100, smoothing); bad != -1 {
			t.Fatalf("%s: bad row %d", what, bad)
		}
		CrossEntropyGrad(p, rows, n, dx, x, lse, dloss, label, -100, smoothing)
		checkClose(t, what+" loss", loss, wantLoss, tol)
		checkClose(t, what+" lse", lse, wantLSE, tol)
		checkClose(t, what+" dx", dx, wantDX, tol)
		check1()
		check2()
		check3()
		same := append([]T(nil), dloss...)
		fill(same, dloss[0])
		CrossEntropyGrad(p, rows, n, dx, x, lse, same, label, -100, smoothing)
		one := append([]T(nil), x...)
		CrossEntropyGrad(p, rows, n, one, one, lse, dloss[:1], label, -100, smoothing)
		checkSame(t, what+" one dloss, in place", one, dx)
	})
}
