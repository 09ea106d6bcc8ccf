package main

// vecAMD64 writes the loops over float32 that are not products of matrices.
func vecAMD64(a *asm) {
	for _, v := range []vecISA{avx512f32, avx2f32} {
		vectorLoops(a, v)
	}
	turnPairs(a, avx2f32)
	a.vectorTable(avx512f32, avx2f32)
}

// turnPairs turns pairs that lie side by side, four at a time.
func turnPairs(a *asm, v vecISA) {
	beginTurnPairs(a, v)
	for _, p := range [][2]string{{"rows", "R13"}, {"y", "DI"}, {"x", "SI"}, {"cos", "R8"}, {"sin", "R9"}, {"step", "R10"}} {
		a.op("MOVQ", a.arg(p[0]), p[1])
	}
	a.op("SHLQ", "$2", "R10")
	a.op("MOVBLZX", a.arg("back"), "AX")
	a.op("SHLL", "$31", "AX")
	a.op("VMOVD", "AX", "X4")
	a.op("VBROADCASTSS", "X4", "Y4")
	row, loop := a.label("row"), a.label("loop")
	a.at(row)
	a.op("MOVQ", a.arg("pairs"), "BX")
	a.op("MOVQ", "R8", "R11")
	a.op("MOVQ", "R9", "R12")
	a.at(loop)
	a.op("VPMOVZXDQ", "(R11)", "Y1")
	a.op("VPMOVZXDQ", "(R12)", "Y2")
	a.op("VMOVSLDUP", "Y1", "Y1") // each twice
	a.op("VMOVSLDUP", "Y2", "Y2")
	a.op("VXORPS", "Y4", "Y2", "Y2")
	a.op("VMOVUPS", "(SI)", "Y0")
	a.op("VPERMILPS", "$0xb1", "Y0", "Y3") // partners
	a.op("VMULPS", "Y1", "Y0", "Y0")
	a.op("VMULPS", "Y2", "Y3", "Y3")
	a.op("VADDSUBPS", "Y3", "Y0", "Y0")
	a.op("VMOVUPS", "Y0", "(DI)")
	for _, s := range [][2]string{{"$16", "R11"}, {"$16", "R12"}, {"$32", "SI"}, {"$32", "DI"}} {
		a.op("ADDQ", s[0], s[1])
	}
	a.op("SUBQ", "$4", "BX")
	a.op("JNZ", loop)
	a.op("ADDQ", "R10", "R8")
	a.op("ADDQ", "R10", "R9")
	a.op("DECQ", "R13")
	a.op("JNZ", row)
	a.op("VZEROUPPER")
	a.ret()
}
