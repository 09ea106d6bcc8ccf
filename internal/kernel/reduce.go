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
const columns = 64

// splitRow is the length from which a single long row is cut for several
// threads, and splitParts how many pieces it can make.
const (
	splitRow   = 1 << 16
	splitParts = 64
)

// A folder adds float elements into float64: row folds a contiguous row, line
// one element into each of the accumulators, and end finishes a result.
type folder[T Float] struct {
	row  func(x []T) float64
	line func(acc []float64, x []T)
	end  func(acc float64, n int) float64 // nil: nothing to do
}

func fold[T Float](p *par.Pool, outer, n, inner int, dst, x []T, f folder[T]) {
	end := f.end
	if end == nil {
		end = func(acc float64, _ int) float64 { return acc }
	}
	switch {
	case inner == 1 && outer == 1 && n >= splitRow:
		dst[0] = T(end(foldLong(p, x[:n], f.row), n))
	case inner == 1:
		p.For(outer, rowsPerChunk(n), func(lo, hi int) {
			for o := lo; o < hi; o++ {
				dst[o] = T(end(f.row(x[o*n:][:n]), n))
			}
		})
	default:
		foldColumns(p, outer, n, inner, x, func(at int, acc []float64) {
			for c, a := range acc {
				dst[at+c] = T(end(a, n))
			}
		}, f.line)
	}
}

// foldColumns folds blocks of columns and hands over each block's sums with
// the place of the first in the result.
func foldColumns[T Float](p *par.Pool, outer, n, inner int, x []T, store func(at int, acc []float64),
	line func(acc []float64, x []T)) {
	blocks := (inner + columns - 1) / columns
	p.For(outer*blocks, rowsPerChunk(n*min(columns, inner)), func(lo, hi int) {
		var sums [columns]float64
		for t := lo; t < hi; t++ {
			o, j := t/blocks, t%blocks*columns
			acc := sums[:min(columns, inner-j)]
			clear(acc)
			for i := range n {
				line(acc, x[(o*n+i)*inner+j:][:len(acc)])
			}
			store(o*inner+j, acc)
		}
	})
}

// foldLong folds pieces of one long row and adds them up in a fixed tree.
func foldLong[T any](p *par.Pool, x []T, row func(x []T) float64) float64 {
	size := max(splitRow/4, (len(x)+splitParts-1)/splitParts)
	var parts [splitParts]float64
	p.For(len(x), size, func(lo, hi int) {
		parts[lo/size] = row(x[lo:hi])
	})
	return addTree(parts[:(len(x)-1)/size+1])
}

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

// squareOf is the sum of squares by the vector table.
func squareOf[T Float](x []T) float64 { return vec[T]().dot(x, x) }

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

func average(sum float64, n int) float64 { return sum / float64(n) }

func root(sum float64, _ int) float64 { return math.Sqrt(sum) }

// ReduceSum is sum_i x[o,i,j].
func ReduceSum[T Float](p *par.Pool, outer, n, inner int, dst, x []T) {
	fold(p, outer, n, inner, dst, x, folder[T]{vec[T]().sum, vec[T]().sumLine, nil})
}

// ReduceMean is sum_i x[o,i,j] / n.
func ReduceMean[T Float](p *par.Pool, outer, n, inner int, dst, x []T) {
	fold(p, outer, n, inner, dst, x, folder[T]{vec[T]().sum, vec[T]().sumLine, average})
}

// ReduceSumSquare is sum_i x[o,i,j]**2.
func ReduceSumSquare[T Float](p *par.Pool, outer, n, inner int, dst, x []T) {
	fold(p, outer, n, inner, dst, x, folder[T]{squareOf[T], vec[T]().squareLine, nil})
}

// ReduceL1 is sum_i |x[o,i,j]|.
func ReduceL1[T Float](p *par.Pool, outer, n, inner int, dst, x []T) {
	fold(p, outer, n, inner, dst, x, folder[T]{absRow[T], absLine[T], nil})
}

// ReduceL2 is sqrt(sum_i x[o,i,j]**2).
func ReduceL2[T Float](p *par.Pool, outer, n, inner int, dst, x []T) {
	fold(p, outer, n, inner, dst, x, folder[T]{squareOf[T], vec[T]().squareLine, root})
}

// Reduce folds with any function, from start on:
//
//	s = start; for i < n: s = f(s, x[o,i,j]); dst[o,j] = s
//
// It is the form for integers, products and what else has no function here.
func Reduce[T, R any](p *par.Pool, outer, n, inner int, dst []R, x []T, start R, f func(s R, x T) R) {
	p.For(outer*inner, rowsPerChunk(n), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			k, s := r/inner*n*inner+r%inner, start
			for range n {
				s = f(s, x[k])
				k += inner
			}
			dst[r] = s
		}
	})
}

// ReduceProd is prod_i x[o,i,j].
func ReduceProd[T Numeric](p *par.Pool, outer, n, inner int, dst, x []T) {
	Reduce(p, outer, n, inner, dst, x, 1, func(s, x T) T { return s * x })
}

// ReduceSumInt is sum_i x[o,i,j] of integers, which wrap.
func ReduceSumInt[T Integer](p *par.Pool, outer, n, inner int, dst, x []T) {
	Reduce(p, outer, n, inner, dst, x, 0, func(s, x T) T { return s + x })
}

// ReduceMax is max_i x[o,i,j], NaN where any is NaN, low where n = 0.
func ReduceMax[T Numeric](p *par.Pool, outer, n, inner int, dst, x []T, low T) {
	if n == 0 {
		fill(dst[:outer*inner], low)
		return
	}
	extreme(p, outer, n, inner, dst, x, greater[T])
}

// ReduceMin is min_i x[o,i,j], NaN where any is NaN, high where n = 0.
func ReduceMin[T Numeric](p *par.Pool, outer, n, inner int, dst, x []T, high T) {
	if n == 0 {
		fill(dst[:outer*inner], high)
		return
	}
	extreme(p, outer, n, inner, dst, x, lesser[T])
}

func extreme[T Numeric](p *par.Pool, outer, n, inner int, dst, x []T, f func(a, b T) T) {
	p.For(outer*inner, rowsPerChunk(n), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			k := r/inner*n*inner + r%inner
			s := x[k]
			for range n - 1 {
				k += inner
				s = f(s, x[k])
			}
			dst[r] = s
		}
	})
}

// ReduceLogSumExp is log(sum_i exp(x[o,i,j])), without overflow.
func ReduceLogSumExp[T Float](p *par.Pool, outer, n, inner int, dst, x []T) {
	if n == 0 {
		fill(dst[:outer*inner], T(math.Inf(-1)))
		return
	}
	p.For(outer*inner, rowsPerChunk(8*n), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			dst[r] = T(logSumExp(x[r/inner*n*inner+r%inner:], n, inner))
		}
	})
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
	argBest(p, outer, n, inner, dst, x, last, func(x, best T) bool { return x > best })
}

// ArgMin is the smallest (largest where last) i at which x[o,i,j] is least. A
// NaN counts as least.
func ArgMin[T Numeric](p *par.Pool, outer, n, inner int, dst []int64, x []T, last bool) {
	argBest(p, outer, n, inner, dst, x, last, func(x, best T) bool { return x < best })
}

func argBest[T Numeric](p *par.Pool, outer, n, inner int, dst []int64, x []T, last bool, better func(x, best T) bool) {
	p.For(outer*inner, rowsPerChunk(n), func(lo, hi int) {
		for r := lo; r < hi; r++ {
			k := r/inner*n*inner + r%inner
			best, at := x[k], 0
			for i := 1; i < n; i++ {
				k += inner
				v := x[k]
				nan, was := v != v, best != best
				if !was && (nan || better(v, best)) || last && (v == best || nan && was) {
					best, at = v, i
				}
			}
			dst[r] = int64(at)
		}
	})
}
