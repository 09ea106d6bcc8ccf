package main

import "fmt"

// narrowARM64 writes what makes float32 of numbers of few bits.
func narrowARM64(a *asm) {
	for _, bits := range []int{2, 4, 8} {
		widenIntegersNEON(a, bits)
	}
	widenHalvesNEON(a, "Float16", (*asm).fcvtlHalves)
	widenHalvesNEON(a, "BFloat16", (*asm).shll)
}

// neonBytes is how many numbers are made floats at a time: a vector of bytes.
const neonBytes = 16

// widenIntegersNEON makes floats of sixteen integers at a time, each in a byte
// first.
func widenIntegersNEON(a *asm, bits int) {
	params, doc := widenDoc(bits, neonBytes)
	a.function(fmt.Sprintf("widen%dNEONF32", bits), params, doc)
	for i, name := range []string{"n", "block", "dst", "src", "scales", "zeros", "stepZero", "sign"} {
		a.op("MOVD", a.arg(name), fmt.Sprintf("R%d", i))
	}
	a.op("LSL", "$2", "R6")
	const q, scale, zero, sign, shifts, mask = 0, 16, 17, "V18", 19, 20
	a.op("VDUP", "R7", sign+".H8")
	if bits < 8 {
		a.op("MOVD", fmt.Sprintf("$0x%016x", shiftsOf(bits)), neonTemp)
		a.op("VDUP", neonTemp, fmt.Sprintf("V%d.D2", shifts))
		a.op("MOVD", imm(1<<bits-1), neonTemp)
		a.op("VDUP", neonTemp, fmt.Sprintf("V%d.B16", mask))
	}
	block, loop := a.label("block"), a.label("loop")
	a.at(block)
	a.op("VLD1R.P", "4(R4)", s4(scale, 1))
	a.op("VLD1R", "(R5)", s4(zero, 1))
	a.op("ADD", "R6", "R5")
	a.op("CMP", "R1", "R0")
	a.op("CSEL", "LT", "R0", "R1", "R8")
	a.op("SUB", "R8", "R0")
	a.at(loop)
	a.op(fmov[2*bits]+".P", fmt.Sprintf("%d(R3)", 2*bits), fmt.Sprintf("F%d", q))
	if bits < 8 { // each byte as often as there are numbers in it
		for b := bits; b < 8; b *= 2 {
			a.op("VZIP1", "V0.B16", "V0.B16", "V0.B16")
		}
		a.ushl(q, q, shifts)
		a.bits("VAND", fmt.Sprintf("V%d", mask), "V0", "V0")
	}
	a.op("VUXTL", "V0.B8", "V1.H8")
	a.op("VUXTL2", "V0.B16", "V2.H8")
	for h := 1; h <= 2; h++ {
		r := fmt.Sprintf("V%d", h)
		a.bits("VEOR", sign, r, r)
		a.op("VSUB", sign+".H8", r+".H8", r+".H8")
		a.sxtl(false, 2+2*h, h)
		a.sxtl(true, 3+2*h, h)
	}
	for v := 4; v < 8; v++ {
		a.scvtf(v, v)
		a.neon("SUB", false, v, v, zero)
		a.neon("MUL", false, v, v, scale)
	}
	a.op("VST1.P", s4(4, 4), "64(R2)")
	a.op("SUBS", imm(neonBytes), "R8")
	a.op("BNE", loop)
	a.op("CBNZ", "R0", block)
	a.ret()
}

// shiftsOf is by how much bytes are shifted to the left, of eight numbers that
// lie so many bits further up each, from the low bits of a byte on.
func shiftsOf(bits int) uint64 {
	var s uint64
	for i := range 8 {
		s |= uint64(uint8(-(i * bits % 8))) << (8 * i)
	}
	return s
}

// widenHalvesNEON makes floats of those of 16 bits, eight at a time.
func widenHalvesNEON(a *asm, name string, widen func(a *asm, upper bool, d, n int)) {
	beginWidenHalves(a, name, neonf32, 8)
	for i, name := range []string{"n", "dst", "src"} {
		a.op("MOVD", a.arg(name), fmt.Sprintf("R%d", i))
	}
	loop := a.label("loop")
	a.at(loop)
	a.op("FMOVQ.P", "16(R2)", "F0")
	widen(a, false, 1, 0)
	widen(a, true, 2, 0)
	a.op("VST1.P", s4(1, 2), "32(R1)")
	a.op("SUBS", "$8", "R0")
	a.op("BNE", loop)
	a.ret()
}
