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
	p.For(rows, rowsPerChunk(3*n), func(lo, hi int) {
		rows := vec[T]().layerNorm
		if gamma == nil || beta == nil {
			rows = layerNormRows[T]
		}
		rows(hi-lo, n, y[lo*n:], x[lo*n:], gamma, beta, from(mean, lo), from(invstd, lo), eps)
	})
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
		p.For(rows, rowsPerChunk(4*n), func(lo, hi int) {
			rows := vec[T]().layerNormGrad
			if gamma == nil {
				rows = layerNormGradRows[T]
			}
			rows(hi-lo, n, dx[lo*n:], x[lo*n:], gamma, mean[lo:], invstd[lo:], dy[lo*n:])
		})
	}
	normParamGrad(p, rows, n, dgamma, dbeta, x, mean, invstd, dy)
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
	p.For(blocks, rowsPerChunk(rows*min(columns, n)), func(lo, hi int) {
		var sums [2][columns]float64
		for b := lo; b < hi; b++ {
			j := b * columns
			w := min(columns, n-j)
			dg, db := sums[0][:w], sums[1][:w]
			clear(dg)
			clear(db)
			for i := range rows {
				m := 0.0
				if mean != nil {
					m = float64(mean[i])
				}
				normParamRow(dg, db, x[i*n+j:][:w], dy[i*n+j:][:w], m, float64(invstd[i]))
			}
			for c := range w {
				put(dgamma, j+c, dg[c])
				put(dbeta, j+c, db[c])
			}
		}
	})
}

func normParamRow[T Float](dg, db []float64, x, dy []T, mean, inv float64) {
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
	p.For(rows, rowsPerChunk(2*n), func(lo, hi int) {
		rows := vec[T]().rmsNorm
		if gamma == nil {
			rows = rmsNormRows[T]
		}
		rows(hi-lo, n, y[lo*n:], x[lo*n:], gamma, from(invrms, lo), eps)
	})
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
		p.For(rows, rowsPerChunk(4*n), func(lo, hi int) {
			rows := vec[T]().rmsNormGrad
			if gamma == nil {
				rows = rmsNormGradRows[T]
			}
			rows(hi-lo, n, dx[lo*n:], x[lo*n:], gamma, invrms[lo:], dy[lo*n:])
		})
	}
	normParamGrad(p, rows, n, dgamma, nil, x, nil, invrms, dy)
}
