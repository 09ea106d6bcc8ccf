package main

import (
	"fmt"
	"math"
)

// narrowAMD64 writes what makes float32 of numbers of few bits.
func narrowAMD64(a *asm) {
	widenByTable(a)
	widenIntegers(a, avx2f32, 4)
	for _, v := range []vecISA{avx512f32, avx2f32} {
		widenIntegers(a, v, 2)
		widenIntegers(a, v, 8)
		widenHalves(a, v, "BFloat16", func(to string) {
			a.op("VPMOVZXWD", "(SI)", to)
			a.op("VPSLLD", "$16", to, to)
		})
	}
	widenHalves(a, avx512f32, "Float16", func(to string) { a.op("VCVTPH2PS", "(SI)", to) })
	widenHalves(a, avx2f32, "Float16", func(to string) { float16AVX2(a, to) })
}

// float16AVX2 makes float32 of the eight float16 that SI points at. AVX2 does not
// imply the instruction for that, so exponent and fraction are moved to their
// places and the exponent is scaled: of a subnormal number, too. That of
// infinities and NaNs is then set.
func float16AVX2(a *asm, to string) {
	all := func(word uint32) string {
		words := make([]uint32, avx2f32.lanes())
		for i := range words {
			words[i] = word
		}
		return a.constant(words...) + "(SB)"
	}
	const sign, bits, special = "Y1", "Y2", "Y3"
	a.op("VPMOVZXWD", "(SI)", to)
	a.op("VPSLLD", "$16", to, sign)
	a.op("VPAND", all(1<<31), sign, sign)
	a.op("VPSLLD", "$17", to, bits)
	a.op("VPSRLD", "$4", bits, bits)
	a.op("VPCMPGTD", all(31<<23-1), bits, special)
	a.op("VPAND", all(255<<23), special, special)
	a.op("VMULPS", all(math.Float32bits(1<<(127-15))), bits, to)
	a.op("VPOR", special, to, to)
	a.op("VPOR", sign, to, to)
}

// widenDoc is the arguments and the comment of functions that make floats of
// integers.
func widenDoc(bits, lanes int) (params, doc string) {
	return "n, block int, dst *float32, src *byte, scales, zeros *float32, stepZero, sign int",
		fmt.Sprintf(`makes floats of n integers of %d bits, for n and block multiples of %d. sign is 0, or
where they are signed the bit of their sign; stepZero is 1, or 0 for one zero:

	for i < n: dst[i] = (((q[i] ^ sign) - sign) - zeros[i/block*stepZero]) * scales[i/block]`, bits, lanes)
}

// inBlocks is the two loops of such a function: begin has the scale of a block
// in scale and its zero in zero, each makes a vector of floats of what SI points
// at in q.
func inBlocks(a *asm, v vecISA, bits int, scale, zero, q string, begin, each func()) {
	block, loop := a.label("block"), a.label("loop")
	a.at(block)
	a.op("VBROADCASTSS", "(R8)", scale)
	a.op("VBROADCASTSS", "(R9)", zero)
	begin()
	a.op("ADDQ", "$4", "R8")
	a.op("ADDQ", "R11", "R9")
	a.op("MOVQ", "R10", "CX")
	a.op("CMPQ", "BX", "CX")
	a.op("CMOVQLT", "BX", "CX")
	a.op("SUBQ", "CX", "BX")
	a.at(loop)
	each()
	v.store(a, q, "", "(DI)")
	a.op("ADDQ", fmt.Sprintf("$%d", v.lanes()*bits/8), "SI")
	a.op("ADDQ", fmt.Sprintf("$%d", v.bytes), "DI")
	a.op("SUBQ", fmt.Sprintf("$%d", v.lanes()), "CX")
	a.op("JNZ", loop)
	a.op("TESTQ", "BX", "BX")
	a.op("JNZ", block)
	a.op("VZEROUPPER")
	a.ret()
}

// widenArgs loads the arguments.
func widenArgs(a *asm) {
	for _, p := range [][2]string{{"n", "BX"}, {"block", "R10"}, {"dst", "DI"}, {"src", "SI"}, {"scales", "R8"}, {"zeros", "R9"}, {"stepZero", "R11"}} {
		a.op("MOVQ", a.arg(p[0]), p[1])
	}
	a.op("SHLQ", "$2", "R11")
}

// widenByTable makes floats of 4 bits with a table of the sixteen that a block
// can have.
func widenByTable(a *asm) {
	v := avx512f32
	params, doc := widenDoc(4, v.lanes())
	a.function("widen4"+v.tag, params, doc)
	widenArgs(a)
	q, more, all, table, zero, scale := v.r(0), v.r(1), v.r(2), v.r(3), v.r(4), v.r(5)
	a.op("VPBROADCASTD", a.arg("sign"), more)
	nibbles(a, more, all)
	inBlocks(a, v, 4, scale, zero, q, func() {
		a.op("VSUBPS", zero, all, table)
		a.op("VMULPS", scale, table, table)
	}, func() { nibblesByTable(a, "(SI)", table, q, more) })
}

// nibbles makes floats of the sixteen numbers of 4 bits.
func nibbles(a *asm, sign, all string) {
	numbers := make([]uint32, 16)
	for i := range numbers {
		numbers[i] = uint32(i)
	}
	a.op("VMOVUPS", a.constant(numbers...)+"(SB)", all)
	a.op("VPXORD", sign, all, all)
	a.op("VPSUBD", sign, all, all)
	a.op("VCVTDQ2PS", all, all)
}

// nibblesByTable looks up the numbers of 4 bits of eight bytes: a byte in eight,
// its upper half moved to the upper four.
func nibblesByTable(a *asm, from, table, q, more string) {
	a.op("VPMOVZXBQ", from, q)
	a.op("VPSLLQ", "$28", q, more)
	a.op("VPORD", more, q, q)
	a.op("VPERMPS", table, q, q) // looks at four bits
}

// bitwise is the name of a logical instruction on vectors.
func (v vecISA) bitwise(op string) string {
	if v.masked {
		return op + "D"
	}
	return op
}

// widenIntegers makes floats of unsigned or signed integers of some bits.
func widenIntegers(a *asm, v vecISA, bits int) {
	params, doc := widenDoc(bits, v.lanes())
	a.function(fmt.Sprintf("widen%d%s", bits, v.tag), params, doc)
	widenArgs(a)
	q, more, mask, sign, zero, scale, shifts := v.r(0), v.r(1), v.r(2), v.r(3), v.r(4), v.r(5), v.r(6)
	a.op("VPBROADCASTD", a.arg("sign"), sign)
	if bits < 8 {
		a.op("VPBROADCASTD", a.constant(1<<bits-1)+"(SB)", mask)
	}
	if bits == 2 {
		a.op("VMOVUPS", a.constant(twoBits(v.lanes())...)+"(SB)", shifts)
	}
	inBlocks(a, v, bits, scale, zero, q, func() {}, func() {
		switch bits {
		case 2: // all numbers in every lane, as many as there are lanes
			a.op(map[int]string{8: "VPBROADCASTW", 16: "VPBROADCASTD"}[v.lanes()], "(SI)", q)
			a.op("VPSRLVD", shifts, q, q)
		case 4: // as above
			a.op("VPMOVZXBQ", "(SI)", q)
			a.op("VPSLLQ", "$28", q, more)
			a.op(v.bitwise("VPOR"), more, q, q)
		default:
			a.op("VPMOVZXBD", "(SI)", q)
		}
		if bits < 8 {
			a.op(v.bitwise("VPAND"), mask, q, q)
		}
		a.op(v.bitwise("VPXOR"), sign, q, q)
		a.op("VPSUBD", sign, q, q)
		a.op("VCVTDQ2PS", q, q)
		a.op("VSUBPS", zero, q, q)
		a.op("VMULPS", scale, q, q)
	})
}

// twoBits is where numbers of 2 bits lie in a word.
func twoBits(n int) []uint32 {
	by := make([]uint32, n)
	for i := range by {
		by[i] = uint32(2 * i)
	}
	return by
}

// beginWidenHalves begins a function that makes so many floats at a time of
// those of 16 bits.
func beginWidenHalves(a *asm, name string, v vecISA, lanes int) {
	a.function("widen"+name+v.tag, "n int, dst *float32, src *byte", fmt.Sprintf(`makes float32 of n numbers, for n a multiple of %d:

	for i < n: dst[i] = src[i]`, lanes))
}

// widenHalves makes floats of those of 16 bits.
func widenHalves(a *asm, v vecISA, name string, load func(to string)) {
	beginWidenHalves(a, name, v, v.lanes())
	for _, p := range [][2]string{{"n", "BX"}, {"dst", "DI"}, {"src", "SI"}} {
		a.op("MOVQ", a.arg(p[0]), p[1])
	}
	loop := a.label("loop")
	a.at(loop)
	load(v.r(0))
	v.store(a, v.r(0), "", "(DI)")
	a.op("ADDQ", fmt.Sprintf("$%d", v.bytes/2), "SI")
	a.op("ADDQ", fmt.Sprintf("$%d", v.bytes), "DI")
	a.op("SUBQ", fmt.Sprintf("$%d", v.lanes()), "BX")
	a.op("JNZ", loop)
	a.op("VZEROUPPER")
	a.ret()
}
