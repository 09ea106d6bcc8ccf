package half

import "math"

// Format is a floating-point format of 8 bits or less.
type Format uint8

// The formats, by their ONNX names. E2M1 is float4: codes 0 to 15.
const (
	E4M3FN Format = iota
	E4M3FNUZ
	E5M2
	E5M2FNUZ
	E2M1
	E8M0
)

// formats says how the bits of each format but E8M0 read. Codes are without
// the sign; nan and inf are the codes that a conversion writes, 0 where the
// format has none.
var formats = [...]struct {
	man, bias int
	sign      uint8
	max       uint8 // the largest finite code
	nan, inf  uint8
	fnuz      bool // one NaN, at the code of -0
}{
	E4M3FN:   {man: 3, bias: 7, sign: 0x80, max: 0x7e, nan: 0x7f},
	E4M3FNUZ: {man: 3, bias: 8, sign: 0x80, max: 0x7f, fnuz: true},
	E5M2:     {man: 2, bias: 15, sign: 0x80, max: 0x7b, nan: 0x7e, inf: 0x7c},
	E5M2FNUZ: {man: 2, bias: 16, sign: 0x80, max: 0x7f, fnuz: true},
	E2M1:     {man: 1, bias: 1, sign: 0x08, max: 0x07},
}

// Decode is the exact value of code b in format f.
func Decode(f Format, b uint8) float32 {
	if f == E8M0 {
		return decodeE8M0(b)
	}
	p := &formats[f]
	neg, a := b&p.sign != 0, b&(p.sign-1)
	var v float64
	switch {
	case p.fnuz && b == p.sign:
		return math.Float32frombits(0xffc00000) // the NaN has a sign, as its code has
	case a > p.max:
		if p.inf == 0 || a != p.inf {
			return float32(math.NaN())
		}
		v = math.Inf(1)
	case a>>p.man == 0:
		v = math.Ldexp(float64(a), 1-p.bias-p.man)
	default:
		m := a&(1<<p.man-1) | 1<<p.man
		v = math.Ldexp(float64(m), int(a>>p.man)-p.bias-p.man)
	}
	if neg {
		v = -v
	}
	return float32(v)
}

// Table is Decode of every code of f, for decoding in bulk.
func Table(f Format) *[256]float32 {
	var t [256]float32
	n := 256
	if f == E2M1 {
		n = 16
	}
	for i := range n {
		t[i] = Decode(f, uint8(i))
	}
	return &t
}

// Encode rounds v to a code of format f. With saturate, what is too large
// becomes the largest finite value of its sign, infinities too; without, it
// becomes the format's infinity or NaN (ONNX Cast, attribute saturate). E2M1
// has neither and always saturates; its NaN is written as -0. E8M0 rounds up
// (see EncodeE8M0).
func Encode(f Format, v float32, saturate bool) uint8 {
	if f == E8M0 {
		return EncodeE8M0(v, saturate, Up)
	}
	p := &formats[f]
	bits := math.Float32bits(v)
	sign := uint8(0)
	if bits>>31 != 0 {
		sign = p.sign
	}
	if v != v {
		if p.fnuz || f == E2M1 {
			return p.sign
		}
		return sign | p.nan
	}
	code := magnitude(p.man, p.bias, bits&0x7fffffff)
	if code > uint32(p.max) {
		if saturate || f == E2M1 {
			return sign | p.max
		}
		if p.fnuz {
			return p.sign
		}
		if p.inf == 0 {
			return sign | p.nan
		}
		return sign | p.inf
	}
	if code == 0 && p.fnuz {
		return 0
	}
	return sign | uint8(code)
}

// magnitude rounds the float32 with bits a (no sign, no NaN) to a format of
// man mantissa bits and the given bias, as if its exponent had no upper end.
func magnitude(man, bias int, a uint32) uint32 {
	if int(a>>23)-127 < 1-bias {
		x := float64(math.Float32frombits(a))
		return uint32(math.RoundToEven(math.Ldexp(x, bias-1+man)))
	}
	shift := 23 - man
	a -= uint32(127-bias) << 23
	a += 1<<(shift-1) - 1 + a>>shift&1
	return a >> shift
}

// Round is how EncodeE8M0 chooses between two powers of two.
type Round uint8

// The rounding modes of ONNX Cast to float8e8m0.
const (
	Up      Round = iota // the power above
	Down                 // the power below
	Nearest              // the nearer one, ties up
)

func decodeE8M0(b uint8) float32 {
	if b == 0xff {
		return float32(math.NaN())
	}
	return float32(math.Ldexp(1, int(b)-127))
}

// EncodeE8M0 rounds the magnitude of v to a power of two 2^(code-127). NaN is
// 0xff. With saturate, zero and what lies below 2^-127 is 0 and what lies
// above 2^127 is 0xfe; without, both are NaN.
func EncodeE8M0(v float32, saturate bool, r Round) uint8 {
	a := float64(math.Abs(float64(v)))
	low, high := uint8(0xff), uint8(0xff)
	if saturate {
		low, high = 0, 0xfe
	}
	switch {
	case v != v:
		return 0xff
	case a == 0:
		return low
	case math.IsInf(a, 1):
		return high
	}
	frac, exp := math.Frexp(a) // a = frac * 2^exp, frac in [0.5, 1)
	code := exp - 1 + 127
	if (r == Up && frac > 0.5) || (r == Nearest && frac >= 0.75) {
		code++
	}
	switch {
	case code < 0:
		return low
	case code > 0xfe:
		return high
	}
	return uint8(code)
}
