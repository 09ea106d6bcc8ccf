package main

// vecARM64 writes the loops over float32 that are not products of matrices.
func vecARM64(a *asm) {
	vectorLoops(a, neonf32)
	a.endTable()
}
