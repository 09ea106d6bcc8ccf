//go:build !noasm && (amd64 || arm64)

package kernel

// widenIntegers is a widening by assembly that makes lanes floats at a time,
// and by plain Go for what is left, or where blocks are of other sizes.
func widenIntegers(lanes, bits, sign int, plain widening,
	fast func(n, block int, dst *float32, src *byte, scales, zeros *float32, stepZero, sign int)) widening {
	return func(dst []float32, src []byte, block int, scales, zeros []float32) {
		n, last, rest := len(dst)/lanes*lanes, 0, 0 // the last block, and that of what is left
		switch {
		case n == 0 || block < len(dst) && block%lanes != 0:
			plain(dst, src, block, scales, zeros)
			return
		case block < len(dst):
			last, rest = (n-1)/block, n/block
		default:
			block = n
		}
		step := 0
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
