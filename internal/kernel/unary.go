package kernel

import (
	"math"

	"github.com/bonnx/bonnx/internal/par"
)

// A loops is one elementwise function for both float types.
type loops struct {
	f32 func(dst, x []float32)
	f64 func(dst, x []float64)
}

// each is the loop over f in f's own precision.
func each[T Float](f func(T) T) func(dst, x []T) {
	return func(dst, x []T) {
		x = x[:len(dst)]
		for i, v := range x {
			dst[i] = f(v)
		}
	}
}

// wide32 is the float32 loop over a function of float64. It converts a block
// at a time: one by one, the conversion of an element would wait for the
// result of the last (on amd64 it keeps the rest of a register that the last
// computation has written).
func wide32(f func(float64) float64) func(dst, x []float32) {
	return func(dst, x []float32) {
		var block [64]float64
		x = x[:len(dst)]
		for len(x) > 0 {
			n := min(len(x), len(block))
			b := block[:n]
			for i, v := range x[:n] {
				b[i] = float64(v)
			}
			for i, v := range b {
				b[i] = f(v)
			}
			for i, v := range b {
				dst[i] = float32(v)
			}
			x, dst = x[n:], dst[n:]
		}
	}
}

// wideLoops computes both types in float64, float32 by near, which needs only
// float32's precision.
func wideLoops(near, f func(float64) float64) loops { return loops{wide32(near), each(f)} }

// The functions with more than a line to them. Where float32 has its own form
// it is the faster one.
var (
	expLoops      = loops{each(exp32), each(math.Exp)}
	sigmoidLoops  = wideLoops(sigmoidOf, sigmoid64)
	tanhLoops     = wideLoops(tanhOf, math.Tanh)
	siluLoops     = wideLoops(siluOf, silu64)
	geluLoops     = wideLoops(geluOf, gelu)
	geluTanhLoops = wideLoops(geluTanhOf, geluTanh64)
	logLoops      = wideLoops(math.Log, math.Log)
	erfLoops      = wideLoops(erfOf, math.Erf)
	softplusLoops = wideLoops(softplus, softplus)
	mishLoops     = wideLoops(mish, mish)
	sinLoops      = wideLoops(math.Sin, math.Sin)
	cosLoops      = wideLoops(math.Cos, math.Cos)
	tanLoops      = wideLoops(math.Tan, math.Tan)
	asinLoops     = wideLoops(math.Asin, math.Asin)
	acosLoops     = wideLoops(math.Acos, math.Acos)
	atanLoops     = wideLoops(math.Atan, math.Atan)
	sinhLoops     = wideLoops(math.Sinh, math.Sinh)
	coshLoops     = wideLoops(math.Cosh, math.Cosh)
	asinhLoops    = wideLoops(math.Asinh, math.Asinh)
	acoshLoops    = wideLoops(math.Acosh, math.Acosh)
	atanhLoops    = wideLoops(math.Atanh, math.Atanh)
	floorLoops    = wideLoops(math.Floor, math.Floor)
	ceilLoops     = wideLoops(math.Ceil, math.Ceil)
	roundLoops    = wideLoops(math.RoundToEven, math.RoundToEven)
	rsqrtLoops    = wideLoops(rsqrt, rsqrt)
)

func sqrtLoop[T Float](dst, x []T) {
	x = x[:len(dst)]
	for i, v := range x {
		dst[i] = T(math.Sqrt(float64(v)))
	}
}

func sigmoid64(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
func siluOf(x float64) float64    { return x * sigmoidOf(x) }
func mish(x float64) float64      { return x * math.Tanh(softplus(x)) }
func rsqrt(x float64) float64     { return 1 / math.Sqrt(x) }
func silu64(x float64) float64    { return x / (1 + math.Exp(-x)) }
func softplus(x float64) float64  { return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x))) }

// geluTanhArg is 2u of 0.5*x*(1+tanh(u)) = x*sigmoid(2u).
func geluTanhArg(x float64) float64 {
	const c = 2 * 0.7978845608028653558798921198687 // 2*sqrt(2/pi)
	return c * (x + 0.044715*x*x*x)
}

func geluTanhOf(x float64) float64 { return x * sigmoidOf(geluTanhArg(x)) }
func geluTanh64(x float64) float64 { return x / (1 + math.Exp(-geluTanhArg(x))) }

// Map is the elementwise function f:
//
//	for i < len(dst): dst[i] = f(x[i])
//
// All elementwise functions may work in place (dst the same slice as x).
func Map[T, R any](p *par.Pool, dst []R, x []T, f func(T) R) {
	par.Do(p, len(dst), grain, &mapped[T, R]{f, dst, x})
}

// mapped is dst[i] = f(x[i]).
type mapped[T, R any] struct {
	f   func(T) R
	dst []R
	x   []T
}

func (t *mapped[T, R]) Run(lo, hi int) {
	d, s, f := t.dst[lo:hi], t.x[lo:hi], t.f
	for i, v := range s {
		d[i] = f(v)
	}
}

func run[T Float](p *par.Pool, l *loops, dst, x []T) {
	runLoop(p, pick[func(dst, x []T)](l.f32, l.f64), dst, x)
}

// loopOf is the loop for T, nil for integers.
func loopOf[T Numeric](f32 func(y, x []float32), f64 func(y, x []float64)) func(y, x []T) {
	if f, ok := any(f32).(func(y, x []T)); ok {
		return f
	}
	f, _ := any(f64).(func(y, x []T))
	return f
}

func runLoop[T Numeric](p *par.Pool, loop func(dst, x []T), dst, x []T) {
	par.Do(p, len(dst), grain/4, &applied[T, T]{loop, dst, x})
}

// Exp is e**x.
func Exp[T Float](p *par.Pool, dst, x []T) { runLoop(p, vec[T]().exp, dst, x) }

// Log is the natural logarithm.
func Log[T Float](p *par.Pool, dst, x []T) { runLoop(p, vec[T]().log, dst, x) }

// Sqrt is the square root.
func Sqrt[T Float](p *par.Pool, dst, x []T) { runLoop(p, vec[T]().sqrt, dst, x) }

// Rsqrt is 1/sqrt(x).
func Rsqrt[T Float](p *par.Pool, dst, x []T) { run(p, &rsqrtLoops, dst, x) }

// Erf is the error function.
func Erf[T Float](p *par.Pool, dst, x []T) { runLoop(p, vec[T]().erf, dst, x) }

// Tanh is the hyperbolic tangent.
func Tanh[T Float](p *par.Pool, dst, x []T) { runLoop(p, vec[T]().tanh, dst, x) }

// Sigmoid is 1/(1+e**-x).
func Sigmoid[T Float](p *par.Pool, dst, x []T) { runLoop(p, vec[T]().sigmoid, dst, x) }

// Softplus is log(1+e**x).
func Softplus[T Float](p *par.Pool, dst, x []T) { runLoop(p, vec[T]().softplus, dst, x) }

// Mish is x*tanh(softplus(x)).
func Mish[T Float](p *par.Pool, dst, x []T) { runLoop(p, vec[T]().mish, dst, x) }

// SiLU is x*sigmoid(x).
func SiLU[T Float](p *par.Pool, dst, x []T) { runLoop(p, vec[T]().silu, dst, x) }

// GELU is x*Phi(x), Phi being the distribution function of the normal
// distribution.
func GELU[T Float](p *par.Pool, dst, x []T) { runLoop(p, vec[T]().gelu, dst, x) }

// GELUTanh is 0.5*x*(1+tanh(sqrt(2/pi)*(x+0.044715*x**3))).
func GELUTanh[T Float](p *par.Pool, dst, x []T) { runLoop(p, vec[T]().geluTanh, dst, x) }

// Sin is the sine.
func Sin[T Float](p *par.Pool, dst, x []T) {
	par.Do(p, len(dst), grain/4, &sines[T]{vec[T]().sin, &sinLoops, dst, x})
}

// Cos is the cosine.
func Cos[T Float](p *par.Pool, dst, x []T) {
	par.Do(p, len(dst), grain/4, &sines[T]{vec[T]().cos, &cosLoops, dst, x})
}

// mostTurn is how far out the fast sine and cosine are right.
const mostTurn = 1 << 22

// sines is a sine or cosine, slow where some numbers are far out.
type sines[T Float] struct {
	fast func(dst, x []T)
	slow *loops
	d, x []T
}

func (t *sines[T]) Run(lo, hi int) {
	v := vec[T]()
	for ; lo < hi; lo += blockOfSome {
		end := min(lo+blockOfSome, hi)
		d, x := t.d[lo:end], t.x[lo:end]
		if s := v.sum(x); s == s && max(v.top(x), v.bottom(x)) <= mostTurn {
			t.fast(d, x)
		} else {
			pick[func(dst, x []T)](t.slow.f32, t.slow.f64)(d, x)
		}
	}
}

// blockOfSome is how many elements are looked at before the way to compute them
// is chosen.
const blockOfSome = 1 << 9

// Tan is the tangent.
func Tan[T Float](p *par.Pool, dst, x []T) { run(p, &tanLoops, dst, x) }

// Asin is the inverse sine.
func Asin[T Float](p *par.Pool, dst, x []T) { run(p, &asinLoops, dst, x) }

// Acos is the inverse cosine.
func Acos[T Float](p *par.Pool, dst, x []T) { run(p, &acosLoops, dst, x) }

// Atan is the inverse tangent.
func Atan[T Float](p *par.Pool, dst, x []T) { run(p, &atanLoops, dst, x) }

// Sinh is the hyperbolic sine.
func Sinh[T Float](p *par.Pool, dst, x []T) { run(p, &sinhLoops, dst, x) }

// Cosh is the hyperbolic cosine.
func Cosh[T Float](p *par.Pool, dst, x []T) { run(p, &coshLoops, dst, x) }

// Asinh is the inverse hyperbolic sine.
func Asinh[T Float](p *par.Pool, dst, x []T) { run(p, &asinhLoops, dst, x) }

// Acosh is the inverse hyperbolic cosine.
func Acosh[T Float](p *par.Pool, dst, x []T) { run(p, &acoshLoops, dst, x) }

// Atanh is the inverse hyperbolic tangent.
func Atanh[T Float](p *par.Pool, dst, x []T) { run(p, &atanhLoops, dst, x) }

// Floor is the largest integer not above x.
func Floor[T Float](p *par.Pool, dst, x []T) { runLoop(p, vec[T]().floor, dst, x) }

// Ceil is the smallest integer not below x.
func Ceil[T Float](p *par.Pool, dst, x []T) { runLoop(p, vec[T]().ceil, dst, x) }

// RoundEven is the nearest integer, halves to the even one.
func RoundEven[T Float](p *par.Pool, dst, x []T) { runLoop(p, vec[T]().round, dst, x) }
