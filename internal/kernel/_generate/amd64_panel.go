package main

import (
	"fmt"
	"strings"
)

// panelAMD64 writes what makes panels of 32 columns of numbers of few bits, in
// float32. There are panels as wide with AVX-512 only.
func panelAMD64(a *asm) {
	for _, bits := range []int{2, 4, 8} {
		acrossIntegers(a, bits)
		alongIntegers(a, bits, false)
		alongIntegers(a, bits, true)
	}
	for _, h := range []half{
		{"Float16", func(a *asm, words string, second bool, to string) {
			if second {
				a.op("VPSRLD", "$16", words, words)
			}
			a.op("VPMOVDW", words, "Y"+to[1:])
			a.op("VCVTPH2PS", "Y"+to[1:], to)
		}, func(a *asm, from, to string) { a.op("VCVTPH2PS", from, to) }},
		{"BFloat16", func(a *asm, words string, second bool, to string) {
			if second {
				a.op("VPSRLD", "$16", words, words)
			}
			a.op("VPSLLD", "$16", words, to)
		}, func(a *asm, from, to string) {
			a.op("VPMOVZXWD", from, to)
			a.op("VPSLLD", "$16", to, to)
		}},
	} {
		acrossHalves(a, h)
		alongHalves(a, h)
	}
}

// A half is a float of 16 bits: part makes floats of one of the two in each word,
// which it may change, load of sixteen in memory.
type half struct {
	name string
	part func(a *asm, words string, second bool, to string)
	load func(a *asm, from, to string)
}

const (
	panelLine = 128 // bytes of a line of a panel
	acrossDoc = "makes columns of a panel of sixteen rows stride bytes apart, for %s of %d"
	alongDoc  = "makes lines of a panel of k rows stride bytes apart"
	signDoc   = ".\nsign is 0, or for signed integers the bit of their sign"
	// panelParams are those of all functions.
	panelParams = "k, block int, dst *float32, src *byte, stride int, scales, zeros *float32, stepScale, stepZero, sign int"
)

// acrossLoop is a function that goes along sixteen rows, 16 bytes of each at a
// time: each is then called with registers that hold a word of each row, the
// next 4 bytes. Lines of the panel are from DI on. begin is what is done before a
// block begins, where there are blocks. Meanwhile the sixteen rows behind are
// fetched, four in a turn.
func acrossLoop(a *asm, perTurn int, begin func(), each func(words []string)) {
	a.op("MOVQ", a.arg("src"), "SI")
	a.op("MOVQ", a.arg("stride"), "R11")
	a.op("LEAQ", "(R11)(R11*2)", "R12")
	rows := []band{{"SI", "R11", "R12"}}
	for i, base := range []string{"R8", "R9", "R10", "R13"} {
		a.op("LEAQ", fmt.Sprintf("(%s)(R11*4)", rows[i].base), base)
		rows = append(rows, band{base, "R11", "R12"})
	}
	behind, rows := rows[4], rows[:4]
	a.op("MOVQ", a.arg("dst"), "DI")
	a.op("MOVQ", a.arg("k"), "BX")
	block, loop, fetched := a.label("block"), a.label("loop"), a.label("fetched")
	if begin != nil {
		a.op("MOVQ", a.arg("scales"), "AX")
		a.op("MOVQ", a.arg("zeros"), "DX")
		a.at(block)
		begin()
		a.op("MOVQ", a.arg("block"), "CX")
		a.op("CMPQ", "BX", "CX")
		a.op("CMOVQLT", "BX", "CX")
		a.op("SUBQ", "CX", "BX")
	} else {
		a.op("MOVQ", "BX", "CX")
		a.op("XORL", "BX", "BX")
	}
	a.at(loop)
	words := turnWords(a, rows)
	for i := range 4 {
		a.op("PREFETCHT0", behind.row(i))
	}
	a.op("LEAQ", "(R13)(R11*4)", "R13")
	a.op("LEAQ", "(BX)(CX*1)", "R15")
	a.op("TESTQ", fmt.Sprintf("$%d", 3*perTurn), "R15")
	a.op("JNZ", fetched)
	a.op("SHLQ", "$4", "R11") // the next line of the first four
	a.op("SUBQ", "R11", "R13")
	a.op("SHRQ", "$4", "R11")
	a.op("ADDQ", "$64", "R13")
	a.at(fetched)
	each(words)
	for _, b := range rows {
		a.op("ADDQ", "$16", b.base)
	}
	a.op("ADDQ", fmt.Sprintf("$%d", perTurn*panelLine), "DI")
	a.op("SUBQ", fmt.Sprintf("$%d", perTurn), "CX")
	a.op("JNZ", loop)
	if begin != nil {
		a.op("TESTQ", "BX", "BX")
		a.op("JNZ", block)
	}
	a.op("VZEROUPPER")
	a.ret()
}

// turnWords loads 16 bytes of each of sixteen rows and gives the first words of
// all, the second ones, and so on.
func turnWords(a *asm, rows []band) []string {
	for i := range 4 {
		a.op("VMOVUPS", rows[0].row(i), fmt.Sprintf("X%d", i))
		a.op("VINSERTF32X4", "$1", rows[1].row(i), fmt.Sprintf("Y%d", i), fmt.Sprintf("Y%d", i))
		for g := 2; g < 4; g++ {
			a.op("VINSERTF32X4", fmt.Sprintf("$%d", g), rows[g].row(i), fmt.Sprintf("Z%d", i), fmt.Sprintf("Z%d", i))
		}
	}
	unpackFour(a, "Z")
	return []string{"Z0", "Z1", "Z2", "Z3"}
}

// acrossIntegers makes floats of a word's integers by giving them the exponent of
// 2^23, which is then subtracted.
func acrossIntegers(a *asm, bits int) {
	perWord := 32 / bits
	a.function(fmt.Sprintf("across%dAVX512F32", bits), panelParams, fmt.Sprintf(acrossDoc+signDoc+`:

	for p < k, c < 16: dst[p*32+c] = (((q[c][p] ^ sign) - sign) - zeros[p/block*stepZero+c]) * scales[p/block*stepScale+c]`,
		"k and block multiples", 4*perWord))
	mask, magic, all, zero, scale, signs := "Z8", "Z9", "Z10", "Z11", "Z12", "Z13"
	a.op("VPBROADCASTD", a.constant(1<<bits-1)+"(SB)", mask)
	a.op("VPBROADCASTD", a.constant(0x4b000000)+"(SB)", magic)
	a.op("VPBROADCASTD", a.arg("sign"), signs)
	a.op("VPORD", signs, magic, all) // 2^23 + sign
	for shift := bits; shift < 32; shift *= 2 {
		a.op("VPSLLD", fmt.Sprintf("$%d", shift), signs, "Z0")
		a.op("VPORD", "Z0", signs, signs)
	}
	acrossLoop(a, 4*perWord, func() {
		a.op("VMOVUPS", "(AX)", scale)
		a.op("VMOVUPS", "(DX)", zero)
		for _, s := range [][2]string{{"stepScale", "AX"}, {"stepZero", "DX"}} {
			a.op("MOVQ", a.arg(s[0]), "CX")
			a.op("LEAQ", fmt.Sprintf("(%s)(CX*4)", s[1]), s[1])
		}
	}, func(words []string) {
		for i, w := range words {
			a.op("VPXORD", signs, w, w)
			for t := range perWord {
				q := fmt.Sprintf("Z%d", 16+t%16)
				a.op("VPSRLD", fmt.Sprintf("$%d", t*bits), w, q)
				a.op("VPTERNLOGD", "$0xEA", magic, mask, q) // q & mask | magic
				a.op("VSUBPS", all, q, q)
				a.op("VSUBPS", zero, q, q)
				a.op("VMULPS", scale, q, q)
				a.op("VMOVUPS", q, mem((i*perWord+t)*panelLine, "DI"))
			}
		}
	})
}

func acrossHalves(a *asm, h half) {
	a.function("across"+h.name+"AVX512F32", panelParams, fmt.Sprintf(acrossDoc+`:

	for p < k, c < 16: dst[p*32+c] = q[c][p]`, "k a multiple", 8))
	acrossLoop(a, 8, nil, func(words []string) {
		for i, w := range words {
			for t := range 2 {
				q := fmt.Sprintf("Z%d", 16+2*i+t)
				h.part(a, w, t == 1, q)
				a.op("VMOVUPS", q, mem((2*i+t)*panelLine, "DI"))
			}
		}
	})
}

// alongLoop is a function that makes a line of 32 of each row. each makes floats
// of the numbers at SI. A row some way on is fetched.
func alongLoop(a *asm, scaled bool, each func()) {
	params := [][2]string{{"k", "BX"}, {"dst", "DI"}, {"src", "SI"}, {"stride", "R11"}}
	if scaled {
		params = append(params, [][2]string{{"scales", "AX"}, {"zeros", "DX"}, {"stepScale", "R8"}, {"stepZero", "R9"}}...)
	}
	for _, p := range params {
		a.op("MOVQ", a.arg(p[0]), p[1])
	}
	loop := a.label("loop")
	a.at(loop)
	a.op("PREFETCHT0", "(SI)(R11*8)")
	each()
	a.op("ADDQ", "R11", "SI")
	a.op("ADDQ", fmt.Sprintf("$%d", panelLine), "DI")
	if scaled {
		a.op("LEAQ", "(AX)(R8*4)", "AX")
		a.op("LEAQ", "(DX)(R9*4)", "DX")
	}
	a.op("DECQ", "BX")
	a.op("JNZ", loop)
	a.op("VZEROUPPER")
	a.ret()
}

// alongIntegers has a scale for each line, or for each column.
func alongIntegers(a *asm, bits int, columns bool) {
	name, of, byTable := "along", "[p*%s]", bits == 4 && !columns
	if columns {
		name, of = "columns", "[c]"
	}
	at := func(array, step string) string { return array + strings.ReplaceAll(of, "%s", step) }
	a.function(fmt.Sprintf("%s%dAVX512F32", name, bits), panelParams, fmt.Sprintf(alongDoc+signDoc+`:

	for p < k, c < 32: dst[p*32+c] = (((q[p][c] ^ sign) - sign) - %s) * %s`, at("zeros", "stepZero"), at("scales", "stepScale")))
	sign, all, table, shifts, mask := "Z8", "Z9", "Z10", "Z11", "Z12"
	zeros, scales := []string{"Z13", "Z13"}, []string{"Z14", "Z14"} // of both vectors
	a.op("VPBROADCASTD", a.arg("sign"), sign)
	if bits < 8 {
		a.op("VPBROADCASTD", a.constant(1<<bits-1)+"(SB)", mask)
	}
	switch {
	case bits == 2:
		a.op("VMOVUPS", a.constant(twoBits(16)...)+"(SB)", shifts)
	case byTable:
		nibbles(a, sign, all)
	}
	if columns {
		zeros[1], scales[1] = "Z30", "Z31"
		a.op("MOVQ", a.arg("zeros"), "DX")
		a.op("MOVQ", a.arg("scales"), "AX")
		for i := range 2 {
			a.op("VMOVUPS", mem(64*i, "DX"), zeros[i])
			a.op("VMOVUPS", mem(64*i, "AX"), scales[i])
		}
	}
	alongLoop(a, !columns, func() {
		if !columns {
			a.op("VBROADCASTSS", "(DX)", zeros[0])
			a.op("VBROADCASTSS", "(AX)", scales[0])
		}
		if byTable {
			a.op("VSUBPS", zeros[0], all, table)
			a.op("VMULPS", scales[0], table, table)
		}
		for i := range 2 {
			q, more := fmt.Sprintf("Z%d", 16+2*i), fmt.Sprintf("Z%d", 17+2*i)
			from := mem(i*2*bits, "SI")
			if byTable {
				nibblesByTable(a, from, table, q, more)
			} else {
				integersWide(a, bits, from, q, more, shifts, mask)
				a.op("VPXORD", sign, q, q)
				a.op("VPSUBD", sign, q, q)
				a.op("VCVTDQ2PS", q, q)
				a.op("VSUBPS", zeros[i], q, q)
				a.op("VMULPS", scales[i], q, q)
			}
			a.op("VMOVUPS", q, mem(i*64, "DI"))
		}
	})
}

// integersWide gives each of sixteen integers a lane.
func integersWide(a *asm, bits int, from, q, more, shifts, mask string) {
	switch bits {
	case 2: // all of them in every lane
		a.op("VPBROADCASTD", from, q)
		a.op("VPSRLVD", shifts, q, q)
		a.op("VPANDD", mask, q, q)
	case 4:
		a.op("VPMOVZXBQ", from, q)
		a.op("VPSLLQ", "$28", q, more)
		a.op("VPORD", more, q, q)
		a.op("VPANDD", mask, q, q)
	default:
		a.op("VPMOVZXBD", from, q)
	}
}

func alongHalves(a *asm, h half) {
	a.function("along"+h.name+"AVX512F32", panelParams, alongDoc+":\n\n\tfor p < k, c < 32: dst[p*32+c] = q[p][c]")
	alongLoop(a, false, func() {
		for i := range 2 {
			q := fmt.Sprintf("Z%d", 16+i)
			h.load(a, mem(i*32, "SI"), q)
			a.op("VMOVUPS", q, mem(i*64, "DI"))
		}
	})
}
