package kernel

import "math"

// The float32 functions here compute in float64 with just enough terms, and
// round once at the end: their error stays within one unit in the last place.

// expSteps is into how many parts expNear cuts an octave.
const expSteps = 64

// expTable[i] is 2**(i/expSteps).
var expTable = func() (t [expSteps]float64) {
	for i := range t {
		t[i] = math.Exp2(float64(i) / expSteps)
	}
	return t
}()

// expNear is e**x for |x| < 700 with a relative error below 1e-10.
func expNear(x float64) float64 {
	const (
		inv   = expSteps / math.Ln2
		step  = math.Ln2 / expSteps
		magic = 1.5 * (1 << 52) // adding it rounds to an integer in the low bits
	)
	t := x*inv + magic
	k := int64(math.Float64bits(t)) - int64(0x4338000000000000) // the bits of magic
	r := x - (t-magic)*step                                     // |r| <= step/2
	e := 1 + r*(1+r*(0.5+r*(1.0/6)))
	scale := math.Float64bits(expTable[k&(expSteps-1)]) + uint64(k>>6)<<52
	return e * math.Float64frombits(scale)
}

// exp32 is e**x.
func exp32(x float32) float32 {
	if x > -104 && x < 89 {
		return float32(expNear(float64(x)))
	}
	return exp32Edge(x)
}

func exp32Edge(x float32) float32 {
	switch {
	case x >= 89:
		return float32(math.Inf(1))
	case x <= -104:
		return 0
	}
	return x // NaN
}

// sigmoid32 is 1/(1+e**-x).
func sigmoid32(x float32) float32 { return float32(sigmoidOf(float64(x))) }

// sigmoidOf is the sigmoid to float32's precision, as a float64.
func sigmoidOf(x float64) float64 {
	switch {
	case x < -110:
		return 0
	case x > 50:
		return 1
	}
	return 1 / (1 + expNear(-x)) // NaN passes through
}

// tanh32 is the hyperbolic tangent.
func tanh32(x float32) float32 { return float32(tanhOf(float64(x))) }

// tanhOf is the hyperbolic tangent to float32's precision, as a float64.
func tanhOf(x float64) float64 {
	a := math.Abs(x)
	if a < 0.25 { // the formula below would cancel
		s := x * x
		return x * (1 + s*(-1.0/3+s*(2.0/15+s*(-17.0/315+s*(62.0/2835-s*(1382.0/155925))))))
	}
	if a > 20 {
		return math.Copysign(1, x)
	}
	return math.Copysign(1-2/(expNear(2*a)+1), x) // NaN passes through
}

// gelu is x*Phi(x), Phi being the normal distribution.
func gelu(x float64) float64 {
	if x < -40 {
		return 0
	}
	return 0.5 * x * math.Erfc(-x*(1/math.Sqrt2))
}

// geluSlope is the derivative of gelu: Phi(x) + x*phi(x).
func geluSlope(x float64) float64 {
	if math.Abs(x) > 40 {
		return heaviside(x)
	}
	return 0.5*math.Erfc(-x*(1/math.Sqrt2)) + x*math.Exp(-0.5*x*x)*(1/math.Sqrt(2*math.Pi))
}

func heaviside(x float64) float64 {
	if x > 0 {
		return 1
	}
	return 0
}
