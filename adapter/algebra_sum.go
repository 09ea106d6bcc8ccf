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
	p := float64(a * b) // the conversion keeps the compiler from fusing it with a sum
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

// over is the sum divided by n, as a float64 that rounded on to float32 is the
// float32 nearest to the quotient (for n below 2^27). Where the sum is no float64
// it is rounded to odd, so that it is not taken for a number half way between
// two float32; the quotient is too far from such numbers to be rounded to one.
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
	if low != 0 && math.Float64bits(high)&1 == 0 {
		high = math.Nextafter(high, math.Copysign(math.Inf(1), low))
	}
	return high / n
}
