//go:build !noasm

package kernel

// platformVectors32 are the rows of the vector table written in assembly for
// this platform, best first.
func platformVectors32() []vecRow[float32] { return []vecRow[float32]{vectorsNEON()} }

func sumLine32(acc []float64, x []float32) {
	if vec32.name != "neon" {
		sumLine(acc, x)
		return
	}
	n := len(acc)
	sumLineNEONF32(n, at0(acc, n), at0(x, n))
}

func normParam32(dg, db []float64, x, dy []float32, mean, inv float64) {
	if vec32.name != "neon" {
		normParamRow(dg, db, x, dy, mean, inv)
		return
	}
	n := len(dg)
	normParamNEONF32(n, at0(dg, n), at0(db, n), at0(x, n), at0(dy, n), mean, inv)
}

// turnPairs32 is turnPairs by assembly where pairs fill vectors.
func turnPairs32(rows, pairs int, y, x, cos, sin []float32, step int, back bool) {
	if pairs%4 != 0 || pairs == 0 || rows == 0 {
		turnPairs(rows, pairs, y, x, cos, sin, step, back)
		return
	}
	n, table := 2*rows*pairs, (rows-1)*step+pairs
	turnPairsNEONF32(rows, pairs, at0(y, n), at0(x, n), at0(cos, table), at0(sin, table), step, back)
}

func vectorsNEON() vecRow[float32] {
	return vecRow[float32]{
		name: "neon", supported: hasNEON,

		exp:      func(y, x []float32) { expNEONF32(len(y), at0(y, len(y)), at0(x, len(y))) },
		sigmoid:  func(y, x []float32) { sigmoidNEONF32(len(y), at0(y, len(y)), at0(x, len(y))) },
		tanh:     func(y, x []float32) { tanhNEONF32(len(y), at0(y, len(y)), at0(x, len(y))) },
		erf:      func(y, x []float32) { erfNEONF32(len(y), at0(y, len(y)), at0(x, len(y))) },
		silu:     func(y, x []float32) { siluNEONF32(len(y), at0(y, len(y)), at0(x, len(y))) },
		gelu:     func(y, x []float32) { geluNEONF32(len(y), at0(y, len(y)), at0(x, len(y))) },
		geluTanh: func(y, x []float32) { geluTanhNEONF32(len(y), at0(y, len(y)), at0(x, len(y))) },
		relu:     func(y, x []float32) { reluNEONF32(len(y), at0(y, len(y)), at0(x, len(y))) },
		siluGrad: func(dx, x, dy []float32) {
			siluGradNEONF32(len(dx), at0(dx, len(dx)), at0(x, len(dx)), at0(dy, len(dx)))
		},
		geluGrad: func(dx, x, dy []float32) {
			geluGradNEONF32(len(dx), at0(dx, len(dx)), at0(x, len(dx)), at0(dy, len(dx)))
		},
		geluTanhGrad: func(dx, x, dy []float32) {
			geluTanhGradNEONF32(len(dx), at0(dx, len(dx)), at0(x, len(dx)), at0(dy, len(dx)))
		},
		add: fast[float32]{
			rows: func(rows, n int, d, x, y []float32, stepX, stepY int) {
				addRowsNEONF32(rows, n, at0(d, rows*n), at0(x, (rows-1)*stepX+n), at0(y, (rows-1)*stepY+n), stepX, stepY)
			},
			vv: func(d, x, y []float32) { addVVNEONF32(len(d), at0(d, len(d)), at0(x, len(d)), at0(y, len(d))) },
			vs: func(d, x []float32, y float32) { addVSNEONF32(len(d), at0(d, len(d)), at0(x, len(d)), y) },
			sv: func(d []float32, x float32, y []float32) { addVSNEONF32(len(d), at0(d, len(d)), at0(y, len(d)), x) },
		},
		sub: fast[float32]{
			rows: func(rows, n int, d, x, y []float32, stepX, stepY int) {
				subRowsNEONF32(rows, n, at0(d, rows*n), at0(x, (rows-1)*stepX+n), at0(y, (rows-1)*stepY+n), stepX, stepY)
			},
			vv: func(d, x, y []float32) { subVVNEONF32(len(d), at0(d, len(d)), at0(x, len(d)), at0(y, len(d))) },
			vs: func(d, x []float32, y float32) { subVSNEONF32(len(d), at0(d, len(d)), at0(x, len(d)), y) },
			sv: func(d []float32, x float32, y []float32) { subSVNEONF32(len(d), at0(d, len(d)), at0(y, len(d)), x) },
		},
		mul: fast[float32]{
			rows: func(rows, n int, d, x, y []float32, stepX, stepY int) {
				mulRowsNEONF32(rows, n, at0(d, rows*n), at0(x, (rows-1)*stepX+n), at0(y, (rows-1)*stepY+n), stepX, stepY)
			},
			vv: func(d, x, y []float32) { mulVVNEONF32(len(d), at0(d, len(d)), at0(x, len(d)), at0(y, len(d))) },
			vs: func(d, x []float32, y float32) { mulVSNEONF32(len(d), at0(d, len(d)), at0(x, len(d)), y) },
			sv: func(d []float32, x float32, y []float32) { mulVSNEONF32(len(d), at0(d, len(d)), at0(y, len(d)), x) },
		},
		div: fast[float32]{
			rows: func(rows, n int, d, x, y []float32, stepX, stepY int) {
				divRowsNEONF32(rows, n, at0(d, rows*n), at0(x, (rows-1)*stepX+n), at0(y, (rows-1)*stepY+n), stepX, stepY)
			},
			vv: func(d, x, y []float32) { divVVNEONF32(len(d), at0(d, len(d)), at0(x, len(d)), at0(y, len(d))) },
			vs: func(d, x []float32, y float32) { divVSNEONF32(len(d), at0(d, len(d)), at0(x, len(d)), y) },
			sv: func(d []float32, x float32, y []float32) { divSVNEONF32(len(d), at0(d, len(d)), at0(y, len(d)), x) },
		},
		addScaled: func(y, x []float32, alpha float32) {
			addScaledNEONF32(len(y), at0(y, len(y)), at0(x, len(y)), alpha)
		},

		sum:    func(x []float32) float64 { return sumNEONF32(len(x), at0(x, len(x))) },
		dot:    func(x, y []float32) float64 { return dotNEONF32(len(x), at0(x, len(x)), at0(y, len(x))) },
		around: func(x []float32, m float64) float64 { return aroundNEONF32(len(x), at0(x, len(x)), m) },
		sumLine: func(acc []float64, x []float32) {
			sumLineNEONF32(len(acc), at0(acc, len(acc)), at0(x, len(acc)))
		},
		squareLine: func(acc []float64, x []float32) {
			squareLineNEONF32(len(acc), at0(acc, len(acc)), at0(x, len(acc)))
		},

		softmax: func(rows, n int, y, x []float32) {
			softmaxNEONF32(rows, n, at0(y, rows*n), at0(x, rows*n))
		},
		softmaxGrad: func(rows, n int, dx, y, dy []float32) {
			softmaxGradNEONF32(rows, n, at0(dx, rows*n), at0(y, rows*n), at0(dy, rows*n))
		},
		expSum: func(x []float32) (top, sum float64) {
			expSumNEONF32(len(x), at0(x, len(x)), &top, &sum)
			return top, sum
		},
		expScaled: func(y, x []float32, top, scale, less float32) {
			expScaledNEONF32(len(y), at0(y, len(y)), at0(x, len(y)), top, scale, less)
		},

		rmsNorm: func(rows, n int, y, x, gamma, invrms []float32, eps float64) {
			rmsNormNEONF32(rows, n, at0(y, rows*n), at0(x, rows*n), at0(gamma, n), rowsAt(invrms, rows), eps)
		},
		layerNorm: func(rows, n int, y, x, gamma, beta, mean, invstd []float32, eps float64) {
			layerNormNEONF32(rows, n, at0(y, rows*n), at0(x, rows*n), at0(gamma, n), at0(beta, n),
				rowsAt(mean, rows), rowsAt(invstd, rows), eps)
		},
		rmsNormGrad: func(rows, n int, dx, x, gamma, invrms, dy []float32) {
			rmsNormGradNEONF32(rows, n, at0(dx, rows*n), at0(x, rows*n), at0(gamma, n), at0(dy, rows*n), at0(invrms, rows))
		},
		layerNormGrad: func(rows, n int, dx, x, gamma, mean, invstd, dy []float32) {
			layerNormGradNEONF32(rows, n, at0(dx, rows*n), at0(x, rows*n), at0(gamma, n), at0(dy, rows*n),
				at0(invstd, rows), at0(mean, rows))
		},

		turnHalves: func(y0, y1, x0, x1, c0, c1, s0, s1 []float32) {
			n := len(y0)
			turnHalvesNEONF32(n, at0(y0, n), at0(y1, n), at0(x0, n), at0(x1, n), at0(c0, n), at0(c1, n), at0(s0, n), at0(s1, n))
		},
		turnPairs: turnPairs32,

		adamW: func(w, m, v, g []float32, s adamWStep) {
			n := len(w)
			adamWNEONF32(n, at0(w, n), at0(m, n), at0(v, n), at0(g, n), s.rate, s.unbias, s.keep,
				s.beta1, 1-s.beta1, s.beta2, 1-s.beta2, s.eps)
		},
	}
}
