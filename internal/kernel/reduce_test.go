package kernel

import (
	"fmt"
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/par"
)

var reduceShapes = [][3]int{ // outer, n, inner
	{1, 1, 1}, {1, 2, 1}, {3, 3, 1}, {2, 4, 1}, {5, 5, 1}, {2, 7, 1}, {1, 1000, 1}, {700, 65, 1},
	{1, 3, 2}, {2, 5, 63}, {2, 5, 64}, {3, 9, 65}, {1, 200, 130}, {1, 70001, 1}, {1, 300001, 1}, {2, 0, 3}, {0, 3, 2}, {2, 3, 0},
}

// vectors are the float64 vectors along the middle axis, in output order.
func vectors[T Float](s [3]int, x []T) [][]float64 {
	var vs [][]float64
	for o := range s[0] {
		for j := range s[2] {
			v := make([]float64, s[1])
			for i := range v {
				v[i] = float64(x[(o*s[1]+i)*s[2]+j])
			}
			vs = append(vs, v)
		}
	}
	return vs
}

func naiveSum(v []float64, f func(float64) float64) float64 {
	var s float64
	for _, x := range v {
		s += f(x)
	}
	return s
}

func ident(x float64) float64  { return x }
func square(x float64) float64 { return x * x }

func naiveLSE(v []float64) float64 {
	top := math.Inf(-1)
	for _, x := range v {
		top = max(top, x)
	}
	if math.IsInf(top, 0) {
		return top
	}
	return top + math.Log(naiveSum(v, func(x float64) float64 { return math.Exp(x - top) }))
}

type reduceFunc[T Float] func(p *par.Pool, outer, n, inner int, dst, x []T)

func testReduce[T Float](t *testing.T) {
	inf := T(math.Inf(1))
	for _, c := range []struct {
		name string
		f    reduceFunc[T]
		want func(v []float64) float64
	}{
		{"sum", ReduceSum[T], func(v []float64) float64 { return naiveSum(v, ident) }},
		{"mean", ReduceMean[T], func(v []float64) float64 { return naiveSum(v, ident) / float64(len(v)) }},
		{"sumsquare", ReduceSumSquare[T], func(v []float64) float64 { return naiveSum(v, square) }},
		{"l1", ReduceL1[T], func(v []float64) float64 { return naiveSum(v, math.Abs) }},
		{"l2", ReduceL2[T], func(v []float64) float64 { return math.Sqrt(naiveSum(v, square)) }},
		{"logsumexp", ReduceLogSumExp[T], naiveLSE},
		{"max", func(p *par.Pool, o, n, i int, d, x []T) { ReduceMax(p, o, n, i, d, x, -inf) }, func(v []float64) float64 {
			m := math.Inf(-1)
			for _, x := range v {
				m = max(m, x)
			}
			return m
		}},
		{"min", func(p *par.Pool, o, n, i int, d, x []T) { ReduceMin(p, o, n, i, d, x, inf) }, func(v []float64) float64 {
			m := math.Inf(1)
			for _, x := range v {
				m = min(m, x)
			}
			return m
		}},
	} {
		for _, s := range reduceShapes {
			x := randSlice[T](newRand(), s[0]*s[1]*s[2])
			want := make([]float64, 0, s[0]*s[2])
			for _, v := range vectors(s, x) {
				want = append(want, c.want(v))
			}
			var first []T
			withPools(t, func(t *testing.T, p *par.Pool) {
				got, check := guarded[T](t, s[0]*s[2])
				c.f(p, s[0], s[1], s[2], got, x)
				check()
				what := fmt.Sprintf("%s %v", c.name, s)
				checkClose(t, what, got, want, pick64[T](3e-7, 1e-12))
				if first == nil {
					first = got
				}
				checkSame(t, what+" across threads", got, first)
			})
		}
	}
}

func TestReduceFloat32(t *testing.T) { testReduce[float32](t) }
func TestReduceFloat64(t *testing.T) { testReduce[float64](t) }

func TestReduceIntegersAndNaN(t *testing.T) {
	x := []int64{3, -1, 2, 5, 4, -6}
	got := make([]int64, 3)
	ReduceSumInt(nil, 1, 2, 3, got, x)
	checkSame(t, "sum", got, []int64{8, 3, -4})
	ReduceProd(nil, 1, 2, 3, got, x)
	checkSame(t, "prod", got, []int64{15, -4, -12})
	ReduceMax(nil, 1, 2, 3, got, x, 0)
	checkSame(t, "max", got, []int64{5, 4, 2})
	ReduceMin(nil, 3, 0, 1, got, nil, 99)
	checkSame(t, "min of none", got, []int64{99, 99, 99})
	nan := float32(math.NaN())
	f := make([]float32, 2)
	ReduceMax(nil, 2, 3, 1, f, []float32{1, nan, 2, nan, 3, 4}, 0)
	checkSame(t, "max of NaN", f, []float32{nan, nan})
	ReduceMin(nil, 2, 3, 1, f, []float32{1, 2, nan, 5, 3, 4}, 0)
	checkSame(t, "min of NaN", f, []float32{nan, 3})
	inf := float32(math.Inf(1))
	ReduceLogSumExp(nil, 2, 2, 1, f, []float32{-inf, -inf, 1000, 1000})
	checkClose(t, "logsumexp", f, []float64{math.Inf(-1), 1000 + math.Ln2}, 1e-6)
}

func TestArg(t *testing.T) {
	nan := math.NaN()
	x := []float64{1, 3, 3, 0, nan, 5, nan, 1, 2, 2, 2, 2}
	for _, c := range []struct {
		name     string
		max      bool
		last     bool
		n, inner int
		want     []int64
	}{
		{"max first", true, false, 4, 1, []int64{1, 0, 0}},
		{"max last", true, true, 4, 1, []int64{2, 2, 3}},
		{"min first", false, false, 4, 1, []int64{3, 0, 0}},
		{"min last", false, true, 4, 1, []int64{3, 2, 3}},
		{"max inner", true, false, 2, 2, []int64{1, 0, 0, 0, 0, 0}},
	} {
		got := make([]int64, len(x)/c.n)
		f := ArgMin[float64]
		if c.max {
			f = ArgMax[float64]
		}
		f(nil, len(x)/(c.n*c.inner), c.n, c.inner, got, x, c.last)
		checkSame(t, c.name, got, c.want)
	}
}

func testSoftmax[T Float](t *testing.T) {
	for _, s := range reduceShapes {
		r := newRand()
		x, dy := randSlice[T](r, s[0]*s[1]*s[2]), randSlice[T](r, s[0]*s[1]*s[2])
		n := len(x)
		var soft, logs, softGrad, logGrad = make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
		dys := vectors(s, dy)
		for k, v := range vectors(s, x) {
			l := naiveLSE(v)
			var dot, sum float64
			for i, e := range v {
				dot += math.Exp(e-l) * dys[k][i]
				sum += dys[k][i]
			}
			for i, e := range v {
				at := (k/s[2]*s[1]+i)*s[2] + k%s[2]
				soft[at], logs[at] = math.Exp(e-l), e-l
				softGrad[at] = soft[at] * (dys[k][i] - dot)
				logGrad[at] = dys[k][i] - soft[at]*sum
			}
		}
		tol := pick64[T](1e-6, 1e-12)
		withPools(t, func(t *testing.T, p *par.Pool) {
			got, check := guarded[T](t, n)
			grad, checkGrad := guarded[T](t, n)
			Softmax(p, s[0], s[1], s[2], got, x)
			checkClose(t, fmt.Sprint("softmax ", s), got, soft, tol)
			SoftmaxGrad(p, s[0], s[1], s[2], grad, got, dy)
			checkClose(t, fmt.Sprint("softmax grad ", s), grad, softGrad, tol)
			LogSoftmax(p, s[0], s[1], s[2], got, x)
			checkClose(t, fmt.Sprint("logsoftmax ", s), got, logs, tol)
			LogSoftmaxGrad(p, s[0], s[1], s[2], grad, got, dy)
			checkClose(t, fmt.Sprint("logsoftmax grad ", s), grad, logGrad, 40*tol)
			check()
			checkGrad()
			inPlace := append([]T(nil), x...)
			Softmax(p, s[0], s[1], s[2], inPlace, inPlace)
			checkClose(t, fmt.Sprint("softmax in place ", s), inPlace, soft, tol)
		})
	}
}

func TestSoftmaxFloat32(t *testing.T) { testSoftmax[float32](t) }
func TestSoftmaxFloat64(t *testing.T) { testSoftmax[float64](t) }

func TestSoftmaxExtremes(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, c := range []struct{ x, want []float32 }{
		{[]float32{-inf, 0, -inf}, []float32{0, 1, 0}},
		{[]float32{3e38, 3e38}, []float32{0.5, 0.5}},
		{[]float32{-3e38, 3e38}, []float32{0, 1}},
		{[]float32{nan, 1}, []float32{nan, nan}},
		{[]float32{-inf, -inf}, []float32{nan, nan}},
	} {
		for _, inner := range []int{1, 2} {
			x, want := make([]float32, 0), make([]float32, 0)
			for i := range c.x {
				for range inner {
					x, want = append(x, c.x[i]), append(want, c.want[i])
				}
			}
			Softmax(nil, 1, len(c.x), inner, x, x)
			checkSame(t, fmt.Sprint(c.x, inner), x, want)
		}
	}
}

func BenchmarkRows(b *testing.B) {
	const rows, n = 256, 512
	x := randSlice[float32](newRand(), rows*n)
	y, g := make([]float32, rows*n), make([]float32, n)
	m, s := make([]float32, rows), make([]float32, rows)
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"softmax", func() { Softmax(nil, rows, n, 1, y, x) }},
		{"layernorm", func() { LayerNorm(nil, rows, n, y, x, g, g, m, s, 1e-5) }},
		{"layernormgrad", func() { LayerNormGrad(nil, rows, n, y, g, g, x, g, m, s, x) }},
		{"rmsnorm", func() { RMSNorm(nil, rows, n, y, x, g, s, 1e-5) }},
		{"sum", func() { ReduceSum(nil, rows, n, 1, m, x) }},
		{"columns", func() { ReduceSum(nil, 1, rows, n, g, x) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.f()
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/(rows*n), "ns/elem")
		})
	}
}
