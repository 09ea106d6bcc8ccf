package kernel

import (
	"math"

	"github.com/bonnx/bonnx/internal/par"
)

// Reductions are over the middle axis of x (outer,n,inner) to dst
// (outer,inner). Sums of floats are kept in float64 and added in an order that
// follows from the sizes alone. With n = 0 the result is the function's neutral
// element (-Inf for max, NaN for a mean).

// columns is how many columns of one outer index make a task when inner > 1.
const columns = 256

// splitRow is the length from which a single long row is cut for several
// threads, and splitParts how many pieces it can make.
const (
	splitRow   = 1 << 16
	splitParts = 64
)

// A term is what a fold adds up.
type term uint8

const (
	values term = iota
	squares
	magnitudes
)

// foldRow adds up the terms of a row.
func foldRow[T Float](of term, x []T) float64 {
	switch of {
	case values:
		return vec[T]().sum(x)
	case squares:
		return vec[T]().dot(x, x)
	}
	return absRow(x)
}

// foldLine adds a term to each of the accumulators.
func foldLine[T Float](of term, acc []float64, x []T) {
	switch of {
	case values:
		addLine(acc, x)
	case squares:
		addSquares(acc, x)
	default:
		absLine(acc, x)
	}
}

// addLine and addSquares are sumLine and squareLine of the row in use; acc may be
// on the stack.
func addLine[T Float](acc []float64, x []T) {
	if x, ok := any(x).([]float32); ok {
		sumLine32(acc, x)
		return
	}
	sumLine(acc, x)
}

func addSquares[T Float](acc []float64, x []T) {
	if x, ok := any(x).([]float32); ok {
		squareLine32(acc, x)
		return
	}
	squareLine(acc, x)
}

// An ending finishes a result.
type ending func(sum float64, n int) float64

func fold[T Float](p *par.Pool, outer, n, inner int, dst, x []T, of term, end ending) {
	f := folding[T]{of: of, end: end, n: n, inner: inner, dst: dst, x: x}
	switch {
	case inner == 1 && outer == 1 && n >= splitRow:
		dst[0] = T(end(foldLong(p, x[:n], of), n))
	case inner == 1:
		par.Do(p, outer, rowsPerChunk(n), &f)
	default:
		f.blocks = (inner + columns - 1) / columns
		par.Do(p, outer*f.blocks, rowsPerChunk(n*min(columns, inner)), &f)
	}
}

// folding is rows, or blocks of columns where inner > 1.
type folding[T Float] struct {
	of               term
	end              ending
	n, inner, blocks int
	dst, x           []T
}

func (t *folding[T]) Run(lo, hi int) {
	if t.blocks == 0 {
		for o := lo; o < hi; o++ {
			t.dst[o] = T(t.end(foldRow(t.of, t.x[o*t.n:][:t.n]), t.n))
		}
		return
	}
	var sums [columns]float64
	for b := lo; b < hi; b++ {
		o, j := b/t.blocks, b%t.blocks*columns
		acc := sums[:min(columns, t.inner-j)]
		clear(acc)
		for i := range t.n {
			foldLine(t.of, acc, t.x[(o*t.n+i)*t.inner+j:])
		}
		for c, a := range acc {
			t.dst[o*t.inner+j+c] = T(t.end(a, t.n))
		}
	}
}

// foldLong folds pieces of one long row and adds them up in a fixed tree.
func foldLong[T Float](p *par.Pool, x []T, of term) float64 {
	t := pieces[T]{of: of, x: x, size: max(splitRow/4, (len(x)+splitParts-1)/splitParts)}
	par.Do(p, len(x), t.size, &t)
	return addTree(t.sums[:(len(x)-1)/t.size+1])
}

type pieces[T Float] struct {
	of   term
	x    []T
	size int
	sums [splitParts]float64
}

func (t *pieces[T]) Run(lo, hi int) { t.sums[lo/t.size] = foldRow(t.of, t.x[lo:hi]) }

// addTree adds x pairwise; x is overwritten.
func addTree(x []float64) float64 {
	for n := len(x); n > 1; n = (n + 1) / 2 {
		for i := range n / 2 {
			x[i] = x[2*i] + x[2*i+1]
		}
		if n%2 == 1 {
			x[n/2] = x[n-1]
		}
	}
	return x[0]
}

// sumRow adds in four strands.
func sumRow[T Float](x []T) float64 {
	var s0, s1, s2, s3 float64
	for ; len(x) >= 4; x = x[4:] {
		s0 += float64(x[0])
		s1 += float64(x[1])
		s2 += float64(x[2])
		s3 += float64(x[3])
	}
	for _, v := range x {
		s0 += float64(v)
	}
	return (s0 + s1) + (s2 + s3)
}

func sumLine[T Float](acc []float64, x []T) {
	x = x[:len(acc)]
	for c := range acc {
		acc[c] += float64(x[c])
	}
}

func squareRow[T Float](x []T) float64 { return dotRow(x, x) }

// dotRow is the sum of x[i]*y[i] in four strands.
func dotRow[T Float](x, y []T) float64 {
	var s0, s1, s2, s3 float64
	y = y[:len(x)]
	for ; len(x) >= 4 && len(y) >= 4; x, y = x[4:], y[4:] {
		s0 += float64(float64(x[0]) * float64(y[0]))
		s1 += float64(float64(x[1]) * float64(y[1]))
		s2 += float64(float64(x[2]) * float64(y[2]))
		s3 += float64(float64(x[3]) * float64(y[3]))
	}
	for i, v := range x {
		s0 += float64(float64(v) * float64(y[i]))
	}
	return (s0 + s1) + (s2 + s3)
}

func squareLine[T Float](acc []float64, x []T) {
	x = x[:len(acc)]
	for c := range acc {
		acc[c] += float64(float64(x[c]) * float64(x[c]))
	}
}

func absRow[T Float](x []T) float64 {
	var s float64
	for _, v := range x {
		s += math.Abs(float64(v))
	}
	return s
}

func absLine[T Float](acc []float64, x []T) {
	x = x[:len(acc)]
	for c := range acc {
		acc[c] += math.Abs(float64(x[c]))
	}
}

func none(sum float64, _ int) float64 { return sum }

func average(sum float64, n int) float64 { return sum / float64(n) }

func root(sum float64, _ int) float64 { return math.Sqrt(sum) }

// ReduceSum is sum_i x[o,i,j].
func ReduceSum[T Float](p *par.Pool, outer, n, inner int, dst, x []T) {
	fold(p, outer, n, inner, dst, x, values, none)
}

// ReduceMean is sum_i x[o,i,j] / n.
func ReduceMean[T Float](p *par.Pool, outer, n, inner int, dst, x []T) {
	fold(p, outer, n, inner, dst, x, values, average)
}

// ReduceSumSquare is sum_i x[o,i,j]**2.
func ReduceSumSquare[T Float](p *par.Pool, outer, n, inner int, dst, x []T) {
	fold(p, outer, n, inner, dst, x, squares, none)
}

// ReduceL1 is sum_i |x[o,i,j]|.
func ReduceL1[T Float](p *par.Pool, outer, n, inner int, dst, x []T) {
	fold(p, outer, n, inner, dst, x, magnitudes, none)
}

// ReduceL2 is sqrt(sum_i x[o,i,j]**2).
func ReduceL2[T Float](p *par.Pool, outer, n, inner int, dst, x []T) {
	fold(p, outer, n, inner, dst, x, squares, root)
}

// Reduce folds with any function, from start on:
//
//	s = start; for i < n: s = f(s, x[o,i,j]); dst[o,j] = s
//
// It is the form for what has no function here.
func Reduce[T, R any](p *par.Pool, outer, n, inner int, dst []R, x []T, start R, f func(s R, x T) R) {
	par.Do(p, outer*inner, rowsPerChunk(n), &reducing[T, R]{n, inner, dst, x, start, f})
}

type reducing[T, R any] struct {
	n, inner int
	dst      []R
	x        []T
	start    R
	f        func(s R, x T) R
}

func (t *reducing[T, R]) Run(lo, hi int) {
	for r := lo; r < hi; r++ {
		k, s := r/t.inner*t.n*t.inner+r%t.inner, t.start
		for range t.n {
			s = t.f(s, t.x[k])
			k += t.inner
		}
		t.dst[r] = s
	}
}

// reduceRule folds n > 0 elements, the first being the start.
func reduceRule[T any, F rule2[T, T]](p *par.Pool, outer, n, inner int, dst, x []T, f F) {
	par.Do(p, outer*inner, rowsPerChunk(n), &ruledReducing[T, F]{n, inner, dst, x, f})
}

type ruledReducing[T any, F rule2[T, T]] struct {
	n, inner int
	dst, x   []T
	f        F
}

func (t *ruledReducing[T, F]) Run(lo, hi int) {
	n, inner, x := t.n, t.inner, t.x
	for r := lo; r < hi; r++ {
		k := r/inner*n*inner + r%inner
		s := x[k]
		for range n - 1 {
			k += inner
			s = t.f.of(s, x[k])
		}
		t.dst[r] = s
	}
}

// ReduceProd is prod_i x[o,i,j].
func ReduceProd[T Numeric](p *par.Pool, outer, n, inner int, dst, x []T) {
	if n == 0 {
		fill(dst[:outer*inner], 1)
		return
	}
	reduceRule(p, outer, n, inner, dst, x, times[T]{})
}

// ReduceSumInt is sum_i x[o,i,j] of integers, which wrap.
func ReduceSumInt[T Integer](p *par.Pool, outer, n, inner int, dst, x []T) {
	if n == 0 {
		fill(dst[:outer*inner], 0)
		return
	}
	reduceRule(p, outer, n, inner, dst, x, plus[T]{})
}

// ReduceMax is max_i x[o,i,j], NaN where any is NaN, low where n = 0.
func ReduceMax[T Numeric](p *par.Pool, outer, n, inner int, dst, x []T, low T) {
	extreme(p, outer, n, inner, dst, x, low, false)
}

// ReduceMin is min_i x[o,i,j], NaN where any is NaN, high where n = 0.
func ReduceMin[T Numeric](p *par.Pool, outer, n, inner int, dst, x []T, high T) {
	extreme(p, outer, n, inner, dst, x, high, true)
}

func extreme[T Numeric](p *par.Pool, outer, n, inner int, dst, x []T, none T, least bool) {
	if n == 0 {
		fill(dst[:outer*inner], none)
		return
	}
	t := extremes[T]{n: n, inner: inner, blocks: 1, least: least, dst: dst, x: x}
	if least {
		t.loops = floatLoops[T](minOf[float32], minOf[float64])
	} else {
		t.loops = floatLoops[T](maxOf[float32], maxOf[float64])
	}
	if inner > 1 {
		t.blocks = (inner + columns - 1) / columns
	}
	par.Do(p, outer*t.blocks, rowsPerChunk(n*min(columns, inner)), &t)
}

// extremes is rows, or blocks of columns where inner > 1.
type extremes[T Numeric] struct {
	n, inner, blocks int
	least            bool
	loops            *fast[T] // nil for integers
	dst, x           []T
}

func (t *extremes[T]) Run(lo, hi int) {
	for b := lo; b < hi; b++ {
		if t.inner == 1 {
			t.dst[b] = extremeOf(t.x[b*t.n:][:t.n], t.least)
			continue
		}
		o, j := b/t.blocks, b%t.blocks*columns
		best := t.dst[o*t.inner+j:][:min(columns, t.inner-j)]
		copy(best, t.x[o*t.n*t.inner+j:])
		for i := 1; i < t.n; i++ {
			t.line(best, t.x[(o*t.n+i)*t.inner+j:])
		}
	}
}

// line makes each of best the better of itself and of x.
func (t *extremes[T]) line(best, x []T) {
	switch {
	case t.loops != nil:
		t.loops.vv(best, best, x)
	case t.least:
		minVV(best, best, x)
	default:
		maxVV(best, best, x)
	}
}

// extremeOf is the greatest or least element of a row, NaN where one is.
func extremeOf[T Numeric](x []T, least bool) T {
	if x, ok := any(x).([]float32); ok {
		if s := vec32.sum(x); s == s {
			if least {
				return T(-vec32.bottom(x))
			}
			return T(vec32.top(x))
		}
	}
	best := x[0]
	for _, v := range x {
		if least {
			best = min(best, v)
		} else {
			best = max(best, v)
		}
	}
	return best
}

// ReduceLogSumExp is log(sum_i exp(x[o,i,j])), without overflow.
func ReduceLogSumExp[T Float](p *par.Pool, outer, n, inner int, dst, x []T) {
	if n == 0 {
		fill(dst[:outer*inner], T(math.Inf(-1)))
		return
	}
	par.Do(p, outer*inner, rowsPerChunk(8*n), &logSumExps[T]{n, inner, dst, x})
}

type logSumExps[T Float] struct {
	n, inner int
	dst, x   []T
}

func (t *logSumExps[T]) Run(lo, hi int) {
	for r := lo; r < hi; r++ {
		t.dst[r] = T(logSumExp(t.x[r/t.inner*t.n*t.inner+r%t.inner:], t.n, t.inner))
	}
}

// logSumExp is over n elements, step apart.
func logSumExp[T Float](x []T, n, step int) float64 {
	if step == 1 && n > 0 {
		if top, sum := vec[T]().expSum(x[:n]); sum == sum && !math.IsInf(top, 0) {
			return top + math.Log(sum)
		}
	}
	top := math.Inf(-1)
	for i := range n {
		v := float64(x[i*step])
		if v > top || v != v {
			top = v
		}
	}
	if math.IsInf(top, 0) || top != top {
		return top
	}
	var s float64
	for i := range n {
		s += expFor[T](float64(x[i*step]) - top)
	}
	return top + math.Log(s)
}

// expFor is e**x for x <= 0, to the precision of T.
func expFor[T Float](x float64) float64 {
	if isFloat32[T]() {
		if x < -700 {
			return 0
		}
		return expNear(x)
	}
	return math.Exp(x)
}

func isFloat32[T Float]() bool {
	one := T(1)
	return one+1e-10 == one
}

// ArgMax is the smallest (largest where last) i at which x[o,i,j] is greatest.
// A NaN counts as greatest.
func ArgMax[T Numeric](p *par.Pool, outer, n, inner int, dst []int64, x []T, last bool) {
	par.Do(p, outer*inner, rowsPerChunk(n), &argBest[T]{n, inner, dst, x, last, false})
}

// ArgMin is the smallest (largest where last) i at which x[o,i,j] is least. A
// NaN counts as least.
func ArgMin[T Numeric](p *par.Pool, outer, n, inner int, dst []int64, x []T, last bool) {
	par.Do(p, outer*inner, rowsPerChunk(n), &argBest[T]{n, inner, dst, x, last, true})
}

type argBest[T Numeric] struct {
	n, inner    int
	dst         []int64
	x           []T
	last, least bool
}

func (t *argBest[T]) Run(lo, hi int) {
	n, inner, x := t.n, t.inner, t.x
	for r := lo; r < hi; r++ {
		k := r/inner*n*inner + r%inner
		best, at := x[k], 0
		for i := 1; i < n; i++ {
			k += inner
			v := x[k]
			better := v > best
			if t.least {
				better = v < best
			}
			nan, was := v != v, best != best
			if !was && (nan || better) || t.last && (v == best || nan && was) {
				best, at = v, i
			}
		}
		t.dst[r] = int64(at)
	}
}
