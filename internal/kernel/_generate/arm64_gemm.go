package main

import "fmt"

// The register tile of NEON: 24 sums, three vectors of a row of B, two of A.
const (
	neonRows  = 8
	neonVecs  = 3
	neonB     = neonRows * neonVecs
	neonA     = neonB + neonVecs
	neonSpare = neonA + 2
)

func gemmARM64(a *asm) {
	for nv := 1; nv <= neonVecs; nv++ {
		for rows := 1; rows <= neonRows; rows++ {
			microNEON(a, rows, nv)
		}
	}
	t := tile{vecISA: neonf32, mr: neonRows, nv: neonVecs}
	t.table(a)
	axpyNEON(a)
}

// microNEON is the microkernel for some rows and vectors of the tile.
func microNEON(a *asm, rows, nv int) {
	a.function(fmt.Sprintf("microNEONF32_%dx%d", rows, nv),
		"k int, a, b, c *float32, ldc, cols int, alpha float32, acc bool, ahead int", "")
	for i, name := range []string{"k", "a", "b", "c", "ldc"} {
		a.op("MOVD", a.arg(name), fmt.Sprintf("R%d", i))
	}
	a.op("LSL", "$2", "R4")
	a.op("MOVD", a.arg("ahead"), "R8")
	a.op("ADD", "R8<<2", "R2", "R8")
	a.clearNEON(0, rows*neonVecs)
	loop, done := a.label("loop"), a.label("done")
	a.op("CBZ", "R0", done)
	a.at(loop)
	a.op("PRFM", "(R8)", "PLDL2KEEP")
	a.op("ADD", "$16", "R8") // a line for four steps
	a.op("VLD1", "(R2)", s4(neonB, nv))
	a.op("VLD1", "(R1)", s4(neonA, (rows+3)/4))
	a.op("ADD", imm(neonVecs*16), "R2")
	a.op("ADD", imm(neonRows*4), "R1")
	for i := range rows {
		for v := range nv {
			a.fmla(i*neonVecs+v, neonB+v, neonA+i/4, i%4)
		}
	}
	a.op("SUBS", "$1", "R0")
	a.op("BNE", loop)
	a.at(done)
	a.op("FMOVS", a.arg("alpha"), fmt.Sprintf("F%d", neonSpare))
	a.op("MOVBU", a.arg("acc"), "R5")
	for i := range rows {
		for v := range nv {
			a.fmulBy(i*neonVecs+v, i*neonVecs+v, neonSpare)
		}
	}
	a.op("MOVD", a.arg("cols"), "R6")
	a.op("ANDS", "$3", "R6")
	part, add, addPart := a.label("part"), a.label("add"), a.label("addPart")
	a.op("BNE", part)
	a.op("CBNZ", "R5", add)
	putNEON(a, rows, nv, false, false)
	a.at(add)
	putNEON(a, rows, nv, true, false)
	a.at(part)
	a.op("CBNZ", "R5", addPart)
	putNEON(a, rows, nv, false, true)
	a.at(addPart)
	putNEON(a, rows, nv, true, true)
}

// putNEON writes the tile, added to what is there or not, and returns. In part
// means that only R6 elements count in the last vector.
func putNEON(a *asm, rows, nv int, add, part bool) {
	whole := nv
	if part {
		whole--
	}
	for i := range rows {
		sums := i * neonVecs
		if whole > 0 {
			if add {
				a.op("VLD1", "(R3)", s4(neonB, whole))
				for v := range whole {
					a.neon("ADD", false, sums+v, sums+v, neonB+v)
				}
			}
			a.op("VST1", s4(sums, whole), "(R3)")
		}
		if part {
			a.op("ADD", imm(16*whole), "R3", "R7")
			if add {
				lanesNEON(a, func(lane string) { a.op("VLD1.P", "4(R7)", fmt.Sprintf("V%d.S%s", neonB, lane)) })
				a.neon("ADD", false, sums+whole, sums+whole, neonB)
				a.op("ADD", imm(16*whole), "R3", "R7")
			}
			lanesNEON(a, func(lane string) { a.op("VST1.P", fmt.Sprintf("V%d.S%s", sums+whole, lane), "4(R7)") })
		}
		a.op("ADD", "R4", "R3")
	}
	a.ret()
}

// lanesNEON does something with the first R6 lanes, one to three.
func lanesNEON(a *asm, f func(lane string)) {
	done := a.label("lanes")
	f("[0]")
	for lane := 1; lane < 3; lane++ {
		a.op("CMP", imm(lane), "R6")
		a.op("BLE", done)
		f(fmt.Sprintf("[%d]", lane))
	}
	a.at(done)
}

// axpyNEON goes down blocks of four vectors of t, then single vectors, then
// single elements.
func axpyNEON(a *asm) {
	a.function("axpyNEONF32", "k int, a *float32, inca int, b *float32, ldb int, t *float32, n int",
		"adds k rows of b to t, one after the other:\n\n\tfor p < k in order, j < n: t[j] += a[p*inca]*b[p*ldb+j]")
	for i, name := range []string{"inca", "b", "ldb", "t", "n"} {
		a.op("MOVD", a.arg(name), fmt.Sprintf("R%d", i))
	}
	a.op("LSL", "$2", "R0")
	a.op("LSL", "$2", "R2")
	labels := []string{a.label("blocks"), a.label("single"), a.label("elements"), a.label("done")}
	for i, elems := range []int{16, 4, 1} {
		a.at(labels[i])
		a.op("CMP", imm(elems), "R4")
		a.op("BLT", labels[i+1])
		a.op("MOVD", a.arg("k"), "R5")
		a.op("MOVD", a.arg("a"), "R6")
		a.op("MOVD", "R1", "R7")
		load := func(from string, reg int) {
			if elems == 1 {
				a.op("FMOVS", from, fmt.Sprintf("F%d", reg))
			} else {
				a.op("VLD1", from, s4(reg, elems/4))
			}
		}
		load("(R3)", 0)
		loop := a.label("down")
		a.at(loop)
		a.op("FMOVS", "(R6)", "F8")
		load("(R7)", 4)
		if elems == 1 {
			a.op("FMADDS", "F8", "F0", "F4", "F0")
		}
		for v := range elems / 4 {
			a.fmla(v, 4+v, 8, 0)
		}
		a.op("ADD", "R0", "R6")
		a.op("ADD", "R2", "R7")
		a.op("SUBS", "$1", "R5")
		a.op("BNE", loop)
		if elems == 1 {
			a.op("FMOVS", "F0", "(R3)")
		} else {
			a.op("VST1", s4(0, elems/4), "(R3)")
		}
		a.op("ADD", imm(4*elems), "R1")
		a.op("ADD", imm(4*elems), "R3")
		a.op("SUB", imm(elems), "R4")
		a.op("B", labels[i])
	}
	a.at(labels[3])
	a.ret()
}
