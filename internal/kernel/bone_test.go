package kernel

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/internal/par"
)

func TestBone(t *testing.T) {
	withPools(t, func(t *testing.T, p *par.Pool) {
		for _, c := range []struct{ rows, in, out, r int }{{1, 1, 1, 1}, {3, 8, 5, 4}, {4, 10, 3, 4}, {2, 7, 6, 7}, {2, 3, 2, 5}, {90, 500, 70, 64}} {
			what := fmt.Sprintf("%+v", c)
			rnd := newRand()
			x, ds := randSlice[float64](rnd, c.rows*c.in), randSlice[float64](rnd, c.rows*c.r)
			w, d := randSlice[float64](rnd, c.in*c.out), randSlice[float64](rnd, c.r*c.out)
			wantS, wantX, wantAcc := make([]float64, c.rows*c.r), make([]float64, len(x)), make([]float64, len(x))
			wantW, wantD := make([]float64, len(w)), make([]float64, len(d))
			for i := range c.rows {
				for k := range c.in {
					wantS[i*c.r+k%c.r] += x[i*c.in+k]
					wantX[i*c.in+k] = ds[i*c.r+k%c.r]
					wantAcc[i*c.in+k] = x[i*c.in+k] + ds[i*c.r+k%c.r]
				}
			}
			for k := range c.in {
				for j := range c.out {
					wantW[k*c.out+j] = w[k*c.out+j] + d[k%c.r*c.out+j]
					wantD[k%c.r*c.out+j] += w[k*c.out+j]
				}
			}
			s, checkS := guarded[float64](t, len(wantS))
			Fold(p, c.rows, c.in, c.r, s, x)
			checkClose(t, "fold "+what, s, wantS, 1e-13)
			dx, checkX := guarded[float64](t, len(x))
			Unfold(p, c.rows, c.in, c.r, dx, ds, false)
			checkSame(t, "unfold "+what, dx, wantX)
			copy(dx, x)
			Unfold(p, c.rows, c.in, c.r, dx, ds, true)
			checkSame(t, "unfold and add "+what, dx, wantAcc)
			w2, checkW := guarded[float64](t, len(w))
			TileAdd(p, c.in, c.out, c.r, w2, w, d)
			checkSame(t, "tile "+what, w2, wantW)
			dd, checkD := guarded[float64](t, len(d))
			TileAddGrad(p, c.in, c.out, c.r, dd, w)
			checkClose(t, "tile grad "+what, dd, wantD, 1e-13)
			for _, check := range []func(){checkS, checkX, checkW, checkD} {
				check()
			}
		}
	})
}

// naiveBat is w2 = w + transposed(B_i)(W_ji + I), element by element.
func naiveBat(in, out, r int, w, b []float64) []float64 {
	w2 := append([]float64(nil), w...)
	for k := range in {
		for c := range out {
			j, p, i, q := k/r, k%r, c/r, c%r
			for s := range r {
				g := w[(j*r+s)*out+c]
				if s == q {
					g++
				}
				w2[k*out+c] += b[(i*r+s)*r+p] * g
			}
		}
	}
	return w2
}

// TestBat checks the forward against the formula and the gradients by the
// chain rule: W2 is affine in B and in W, so central differences are exact.
func TestBat(t *testing.T) {
	withPools(t, func(t *testing.T, p *par.Pool) {
		for _, c := range []struct{ in, out, r int }{{1, 1, 1}, {4, 6, 2}, {6, 3, 3}, {8, 8, 8}, {96, 64, 16}} {
			what := fmt.Sprintf("%+v", c)
			rnd := newRand()
			w, b := randSlice[float64](rnd, c.in*c.out), randSlice[float64](rnd, c.out*c.r)
			dw2 := randSlice[float64](rnd, len(w))
			plan := NewBat(c.in, c.out, c.r)
			scratch := make([]float64, BatScratch[float64](plan))
			w2, check := guarded[float64](t, len(w))
			BatApply(p, plan, w2, w, b, scratch)
			check()
			checkClose(t, what, w2, naiveBat(c.in, c.out, c.r, w, b), 1e-12)

			db, check := guarded[float64](t, len(b))
			BatGrad(p, plan, db, w, dw2, scratch)
			check()
			dw, check := guarded[float64](t, len(w))
			BatGradWeight(p, plan, dw, dw2, b, scratch)
			check()
			slope := func(x []float64, i int) float64 {
				old := x[i]
				x[i] = old + 0.5
				up := naiveBat(c.in, c.out, c.r, w, b)
				x[i] = old - 0.5
				down := naiveBat(c.in, c.out, c.r, w, b)
				x[i] = old
				var s float64
				for k := range up {
					s += (up[k] - down[k]) * dw2[k]
				}
				return s
			}
			for i := 0; i < len(b); i += 1 + len(b)/7 {
				checkClose(t, what+" dB", db[i:i+1], []float64{slope(b, i)}, 1e-10)
			}
			for i := 0; i < len(w); i += 1 + len(w)/7 {
				checkClose(t, what+" dW", dw[i:i+1], []float64{slope(w, i)}, 1e-10)
			}
		}
	})
}
