// Package half converts between float32 and the narrow number formats of
// ONNX: float16, bfloat16, the float8 family, float4 and packed 4 and 2 bit
// integers. Narrowing rounds to the nearest value, ties to even, unless a
// function says otherwise.
package half

import "math"

// F16ToF32 is the exact value of IEEE binary16 bits. NaN payloads are kept.
func F16ToF32(h uint16) float32 {
	const expMask = 0x1f << 23
	a := uint32(h&0x7fff) << 13
	switch a & expMask {
	case expMask: // infinity or NaN: the exponent becomes all ones here too
		a += (255 - 31) << 23
	case 0: // subnormal: let the subtraction normalise it
		a = math.Float32bits(math.Float32frombits(a+113<<23) - math.Float32frombits(113<<23))
	default:
		a += (127 - 15) << 23
	}
	return math.Float32frombits(a | uint32(h&0x8000)<<16)
}

// F32ToF16 rounds f to IEEE binary16 bits; what is too large becomes infinite.
func F32ToF16(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b>>16) & 0x8000
	a := b & 0x7fffffff
	switch {
	case a > 0x7f800000: // NaN: quiet, with the top of its payload
		return sign | 0x7e00 | uint16(a>>13)&0x1ff
	case a >= 0x477ff000: // 65520 and above
		return sign | 0x7c00
	case a < 0x38800000: // below 2^-14: adding 0.5 rounds at 2^-24, the last bit of a subnormal
		return sign | uint16(math.Float32bits(math.Float32frombits(a)+0.5)-0x3f000000)
	}
	a -= (127 - 15) << 23
	a += 0xfff + a>>13&1
	return sign | uint16(a>>13)
}

// F64ToF16 rounds f to IEEE binary16 bits, once.
func F64ToF16(f float64) uint16 { return F32ToF16(OddF32(f)) }

// BF16ToF32 is the exact value of bfloat16 bits.
func BF16ToF32(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// F32ToBF16 rounds f to bfloat16 bits; what is too large becomes infinite.
func F32ToBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// F64ToBF16 rounds f to bfloat16 bits, once.
func F64ToBF16(f float64) uint16 { return F32ToBF16(OddF32(f)) }

// OddF32 rounds f to float32 so that a second rounding to a narrower format
// gives what one rounding of f would have given: inexact results are cut
// towards zero and get an odd last bit ("round to odd").
func OddF32(f float64) float32 {
	n := float32(f)
	if float64(n) == f || n != n {
		return n
	}
	b := math.Float32bits(n)
	if math.Abs(float64(n)) > math.Abs(f) {
		b--
	}
	return math.Float32frombits(b | 1)
}

// DecodeF16 sets dst[i] to the value of src[i]; len(dst) >= len(src).
func DecodeF16(dst []float32, src []uint16) {
	dst = dst[:len(src)]
	for i, h := range src {
		dst[i] = F16ToF32(h)
	}
}

// EncodeF16 sets dst[i] to src[i] rounded; len(dst) >= len(src).
func EncodeF16(dst []uint16, src []float32) {
	dst = dst[:len(src)]
	for i, f := range src {
		dst[i] = F32ToF16(f)
	}
}

// DecodeBF16 sets dst[i] to the value of src[i]; len(dst) >= len(src).
func DecodeBF16(dst []float32, src []uint16) {
	dst = dst[:len(src)]
	for i, h := range src {
		dst[i] = BF16ToF32(h)
	}
}

// EncodeBF16 sets dst[i] to src[i] rounded; len(dst) >= len(src).
func EncodeBF16(dst []uint16, src []float32) {
	dst = dst[:len(src)]
	for i, f := range src {
		dst[i] = F32ToBF16(f)
	}
}
