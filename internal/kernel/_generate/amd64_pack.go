package main

import "fmt"

// packAMD64 writes the moves that packing is made of, for float32.
func packAMD64(a *asm) {
	turn(a, avx512f32, 4, false)
	turn(a, avx2f32, 2, false)
	turn(a, avx2f32, 2, true)
	for _, add := range []bool{false, true} {
		turnSixteen(a, add)
		for vecs := 1; vecs <= 3; vecs++ {
			if vecs < 3 {
				lines(a, avx512f32, vecs, add)
			}
			lines(a, avx2f32, vecs, add)
		}
	}
}

// A band is four rows of a matrix that lie ld bytes apart from base on.
type band struct{ base, ld, ld3 string }

func (b band) row(i int) string {
	switch i {
	case 0:
		return "(" + b.base + ")"
	case 3:
		return "(" + b.base + ")(" + b.ld3 + "*1)"
	}
	return fmt.Sprintf("(%s)(%s*%d)", b.base, b.ld, i)
}

// bands are the bands of a matrix, four rows apart; those from groups (in a
// register) on repeat the first, so that nothing beyond is read.
func bands(a *asm, name, ld string, bases []string, ldReg, ld3Reg string) []band {
	a.op("MOVQ", a.arg(name), bases[0])
	a.op("MOVQ", a.arg(ld), ldReg)
	a.op("SHLQ", "$2", ldReg)
	a.op("LEAQ", fmt.Sprintf("(%s)(%s*2)", ldReg, ldReg), ld3Reg)
	out := []band{{bases[0], ldReg, ld3Reg}}
	for i, base := range bases[1:] {
		a.op("LEAQ", fmt.Sprintf("(%s)(%s*4)", bases[i], ldReg), base)
		out = append(out, band{base, ldReg, ld3Reg})
	}
	for i, base := range bases[1:] {
		a.op("CMPQ", a.arg("groups"), fmt.Sprintf("$%d", i+1))
		a.op("CMOVQLE", bases[0], base)
	}
	return out
}

// beginTurn begins a function that transposes.
func beginTurn(a *asm, v vecISA, groups string, add bool) {
	name, params, more := "turn"+v.tag, "k, groups int, src *float32, lds int, ", ""
	if add {
		name, more = "turnAdd"+v.tag, " + add[c*lda+p]"
		params += "add *float32, lda int, "
	}
	a.function(name, params+"dst *float32, ldd int", fmt.Sprintf(`transposes rows, four a group, of which there are %s, for k >= 4:

	for c < 4*groups, p < k: dst[p*ldd+c] = src[c*lds+p]%s`, groups, more))
}

// turn transposes up to four rows a lane, four columns at a time. The last
// columns are done twice where k is no multiple of four.
func turn(a *asm, v vecISA, groups int, add bool) {
	beginTurn(a, v, fmt.Sprintf("at most %d", groups), add)
	src := bands(a, "src", "lds", []string{"SI", "R8", "R9", "R10"}[:groups], "R11", "R12")
	var plus []band
	if add {
		plus = bands(a, "add", "lda", []string{"AX", "DX"}[:groups], "R9", "R10")
	}
	a.op("MOVQ", a.arg("dst"), "DI")
	a.op("MOVQ", a.arg("ldd"), "R13")
	a.op("SHLQ", "$2", "R13")
	if v.masked {
		a.op("MOVQ", a.arg("groups"), "CX")
		a.op("SHLQ", "$2", "CX")
		a.op("MOVL", "$1", "BX")
		a.op("SHLL", "CX", "BX")
		a.op("DECL", "BX")
		a.op("KMOVW", "BX", "K1")
	}
	a.op("MOVQ", a.arg("k"), "BX")
	loop, tail, done := a.label("loop"), a.label("tail"), a.label("done")
	a.at(loop)
	a.op("SUBQ", "$4", "BX")
	a.op("JLT", tail)
	turnFour(a, v, src, plus)
	for _, b := range append(append([]band{}, src...), plus...) {
		a.op("ADDQ", "$16", b.base)
	}
	a.op("LEAQ", "(DI)(R13*4)", "DI")
	a.op("JMP", loop)
	a.at(tail)
	a.op("ADDQ", "$4", "BX")
	a.op("JZ", done)
	a.op("SUBQ", "$4", "BX") // go back by 4 - k%4 columns
	a.op("MOVQ", "BX", "CX")
	a.op("IMULQ", "R13", "CX")
	a.op("ADDQ", "CX", "DI")
	a.op("SHLQ", "$2", "BX")
	for _, b := range append(append([]band{}, src...), plus...) {
		a.op("ADDQ", "BX", b.base)
	}
	turnFour(a, v, src, plus)
	a.at(done)
	a.op("VZEROUPPER")
	a.ret()
}

// turnFour moves four columns: row 4*g+i goes to lane g of register i, lanes
// are transposed, and each register is then a line of the result.
func turnFour(a *asm, v vecISA, src, plus []band) {
	gather := func(from []band, i, reg int) {
		a.op("VMOVUPS", from[0].row(i), fmt.Sprintf("X%d", reg))
		for g := 1; g < len(from); g++ {
			switch {
			case !v.masked:
				a.op("VINSERTF128", "$1", from[g].row(i), v.r(reg), v.r(reg))
			case g == 1:
				a.op("VINSERTF32X4", "$1", from[g].row(i), fmt.Sprintf("Y%d", reg), fmt.Sprintf("Y%d", reg))
			default:
				a.op("VINSERTF32X4", fmt.Sprintf("$%d", g), from[g].row(i), v.r(reg), v.r(reg))
			}
		}
	}
	for i := range 4 {
		gather(src, i, i)
		if plus != nil {
			gather(plus, i, 4)
			a.op("VADDPS", v.r(4), v.r(i), v.r(i))
		}
	}
	unpackFour(a, v.reg)
	whole, done := "", ""
	if !v.masked {
		whole, done = a.label("whole"), a.label("stored")
		a.op("CMPQ", a.arg("groups"), "$2")
		a.op("JEQ", whole)
	}
	put := func(reg, mask string) {
		for i := range 4 {
			to := "(DI)"
			switch i {
			case 1, 2:
				to = fmt.Sprintf("(DI)(R13*%d)", i)
			case 3:
				a.op("LEAQ", "(DI)(R13*2)", "CX")
				to = "(CX)(R13*1)"
			}
			v.store(a, fmt.Sprintf("%s%d", reg, i), mask, to)
		}
	}
	if v.masked {
		put(v.reg, "K1")
		return
	}
	put("X", "")
	a.op("JMP", done)
	a.at(whole)
	put(v.reg, "")
	a.at(done)
}

// unpackFour transposes what four registers hold, lane by lane; it takes as many
// more.
func unpackFour(a *asm, reg string) {
	for _, u := range []struct {
		op       string
		b, a, to int
	}{
		{"VUNPCKLPS", 1, 0, 4}, // 00 10 01 11
		{"VUNPCKHPS", 1, 0, 5}, // 02 12 03 13
		{"VUNPCKLPS", 3, 2, 6}, // 20 30 21 31
		{"VUNPCKHPS", 3, 2, 7}, // 22 32 23 33
		{"VUNPCKLPD", 6, 4, 0},
		{"VUNPCKHPD", 6, 4, 1},
		{"VUNPCKLPD", 7, 5, 2},
		{"VUNPCKHPD", 7, 5, 3},
	} {
		a.op(u.op, fmt.Sprintf("%s%d", reg, u.b), fmt.Sprintf("%s%d", reg, u.a), fmt.Sprintf("%s%d", reg, u.to))
	}
}

// lines copies lines of vecs vectors.
func lines(a *asm, v vecISA, vecs int, add bool) {
	name, params, more := fmt.Sprintf("lines%d%s", vecs, v.tag), "lines, n, w int, src *float32, lds int, ", ""
	if add {
		name, more = fmt.Sprintf("linesAdd%d%s", vecs, v.tag), " + add[p*lda+c]"
		params += "add *float32, lda int, "
	}
	n := v.lanes()
	a.function(name, params+"dst *float32, ldd int", fmt.Sprintf(`copies the first n elements of lines and fills up to w with zeros, for n and w
more than %d and at most %d:

	for p < lines, c < w: dst[p*ldd+c] = c < n ? src[p*lds+c]%s : 0`, (vecs-1)*n, vecs*n, more))
	loadMask, storeMask := v.r(8), v.r(9)
	if v.masked {
		loadMask, storeMask = "K1", "K2"
	}
	for _, m := range [][2]string{{"n", loadMask}, {"w", storeMask}} {
		a.op("MOVQ", a.arg(m[0]), "AX")
		a.op("SUBQ", fmt.Sprintf("$%d", (vecs-1)*n), "AX")
		v.makeMask(a, "AX", "R10", m[1])
	}
	ptrs := [][3]string{{"src", "lds", "SI R8"}, {"dst", "ldd", "DI R9"}}
	if add {
		ptrs = append(ptrs, [3]string{"add", "lda", "DX R11"})
	}
	for _, p := range ptrs {
		base, ld := p[2][:2], p[2][3:]
		a.op("MOVQ", a.arg(p[0]), base)
		a.op("MOVQ", a.arg(p[1]), ld)
		a.op("SHLQ", "$2", ld)
	}
	a.op("MOVQ", a.arg("lines"), "BX")
	loop := a.label("loop")
	a.at(loop)
	for i := range vecs {
		lm, sm := "", ""
		if i == vecs-1 {
			lm, sm = loadMask, storeMask
			if !v.masked {
				sm = "" // masked stores are slow: w is always whole here
			}
		}
		v.load(a, mem(i*v.bytes, "SI"), lm, v.r(i))
		if add {
			v.load(a, mem(i*v.bytes, "DX"), lm, v.r(vecs+i))
			a.op("VADDPS", v.r(vecs+i), v.r(i), v.r(i))
		}
		v.store(a, v.r(i), sm, mem(i*v.bytes, "DI"))
	}
	for _, p := range ptrs {
		a.op("ADDQ", p[2][3:], p[2][:2])
	}
	a.op("DECQ", "BX")
	a.op("JNZ", loop)
	a.op("VZEROUPPER")
	a.ret()
}

// turnSixteen transposes sixteen rows, sixteen columns at a time. The last
// columns are done twice where k is no multiple of sixteen.
func turnSixteen(a *asm, add bool) {
	name, params, more := "turn16AVX512F32", "k int, src *float32, lds int, ", ""
	if add {
		name, more = "turnAdd16AVX512F32", " + add[c*lda+p]"
		params += "add *float32, lda int, "
	}
	a.function(name, params+"dst *float32, ldd int", fmt.Sprintf(`transposes sixteen rows, for k >= 16:

	for c < 16, p < k: dst[p*ldd+c] = src[c*lds+p]%s`, more))
	arrays := [][3]string{{"src", "SI", "R8"}, {"dst", "DI", "R13"}, {"add", "DX", "R9"}}
	if !add {
		arrays = arrays[:2]
	}
	for _, m := range arrays {
		a.op("MOVQ", a.arg(m[0]), m[1])
		a.op("MOVQ", a.arg("ld"+m[0][:1]), m[2])
		a.op("SHLQ", "$2", m[2])
	}
	a.op("LEAQ", "(R13)(R13*2)", "R12")
	a.op("MOVQ", a.arg("k"), "BX")
	loop, done := a.label("loop"), a.label("done")
	a.at(loop)
	transposeSixteen(a, add)
	a.op("SUBQ", "$16", "BX")
	a.op("JZ", done)
	a.op("MOVL", "$16", "CX")
	a.op("MOVQ", "BX", "AX") // columns to go on by: to the last sixteen where fewer are left
	a.op("CMPQ", "BX", "CX")
	a.op("CMOVQGT", "CX", "AX")
	a.op("CMOVQLT", "CX", "BX")
	a.op("LEAQ", "(SI)(AX*4)", "SI")
	if add {
		a.op("LEAQ", "(DX)(AX*4)", "DX")
	}
	a.op("IMULQ", "R13", "AX")
	a.op("ADDQ", "AX", "DI")
	a.op("JMP", loop)
	a.at(done)
	a.op("VZEROUPPER")
	a.ret()
}

// transposeSixteen moves sixteen columns: pairs of rows are interleaved, then
// pairs of those, which transposes each four by four, and then lanes of four.
func transposeSixteen(a *asm, add bool) {
	r := avx512f32.r
	a.op("MOVQ", "SI", "AX")
	if add {
		a.op("MOVQ", "DX", "CX")
	}
	for i := range 16 {
		a.op("VMOVUPS", "(AX)", r(i))
		a.op("ADDQ", "R8", "AX")
		if add {
			a.op("VADDPS", "(CX)", r(i), r(i))
			a.op("ADDQ", "R9", "CX")
		}
	}
	for i := 0; i < 16; i += 2 {
		a.op("VUNPCKLPS", r(i+1), r(i), r(16+i))
		a.op("VUNPCKHPS", r(i+1), r(i), r(17+i))
	}
	for i := 0; i < 16; i += 4 { // lane l of register i+c is column 4*l+c of rows i to i+3
		a.op("VUNPCKLPD", r(18+i), r(16+i), r(i))
		a.op("VUNPCKHPD", r(18+i), r(16+i), r(i+1))
		a.op("VUNPCKLPD", r(19+i), r(17+i), r(i+2))
		a.op("VUNPCKHPD", r(19+i), r(17+i), r(i+3))
	}
	const even, odd = "$0x88", "$0xdd" // lanes of one, then of the other
	a.op("MOVQ", "DI", "AX")
	for c := range 4 {
		t := 16 + c%2*8
		for i := 0; i < 4; i += 2 {
			a.op("VSHUFF32X4", even, r(4*i+4+c), r(4*i+c), r(t+i))
			a.op("VSHUFF32X4", odd, r(4*i+4+c), r(4*i+c), r(t+i+1))
		}
		for i, to := range []string{"(AX)", "(AX)(R13*4)", "(AX)(R13*8)", "(AX)(R12*4)"} { // column 4*i+c
			lanes := []string{even, odd}[i/2]
			a.op("VSHUFF32X4", lanes, r(t+2+i%2), r(t+i%2), r(t+4+i))
			a.op("VMOVUPS", r(t+4+i), to)
		}
		a.op("ADDQ", "R13", "AX")
	}
}
