package main

import "math"

// chebyshev is the polynomial of a degree, in powers of x, that goes through f
// at Chebyshev's nodes of [-h,h]: its error is close to the least possible.
func chebyshev(f func(float64) float64, h float64, degree int) []float64 {
	n := degree + 1
	c := make([]float64, n) // of Chebyshev's polynomials
	for j := range n {
		for k := range n {
			t := math.Pi * (float64(k) + 0.5) / float64(n)
			c[j] += 2 / float64(n) * f(h*math.Cos(t)) * math.Cos(float64(j)*t)
		}
	}
	c[0] /= 2
	out, prev, cur := make([]float64, n), make([]float64, n), make([]float64, n)
	prev[0] = 1
	if n > 1 {
		cur[1] = 1
	}
	for j := range n { // cur is T_j in powers of x/h
		t := prev
		if j > 0 {
			t = cur
		}
		for i, v := range t {
			out[i] += c[j] * v
		}
		if j > 0 {
			next := make([]float64, n)
			for i := range n {
				next[i] = -prev[i]
				if i > 0 {
					next[i] += 2 * cur[i-1]
				}
			}
			prev, cur = cur, next
		}
	}
	for i := range out {
		out[i] /= math.Pow(h, float64(i))
	}
	return out
}

// poly is c[0] + c[1]*x + ... by Horner's rule.
func (p *pass) poly(x val, c []float64) val {
	last := len(c) - 1
	s := p.fma(x, p.c(c[last]), p.c(c[last-1]))
	for i := last - 2; i >= 0; i-- {
		s = p.fma(s, x, p.c(c[i]))
	}
	return s
}

// parts of e**x = 2**n * e**r: t, a float that holds n and the exponent's bias
// in its low bits, and |r| <= ln(2)/2.
func (p *pass) reduce(x val) (t, r val) {
	magic := 1.5*(1<<23) + 127
	if p.wide {
		magic = 1.5*(1<<52) + 1023
	}
	t = p.fma(x, p.c(math.Log2E), p.reg(p.c(magic)))
	n := p.sub(t, p.c(magic))
	if p.wide {
		return t, p.fnma(n, p.c(math.Ln2), x)
	}
	const hi = 355.0 / 512 // n*hi is exact
	r = p.fnma(n, p.c(hi), x)
	return t, p.fnma(n, p.c(math.Ln2-hi), r)
}

var (
	expTerms   = chebyshev(math.Exp, math.Ln2/2, 6)
	expm1Terms = chebyshev(func(r float64) float64 {
		if r == 0 {
			return 1
		}
		return math.Expm1(r) / r
	}, math.Ln2/2, 6)
	// erfcTerms are of ln(erfc(z)/t) + z*z for t = 2/(2+z) = (7u+9)/16.
	erfcTerms = chebyshev(func(u float64) float64 {
		t := (7*u + 9) / 16
		z := 2/t - 2
		return math.Log(math.Erfc(z)/t) + z*z
	}, 1, 12)
)

// exp is e**x for x that a normal float can be the result of, to 28 bits where
// wide and to 23 where not.
func (p *pass) exp(x val) val {
	t, r := p.reduce(x)
	return p.power(p.poly(r, expTerms), t)
}

// expm1 is e**x - 1 to as many significant bits.
func (p *pass) expm1(x val) val {
	t, r := p.reduce(x)
	s := p.power(p.reg(p.c(1)), t)
	return p.fma(p.mul(r, p.poly(r, expm1Terms)), s, p.sub(s, p.c(1)))
}

// far bounds the argument of exponentials: beyond it nothing shows in float32.
const far = 200

// sigmoid is 1/(1+e**-x) of an x within far.
func (p *pass) sigmoid(x val) val {
	return p.recip(p.add(p.exp(p.sub(p.c(0), x)), p.c(1)), 1)
}

// erfc is the complementary error function of 0 <= z <= 14.
func (p *pass) erfc(z val) val {
	t := p.mul(p.recip(p.add(z, p.c(2)), 2), p.c(2))
	u := p.fma(t, p.c(16.0/7), p.reg(p.c(-9.0/7)))
	return p.mul(p.exp(p.fnma(z, z, p.poly(u, erfcTerms))), t)
}

// edge is where the normal distribution ends in float32: below -edge its
// function times x is less than the least normal number, above it e**(-x*x/2)
// is not.
const edge = 13.2

// tailTerms are of the Mills ratio, Phi(-a)/e**(-a*a/2), over t = 2*sqrt(2)/(a +
// 2*sqrt(2)), with t from its least, at the edge, to 1 stretched to -1 <= u <= 1.
var (
	leastTail = 2 * math.Sqrt2 / (edge + 2*math.Sqrt2)
	tailTerms = chebyshev(func(u float64) float64 {
		t := leastTail + (1-leastTail)*(u+1)/2
		z := 2/t - 2
		return 0.5 * math.Erfc(z) * math.Exp(z*z) / t
	}, 1, 8)
)

// normal is the normal distribution function at x, in float32, and e**(-x*x/2),
// both as if x were no further out than the edge. What is lost of x*x counts in
// the exponential.
func (p *pass) normal(x val) (phi, e val) {
	a := p.min(p.reg(p.c(edge)), p.abs(x))
	s := p.mul(a, a)
	t, r := p.reduce(p.mul(s, p.c(-0.5)))
	e = p.power(p.poly(p.fma(p.fnma(a, a, s), p.c(0.5), r), expTerms), t)
	w := p.div(p.c(2*math.Sqrt2), p.add(a, p.c(2*math.Sqrt2)))
	u := p.fma(w, p.c(2/(1-leastTail)), p.reg(p.c(-(1+leastTail)/(1-leastTail))))
	half := p.mul(p.mul(e, w), p.poly(u, tailTerms))
	return p.pick(p.when(x, lt, p.c(0)), half, p.sub(p.c(1), half)), e
}

// atanhTerms are of 2*atanh(r)/r over r*r, |r*r| <= h.
func atanhTerms(h float64, degree int) []float64 {
	return chebyshev(func(s float64) float64 {
		r := math.Sqrt(math.Abs(s))
		switch {
		case s > 0:
			return 2 * math.Atanh(r) / r
		case s < 0:
			return 2 * math.Atan(r) / r
		}
		return 2
	}, h, degree)
}

var (
	logTerms   = atanhTerms(0.0295, 8) // to r = (sqrt(2)-1)/(sqrt(2)+1), for powers too
	log1pTerms = atanhTerms(1.0/9, 8)  // to r = 1/3
)

// log is the natural logarithm: that of m = (1+r)/(1-r) about 1, and a multiple
// of that of 2.
func (p *pass) log(x val) val {
	m, e := p.split(x)
	above := p.when(p.reg(p.c(math.Sqrt2)), lt, m)
	e = p.pick(above, p.add(e, p.c(1)), e)
	m = p.pick(above, p.mul(m, p.c(0.5)), m)
	r := p.mul(p.sub(m, p.c(1)), p.recip(p.add(m, p.c(1)), 2))
	y := p.fma(e, p.c(math.Ln2), p.mul(r, p.poly(p.mul(r, r), logTerms)))
	y = p.pick(p.when(x, lt, p.c(math.Inf(1))), y, x)
	y = p.pick(p.when(x, lt, p.c(1e-60)), p.c(math.Inf(-1)), y)
	return p.pick(p.when(x, lt, p.c(0)), p.c(math.NaN()), y)
}

// log1p is log(1+u) of 0 <= u <= 1, where 1+u = (1+r)/(1-r).
func (p *pass) log1p(u val) val {
	r := p.mul(u, p.recip(p.add(u, p.c(2)), 2))
	return p.mul(r, p.poly(p.mul(r, r), log1pTerms))
}

// sinTerms are of sin(r)/r, cosTerms of cos(r), over r*r, |r| <= pi/4.
var (
	sinTerms = chebyshev(func(s float64) float64 {
		r := math.Sqrt(math.Abs(s))
		switch {
		case s > 0:
			return math.Sin(r) / r
		case s < 0:
			return math.Sinh(r) / r
		}
		return 1
	}, 0.6169, 6)
	cosTerms = chebyshev(func(s float64) float64 {
		r := math.Sqrt(math.Abs(s))
		if s < 0 {
			return math.Cosh(r)
		}
		return math.Cos(r)
	}, 0.6169, 6)
)

// halfPi is pi/2 in two parts, the second to what float64 leaves out.
var halfPi = [2]float64{math.Pi / 2, 6.123233995736766e-17}

// sine is sin(x + quarters*pi/2) for an x of less than some millions. What x is
// beyond a multiple of pi/2 comes exactly; which quarter it lies in says whether
// the cosine counts, and the sign.
func (p *pass) sine(x val, quarters float64) val {
	const magic = 1.5 * (1 << 52)
	t := p.fma(x, p.c(2/math.Pi), p.reg(p.c(magic)))
	n := p.sub(t, p.c(magic))
	r := p.fnma(n, p.c(halfPi[1]), p.fnma(n, p.c(halfPi[0]), x))
	if quarters != 0 {
		t = p.add(t, p.c(quarters))
	}
	s := p.mul(r, r)
	odd := p.when(p.or(p.unary("LASTBIT", t), p.c(1)), lt, p.c(0))
	y := p.pick(odd, p.poly(s, cosTerms), p.mul(r, p.poly(s, sinTerms)))
	return p.xor(y, p.sign(p.unary("SECONDBIT", t)))
}

// geluTanhArg is 2u of 0.5*x*(1+tanh(u)) = x*sigmoid(2u).
func (p *pass) geluTanhArg(x val) val {
	const c = 2 * 0.7978845608028653558798921198687 // 2*sqrt(2/pi)
	s := p.fma(p.mul(x, x), p.c(0.044715*c), p.reg(p.c(c)))
	return p.clamp(p.mul(x, s), -far, far)
}

// inFloat32 names the functions that are computed in float32, and how often
// their loops are unrolled.
var inFloat32 = map[string]int{"gelu": 1, "relu": 4, "abs": 4, "sign": 4, "sqrt": 4, "powHalf": 4, "floor": 4, "ceil": 4,
	"round": 4, "hardSwish": 4, "leaky": 4, "clip": 4, "hardSigmoid": 4, "affine": 4, "softsign": 4, "quantize": 4}

// eachValue writes the loop of an elementwise function.
func (l *loop) eachValue(name string, body func(p *pass)) {
	unroll, in32 := inFloat32[name]
	l.each(!in32, max(unroll, 1), body)
}

// The elementwise functions, of float64 values that are rounded once, or of
// float32.
var maps = []struct {
	name, doc string
	f         func(p *pass, x val) val
}{
	{"abs", "|x|", (*pass).abs},
	{"sign", "-1, 0 or 1", func(p *pass, x val) val {
		return p.pick(p.when(x, lt, p.c(0)), p.c(-1), p.pick(p.when(p.reg(p.c(0)), lt, x), p.c(1), x))
	}},
	{"floor", "the largest integer not above x", (*pass).floor},
	{"ceil", "the smallest integer not below x", (*pass).ceil},
	{"round", "the nearest integer, halves to the even one", (*pass).round},
	{"relu", "max(x, 0), NaN for NaN", func(p *pass, x val) val { return p.max(p.reg(p.c(0)), x) }},
	{"hardSwish", "x*min(max(x/6+0.5, 0), 1), products rounded", func(p *pass, x val) val {
		return p.mul(x, p.clamp(p.add(p.mul(x, p.c(1.0/6)), p.c(0.5)), 0, 1))
	}},
	{"softsign", "x/(1+|x|)", func(p *pass, x val) val { return p.div(x, p.add(p.abs(x), p.c(1))) }},
	{"sqrt", "the square root", (*pass).sqrt},
	{"powHalf", "x**0.5, which differs from the root at -0 and -Inf", func(p *pass, x val) val {
		return p.pick(p.when(x, lt, p.c(-math.MaxFloat32)), p.c(math.Inf(1)), p.add(p.sqrt(x), p.c(0)))
	}},
	{"cube", "x**3", func(p *pass, x val) val { return p.mul(p.mul(x, x), x) }},
	{"log", "the natural logarithm", (*pass).log},
	{"sin", "the sine, for numbers below some millions", func(p *pass, x val) val { return p.sine(x, 0) }},
	{"cos", "the cosine, for numbers below some millions", func(p *pass, x val) val { return p.sine(x, 1) }},
	{"softplus", "log(1+e**x)", func(p *pass, x val) val {
		u := p.exp(p.max(p.reg(p.c(-far)), p.sub(p.c(0), p.abs(x))))
		return p.add(p.max(p.reg(p.c(0)), x), p.log1p(u))
	}},
	{"mish", "x*tanh(log(1+e**x))", func(p *pass, x val) val {
		e := p.exp(p.clamp(x, -far, 40))
		n := p.mul(e, p.add(e, p.c(2)))
		return p.mul(p.max(p.reg(p.c(-far)), x), p.mul(n, p.recip(p.add(n, p.c(2)), 2)))
	}},
	{"exp", "e**x", func(p *pass, x val) val { return p.exp(p.clamp(x, -far, far)) }},
	{"sigmoid", "1/(1+e**-x)", func(p *pass, x val) val { return p.sigmoid(p.clamp(x, -far, far)) }},
	{"tanh", "the hyperbolic tangent", func(p *pass, x val) val {
		e := p.expm1(p.clamp(p.add(x, x), -far, far))
		return p.mul(e, p.recip(p.add(e, p.c(2)), 1))
	}},
	{"erf", "the error function", func(p *pass, x val) val {
		a := p.min(p.reg(p.c(6)), p.abs(x))
		s := p.mul(a, a)
		near := p.mul(a, p.poly(s, []float64{2 / math.SqrtPi, -2 / math.SqrtPi / 3, 2 / math.SqrtPi / 10,
			-2 / math.SqrtPi / 42, 2 / math.SqrtPi / 216}))
		y := p.pick(p.when(a, lt, p.c(0.125)), near, p.sub(p.c(1), p.erfc(a)))
		return p.or(y, p.sign(x))
	}},
	{"silu", "x*sigmoid(x)", func(p *pass, x val) val {
		return p.mul(p.max(p.reg(p.c(-far)), x), p.sigmoid(p.clamp(x, -far, far)))
	}},
	{"gelu", "x*Phi(x), Phi being the normal distribution", func(p *pass, x val) val {
		phi, _ := p.normal(x)
		return p.mul(p.keepIf(p.when(x, notLT, p.c(-edge)), x), phi)
	}},
	{"geluTanh", "0.5*x*(1+tanh(sqrt(2/pi)*(x+0.044715*x**3)))", func(p *pass, x val) val {
		return p.mul(p.max(p.reg(p.c(-far)), x), p.sigmoid(p.geluTanhArg(p.clamp(x, -1e6, 1e6))))
	}},
}

// The elementwise functions with parameters, which are of float32 or float64 as
// the function is computed.
var mapsWith = []struct {
	name, params, doc string
	f                 func(p *pass, x val, params []val) val
}{
	{"leaky", "alpha", "x, below zero alpha*x", func(p *pass, x val, s []val) val {
		return p.pick(p.when(x, lt, p.c(0)), p.mul(x, s[0]), x)
	}},
	{"clip", "low, high", "min(max(x, low), high), NaN for NaN; the bounds are numbers", func(p *pass, x val, s []val) val {
		return p.min(s[1], p.max(s[0], x))
	}},
	{"hardSigmoid", "alpha, beta", "min(max(alpha*x+beta, 0), 1), the product rounded", func(p *pass, x val, s []val) val {
		return p.clamp(p.add(p.mul(x, s[0]), s[1]), 0, 1)
	}},
	{"affine", "scale, shift", "scale*x + shift, the product rounded", func(p *pass, x val, s []val) val {
		return p.add(p.mul(x, s[0]), s[1])
	}},
	{"quantize", "scale, zero, low, high", "min(max(round(x/scale)+zero, low), high), low for NaN",
		func(p *pass, x val, s []val) val {
			q := p.add(p.round(p.div(x, s[0])), s[1])
			return p.min(s[3], p.max(s[2], p.pick(p.when(q, isNaN, q), s[2], q)))
		}},
	{"shifted", "by", "x - by", func(p *pass, x val, s []val) val { return p.sub(x, s[0]) }},
	{"centred", "mean, scale, shift", "(x - mean)*scale + shift", func(p *pass, x val, s []val) val {
		return p.fma(p.sub(x, s[0]), s[1], s[2])
	}},
	{"power", "c", "x**c, for 0 < x < infinity", func(p *pass, x val, s []val) val {
		return p.exp(p.clamp(p.mul(p.log(x), s[0]), -far, far))
	}},
	{"elu", "slope, rate, gain", "gain*x, below zero slope*(e**(rate*x)-1)", func(p *pass, x val, s []val) val {
		below := p.mul(p.expm1(p.clamp(p.mul(x, s[1]), -far, 0)), s[0])
		return p.pick(p.when(x, lt, p.c(0)), below, p.mul(x, s[2]))
	}},
}

// The derivatives of some.
var slopes = []struct {
	name string
	f    func(p *pass, x val) val
}{
	{"silu", func(p *pass, x val) val {
		x = p.clamp(x, -far, far)
		s := p.sigmoid(x)
		return p.mul(s, p.fma(x, p.sub(p.c(1), s), p.c(1)))
	}},
	{"gelu", func(p *pass, x val) val {
		near := p.clamp(x, -edge, edge)
		phi, e := p.normal(near)
		return p.keepIf(p.when(x, notLT, p.c(-edge)), p.fma(p.mul(near, e), p.c(1/math.Sqrt(2*math.Pi)), phi))
	}},
	{"geluTanh", func(p *pass, x val) val {
		const c = 2 * 0.7978845608028653558798921198687
		x = p.clamp(x, -30, 30)
		s := p.sigmoid(p.geluTanhArg(x))
		d := p.fma(p.mul(x, x), p.c(3*0.044715*c), p.reg(p.c(c)))
		return p.fma(p.mul(p.mul(s, p.sub(p.c(1), s)), x), d, s)
	}},
}
