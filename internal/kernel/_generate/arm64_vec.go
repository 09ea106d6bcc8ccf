package main

// vecARM64 writes the loops over float32 that are not products of matrices.
func vecARM64(a *asm) {
	vectorLoops(a, neonf32)
	a.endTable()
	turnPairsNEON(a)
	a.vectorTable(neonf32)
}

// vecOther writes the table where there is no assembly.
func vecOther(a *asm) {
	described := &asm{}
	vectorLoops(described, neonf32)
	a.routines = described.routines
	a.vectorTable()
}

// turnPairsNEON turns pairs that lie side by side, four at a time: the firsts
// and the seconds of them are parted as they are loaded.
func turnPairsNEON(a *asm) {
	const x0, x1, c, s, y0, y1, sign = 0, 1, 2, 3, 4, 5, "V7"
	beginTurnPairs(a, neonf32)
	for _, p := range [][2]string{{"rows", "R5"}, {"y", "R0"}, {"x", "R1"}, {"cos", "R2"}, {"sin", "R3"}, {"step", "R4"}} {
		a.op("MOVD", a.arg(p[0]), p[1])
	}
	a.op("MOVBU", a.arg("back"), neonTemp)
	a.op("LSL", "$31", neonTemp)
	a.op("VDUP", neonTemp, sign+".S4")
	row, loop := a.label("row"), a.label("loop")
	a.at(row)
	a.op("MOVD", a.arg("pairs"), neonLeft)
	a.op("MOVD", "R2", "R7")
	a.op("MOVD", "R3", "R8")
	a.at(loop)
	a.op("VLD2.P", "32(R1)", s4(x0, 2))
	a.op("VLD1.P", "16(R7)", s4(c, 1))
	a.op("VLD1.P", "16(R8)", s4(s, 1))
	a.bits("VEOR", sign, neonf32.r(s), neonf32.r(s))
	a.neon("MUL", false, y0, x0, c)
	a.neon("MUL", false, y1, x1, s)
	a.neon("SUB", false, y0, y0, y1)
	a.neon("MUL", false, x1, x1, c)
	a.neon("MUL", false, x0, x0, s)
	a.neon("ADD", false, y1, x1, x0)
	a.op("VST2.P", s4(y0, 2), "32(R0)")
	a.op("SUBS", "$4", neonLeft)
	a.op("BNE", loop)
	a.op("ADD", "R4<<2", "R2")
	a.op("ADD", "R4<<2", "R3")
	a.op("SUBS", "$1", "R5")
	a.op("BNE", row)
	a.ret()
}
