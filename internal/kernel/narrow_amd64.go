//go:build !noasm

package kernel

import "github.com/bonnx/bonnx/internal/cpu"

// platformWidenings are those written in assembly for this platform.
func platformWidenings(f cpu.Features) widenings {
	var ws widenings
	switch {
	case f.AVX512:
		ws[NarrowUint4] = widenIntegers(16, 4, 0, widenUint4, widen4AVX512F32)
		ws[NarrowInt4] = widenIntegers(16, 4, 8, widenInt4, widen4AVX512F32)
		ws[NarrowUint8] = widenIntegers(16, 8, 0, widenUint8, widen8AVX512F32)
		ws[NarrowInt8] = widenIntegers(16, 8, 128, widenInt8, widen8AVX512F32)
		ws[NarrowFloat16] = widenHalves(16, widenFloat16, widenFloat16AVX512F32)
		ws[NarrowBFloat16] = widenHalves(16, widenBFloat16, widenBFloat16AVX512F32)
	case f.AVX2:
		ws[NarrowUint4] = widenIntegers(8, 4, 0, widenUint4, widen4AVX2F32)
		ws[NarrowInt4] = widenIntegers(8, 4, 8, widenInt4, widen4AVX2F32)
		ws[NarrowUint8] = widenIntegers(8, 8, 0, widenUint8, widen8AVX2F32)
		ws[NarrowInt8] = widenIntegers(8, 8, 128, widenInt8, widen8AVX2F32)
		ws[NarrowBFloat16] = widenHalves(8, widenBFloat16, widenBFloat16AVX2F32)
	}
	return ws
}

// widenIntegers is a widening by assembly that makes lanes floats at a time,
// and by plain Go for what is left, or where blocks are of other sizes.
func widenIntegers(lanes, bits, sign int, plain widening,
	fast func(n, block int, dst *float32, src *byte, scales, zeros *float32, stepZero, sign int)) widening {
	return func(dst []float32, src []byte, block int, scales, zeros []float32) {
		n, rest := len(dst)/lanes*lanes, 0 // rest is the block of what is left
		switch {
		case n == 0 || block < len(dst) && block%lanes != 0:
			plain(dst, src, block, scales, zeros)
			return
		case block < len(dst):
			rest = n / block
		default:
			block = n
		}
		last, step := (n-1)/block, 0
		if len(zeros) > 1 {
			step = 1
		}
		_, _, _ = src[n*bits/8-1], scales[last], zeros[last*step]
		fast(n, block, &dst[0], &src[0], &scales[0], &zeros[0], step, sign)
		if n < len(dst) {
			plain(dst[n:], src[n*bits/8:], block, scales[rest:], zeros[rest*step:])
		}
	}
}

func widenHalves(lanes int, plain widening, fast func(n int, dst *float32, src *byte)) widening {
	return func(dst []float32, src []byte, block int, scales, zeros []float32) {
		n := len(dst) / lanes * lanes
		if n > 0 {
			_ = src[2*n-1]
			fast(n, &dst[0], &src[0])
		}
		plain(dst[n:], src[2*n:], block, scales, zeros)
	}
}
