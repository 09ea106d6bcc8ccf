package kernel

import (
	"math"

	"github.com/bonnx/bonnx/internal/cpu"
)

// portableVectors is the row in plain Go.
func portableVectors[T Float]() vecRow[T] {
	loop := func(l loops) func(y, x []T) { return pick[func(y, x []T)](l.f32, l.f64) }
	return vecRow[T]{
		name:      "portable",
		supported: func(cpu.Features) bool { return true },

		exp: loop(expLoops), sigmoid: loop(sigmoidLoops), tanh: loop(tanhLoops), erf: loop(erfLoops),
		silu: loop(siluLoops), gelu: loop(geluLoops), geluTanh: loop(geluTanhLoops), relu: reluLoop[T],
		log: loop(logLoops), softplus: loop(softplusLoops), mish: loop(mishLoops), hardSwish: each(hardSwish[T]), softsign: each(softsign[T]),
		abs: absLoop[T], sign: each(signOf[T]), floor: loop(floorLoops), ceil: loop(ceilLoops), round: loop(roundLoops),
		sqrt: sqrtLoop[T], powHalf: each(powHalf[T]), cube: each(cube[T]),
		leaky: leakyLoop[T], clip: clipLoop[T], hardSigmoid: hardSigmoidLoop[T], elu: eluLoop[T],
		sin: loop(sinLoops), cos: loop(cosLoops),
		affine: affineLoop[T], shifted: shiftedLoop[T], centred: centredLoop[T], power: powerLoop[T], quantize: quantizeLoop[T],
		top: topOf[T], bottom: bottomOf[T], maxLine: maxLine[T],

		siluGrad:     slopeLoop[T](siluSlope[T]),
		geluGrad:     slopeLoop[T](pick64Slope[T](geluSlopeOf, geluSlope)),
		geluTanhGrad: slopeLoop[T](geluTanhSlope[T]),

		add: addLoops[T](), sub: subLoops[T](), mul: mulLoops[T](), div: divLoops[T](), max: maxLoops[T](), min: minLoops[T](), prelu: preluLoops[T](),
		addScaled: addScaledLoop[T],

		sum: sumRow[T], dot: dotRow[T], around: squaresAround[T],
		sumLine: sumLine[T], squareLine: squareLine[T],

		softmax: softmaxRows[T], softmaxGrad: softmaxGradRows[T],
		expSum: expSumRow[T], expLess: expLess[T], mulLine: mulLine[T], expScaled: expScaledLoop[T],

		rmsNorm: rmsNormRows[T], layerNorm: layerNormRows[T],
		rmsNormGrad: rmsNormGradRows[T], layerNormGrad: layerNormGradRows[T], normParam: normParam[T],

		adamW: adamWLoop[T],

		turnHalves: turnHalves[T], turnPairs: turnPairs[T],
	}
}

// pick64Slope is the form of a derivative for the precision of T.
func pick64Slope[T Float](near, f func(float64) float64) func(float64) float64 {
	if isFloat32[T]() {
		return near
	}
	return f
}

// slopeLoop is dx[i] = dy[i] * slope(x[i]).
func slopeLoop[T Float](slope func(float64) float64) func(dx, x, dy []T) {
	return func(dx, x, dy []T) {
		x, dy = x[:len(dx)], dy[:len(dx)]
		for i := range dx {
			dx[i] = T(float64(dy[i]) * slope(float64(x[i])))
		}
	}
}

func reluLoop[T Numeric](d, s []T) {
	s = s[:len(d)]
	for i, v := range s {
		if v < 0 {
			v = 0
		}
		d[i] = v
	}
}

func absLoop[T Numeric](d, s []T) {
	s = s[:len(d)]
	for i, v := range s {
		if v <= 0 { // -0 too
			v = 0 - v
		}
		d[i] = v
	}
}

func leakyLoop[T Float](d, s []T, alpha T) {
	s = s[:len(d)]
	for i, v := range s {
		if v < 0 {
			v *= alpha
		}
		d[i] = v
	}
}

func clipLoop[T Numeric](d, s []T, low, high T) {
	s = s[:len(d)]
	for i, v := range s {
		if v < low {
			v = low
		}
		if v > high {
			v = high
		}
		d[i] = v
	}
}

func hardSigmoidLoop[T Float](d, s []T, alpha, beta T) {
	s = s[:len(d)]
	for i, v := range s {
		d[i] = hardSigmoid(v, alpha, beta)
	}
}

func eluLoop[T Float](d, s []T, slope, rate, gain float64) {
	s = s[:len(d)]
	for i, v := range s {
		x := float64(v)
		if x < 0 {
			d[i] = T(slope * math.Expm1(x*rate))
		} else {
			d[i] = T(x * gain)
		}
	}
}

func affineLoop[T Float](d, s []T, scale, shift T) {
	s = s[:len(d)]
	for i, v := range s {
		d[i] = T(v*scale) + shift
	}
}

func shiftedLoop[T Float](d, s []T, by float64) {
	s = s[:len(d)]
	for i, v := range s {
		d[i] = T(float64(v) - by)
	}
}

func centredLoop[T Float](d, s []T, mean, scale, shift float64) {
	s = s[:len(d)]
	for i, v := range s {
		d[i] = T(float64((float64(v)-mean)*scale) + shift)
	}
}

func powerLoop[T Float](d, s []T, c float64) {
	s = s[:len(d)]
	for i, v := range s {
		d[i] = T(math.Pow(float64(v), c))
	}
}

func quantizeLoop[T Float](d, s []T, scale, zero, low, high T) {
	s = s[:len(d)]
	for i, v := range s {
		v = T(math.RoundToEven(float64(v/scale))) + zero
		if !(v >= low) {
			v = low
		}
		if v > high {
			v = high
		}
		d[i] = v
	}
}

func topOf[T Float](x []T) float64 {
	top := x[0]
	for _, v := range x {
		if v > top {
			top = v
		}
	}
	return float64(top)
}

func bottomOf[T Float](x []T) float64 {
	least := x[0]
	for _, v := range x {
		if v < least {
			least = v
		}
	}
	return -float64(least)
}

func maxLine[T Float](acc, x []T) { maxVV(acc, acc, x) }

func addScaledLoop[T Float](d, s []T, alpha T) {
	s = s[:len(d)]
	for i, v := range s {
		d[i] += T(alpha * v)
	}
}

func softmaxRows[T Float](rows, n int, y, x []T) {
	for i := range rows {
		softmaxVector(y[i*n:][:n], x[i*n:][:n], n, 1)
	}
}

func softmaxGradRows[T Float](rows, n int, dx, y, dy []T) {
	for i := range rows {
		softmaxGradVector(dx[i*n:][:n], y[i*n:][:n], dy[i*n:][:n], n, 1)
	}
}

func expSumRow[T Float](x []T) (top, sum float64) {
	top = largest(x, len(x), 1)
	for _, v := range x {
		sum += expFor[T](float64(v) - top)
	}
	return top, sum
}

func expLess[T Float](y, x, top []T) {
	x, top = x[:len(y)], top[:len(y)]
	for i, v := range x {
		y[i] = T(expFor[T](float64(v) - float64(top[i])))
	}
}

func mulLine[T Float](y, x []T) { mulVV(y, y, x) }

func expScaledLoop[T Float](y, x []T, top, scale, less T) {
	x = x[:len(y)]
	for i, v := range x {
		y[i] = T(float64(scale)*expFor[T](float64(v)-float64(top)) - float64(less))
	}
}

func rmsNormRows[T Float](rows, n int, y, x, gamma, invrms []T, eps float64) {
	for i := range rows {
		s := x[i*n:][:n]
		inv := 1 / math.Sqrt(squareRow(s)/float64(n)+eps)
		affine(y[i*n:][:n], s, 0, inv, gamma, nil)
		put(invrms, i, inv)
	}
}

func layerNormRows[T Float](rows, n int, y, x, gamma, beta, mean, invstd []T, eps float64) {
	for i := range rows {
		s := x[i*n:][:n]
		m := sumRow(s) / float64(n)
		inv := 1 / math.Sqrt(squaresAround(s, m)/float64(n)+eps)
		affine(y[i*n:][:n], s, m, inv, gamma, beta)
		put(mean, i, m)
		put(invstd, i, inv)
	}
}

func rmsNormGradRows[T Float](rows, n int, dx, x, gamma, invrms, dy []T) {
	for i := range rows {
		normGradRow(dx[i*n:][:n], x[i*n:][:n], dy[i*n:][:n], gamma, 0, float64(invrms[i]), false)
	}
}

func layerNormGradRows[T Float](rows, n int, dx, x, gamma, mean, invstd, dy []T) {
	for i := range rows {
		normGradRow(dx[i*n:][:n], x[i*n:][:n], dy[i*n:][:n], gamma, float64(mean[i]), float64(invstd[i]), true)
	}
}

func adamWLoop[T Float](w, m, v, g []T, s adamWStep) {
	m, v, g = m[:len(w)], v[:len(w)], g[:len(w)]
	for i := range w {
		gi := float64(g[i])
		mi := float64(s.beta1*float64(m[i])) + float64((1-s.beta1)*gi)
		vi := float64(s.beta2*float64(v[i])) + float64((1-s.beta2)*gi*gi)
		m[i], v[i] = T(mi), T(vi)
		w[i] = T(float64(float64(w[i])*s.keep) - float64(s.rate*mi/(float64(math.Sqrt(vi)*s.unbias)+s.eps)))
	}
}
