package adapter

import "math"

// exactSum adds products of two floats without any error and rounds once, so
// the result depends on neither the order of the terms nor what cancels among
// them. terms are floats that do not overlap, the largest last (Shewchuk,
// "Adaptive Precision Floating-Point Arithmetic", 1997).
type exactSum struct {
	terms []float64
	zero  float64 // what a sum of zeros is: -0 where all of them are
}

func (s *exactSum) reset() {
	s.terms, s.zero = s.terms[:0], math.Copysign(0, -1)
}

// add adds a times b.
func (s *exactSum) add(a, b float64) {
	p := a * b
	if p == 0 {
		s.zero += p
		return
	}
	s.zero = 0
	s.grow(p)
	if low := math.FMA(a, b, -p); low != 0 {
		s.grow(low)
	}
}

func (s *exactSum) grow(x float64) {
	n := 0
	for _, y := range s.terms {
		if abs(x) < abs(y) {
			x, y = y, x
		}
		high := x + y
		if low := y - (high - x); low != 0 {
			s.terms[n] = low
			n++
		}
		x = high
	}
	s.terms = append(s.terms[:n], x)
}

// over is the sum divided by n, as a float64 rounded to odd: rounded on to
// float32 it is the float32 that is nearest to the quotient (for n below 2^27).
func (s *exactSum) over(n float64) float64 {
	top := len(s.terms) - 1
	if top < 0 || s.terms[top] == 0 {
		return s.zero
	}
	high, low := s.terms[top], 0.0
	for top--; top >= 0 && low == 0; top-- {
		x := high
		high = x + s.terms[top]
		low = s.terms[top] - (high - x)
	}
	sum := odd(high, low)
	q := sum / n
	return odd(q, math.FMA(-q, n, sum))
}

// odd is x, of which rest is missing, as one of its two neighbours among the
// floats: where x is not exact, the one whose last bit is 1.
func odd(x, rest float64) float64 {
	if rest == 0 || math.Float64bits(x)&1 == 1 {
		return x
	}
	return math.Nextafter(x, math.Copysign(math.Inf(1), rest))
}
