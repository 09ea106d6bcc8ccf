package main

import "fmt"

// packARM64 writes the moves that packing is made of, for float32.
func packARM64(a *asm) {
	for _, add := range []bool{false, true} {
		turnNEON(a, add)
		for vecs := 1; vecs <= neonVecs; vecs++ {
			linesNEON(a, vecs, add)
		}
	}
}

// loadRows loads a matrix that is read: where it begins, and bytes from row to
// row.
func loadRows(a *asm, name, ld, base, stride string) {
	a.op("MOVD", a.arg(name), base)
	a.op("MOVD", a.arg(ld), stride)
	a.op("LSL", "$2", stride)
}

// turnNEON transposes four rows, four columns at a time, and then the next four.
// The last columns are done twice where k is no multiple of four.
func turnNEON(a *asm, add bool) {
	const groups, left, dst, ldd, to, back = "R1", "R17", "R4", "R5", "R16", "R19"
	beginTurn(a, neonf32, "any number", add)
	a.op("MOVD", a.arg("groups"), groups)
	loadRows(a, "dst", "ldd", dst, ldd)
	loadRows(a, "src", "lds", "R2", "R3")
	rows := [][]string{{"R2", "R3", "R8", "R9", "R10", "R11"}} // a base, a stride, and four rows
	if add {
		loadRows(a, "add", "lda", "R6", "R7")
		rows = append(rows, []string{"R6", "R7", "R12", "R13", "R14", "R15"})
	}
	group, loop, done := a.label("group"), a.label("loop"), a.label("done")
	a.at(group)
	for _, m := range rows {
		a.op("MOVD", m[0], m[2])
		for i := range 3 {
			a.op("ADD", m[1], m[2+i], m[3+i])
		}
		a.op("ADD", m[1], m[5], m[0])
	}
	a.op("MOVD", dst, to)
	a.op("MOVD", a.arg("k"), left)
	a.op("SUB", "$4", left)
	a.at(loop)
	turnFourNEON(a, rows, to, ldd)
	a.op("SUBS", "$4", left)
	a.op("BGE", loop)
	a.op("ADDS", "$4", left)
	a.op("BEQ", done)
	a.op("SUB", "$4", left) // go back by 4 - k%4 columns
	for _, m := range rows {
		for _, row := range m[2:] {
			a.op("ADD", left+"<<2", row)
		}
	}
	a.op("MUL", left, ldd, back)
	a.op("ADD", back, to)
	a.op("MOVD", "ZR", left)
	a.op("B", loop)
	a.at(done)
	a.op("ADD", "$16", dst)
	a.op("SUBS", "$1", groups)
	a.op("BNE", group)
	a.ret()
}

// turnFourNEON moves four columns: V0 to V3 are rows, then lines of the result.
func turnFourNEON(a *asm, rows [][]string, to, ldd string) {
	for i, m := range rows {
		for r, row := range m[2:] {
			a.op("VLD1.P", "16("+row+")", s4(4*i+r, 1))
		}
	}
	if len(rows) > 1 {
		for r := range 4 {
			a.neon("ADD", false, r, r, 4+r)
		}
	}
	pairs := func(op, lanes string, m, n, d int) {
		a.op(op, fmt.Sprintf("V%d.%s", m, lanes), fmt.Sprintf("V%d.%s", n, lanes), fmt.Sprintf("V%d.%s", d, lanes))
	}
	pairs("VTRN1", "S4", 1, 0, 4) // 00 10 02 12
	pairs("VTRN2", "S4", 1, 0, 5) // 01 11 03 13
	pairs("VTRN1", "S4", 3, 2, 6) // 20 30 22 32
	pairs("VTRN2", "S4", 3, 2, 7) // 21 31 23 33
	pairs("VTRN1", "D2", 6, 4, 0)
	pairs("VTRN1", "D2", 7, 5, 1)
	pairs("VTRN2", "D2", 6, 4, 2)
	pairs("VTRN2", "D2", 7, 5, 3)
	for r := range 4 {
		a.op("VST1.P", s4(r, 1), fmt.Sprintf("(%s)(%s)", to, ldd))
	}
}

// linesNEON copies lines of whole vectors.
func linesNEON(a *asm, vecs int, add bool) {
	name, params, more := fmt.Sprintf("lines%dNEONF32", vecs), "lines int, src *float32, lds int, ", ""
	if add {
		name, more = fmt.Sprintf("linesAdd%dNEONF32", vecs), " + add[p*lda+c]"
		params += "add *float32, lda int, "
	}
	a.function(name, params+"dst *float32, ldd int", fmt.Sprintf(`copies %d elements of lines:

	for p < lines, c < %d: dst[p*ldd+c] = src[p*lds+c]%s`, 4*vecs, 4*vecs, more))
	a.op("MOVD", a.arg("lines"), "R0")
	loadRows(a, "src", "lds", "R1", "R2")
	loadRows(a, "dst", "ldd", "R3", "R4")
	if add {
		loadRows(a, "add", "lda", "R5", "R6")
	}
	loop := a.label("loop")
	a.at(loop)
	a.op("VLD1.P", "(R1)(R2)", s4(0, vecs))
	if add {
		a.op("VLD1.P", "(R5)(R6)", s4(4, vecs))
		for v := range vecs {
			a.neon("ADD", false, v, v, 4+v)
		}
	}
	a.op("VST1.P", s4(0, vecs), "(R3)(R4)")
	a.op("SUBS", "$1", "R0")
	a.op("BNE", loop)
	a.ret()
}
