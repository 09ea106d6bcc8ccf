package adapter

import (
	"cmp"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"github.com/bonnx/bonnx/internal/kernel"
)

// negligible is the part of a vector's length below which what is left of it,
// after others were projected out, is rounding.
const negligible = 1e-12

// leastSquares are the x[p] (n) for which sum_s x[p][s] cols[s] is closest to
// rhs[p], by modified Gram-Schmidt with column pivots (Björck 1967). A column
// that others make up gets 0. It destroys cols and rhs, vectors of one length.
func leastSquares(cols, rhs [][]float64) [][]float64 {
	n := len(cols)
	left := make([]int, n) // columns, those used first
	for s := range left {
		left[s] = s
	}
	tri, proj := square(n), make([][]float64, n)
	rank, first := 0, 0.0
	for k := range n {
		norm := longest(cols, left[k:])
		if first = max(first, norm); !(norm > negligible*first) {
			break
		}
		q := cols[left[k]]
		rank++
		scale(q, 1/norm)
		tri[k][left[k]] = norm
		for _, s := range left[k+1:] {
			tri[k][s] = dot(q, cols[s])
			axpy(cols[s], -tri[k][s], q)
		}
		proj[k] = make([]float64, len(rhs))
		for p, b := range rhs {
			proj[k][p] = dot(q, b)
			axpy(b, -proj[k][p], q)
		}
	}
	x := make([][]float64, len(rhs))
	for p := range x {
		x[p] = make([]float64, n)
		for k := rank - 1; k >= 0; k-- {
			sum := proj[k][p]
			for _, s := range left[k+1:] {
				sum -= tri[k][s] * x[p][s]
			}
			x[p][left[k]] = sum / tri[k][left[k]]
		}
	}
	return x
}

// longest puts the longest of the vectors that list names first in list, and
// is its length.
func longest(vs [][]float64, list []int) float64 {
	best, at := -1.0, 0
	for i, s := range list {
		if n := dot(vs[s], vs[s]); n > best {
			best, at = n, i
		}
	}
	list[0], list[at] = list[at], list[0]
	return math.Sqrt(best)
}

// Of lowRank: vectors beyond the rank that speed convergence up, and when the
// iteration ends: when what a lacks falls by less than a part of it.
const (
	oversample  = 8
	converged   = 1e-9
	maxSubspace = 200 // fewer than ten are the rule
)

// lowRank is the best approximation of a (n, m) of rank r: a is about
// sum_l u[l] v[l]^T, in falling order of size, with the length of u[l] that of
// v[l]. Components that vanish are left out. span are vectors that make up a's
// columns, where such are known; it is destroyed. Else the subspace is found by
// iteration from a fixed start (Halko, Martinsson and Tropp, arXiv 0909.4061).
func lowRank(a []float64, n, m, r int, span [][]float64) (u, v [][]float64) {
	complete := span != nil
	if u = span; !complete {
		size := min(r+oversample, n, m)
		complete = size == min(n, m)
		u = times(a, n, m, noise(size, m))
	}
	orthonormalize(u)
	total, last := dot(a, a), math.Inf(1)
	var squares []float64
	for i := 0; ; i++ {
		v = timesTransposed(a, n, m, u)
		u, v, squares = ritz(u, v)
		lacks := total
		for _, x := range squares[:min(r, len(u))] {
			lacks -= x
		}
		if complete || i == maxSubspace || last-lacks <= converged*lacks || lacks <= 1e-28*total {
			break
		}
		last = lacks
		u = filter(a, n, m, u, v, squares)
		orthonormalize(u)
	}
	for l := range min(r, len(u)) {
		sigma := math.Sqrt(max(0, squares[l]))
		if !(sigma > negligible*math.Sqrt(squares[0])) {
			return u[:l], v[:l]
		}
		scale(u[l], math.Sqrt(sigma))
		scale(v[l], 1/math.Sqrt(sigma))
	}
	return u[:min(r, len(u))], v[:min(r, len(u))]
}

// noise are n random vectors of m elements, always the same.
func noise(n, m int) [][]float64 {
	rng := rand.New(rand.NewPCG(1, 2))
	out := make([]float64, n*m)
	for i := range out {
		out[i] = rng.NormFloat64()
	}
	return split(out, m)
}

// ritz turns orthonormal u and v = a^T u so that the v become orthogonal too,
// the longest first, and returns the squares of their lengths: approximate
// singular values of a, squared.
func ritz(u, v [][]float64) (left, right [][]float64, squares []float64) {
	gram := square(len(v))
	for i := range v {
		for j := range i + 1 {
			gram[i][j] = dot(v[i], v[j])
			gram[j][i] = gram[i][j]
		}
	}
	squares, vectors := eigen(gram)
	turn := func(vs [][]float64) [][]float64 {
		return multiply(false, slices.Concat(vs...), len(vs[0]), len(vs), vectors)
	}
	return turn(u), turn(v), squares
}

// filter applies a polynomial of a a^T to u, with v = a^T u, that stays small
// up to the least of squares and grows as fast as can be beyond: Chebyshev's
// (Zhou, Saad, Tiago and Chelikowsky 2006). It damps what u is not to hold much
// more than as many powers would. The degree is kept so low that the largest
// component does not drown the others.
func filter(a []float64, n, m int, u, v [][]float64, squares []float64) [][]float64 {
	half := squares[len(squares)-1] / 2
	growth := 2 * (squares[0]/half - 1)
	if !(growth >= 2 && growth < 1e8) {
		return times(a, n, m, v) // a power alone is fast
	}
	degree := max(1, int(math.Log(1e8)/math.Log(growth)))
	before, now := u, times(a, n, m, v)
	for l := range now {
		axpy(now[l], -half, u[l])
		scale(now[l], 1/half)
	}
	for range degree - 1 {
		next := times(a, n, m, timesTransposed(a, n, m, now))
		for l := range next {
			axpy(next[l], -half, now[l])
			scale(next[l], 2/half)
			axpy(next[l], -1, before[l])
		}
		before, now = now, next
	}
	return now
}

// orthonormalize makes the vectors orthonormal in place, by Gram-Schmidt twice.
// A vector that earlier ones make up becomes 0.
func orthonormalize(vs [][]float64) {
	for i, v := range vs {
		before := math.Sqrt(dot(v, v))
		for range 2 {
			for _, q := range vs[:i] {
				axpy(v, -dot(q, v), q)
			}
		}
		norm := math.Sqrt(dot(v, v))
		if !(norm > negligible*before) {
			clear(v)
			continue
		}
		scale(v, 1/norm)
	}
}

// eigen are the eigenvalues of the symmetric g, falling, and their vectors, by
// Jacobi's rotations. It destroys g.
func eigen(g [][]float64) (values []float64, vectors [][]float64) {
	n := len(g)
	e := square(n)
	size := 0.0
	for i := range n {
		e[i][i] = 1
		size += dot(g[i], g[i])
	}
	for range 60 { // sweeps; fewer than 15 are ever needed
		off := 0.0
		for i := range n {
			for j := range i {
				off += g[i][j] * g[i][j]
				jacobi(g, e, i, j)
			}
		}
		if off <= 1e-30*size {
			break
		}
	}
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(g[b][b], g[a][a]) })
	for _, i := range order {
		values, vectors = append(values, g[i][i]), append(vectors, e[i])
	}
	return values, vectors
}

// jacobi turns the plane of i and j so that g[i][j] becomes 0; the rows of e
// turn along.
func jacobi(g, e [][]float64, i, j int) {
	if g[i][j] == 0 {
		return
	}
	theta := (g[j][j] - g[i][i]) / (2 * g[i][j])
	t := math.Copysign(1, theta) / (abs(theta) + math.Sqrt(theta*theta+1))
	c := 1 / math.Sqrt(t*t+1)
	s := t * c
	for k := range g {
		a, b := g[k][i], g[k][j]
		g[k][i], g[k][j] = c*a-s*b, s*a+c*b
	}
	for _, m := range [][][]float64{g, e} {
		for k := range m {
			a, b := m[i][k], m[j][k]
			m[i][k], m[j][k] = c*a-s*b, s*a+c*b
		}
	}
}

// times are a v[l] for a (n, m), vectors of n.
func times(a []float64, n, m int, v [][]float64) [][]float64 { return multiply(true, a, n, m, v) }

// timesTransposed are a^T u[l] for a (n, m), vectors of m.
func timesTransposed(a []float64, n, m int, u [][]float64) [][]float64 {
	return multiply(false, a, m, n, u)
}

// multiply is the product of the vectors, as rows of k elements, with the
// matrix a (k, n), or (n, k) transposed. Processors share the columns.
func multiply(transposed bool, a []float64, n, k int, vs [][]float64) [][]float64 {
	rows := slices.Concat(vs...)
	c := make([]float64, len(vs)*n)
	inParallel(n, func(lo, hi int) {
		scratch := make([]float64, kernel.GemmScratch[float64](len(vs), hi-lo, k))
		from, ld := lo, n
		if transposed {
			from, ld = lo*k, k
		}
		kernel.Gemm(nil, false, transposed, len(vs), hi-lo, k, 1, rows, k, a[from:], ld, false, c[lo:], n, scratch)
	})
	return split(c, n)
}

// inParallel cuts 0 to n into a part for every processor. What f computes must
// not depend on the cuts.
func inParallel(n int, f func(lo, hi int)) {
	parts := min(runtime.GOMAXPROCS(0), n)
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() { f(i*n/parts, (i+1)*n/parts) })
	}
	wg.Wait()
}

// split are the rows, of n elements each.
func split(rows []float64, n int) [][]float64 { return slices.Collect(slices.Chunk(rows, n)) }

func square(n int) [][]float64 { return split(make([]float64, n*n), n) }

func dot(a, b []float64) float64 {
	sum := 0.0
	for i, v := range a {
		sum += v * b[i]
	}
	return sum
}

// axpy adds f x to y.
func axpy(y []float64, f float64, x []float64) {
	for i, v := range x {
		y[i] += f * v
	}
}

func scale(x []float64, f float64) {
	for i := range x {
		x[i] *= f
	}
}
