package kernel

import (
	"math"

	"github.com/bonnx/bonnx/internal/par"
)

// Neg is -x.
func Neg[T Numeric](p *par.Pool, dst, x []T) {
	if dst, ok := any(dst).([]float32); ok {
		Scale(p, dst, any(x).([]float32), -1)
		return
	}
	mapRule(p, dst, x, negative[T]{})
}

type negative[T Numeric] struct{}

func (negative[T]) of(x T) T { return -x }

// Abs is |x|.
func Abs[T Numeric](p *par.Pool, dst, x []T) {
	if f := loopOf[T](vec32.abs, vec64.abs); f != nil {
		runLoop(p, f, dst, x)
		return
	}
	par.Do(p, len(dst), grain, &absolute[T]{dst, x})
}

type absolute[T Numeric] struct{ dst, x []T }

func (t *absolute[T]) Run(lo, hi int) { absLoop(t.dst[lo:hi], t.x[lo:hi]) }

// Sign is -1, 0 or 1, and NaN for NaN.
func Sign[T Numeric](p *par.Pool, dst, x []T) {
	if f := loopOf[T](vec32.sign, vec64.sign); f != nil {
		runLoop(p, f, dst, x)
		return
	}
	mapRule(p, dst, x, signs[T]{})
}

type signs[T Numeric] struct{}

func (signs[T]) of(x T) T { return signOf(x) }

func signOf[T Numeric](x T) T {
	switch {
	case x > 0:
		return 1
	case x < 0:
		var one T = 1
		return -one
	}
	return x
}

// Reciprocal is 1/x.
func Reciprocal[T Float](p *par.Pool, dst, x []T) {
	par.Do(p, len(dst), grain, &inverted[T]{dst, x})
}

type inverted[T Float] struct{ dst, x []T }

func (t *inverted[T]) Run(lo, hi int) { vec[T]().div.sv(t.dst[lo:hi], 1, t.x[lo:hi]) }

// ReLU is max(x, 0), and NaN for NaN.
func ReLU[T Numeric](p *par.Pool, dst, x []T) {
	if f := loopOf[T](vec32.relu, vec64.relu); f != nil {
		runLoop(p, f, dst, x)
		return
	}
	AtLeast(p, dst, x, 0)
}

// Clip is min(max(x, low), high), and NaN for NaN. A bound that is NaN is none.
func Clip[T Numeric](p *par.Pool, dst, x []T, low, high T) {
	if low != low {
		AtMost(p, dst, x, high)
		return
	}
	if high != high {
		AtLeast(p, dst, x, low)
		return
	}
	par.Do(p, len(dst), grain, &clipping[T]{dst, x, low, high})
}

type clipping[T Numeric] struct {
	dst, x    []T
	low, high T
}

func (t *clipping[T]) Run(lo, hi int) {
	d, s := t.dst[lo:hi], t.x[lo:hi]
	if f, ok := any(vec32.clip).(func(y, x []T, a, b T)); ok {
		f(d, s, t.low, t.high)
		return
	}
	clipLoop(d, s, t.low, t.high)
}

// AtLeast is max(x, low), and NaN for NaN.
func AtLeast[T Numeric](p *par.Pool, dst, x []T, low T) {
	if isInteger[T]() {
		par.Do(p, len(dst), grain, &atLeast[T]{dst, x, low})
		return
	}
	if low != low {
		copyAll(p, dst, x)
		return
	}
	par.Do(p, len(dst), grain, &clipping[T]{dst, x, low, T(infinity)})
}

// infinity is not a constant, of which integers would want to know more.
var infinity = math.Inf(1)

type atLeast[T Numeric] struct {
	dst, x []T
	low    T
}

func (t *atLeast[T]) Run(lo, hi int) {
	d := t.dst[lo:hi]
	for i, v := range t.x[lo:hi] {
		d[i] = max(v, t.low)
	}
}

// AtMost is min(x, high), and NaN for NaN.
func AtMost[T Numeric](p *par.Pool, dst, x []T, high T) {
	if isInteger[T]() {
		par.Do(p, len(dst), grain, &atMost[T]{dst, x, high})
		return
	}
	if high != high {
		copyAll(p, dst, x)
		return
	}
	par.Do(p, len(dst), grain, &clipping[T]{dst, x, -T(infinity), high})
}

type atMost[T Numeric] struct {
	dst, x []T
	high   T
}

func (t *atMost[T]) Run(lo, hi int) {
	d := t.dst[lo:hi]
	for i, v := range t.x[lo:hi] {
		d[i] = min(v, t.high)
	}
}

// Scale is alpha*x.
func Scale[T Float](p *par.Pool, dst, x []T, alpha T) {
	par.Do(p, len(dst), grain, &appliedWith[T]{vec[T]().mul.vs, dst, x, alpha})
}

// LeakyReLU is x, below zero alpha*x.
func LeakyReLU[T Float](p *par.Pool, dst, x []T, alpha T) {
	par.Do(p, len(dst), grain, &appliedWith[T]{vec[T]().leaky, dst, x, alpha})
}

// ThresholdedReLU is x where x > alpha, else 0.
func ThresholdedReLU[T Float](p *par.Pool, dst, x []T, alpha T) {
	mapRule(p, dst, x, thresholded[T]{alpha})
}

type thresholded[T Float] struct{ alpha T }

func (f thresholded[T]) of(x T) T {
	if x <= f.alpha {
		return 0
	}
	return x
}

// ELU is x, below zero alpha*(e**x-1).
func ELU[T Float](p *par.Pool, dst, x []T, alpha T) {
	par.Do(p, len(dst), grain/4, &eluing[T]{dst, x, float64(alpha), 1, 1})
}

// CELU is x, below zero alpha*(e**(x/alpha)-1).
func CELU[T Float](p *par.Pool, dst, x []T, alpha T) {
	par.Do(p, len(dst), grain/4, &eluing[T]{dst, x, float64(alpha), 1 / float64(alpha), 1})
}

// SELU is gamma*x, below zero gamma*alpha*(e**x-1).
func SELU[T Float](p *par.Pool, dst, x []T, alpha, gamma T) {
	par.Do(p, len(dst), grain/4, &eluing[T]{dst, x, float64(alpha) * float64(gamma), 1, float64(gamma)})
}

type eluing[T Float] struct {
	dst, x            []T
	slope, rate, gain float64
}

func (t *eluing[T]) Run(lo, hi int) { vec[T]().elu(t.dst[lo:hi], t.x[lo:hi], t.slope, t.rate, t.gain) }

// HardSigmoid is min(max(alpha*x+beta, 0), 1).
func HardSigmoid[T Float](p *par.Pool, dst, x []T, alpha, beta T) {
	par.Do(p, len(dst), grain, &appliedWith2[T]{vec[T]().hardSigmoid, dst, x, alpha, beta})
}

func hardSigmoid[T Float](x, alpha, beta T) T { return max(0, min(1, T(alpha*x)+beta)) }

// HardSwish is x*HardSigmoid(x, 1/6, 1/2).
func HardSwish[T Float](p *par.Pool, dst, x []T) { runLoop(p, vec[T]().hardSwish, dst, x) }

func hardSwish[T Float](x T) T { return x * hardSigmoid(x, 1.0/6, 0.5) }

// Softsign is x/(1+|x|).
func Softsign[T Float](p *par.Pool, dst, x []T) { runLoop(p, vec[T]().softsign, dst, x) }

func softsign[T Float](x T) T { return x / (1 + T(math.Abs(float64(x)))) }

// IsNaN reports NaNs.
func IsNaN[T Float](p *par.Pool, dst []bool, x []T) {
	par.Do(p, len(dst), grain, &findingNaN[T]{dst, x})
}

type findingNaN[T Float] struct {
	dst []bool
	x   []T
}

func (t *findingNaN[T]) Run(lo, hi int) {
	d := t.dst[lo:hi]
	for i, v := range t.x[lo:hi] {
		d[i] = v != v
	}
}

// IsInf reports infinities of the signs asked for.
func IsInf[T Float](p *par.Pool, dst []bool, x []T, negative, positive bool) {
	par.Do(p, len(dst), grain, &findingInf[T]{dst, x, negative, positive})
}

type findingInf[T Float] struct {
	dst                []bool
	x                  []T
	negative, positive bool
}

func (t *findingInf[T]) Run(lo, hi int) {
	d := t.dst[lo:hi]
	most := T(math.Inf(1))
	for i, v := range t.x[lo:hi] {
		d[i] = t.positive && v == most || t.negative && v == -most
	}
}

// mapGrad is dx = dy * f'(x) by a loop of the vector table.
func mapGrad[T Float](p *par.Pool, dx, x, dy []T, loop func(dx, x, dy []T)) {
	par.Do(p, len(dx), grain/4, &applied2[T]{loop, dx, x, dy})
}

// GELUGrad is dx = dy * (derivative of GELU at x). It may work in place.
func GELUGrad[T Float](p *par.Pool, dx, x, dy []T) { mapGrad(p, dx, x, dy, vec[T]().geluGrad) }

// GELUTanhGrad is dx = dy * (derivative of GELUTanh at x). It may work in place.
func GELUTanhGrad[T Float](p *par.Pool, dx, x, dy []T) { mapGrad(p, dx, x, dy, vec[T]().geluTanhGrad) }

// SiLUGrad is dx = dy * (derivative of SiLU at x). It may work in place.
func SiLUGrad[T Float](p *par.Pool, dx, x, dy []T) { mapGrad(p, dx, x, dy, vec[T]().siluGrad) }

// sigmoidFor is the sigmoid to the precision of T.
func sigmoidFor[T Float](x float64) float64 {
	if isFloat32[T]() {
		return sigmoidOf(x)
	}
	return 1 / (1 + math.Exp(-x))
}

func siluSlope[T Float](x float64) float64 {
	s := sigmoidFor[T](x)
	if s == 0 {
		return 0
	}
	return s * (1 + x*(1-s))
}

func geluTanhSlope[T Float](x float64) float64 {
	s := sigmoidFor[T](geluTanhArg(x))
	if s == 0 || s == 1 {
		return s
	}
	const c = 2 * 0.7978845608028653558798921198687
	return s + x*s*(1-s)*c*(1+3*0.044715*x*x)
}
