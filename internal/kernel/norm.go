package kernel

import "github.com/bonnx/bonnx/internal/par"

// LayerNorm normalises the rows of x (rows,n):
//
//	mean = sum_j x[i,j] / n
//	invstd = 1/sqrt(sum_j (x[i,j]-mean)**2 / n + eps)
//	y[i,j] = (x[i,j]-mean) * invstd * gamma[j] + beta[j]
//
// gamma (n) and beta (n) may be nil for 1 and 0, mean and invstd (rows) nil
// where they are not wanted. It may work in place.
func LayerNorm[T Float](p *par.Pool, rows, n int, y, x, gamma, beta, mean, invstd []T, eps float64) {
	par.Do(p, rows, rowsPerChunk(3*n), &layerNorm[T]{n, y, x, gamma, beta, mean, invstd, eps})
}

type layerNorm[T Float] struct {
	n                               int
	y, x, gamma, beta, mean, invstd []T
	eps                             float64
}

func (t *layerNorm[T]) Run(lo, hi int) {
	rows := vec[T]().layerNorm
	if t.gamma == nil || t.beta == nil {
		rows = layerNormRows[T]
	}
	at := lo * t.n
	rows(hi-lo, t.n, t.y[at:], t.x[at:], t.gamma, t.beta, from(t.mean, lo), from(t.invstd, lo), t.eps)
}

// from is x[i:], nil where x is.
func from[T Float](x []T, i int) []T {
	if x == nil {
		return nil
	}
	return x[i:]
}

func put[T Float](x []T, i int, v float64) {
	if x != nil {
		x[i] = T(v)
	}
}

// squaresAround is sum_j (x[j]-m)**2.
func squaresAround[T Float](x []T, m float64) float64 {
	var s0, s1 float64
	for ; len(x) >= 2; x = x[2:] {
		a, b := float64(x[0])-m, float64(x[1])-m
		s0 += float64(a * a)
		s1 += float64(b * b)
	}
	for _, v := range x {
		a := float64(v) - m
		s0 += float64(a * a)
	}
	return s0 + s1
}

// affine is y[j] = (x[j]-m)*inv*gamma[j] + beta[j].
func affine[T Float](y, x []T, m, inv float64, gamma, beta []T) {
	for j, v := range x {
		t := (float64(v) - m) * inv
		if gamma != nil {
			t *= float64(gamma[j])
		}
		if beta != nil {
			t += float64(beta[j])
		}
		y[j] = T(t)
	}
}

// LayerNormGrad is the gradient of LayerNorm. With xh = (x-mean)*invstd and
// g = dy*gamma:
//
//	dx[i,j] = invstd[i] * (g[i,j] - sum_j g[i,j]/n - xh[i,j] * sum_j g[i,j]*xh[i,j]/n)
//	dgamma[j] = sum_i dy[i,j]*xh[i,j]
//	dbeta[j] = sum_i dy[i,j]
//
// dx, dgamma and dbeta may be nil where they are not wanted, gamma for 1. It
// may not work in place.
func LayerNormGrad[T Float](p *par.Pool, rows, n int, dx, dgamma, dbeta, x, gamma, mean, invstd, dy []T) {
	if dx != nil {
		par.Do(p, rows, rowsPerChunk(4*n), &normGrad[T]{n, dx, x, gamma, mean, invstd, dy})
	}
	normParamGrad(p, rows, n, dgamma, dbeta, x, mean, invstd, dy)
}

// normGrad is dx of the gradient of a norm, of RMSNorm where mean is nil.
type normGrad[T Float] struct {
	n                           int
	dx, x, gamma, mean, inv, dy []T
}

func (t *normGrad[T]) Run(lo, hi int) {
	at, v := lo*t.n, vec[T]()
	dx, x, inv, dy := t.dx[at:], t.x[at:], t.inv[lo:], t.dy[at:]
	switch {
	case t.gamma == nil && t.mean == nil:
		rmsNormGradRows(hi-lo, t.n, dx, x, nil, inv, dy)
	case t.mean == nil:
		v.rmsNormGrad(hi-lo, t.n, dx, x, t.gamma, inv, dy)
	case t.gamma == nil:
		layerNormGradRows(hi-lo, t.n, dx, x, nil, t.mean[lo:], inv, dy)
	default:
		v.layerNormGrad(hi-lo, t.n, dx, x, t.gamma, t.mean[lo:], inv, dy)
	}
}

// normGradRow is one row of dx; the mean of g counts only where centred.
func normGradRow[T Float](dx, x, dy, gamma []T, mean, inv float64, centred bool) {
	var sg, sgx float64
	for j, v := range dy {
		g := float64(v)
		if gamma != nil {
			g *= float64(gamma[j])
		}
		sg += g
		sgx += float64(g * (float64(x[j]) - mean))
	}
	n := float64(len(dy))
	a, b := sg/n, sgx*inv*inv/n
	if !centred {
		a = 0
	}
	for j, v := range dy {
		g := float64(v)
		if gamma != nil {
			g *= float64(gamma[j])
		}
		dx[j] = T(inv * (g - a - float64((float64(x[j])-mean)*b)))
	}
}

// normParamGrad is dgamma and dbeta, by blocks of columns, each over all rows.
// mean may be nil for 0.
func normParamGrad[T Float](p *par.Pool, rows, n int, dgamma, dbeta, x, mean, invstd, dy []T) {
	if dgamma == nil && dbeta == nil {
		return
	}
	blocks := (n + columns - 1) / columns
	par.Do(p, blocks, rowsPerChunk(rows*min(columns, n)), &normParams[T]{rows, n, dgamma, dbeta, x, mean, invstd, dy})
}

type normParams[T Float] struct {
	rows, n                            int
	dgamma, dbeta, x, mean, invstd, dy []T
}

func (t *normParams[T]) Run(lo, hi int) {
	var sums [2][columns]float64
	for b := lo; b < hi; b++ {
		j := b * columns
		w := min(columns, t.n-j)
		dg, db := sums[0][:w], sums[1][:w]
		clear(dg)
		clear(db)
		for i := range t.rows {
			m := 0.0
			if t.mean != nil {
				m = float64(t.mean[i])
			}
			addNormParams(dg, db, t.x[i*t.n+j:][:w], t.dy[i*t.n+j:][:w], m, float64(t.invstd[i]))
		}
		for c := range w {
			put(t.dgamma, j+c, dg[c])
			put(t.dbeta, j+c, db[c])
		}
	}
}

// addNormParams is normParam of the row in use; dg and db may be on the stack.
func addNormParams[T Float](dg, db []float64, x, dy []T, mean, inv float64) {
	if x, ok := any(x).([]float32); ok {
		normParam32(dg, db, x, any(dy).([]float32), mean, inv)
		return
	}
	normParam(dg, db, x, dy, mean, inv)
}

func normParam[T Float](dg, db []float64, x, dy []T, mean, inv float64) {
	db, x, dy = db[:len(dg)], x[:len(dg)], dy[:len(dg)]
	for c := range dg {
		d := float64(dy[c])
		dg[c] += float64(d * (float64(x[c]) - mean) * inv)
		db[c] += d
	}
}

// RMSNorm scales the rows of x (rows,n) to unit mean square:
//
//	invrms = 1/sqrt(sum_j x[i,j]**2 / n + eps)
//	y[i,j] = x[i,j] * invrms * gamma[j]
//
// gamma (n) may be nil for 1, invrms (rows) nil where it is not wanted. It may
// work in place.
func RMSNorm[T Float](p *par.Pool, rows, n int, y, x, gamma, invrms []T, eps float64) {
	par.Do(p, rows, rowsPerChunk(2*n), &rmsNorm[T]{n, y, x, gamma, invrms, eps})
}

type rmsNorm[T Float] struct {
	n                   int
	y, x, gamma, invrms []T
	eps                 float64
}

func (t *rmsNorm[T]) Run(lo, hi int) {
	rows := vec[T]().rmsNorm
	if t.gamma == nil {
		rows = rmsNormRows[T]
	}
	rows(hi-lo, t.n, t.y[lo*t.n:], t.x[lo*t.n:], t.gamma, from(t.invrms, lo), t.eps)
}

// RMSNormGrad is the gradient of RMSNorm. With xh = x*invrms and g = dy*gamma:
//
//	dx[i,j] = invrms[i] * (g[i,j] - xh[i,j] * sum_j g[i,j]*xh[i,j]/n)
//	dgamma[j] = sum_i dy[i,j]*xh[i,j]
//
// dx and dgamma may be nil where they are not wanted, gamma for 1. It may not
// work in place.
func RMSNormGrad[T Float](p *par.Pool, rows, n int, dx, dgamma, x, gamma, invrms, dy []T) {
	if dx != nil {
		par.Do(p, rows, rowsPerChunk(4*n), &normGrad[T]{n, dx, x, gamma, nil, invrms, dy})
	}
	normParamGrad(p, rows, n, dgamma, nil, x, nil, invrms, dy)
}
