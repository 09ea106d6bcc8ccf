package kernel

import (
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/par"
)

// TestAdamW follows PyTorch's order of operations in float64.
func TestAdamW(t *testing.T) {
	const n, lr, b1, b2, eps, decay = 20000, 1e-2, 0.9, 0.999, 1e-8, 0.1
	withPools(t, func(t *testing.T, p *par.Pool) {
		r := newRand()
		w, m, v := randSlice[float32](r, n), make([]float32, n), make([]float32, n)
		ww, wm, wv := wide(w), make([]float64, n), make([]float64, n)
		for step := 1; step <= 5; step++ {
			g := randSlice[float32](r, n)
			AdamW(p, w, m, v, g, lr, b1, b2, eps, decay, step)
			for i := range ww {
				gi := float64(g[i])
				ww[i] *= 1 - lr*decay
				wm[i] = b1*wm[i] + (1-b1)*gi
				wv[i] = b2*wv[i] + (1-b2)*gi*gi
				c1, c2 := 1-math.Pow(b1, float64(step)), 1-math.Pow(b2, float64(step))
				ww[i] -= lr / c1 * wm[i] / (math.Sqrt(wv[i])/math.Sqrt(c2) + eps)
			}
		}
		checkClose(t, "w", w, ww, 1e-6)
		checkClose(t, "m", m, wm, 1e-6)
		checkClose(t, "v", v, wv, 1e-6)
	})
}

func TestSGD(t *testing.T) {
	const lr, mu, decay = 0.1, 0.9, 0.01
	for _, c := range []struct {
		momentum float64
		nesterov bool
	}{{0, false}, {mu, false}, {mu, true}} {
		w, want := []float64{1, -2, 3}, []float64{1, -2, 3}
		u, wu := make([]float64, 3), make([]float64, 3)
		for range 3 {
			g := []float64{0.5, 1, -1}
			SGD(nil, w, u, g, lr, c.momentum, decay, c.nesterov)
			for i := range want {
				d := g[i] + decay*want[i]
				wu[i] = c.momentum*wu[i] + d
				switch {
				case c.nesterov:
					d += c.momentum * wu[i]
				case c.momentum != 0:
					d = wu[i]
				}
				want[i] -= lr * d
			}
		}
		checkClose(t, "sgd", w, want, 1e-14)
	}
	w := []float32{1}
	SGD(nil, w, nil, []float32{2}, 0.25, 0, 0, false)
	checkSame(t, "plain", w, []float32{0.5})
}

func TestVectorHelpers(t *testing.T) {
	for _, n := range []int{0, 1, 5, splitRow - 1, splitRow, splitRow*5 + 3} {
		x := randSlice[float32](newRand(), n)
		var want float64
		for _, v := range x {
			want += float64(v) * float64(v)
		}
		first := SumSquares(nil, x)
		if math.Abs(first-want) > 1e-12*want {
			t.Errorf("SumSquares of %d = %v, want %v", n, first, want)
		}
		withPools(t, func(t *testing.T, p *par.Pool) {
			if got := SumSquares(p, x); got != first {
				t.Errorf("SumSquares of %d: %v and %v for different threads", n, got, first)
			}
		})
	}
	y := []float32{1, 2, 3}
	AddScaled(nil, y, []float32{10, 20, 30}, 0.5)
	checkSame(t, "addscaled", y, []float32{6, 12, 18})
	for i, x := range [][]float64{{}, {1, 2}, {1, math.NaN()}, {math.Inf(-1), 0}} {
		if got, want := FirstNonFinite(x), []int{-1, -1, 1, 0}[i]; got != want {
			t.Errorf("FirstNonFinite(%v) = %d, want %d", x, got, want)
		}
	}
}
