//go:build !noasm

package kernel

// platformVectors32 are the rows of the vector table written in assembly for
// this platform, best first.
func platformVectors32() []vecRow[float32] {
	return []vecRow[float32]{vectorsAVX512(), vectorsAVX2()}
}

func sumLine32(acc []float64, x []float32) {
	n := len(acc)
	switch vec32.name {
	case "avx512":
		sumLineAVX512F32(n, at0(acc, n), at0(x, n))
	case "avx2":
		sumLineAVX2F32(n, at0(acc, n), at0(x, n))
	default:
		sumLine(acc, x)
	}
}

func normParam32(dg, db []float64, x, dy []float32, mean, inv float64) {
	n := len(dg)
	switch vec32.name {
	case "avx512":
		normParamAVX512F32(n, at0(dg, n), at0(db, n), at0(x, n), at0(dy, n), mean, inv)
	case "avx2":
		normParamAVX2F32(n, at0(dg, n), at0(db, n), at0(x, n), at0(dy, n), mean, inv)
	default:
		normParamRow(dg, db, x, dy, mean, inv)
	}
}

// turnPairs32 is turnPairs by assembly where pairs fill vectors.
func turnPairs32(rows, pairs int, y, x, cos, sin []float32, step int, back bool) {
	if pairs%4 != 0 || pairs == 0 || rows == 0 {
		turnPairs(rows, pairs, y, x, cos, sin, step, back)
		return
	}
	n, table := 2*rows*pairs, (rows-1)*step+pairs
	turnPairsAVX2F32(rows, pairs, at0(y, n), at0(x, n), at0(cos, table), at0(sin, table), step, back)
}

func vectorsAVX512() vecRow[float32] {
	return vecRow[float32]{
		name: "avx512", supported: hasAVX512,

		exp:      func(y, x []float32) { expAVX512F32(len(y), at0(y, len(y)), at0(x, len(y))) },
		sigmoid:  func(y, x []float32) { sigmoidAVX512F32(len(y), at0(y, len(y)), at0(x, len(y))) },
		tanh:     func(y, x []float32) { tanhAVX512F32(len(y), at0(y, len(y)), at0(x, len(y))) },
		erf:      func(y, x []float32) { erfAVX512F32(len(y), at0(y, len(y)), at0(x, len(y))) },
		silu:     func(y, x []float32) { siluAVX512F32(len(y), at0(y, len(y)), at0(x, len(y))) },
		gelu:     func(y, x []float32) { geluAVX512F32(len(y), at0(y, len(y)), at0(x, len(y))) },
		geluTanh: func(y, x []float32) { geluTanhAVX512F32(len(y), at0(y, len(y)), at0(x, len(y))) },
		relu:     func(y, x []float32) { reluAVX512F32(len(y), at0(y, len(y)), at0(x, len(y))) },
		siluGrad: func(dx, x, dy []float32) {
			siluGradAVX512F32(len(dx), at0(dx, len(dx)), at0(x, len(dx)), at0(dy, len(dx)))
		},
		geluGrad: func(dx, x, dy []float32) {
			geluGradAVX512F32(len(dx), at0(dx, len(dx)), at0(x, len(dx)), at0(dy, len(dx)))
		},
		geluTanhGrad: func(dx, x, dy []float32) {
			geluTanhGradAVX512F32(len(dx), at0(dx, len(dx)), at0(x, len(dx)), at0(dy, len(dx)))
		},
		add: fast[float32]{
			rows: func(rows, n int, d, x, y []float32, stepX, stepY int) {
				addRowsAVX512F32(rows, n, at0(d, rows*n), at0(x, (rows-1)*stepX+n), at0(y, (rows-1)*stepY+n), stepX, stepY)
			},
			vv: func(d, x, y []float32) { addVVAVX512F32(len(d), at0(d, len(d)), at0(x, len(d)), at0(y, len(d))) },
			vs: func(d, x []float32, y float32) { addVSAVX512F32(len(d), at0(d, len(d)), at0(x, len(d)), y) },
			sv: func(d []float32, x float32, y []float32) { addVSAVX512F32(len(d), at0(d, len(d)), at0(y, len(d)), x) },
		},
		sub: fast[float32]{
			rows: func(rows, n int, d, x, y []float32, stepX, stepY int) {
				subRowsAVX512F32(rows, n, at0(d, rows*n), at0(x, (rows-1)*stepX+n), at0(y, (rows-1)*stepY+n), stepX, stepY)
			},
			vv: func(d, x, y []float32) { subVVAVX512F32(len(d), at0(d, len(d)), at0(x, len(d)), at0(y, len(d))) },
			vs: func(d, x []float32, y float32) { subVSAVX512F32(len(d), at0(d, len(d)), at0(x, len(d)), y) },
			sv: func(d []float32, x float32, y []float32) { subSVAVX512F32(len(d), at0(d, len(d)), at0(y, len(d)), x) },
		},
		mul: fast[float32]{
			rows: func(rows, n int, d, x, y []float32, stepX, stepY int) {
				mulRowsAVX512F32(rows, n, at0(d, rows*n), at0(x, (rows-1)*stepX+n), at0(y, (rows-1)*stepY+n), stepX, stepY)
			},
			vv: func(d, x, y []float32) { mulVVAVX512F32(len(d), at0(d, len(d)), at0(x, len(d)), at0(y, len(d))) },
			vs: func(d, x []float32, y float32) { mulVSAVX512F32(len(d), at0(d, len(d)), at0(x, len(d)), y) },
			sv: func(d []float32, x float32, y []float32) { mulVSAVX512F32(len(d), at0(d, len(d)), at0(y, len(d)), x) },
		},
		div: fast[float32]{
			rows: func(rows, n int, d, x, y []float32, stepX, stepY int) {
				divRowsAVX512F32(rows, n, at0(d, rows*n), at0(x, (rows-1)*stepX+n), at0(y, (rows-1)*stepY+n), stepX, stepY)
			},
			vv: func(d, x, y []float32) { divVVAVX512F32(len(d), at0(d, len(d)), at0(x, len(d)), at0(y, len(d))) },
			vs: func(d, x []float32, y float32) { divVSAVX512F32(len(d), at0(d, len(d)), at0(x, len(d)), y) },
			sv: func(d []float32, x float32, y []float32) { divSVAVX512F32(len(d), at0(d, len(d)), at0(y, len(d)), x) },
		},
		addScaled: func(y, x []float32, alpha float32) {
			addScaledAVX512F32(len(y), at0(y, len(y)), at0(x, len(y)), alpha)
		},

		sum:    func(x []float32) float64 { return sumAVX512F32(len(x), at0(x, len(x))) },
		dot:    func(x, y []float32) float64 { return dotAVX512F32(len(x), at0(x, len(x)), at0(y, len(x))) },
		around: func(x []float32, m float64) float64 { return aroundAVX512F32(len(x), at0(x, len(x)), m) },
		sumLine: func(acc []float64, x []float32) {
			sumLineAVX512F32(len(acc), at0(acc, len(acc)), at0(x, len(acc)))
		},
		squareLine: func(acc []float64, x []float32) {
			squareLineAVX512F32(len(acc), at0(acc, len(acc)), at0(x, len(acc)))
		},

		softmax: func(rows, n int, y, x []float32) {
			softmaxAVX512F32(rows, n, at0(y, rows*n), at0(x, rows*n))
		},
		softmaxGrad: func(rows, n int, dx, y, dy []float32) {
			softmaxGradAVX512F32(rows, n, at0(dx, rows*n), at0(y, rows*n), at0(dy, rows*n))
		},
		expSum: func(x []float32) (top, sum float64) {
			expSumAVX512F32(len(x), at0(x, len(x)), &top, &sum)
			return top, sum
		},
		expScaled: func(y, x []float32, top, scale, less float32) {
			expScaledAVX512F32(len(y), at0(y, len(y)), at0(x, len(y)), top, scale, less)
		},

		rmsNorm: func(rows, n int, y, x, gamma, invrms []float32, eps float64) {
			rmsNormAVX512F32(rows, n, at0(y, rows*n), at0(x, rows*n), at0(gamma, n), rowsAt(invrms, rows), eps)
		},
		layerNorm: func(rows, n int, y, x, gamma, beta, mean, invstd []float32, eps float64) {
			layerNormAVX512F32(rows, n, at0(y, rows*n), at0(x, rows*n), at0(gamma, n), at0(beta, n),
				rowsAt(mean, rows), rowsAt(invstd, rows), eps)
		},
		rmsNormGrad: func(rows, n int, dx, x, gamma, invrms, dy []float32) {
			rmsNormGradAVX512F32(rows, n, at0(dx, rows*n), at0(x, rows*n), at0(gamma, n), at0(dy, rows*n), at0(invrms, rows))
		},
		layerNormGrad: func(rows, n int, dx, x, gamma, mean, invstd, dy []float32) {
			layerNormGradAVX512F32(rows, n, at0(dx, rows*n), at0(x, rows*n), at0(gamma, n), at0(dy, rows*n),
				at0(invstd, rows), at0(mean, rows))
		},

		turnHalves: func(y0, y1, x0, x1, c0, c1, s0, s1 []float32) {
			n := len(y0)
			turnHalvesAVX512F32(n, at0(y0, n), at0(y1, n), at0(x0, n), at0(x1, n), at0(c0, n), at0(c1, n), at0(s0, n), at0(s1, n))
		},
		turnPairs: turnPairs32,

		adamW: func(w, m, v, g []float32, s adamWStep) {
			n := len(w)
			adamWAVX512F32(n, at0(w, n), at0(m, n), at0(v, n), at0(g, n), s.rate, s.unbias, s.keep,
				s.beta1, 1-s.beta1, s.beta2, 1-s.beta2, s.eps)
		},
	}
}

func vectorsAVX2() vecRow[float32] {
	return vecRow[float32]{
		name: "avx2", supported: hasAVX2,

		exp:      func(y, x []float32) { expAVX2F32(len(y), at0(y, len(y)), at0(x, len(y))) },
		sigmoid:  func(y, x []float32) { sigmoidAVX2F32(len(y), at0(y, len(y)), at0(x, len(y))) },
		tanh:     func(y, x []float32) { tanhAVX2F32(len(y), at0(y, len(y)), at0(x, len(y))) },
		erf:      func(y, x []float32) { erfAVX2F32(len(y), at0(y, len(y)), at0(x, len(y))) },
		silu:     func(y, x []float32) { siluAVX2F32(len(y), at0(y, len(y)), at0(x, len(y))) },
		gelu:     func(y, x []float32) { geluAVX2F32(len(y), at0(y, len(y)), at0(x, len(y))) },
		geluTanh: func(y, x []float32) { geluTanhAVX2F32(len(y), at0(y, len(y)), at0(x, len(y))) },
		relu:     func(y, x []float32) { reluAVX2F32(len(y), at0(y, len(y)), at0(x, len(y))) },
		siluGrad: func(dx, x, dy []float32) {
			siluGradAVX2F32(len(dx), at0(dx, len(dx)), at0(x, len(dx)), at0(dy, len(dx)))
		},
		geluGrad: func(dx, x, dy []float32) {
			geluGradAVX2F32(len(dx), at0(dx, len(dx)), at0(x, len(dx)), at0(dy, len(dx)))
		},
		geluTanhGrad: func(dx, x, dy []float32) {
			geluTanhGradAVX2F32(len(dx), at0(dx, len(dx)), at0(x, len(dx)), at0(dy, len(dx)))
		},
		add: fast[float32]{
			rows: func(rows, n int, d, x, y []float32, stepX, stepY int) {
				addRowsAVX2F32(rows, n, at0(d, rows*n), at0(x, (rows-1)*stepX+n), at0(y, (rows-1)*stepY+n), stepX, stepY)
			},
			vv: func(d, x, y []float32) { addVVAVX2F32(len(d), at0(d, len(d)), at0(x, len(d)), at0(y, len(d))) },
			vs: func(d, x []float32, y float32) { addVSAVX2F32(len(d), at0(d, len(d)), at0(x, len(d)), y) },
			sv: func(d []float32, x float32, y []float32) { addVSAVX2F32(len(d), at0(d, len(d)), at0(y, len(d)), x) },
		},
		sub: fast[float32]{
			rows: func(rows, n int, d, x, y []float32, stepX, stepY int) {
				subRowsAVX2F32(rows, n, at0(d, rows*n), at0(x, (rows-1)*stepX+n), at0(y, (rows-1)*stepY+n), stepX, stepY)
			},
			vv: func(d, x, y []float32) { subVVAVX2F32(len(d), at0(d, len(d)), at0(x, len(d)), at0(y, len(d))) },
			vs: func(d, x []float32, y float32) { subVSAVX2F32(len(d), at0(d, len(d)), at0(x, len(d)), y) },
			sv: func(d []float32, x float32, y []float32) { subSVAVX2F32(len(d), at0(d, len(d)), at0(y, len(d)), x) },
		},
		mul: fast[float32]{
			rows: func(rows, n int, d, x, y []float32, stepX, stepY int) {
				mulRowsAVX2F32(rows, n, at0(d, rows*n), at0(x, (rows-1)*stepX+n), at0(y, (rows-1)*stepY+n), stepX, stepY)
			},
			vv: func(d, x, y []float32) { mulVVAVX2F32(len(d), at0(d, len(d)), at0(x, len(d)), at0(y, len(d))) },
			vs: func(d, x []float32, y float32) { mulVSAVX2F32(len(d), at0(d, len(d)), at0(x, len(d)), y) },
			sv: func(d []float32, x float32, y []float32) { mulVSAVX2F32(len(d), at0(d, len(d)), at0(y, len(d)), x) },
		},
		div: fast[float32]{
			rows: func(rows, n int, d, x, y []float32, stepX, stepY int) {
				divRowsAVX2F32(rows, n, at0(d, rows*n), at0(x, (rows-1)*stepX+n), at0(y, (rows-1)*stepY+n), stepX, stepY)
			},
			vv: func(d, x, y []float32) { divVVAVX2F32(len(d), at0(d, len(d)), at0(x, len(d)), at0(y, len(d))) },
			vs: func(d, x []float32, y float32) { divVSAVX2F32(len(d), at0(d, len(d)), at0(x, len(d)), y) },
			sv: func(d []float32, x float32, y []float32) { divSVAVX2F32(len(d), at0(d, len(d)), at0(y, len(d)), x) },
		},
		addScaled: func(y, x []float32, alpha float32) {
			addScaledAVX2F32(len(y), at0(y, len(y)), at0(x, len(y)), alpha)
		},

		sum:    func(x []float32) float64 { return sumAVX2F32(len(x), at0(x, len(x))) },
		dot:    func(x, y []float32) float64 { return dotAVX2F32(len(x), at0(x, len(x)), at0(y, len(x))) },
		around: func(x []float32, m float64) float64 { return aroundAVX2F32(len(x), at0(x, len(x)), m) },
		sumLine: func(acc []float64, x []float32) {
			sumLineAVX2F32(len(acc), at0(acc, len(acc)), at0(x, len(acc)))
		},
		squareLine: func(acc []float64, x []float32) {
			squareLineAVX2F32(len(acc), at0(acc, len(acc)), at0(x, len(acc)))
		},

		softmax: func(rows, n int, y, x []float32) {
			softmaxAVX2F32(rows, n, at0(y, rows*n), at0(x, rows*n))
		},
		softmaxGrad: func(rows, n int, dx, y, dy []float32) {
			softmaxGradAVX2F32(rows, n, at0(dx, rows*n), at0(y, rows*n), at0(dy, rows*n))
		},
		expSum: func(x []float32) (top, sum float64) {
			expSumAVX2F32(len(x), at0(x, len(x)), &top, &sum)
			return top, sum
		},
		expScaled: func(y, x []float32, top, scale, less float32) {
			expScaledAVX2F32(len(y), at0(y, len(y)), at0(x, len(y)), top, scale, less)
		},

		rmsNorm: func(rows, n int, y, x, gamma, invrms []float32, eps float64) {
			rmsNormAVX2F32(rows, n, at0(y, rows*n), at0(x, rows*n), at0(gamma, n), rowsAt(invrms, rows), eps)
		},
		layerNorm: func(rows, n int, y, x, gamma, beta, mean, invstd []float32, eps float64) {
			layerNormAVX2F32(rows, n, at0(y, rows*n), at0(x, rows*n), at0(gamma, n), at0(beta, n),
				rowsAt(mean, rows), rowsAt(invstd, rows), eps)
		},
		rmsNormGrad: func(rows, n int, dx, x, gamma, invrms, dy []float32) {
			rmsNormGradAVX2F32(rows, n, at0(dx, rows*n), at0(x, rows*n), at0(gamma, n), at0(dy, rows*n), at0(invrms, rows))
		},
		layerNormGrad: func(rows, n int, dx, x, gamma, mean, invstd, dy []float32) {
			layerNormGradAVX2F32(rows, n, at0(dx, rows*n), at0(x, rows*n), at0(gamma, n), at0(dy, rows*n),
				at0(invstd, rows), at0(mean, rows))
		},

		turnHalves: func(y0, y1, x0, x1, c0, c1, s0, s1 []float32) {
			n := len(y0)
			turnHalvesAVX2F32(n, at0(y0, n), at0(y1, n), at0(x0, n), at0(x1, n), at0(c0, n), at0(c1, n), at0(s0, n), at0(s1, n))
		},
		turnPairs: turnPairs32,

		adamW: func(w, m, v, g []float32, s adamWStep) {
			n := len(w)
			adamWAVX2F32(n, at0(w, n), at0(m, n), at0(v, n), at0(g, n), s.rate, s.unbias, s.keep,
				s.beta1, 1-s.beta1, s.beta2, 1-s.beta2, s.eps)
		},
	}
}
