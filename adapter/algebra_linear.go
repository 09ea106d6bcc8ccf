package adapter

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
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

// Of lowRank: columns beyond the rank that speed convergence up, and the bounds
// of the iteration.
const (
	oversample  = 8
	converged   = 1e-13
	maxSubspace = 200
)

// lowRank is the best approximation of a (n, m) of rank r: a is about
// sum_l u[l] v[l]^T, in falling order of size, with the length of u[l] that of
// v[l]. Components that vanish are left out. It iterates on a subspace a little
// larger than r, from a fixed start (Halko, Martinsson and Tropp, arXiv
// 0909.4061), until the share of a that it holds no longer grows.
func lowRank(a []float64, n, m, r int) (u, v [][]float64) {
	rng := rand.New(rand.NewPCG(1, 2))
	v = make([][]float64, min(r+oversample, n, m))
	for l := range v {
		v[l] = make([]float64, m)
		for j := range v[l] {
			v[l][j] = rng.NormFloat64()
		}
	}
	total, held := dot(a, a), -1.0
	for range maxSubspace {
		u = times(a, n, m, v)
		orthonormalize(u)
		v = timesTransposed(a, n, m, u)
		now := 0.0
		for _, x := range v {
			now += dot(x, x)
		}
		if now-held <= converged*total || total-now <= converged*converged*total {
			break
		}
		held = now
		orthonormalize(v)
	}
	// The last v is not a^T u once it was made orthonormal.
	v = timesTransposed(a, n, m, u)
	return rotate(u, v, min(r, len(u)))
}

// rotate turns orthonormal u and v = a^T u into the first r singular pairs.
func rotate(u, v [][]float64, r int) (left, right [][]float64) {
	gram := square(len(v))
	for i := range v {
		for j := range v {
			gram[i][j] = dot(v[i], v[j])
		}
	}
	values, vectors := eigen(gram)
	for l := range r {
		sigma := math.Sqrt(max(0, values[l]))
		if !(sigma > negligible*math.Sqrt(values[0])) {
			break
		}
		x, y := make([]float64, len(u[0])), make([]float64, len(v[0]))
		for i, e := range vectors[l] {
			axpy(x, e*math.Sqrt(sigma), u[i])
			axpy(y, e/math.Sqrt(sigma), v[i])
		}
		left, right = append(left, x), append(right, y)
	}
	return left, right
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
func times(a []float64, n, m int, v [][]float64) [][]float64 {
	out := make([][]float64, len(v))
	for l := range out {
		out[l] = make([]float64, n)
	}
	for k := range n {
		row := a[k*m : (k+1)*m]
		for l := range v {
			out[l][k] = dot(row, v[l])
		}
	}
	return out
}

// timesTransposed are a^T u[l] for a (n, m), vectors of m.
func timesTransposed(a []float64, n, m int, u [][]float64) [][]float64 {
	out := make([][]float64, len(u))
	for l := range out {
		out[l] = make([]float64, m)
	}
	for k := range n {
		row := a[k*m : (k+1)*m]
		for l := range u {
			axpy(out[l], u[l][k], row)
		}
	}
	return out
}

func square(n int) [][]float64 {
	out := make([][]float64, n)
	for i := range out {
		out[i] = make([]float64, n)
	}
	return out
}

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
