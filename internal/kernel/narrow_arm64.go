//go:build !noasm

package kernel

import "github.com/bonnx/bonnx/internal/cpu"

// platformWidenings are those written in assembly for this platform.
func platformWidenings(f cpu.Features) widenings {
	if !f.NEON {
		return widenings{}
	}
	return widenings{
		NarrowUint2:    widenIntegers(16, 2, 0, widenUint2, widen2NEONF32),
		NarrowUint4:    widenIntegers(16, 4, 0, widenUint4, widen4NEONF32),
		NarrowInt4:     widenIntegers(16, 4, 8, widenInt4, widen4NEONF32),
		NarrowUint8:    widenIntegers(16, 8, 0, widenUint8, widen8NEONF32),
		NarrowInt8:     widenIntegers(16, 8, 128, widenInt8, widen8NEONF32),
		NarrowFloat16:  widenHalves(8, widenFloat16, widenFloat16NEONF32),
		NarrowBFloat16: widenHalves(8, widenBFloat16, widenBFloat16NEONF32),
	}
}

// platformPanels: none.
func platformPanels(cpu.Features) panelWidenings { return panelWidenings{} }
