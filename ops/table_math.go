package ops

import "slices"

// mathTable lists elementwise operators, products and reductions.
func mathTable() []Entry {
	return slices.Concat(unaryTable(), activationTable(), binaryTable(), variadicTable(), reductionTable(), []Entry{
		{Name: "Pow", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Rounding, New: newPow},
		{Name: "Mod", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Exact, New: newMod},
		{Name: "PRelu", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Rounding, New: newPRelu},
		{Name: "Clip", MinIn: 1, MaxIn: 3, MaxOut: 1, Strict: Exact, New: newClip},
		{Name: "BitShift", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Exact, New: newBitShift},
		{Name: "BitwiseNot", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Exact, New: newBitwiseNot},
		{Name: "MatMul", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Accurate, New: newMatMul},
		{Name: "Gemm", MinIn: 2, MaxIn: 3, MaxOut: 1, Strict: Accurate, New: newGemm},
		{Name: "MatMulInteger", MinIn: 2, MaxIn: 4, MaxOut: 1, Strict: Exact, New: newMatMulInteger},
		{Name: "Det", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Accurate, New: newDet},
		{Name: "Einsum", MinIn: 1, MaxIn: -1, MaxOut: 1, Strict: Accurate, New: newEinsum},
		{Name: "ArgMax", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Exact, New: newArgExtreme(argMaxKinds())},
		{Name: "ArgMin", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Exact, New: newArgExtreme(argMinKinds())},
	})
}
