package main

import "fmt"

// vecARM64 writes the simplest loops over float32 for NEON. They run over
// whole vectors: n is a multiple of four.
func vecARM64(a *asm) {
	for _, b := range []struct {
		name, sign string
		f          func(a *asm, d, n, m int)
	}{{"add", "+", (*asm).fadd}, {"sub", "-", (*asm).fsub}, {"mul", "*", (*asm).fmul}, {"div", "/", (*asm).fdiv}} {
		neonLoop(a, b.name+"VV", "n int, d, x, y *float32", "is\n\n\tfor i < n: d[i] = x[i] "+b.sign+" y[i]", "", func() {
			a.op("VLD1.P", "16(R2)", s4(0, 1))
			a.op("VLD1.P", "16(R3)", s4(1, 1))
			b.f(a, 0, 0, 1)
			a.op("VST1.P", s4(0, 1), "16(R1)")
		})
		neonLoop(a, b.name+"VS", "n int, d, x *float32, y float32", "is\n\n\tfor i < n: d[i] = x[i] "+b.sign+" y", "y", func() {
			a.op("VLD1.P", "16(R2)", s4(0, 1))
			b.f(a, 0, 0, 31)
			a.op("VST1.P", s4(0, 1), "16(R1)")
		})
	}
	neonLoop(a, "addScaled", "n int, y, x *float32, alpha float32", "is\n\n\tfor i < n: y[i] += alpha*x[i], the product rounded", "alpha", func() {
		a.op("VLD1.P", "16(R2)", s4(0, 1))
		a.op("VLD1", "(R1)", s4(1, 1))
		a.fmul(0, 0, 31)
		a.fadd(0, 1, 0)
		a.op("VST1.P", s4(0, 1), "16(R1)")
	})
	neonSum(a, "sum", "n int, x *float32", "is the sum of x[i] for i < n.", func() {
		a.op("VLD1.P", "16(R1)", s4(0, 1))
		a.fcvtl(1, 0)
		a.fcvtl2(2, 0)
		a.fadd64(29, 29, 1)
		a.fadd64(30, 30, 2)
	})
	neonSum(a, "dot", "n int, x, y *float32", "is the sum of x[i]*y[i] for i < n.", func() {
		a.op("VLD1.P", "16(R1)", s4(0, 1))
		a.op("VLD1.P", "16(R2)", s4(1, 1))
		a.fcvtl(2, 0)
		a.fcvtl2(3, 0)
		a.fcvtl(4, 1)
		a.fcvtl2(5, 1)
		a.fmla64(29, 2, 4)
		a.fmla64(30, 3, 5)
	})
}

// neonBegin names a function and takes its arguments to R0, R1, ..., a scalar
// to all lanes of V31.
func neonBegin(a *asm, name, params, doc, scalar string, result ...string) {
	a.function(name+"NEONF32", params, doc, result...)
	i := 0
	for _, p := range parseArgs(params) {
		if p.name == scalar {
			a.op("FMOVS", a.arg(scalar), "F31")
			a.op("VDUP", "V31.S[0]", "V31.S4")
			continue
		}
		a.op("MOVD", a.arg(p.name), fmt.Sprintf("R%d", i))
		i++
	}
}

// neonRepeat repeats body for four elements each.
func neonRepeat(a *asm, body func()) {
	loop, done := a.label("loop"), a.label("done")
	a.op("CBZ", "R0", done)
	a.at(loop)
	body()
	a.op("SUBS", "$4", "R0")
	a.op("BNE", loop)
	a.at(done)
}

func neonLoop(a *asm, name, params, doc, scalar string, body func()) {
	neonBegin(a, name, params, doc, scalar)
	neonRepeat(a, body)
	a.ret()
}

// neonSum returns what the body adds to V29 and V30.
func neonSum(a *asm, name, params, doc string, body func()) {
	neonBegin(a, name, params, doc, "", "float64")
	a.clearNEON(29, 31)
	neonRepeat(a, body)
	a.fadd64(29, 29, 30)
	a.op("VMOV", "V29.D[1]", "R5")
	a.op("FMOVD", "R5", "F30")
	a.op("FADDD", "F30", "F29", "F29")
	a.op("FMOVD", "F29", a.arg("ret"))
	a.ret()
}
