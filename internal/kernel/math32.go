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

// erfcTerms are the terms of ln(erfc(z)/t) + z*z in u, the interval
// 1/8 <= t = 2/(2+z) <= 1 stretched to -1 <= u <= 1: the Chebyshev expansion
// (200 nodes, 13 terms; worst error 4e-10) written in powers.
var erfcTerms = [13]float64{
	-0.5870676705352013, 0.59693787903536, 0.02221017987645575,
	-0.03376700070864169, -0.00240678229980734, 0.004809917881206119,
	-0.0001117300325437753, -0.0008427410239356448, 0.0001647113034582048,
	0.0001326977080844927, -5.515470158684366e-05, -1.291149470944219e-05,
	8.605056559645164e-06,
}

// erfcNear is erfc(z) for 0 <= z <= 14 with a relative error below 1e-9.
func erfcNear(z float64) float64 {
	t := 2 / (2 + z)
	u := t*(16.0/7) - 9.0/7
	c := &erfcTerms
	v := u * u
	w := v * v
	s := (c[0] + c[1]*u + (c[2]+c[3]*u)*v) + w*((c[4]+c[5]*u+(c[6]+c[7]*u)*v)+
		w*((c[8]+c[9]*u+(c[10]+c[11]*u)*v)+w*c[12]))
	return t * expNear(s-z*z)
}

// erfOf is the error function to float32's precision.
func erfOf(x float64) float64 {
	a := math.Abs(x)
	switch {
	case a < 0.125: // Maclaurin's series; the formula below would cancel
		s := x * x
		return x * (2 / math.SqrtPi) * (1 + s*(-1.0/3+s*(1.0/10+s*(-1.0/42+s*(1.0/216)))))
	case a > 4:
		return math.Copysign(1, x)
	}
	return math.Copysign(1-erfcNear(a), x) // NaN passes through
}

// phiOf is the normal distribution function to float32's precision for
// |x| < 15.
func phiOf(x float64) float64 {
	half := 0.5 * erfcNear(math.Abs(x)*(1/math.Sqrt2))
	if x < -4 {
		return half
	}
	return 0.5 + math.Copysign(0.5-half, x) // no branch: signs are hard to predict
}

// geluOf is gelu to float32's precision.
func geluOf(x float64) float64 {
	switch {
	case x > 15:
		return x
	case x < -15:
		return 0
	}
	return x * phiOf(x)
}

// geluSlopeOf is geluSlope to float32's precision.
func geluSlopeOf(x float64) float64 {
	if math.Abs(x) > 15 {
		return heaviside(x)
	}
	return phiOf(x) + x*expNear(-0.5*x*x)*(1/math.Sqrt(2*math.Pi))
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
