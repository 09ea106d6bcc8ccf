package kernel

import "github.com/bonnx/bonnx/internal/cpu"

// A vecRow is one implementation of the inner loops that run over vectors and
// over rows of them: a row of the vector table. Rows in assembly are generated
// with it, from what _generate/vec.go and vec_rows.go say of a loop. Slices are as long as the
// comment says or longer. An element of a result does not depend on its place
// in the slice, nor a sum on the slice's place in memory.
type vecRow[T Float] struct {
	name      string
	supported func(cpu.Features) bool

	// for i < len(y): y[i] = f(x[i])
	exp, sigmoid, tanh, erf, silu, gelu, geluTanh, relu func(y, x []T)
	log, softplus, mish, hardSwish, softsign            func(y, x []T)
	abs, sign, floor, ceil, round                       func(y, x []T)
	sqrt, powHalf, cube                                 func(y, x []T) // roots are powers of 0.5 but at -0 and -Inf
	sin, cos                                            func(y, x []T) // |x| <= mostTurn

	// The same of functions with parameters: LeakyReLU, Clip by bounds that are
	// no NaNs, HardSigmoid, and x*gain, below zero slope*(e**(rate*x)-1).
	leaky             func(y, x []T, alpha T)
	clip, hardSigmoid func(y, x []T, a, b T)
	elu               func(y, x []T, slope, rate, gain float64)

	// scale*x+shift, the product rounded; x-by and (x-mean)*scale+shift in
	// float64; and x**c for 0 < x < Inf.
	affine  func(y, x []T, scale, shift T)
	shifted func(y, x []T, by float64)
	centred func(y, x []T, mean, scale, shift float64)
	power   func(y, x []T, c float64)

	// quantize is min(max(round(x/scale)+zero, low), high), low for NaN.
	quantize func(y, x []T, scale, zero, low, high T)

	// for i < len(dx): dx[i] = dy[i] * f'(x[i])
	siluGrad, geluGrad, geluTanhGrad func(dx, x, dy []T)

	// for i < len(d): d[i] = x[i] op y[i], or one of x and y a scalar
	add, sub, mul, div, max, min fast[T]
	prelu                        fast[T] // d[i] = x[i] < 0 ? x[i]*y[i] : x[i]

	// for i < len(y): y[i] += alpha*x[i], the product rounded
	addScaled func(y, x []T, alpha T)

	// The sums of x[i], x[i]*y[i] and (x[i]-m)**2 over len(x), in float64.
	sum    func(x []T) float64
	dot    func(x, y []T) float64
	around func(x []T, m float64) float64

	// The greatest x[i], and the least one turned negative, for len(x) > 0.
	// Nothing is said where there are NaNs, of which a sum tells.
	top, bottom func(x []T) float64

	// for i < len(acc): acc[i] = max(acc[i], x[i]), NaN where either is
	maxLine func(acc, x []T)

	// for i < len(acc): acc[i] += x[i], or x[i]**2
	//
	// Sums lie on the stack, and what a function value is given is moved to the
	// heap. So these and normParam are called by sumLine32 and the like, which are
	// generated and choose by the row's name.
	sumLine, squareLine func(acc []float64, x []T)

	// softmax and softmaxGrad are Softmax and SoftmaxGrad of rows of n > 0
	// elements that follow each other.
	softmax     func(rows, n int, y, x []T)
	softmaxGrad func(rows, n int, dx, y, dy []T)

	// expSum is the greatest x[i] and the sum of e**(x[i]-top), for len(x) > 0.
	// What is said of NaNs and infinities: the sum is not a number, or top is
	// not finite.
	expSum func(x []T) (top, sum float64)

	// for i < len(y): y[i] = e**(x[i]-top[i]) where x[i] <= top[i], y[i] *= x[i]
	expLess func(y, x, top []T)
	mulLine func(y, x []T)

	// for i < len(y): y[i] = scale*e**(x[i]-top) - less
	expScaled func(y, x []T, top, scale, less T)

	// Norms of rows of n > 0 elements that follow each other, and their
	// gradients for x. gamma and beta are not nil; statistics that are written
	// may be.
	rmsNorm       func(rows, n int, y, x, gamma, invrms []T, eps float64)
	layerNorm     func(rows, n int, y, x, gamma, beta, mean, invstd []T, eps float64)
	rmsNormGrad   func(rows, n int, dx, x, gamma, invrms, dy []T)
	layerNormGrad func(rows, n int, dx, x, gamma, mean, invstd, dy []T)

	// normParam adds what a row gives to the gradients of a norm's parameters:
	//
	//	for j < len(dg): dg[j] += dy[j]*(x[j]-mean)*inv; db[j] += dy[j]
	normParam func(dg, db []float64, x, dy []T, mean, inv float64)

	adamW func(w, m, v, g []T, s adamWStep)

	// turnHalves is y0 = x0*c0 - x1*s0, y1 = x1*c1 + x0*s1 for len(y0) pairs,
	// products rounded. y0 may be x0, and y1 x1.
	turnHalves func(y0, y1, x0, x1, c0, c1, s0, s1 []T)

	// turnPairs is the same for rows of pairs that lie side by side and follow
	// each other, by rows of tables that lie step elements apart; -sin counts
	// for sin where back. y may be x.
	turnPairs func(rows, pairs int, y, x, cos, sin []T, step int, back bool)
}

// An adamWStep is the numbers of one step of AdamW:
//
//	m = beta1*m + (1-beta1)*g
//	v = beta2*v + (1-beta2)*g*g
//	w = keep*w - rate*m/(sqrt(v)*unbias+eps)
type adamWStep struct{ rate, unbias, keep, beta1, beta2, eps float64 }

// vectors32 and vectors64 are the vector table, best first.
var (
	vectors32 = append(platformVectors32(), portableVectors[float32]())
	vectors64 = []vecRow[float64]{portableVectors[float64]()}
)

// vec32 and vec64 are the rows in use, fixed when the program starts.
var (
	vec32 = firstVectors(vectors32, cpu.Detect())
	vec64 = firstVectors(vectors64, cpu.Detect())
)

// firstVectors is the first row that runs on f.
func firstVectors[T Float](rows []vecRow[T], f cpu.Features) *vecRow[T] {
	for i := range rows {
		if rows[i].supported(f) {
			return &rows[i]
		}
	}
	panic("kernel: table without a portable row")
}

// vec is the row in use for T.
func vec[T Float]() *vecRow[T] { return pick[*vecRow[T]](vec32, vec64) }
