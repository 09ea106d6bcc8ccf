package kernel

import (
	"fmt"
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/par"
)

func window(h, w, kh, kw, stride, dilation, before, after int) Window {
	win := Window{H: h, W: w, KH: kh, KW: kw, StrideH: stride, StrideW: stride, DilationH: dilation, DilationW: dilation,
		Top: before, Left: before, Bottom: after, Right: after}
	win.OH = OutExtent(h, kh, stride, dilation, before, after, false)
	win.OW = OutExtent(w, kw, stride, dilation, before, after, false)
	return win
}

var convCases = []Conv{
	{window(5, 6, 3, 3, 1, 1, 0, 0), 2, 3, 4, 1},
	{window(5, 6, 3, 2, 2, 1, 1, 1), 1, 4, 6, 2},
	{window(7, 7, 3, 3, 1, 2, 2, 2), 2, 3, 3, 3},
	{window(4, 5, 1, 1, 1, 1, 0, 0), 3, 5, 7, 1},
	{window(4, 5, 1, 1, 2, 1, 0, 0), 1, 2, 4, 2},
	{window(1, 9, 1, 4, 3, 1, 0, 0), 2, 2, 3, 1},
	{window(2, 2, 3, 3, 1, 1, 3, 2), 1, 1, 2, 1},
	{window(30, 31, 3, 3, 1, 1, 1, 1), 1, 16, 32, 1}, // large enough to be cut inside
}

// naiveConv calls f for each product of the convolution.
func naiveConv(c *Conv, f func(y, x, w int)) {
	cg, mg := c.C/c.Groups, c.M/c.Groups
	for y := range c.N * c.M * c.OH * c.OW {
		at := unravel(y, []int{c.N, c.M, c.OH, c.OW})
		for k := range c.depth() {
			tap := unravel(k, []int{cg, c.KH, c.KW})
			i := at[2]*c.StrideH + tap[1]*c.DilationH - c.Top
			j := at[3]*c.StrideW + tap[2]*c.DilationW - c.Left
			if i < 0 || i >= c.H || j < 0 || j >= c.W {
				continue
			}
			ch := at[1]/mg*cg + tap[0]
			f(y, ((at[0]*c.C+ch)*c.H+i)*c.W+j, at[1]*c.depth()+k)
		}
	}
}

func testConv[T Float](t *testing.T, tol float64) {
	for _, c := range convCases {
		what := fmt.Sprintf("%+v", c)
		r := newRand()
		x, w := randSlice[T](r, c.N*c.C*c.H*c.W), randSlice[T](r, c.M*c.depth())
		n := c.OH * c.OW
		bias, dy := randSlice[T](r, c.M), randSlice[T](r, c.N*c.M*n)
		plain, biased := make([]float64, len(dy)), make([]float64, len(dy))
		wantDX, wantDW, wantDB := make([]float64, len(x)), make([]float64, len(w)), make([]float64, c.M)
		naiveConv(&c, func(y, i, k int) {
			plain[y] += float64(x[i]) * float64(w[k])
			wantDX[i] += float64(dy[y]) * float64(w[k])
			wantDW[k] += float64(dy[y]) * float64(x[i])
		})
		for y := range biased {
			biased[y] = plain[y] + float64(bias[y/n%c.M])
			wantDB[y/n%c.M] += float64(dy[y])
		}
		withPools(t, func(t *testing.T, p *par.Pool) {
			scratch, checkScratch := guarded[T](t, ConvScratch[T](&c))
			got, check := guarded[T](t, len(dy))
			Conv2D(p, &c, got, x, w, nil, scratch)
			checkClose(t, "y "+what, got, plain, tol)
			Conv2D(p, &c, got, x, w, bias, scratch)
			checkClose(t, "y with bias "+what, got, biased, tol)
			check()
			got, check = guarded[T](t, len(x))
			Conv2DGradX(p, &c, got, dy, w, scratch)
			checkClose(t, "dx "+what, got, wantDX, tol)
			check()
			got, check = guarded[T](t, len(w))
			Conv2DGradW(p, &c, got, x, dy, scratch)
			checkClose(t, "dw "+what, got, wantDW, tol)
			check()
			got, check = guarded[T](t, c.M)
			Conv2DGradBias(p, &c, got, dy)
			checkClose(t, "dbias "+what, got, wantDB, tol)
			check()
			checkScratch()
		})
	}
}

func TestConvFloat32(t *testing.T) { testConv[float32](t, 1e-4) }
func TestConvFloat64(t *testing.T) { testConv[float64](t, 1e-12) }

func TestOutExtent(t *testing.T) {
	for _, c := range []struct {
		in, kernel, stride, dilation, before, after int
		ceil                                        bool
		want                                        int
	}{
		{5, 3, 1, 1, 0, 0, false, 3}, {5, 2, 2, 1, 0, 0, false, 2}, {5, 2, 2, 1, 0, 0, true, 3},
		{5, 3, 2, 2, 2, 2, false, 3}, {2, 3, 1, 1, 0, 0, false, 0}, {2, 1, 2, 1, 0, 1, true, 1}, {1, 1, 3, 1, 1, 1, true, 1},
	} {
		if got := OutExtent(c.in, c.kernel, c.stride, c.dilation, c.before, c.after, c.ceil); got != c.want {
			t.Errorf("%+v: got %d", c, got)
		}
	}
}

func TestPools(t *testing.T) {
	withPools(t, func(t *testing.T, p *par.Pool) {
		for _, w := range []Window{window(4, 5, 2, 2, 1, 1, 0, 0), window(5, 5, 3, 3, 2, 1, 1, 1), window(6, 7, 2, 3, 2, 2, 1, 0), window(1, 1, 2, 2, 3, 1, 2, 2)} {
			testPools(t, p, w, 3)
		}
	})
}

func testPools(t *testing.T, p *par.Pool, w Window, planes int) {
	what := fmt.Sprintf("%+v", w)
	r := newRand()
	n, in := planes*w.OH*w.OW, planes*w.H*w.W
	x, dy := randSlice[float64](r, in), randSlice[float64](r, n)
	wantMax, wantIndex := make([]float64, n), make([]int64, n)
	sum, inside, padded := make([]float64, n), make([]float64, n), make([]float64, n)
	wantDX, wantAvgDX := make([]float64, in), make([]float64, in)
	walk := func(f func(y, x int)) { // x < 0: padding
		for y := range n {
			at := unravel(y, []int{planes, w.OH, w.OW})
			for k := range w.KH * w.KW {
				i := at[1]*w.StrideH + k/w.KW*w.DilationH - w.Top
				j := at[2]*w.StrideW + k%w.KW*w.DilationW - w.Left
				if i < 0 || i >= w.H || j < 0 || j >= w.W {
					f(y, -1)
				} else {
					f(y, (at[0]*w.H+i)*w.W+j)
				}
			}
		}
	}
	for y := range n {
		wantMax[y], wantIndex[y] = -99, -1
	}
	walk(func(y, i int) {
		padded[y]++
		if i < 0 {
			return
		}
		inside[y]++
		sum[y] += x[i]
		if x[i] > wantMax[y] {
			wantMax[y], wantIndex[y] = x[i], int64(i)
		}
	})
	for y, i := range wantIndex {
		if i >= 0 {
			wantDX[i] += dy[y]
		}
	}
	got, check := guarded[float64](t, n)
	dx, checkDX := guarded[float64](t, in)
	index := make([]int64, n)
	MaxPool(p, planes, &w, got, index, x, -99)
	checkSame(t, "max "+what, got, wantMax)
	checkSame(t, "index "+what, index, wantIndex)
	MaxPoolGrad(p, planes, &w, dx, dy, index)
	checkSame(t, "max grad "+what, dx, wantDX)
	for _, includePad := range []bool{false, true} {
		count := inside
		if includePad {
			count = padded
		}
		want := make([]float64, n)
		for y := range want {
			want[y] = sum[y] / max(count[y], 1)
		}
		clear(wantAvgDX)
		walk(func(y, i int) {
			if i >= 0 {
				wantAvgDX[i] += dy[y] / count[y]
			}
		})
		AveragePool(p, planes, &w, got, x, includePad)
		checkClose(t, "mean "+what, got, want, 1e-14)
		AveragePoolGrad(p, planes, &w, dx, dy, includePad)
		checkClose(t, "mean grad "+what, dx, wantAvgDX, 1e-14)
	}
	check()
	checkDX()
	nan := math.NaN()
	y := make([]float64, 1)
	MaxPool(p, 1, &Window{H: 1, W: 3, KH: 1, KW: 3, StrideH: 1, StrideW: 1, DilationH: 1, DilationW: 1, OH: 1, OW: 1}, y, nil, []float64{1, nan, 2}, 0)
	checkSame(t, "max of NaN", y, []float64{nan})
}
