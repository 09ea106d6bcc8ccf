//go:build !noasm

package kernel

import "github.com/bonnx/bonnx/internal/cpu"

// platformWidenings are those written in assembly for this platform.
func platformWidenings(f cpu.Features) widenings {
	var ws widenings
	switch {
	case f.AVX512:
		ws[NarrowUint2] = widenIntegers(16, 2, 0, widenUint2, widen2AVX512F32)
		ws[NarrowUint4] = widenIntegers(16, 4, 0, widenUint4, widen4AVX512F32)
		ws[NarrowInt4] = widenIntegers(16, 4, 8, widenInt4, widen4AVX512F32)
		ws[NarrowUint8] = widenIntegers(16, 8, 0, widenUint8, widen8AVX512F32)
		ws[NarrowInt8] = widenIntegers(16, 8, 128, widenInt8, widen8AVX512F32)
		ws[NarrowFloat16] = widenHalves(16, widenFloat16, widenFloat16AVX512F32)
		ws[NarrowBFloat16] = widenHalves(16, widenBFloat16, widenBFloat16AVX512F32)
	case f.AVX2:
		ws[NarrowUint2] = widenIntegers(8, 2, 0, widenUint2, widen2AVX2F32)
		ws[NarrowUint4] = widenIntegers(8, 4, 0, widenUint4, widen4AVX2F32)
		ws[NarrowInt4] = widenIntegers(8, 4, 8, widenInt4, widen4AVX2F32)
		ws[NarrowUint8] = widenIntegers(8, 8, 0, widenUint8, widen8AVX2F32)
		ws[NarrowInt8] = widenIntegers(8, 8, 128, widenInt8, widen8AVX2F32)
		ws[NarrowFloat16] = widenHalves(8, widenFloat16, widenFloat16AVX2F32)
		ws[NarrowBFloat16] = widenHalves(8, widenBFloat16, widenBFloat16AVX2F32)
	}
	return ws
}

// platformPanels are those written in assembly for this platform.
func platformPanels(f cpu.Features) panelWidenings {
	var ps panelWidenings
	if f.AVX512 {
		ps[NarrowUint2] = panelWidening{64, true, 0, across2AVX512F32, along2AVX512F32, columns2AVX512F32}
		ps[NarrowUint4] = panelWidening{32, true, 0, across4AVX512F32, along4AVX512F32, columns4AVX512F32}
		ps[NarrowInt4] = panelWidening{32, true, 8, across4AVX512F32, along4AVX512F32, columns4AVX512F32}
		ps[NarrowUint8] = panelWidening{16, true, 0, across8AVX512F32, along8AVX512F32, columns8AVX512F32}
		ps[NarrowInt8] = panelWidening{16, true, 128, across8AVX512F32, along8AVX512F32, columns8AVX512F32}
		ps[NarrowFloat16] = panelWidening{8, false, 0, acrossFloat16AVX512F32, alongFloat16AVX512F32, nil}
		ps[NarrowBFloat16] = panelWidening{8, false, 0, acrossBFloat16AVX512F32, alongBFloat16AVX512F32, nil}
	}
	return ps
}
