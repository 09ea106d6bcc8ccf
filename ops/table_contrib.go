package ops

import "slices"

// contribTable lists the operators of com.microsoft, and the one that ONNX
// Runtime adds to the standard domain.
func contribTable() []Entry {
	rows := []Entry{
		{Name: "Attention", MinIn: 2, MaxIn: 7, MaxOut: 2, New: newMicrosoftAttention},
		{Name: "MultiHeadAttention", MinIn: 1, MaxIn: 10, MaxOut: 4, New: newMultiHeadAttention},
		{Name: "GroupQueryAttention", MinIn: 1, MaxIn: 16, MaxOut: 4, New: newGroupQueryAttention},
		{Name: "QAttention", MinIn: 5, MaxIn: 9, MaxOut: 2, New: newQAttention},
		{Name: "RotaryEmbedding", MinIn: 4, MaxIn: 4, MaxOut: 1, New: newMicrosoftRotary},
		{Name: "SkipLayerNormalization", MinIn: 3, MaxIn: 5, MaxOut: 4, New: newSkipNorm(false)},
		{Name: "SkipSimplifiedLayerNormalization", MinIn: 3, MaxIn: 4, MaxOut: 4, New: newSkipNorm(true)},
		{Name: "SimplifiedLayerNormalization", MinIn: 2, MaxIn: 2, MaxOut: 2, New: newSimplifiedLayerNorm},
		{Name: "EmbedLayerNormalization", MinIn: 1, MaxIn: 9, MaxOut: 3, New: newEmbedLayerNorm},
		{Name: "FusedMatMul", MinIn: 2, MaxIn: 2, MaxOut: 1, New: newMicrosoftFusedMatMul},
		{Name: "FusedGemm", MinIn: 2, MaxIn: 3, MaxOut: 1, New: newFusedGemm},
		{Name: "MatMulNBits", MinIn: 3, MaxIn: 6, MaxOut: 1, New: newMatMulNBits},
		{Name: "DynamicQuantizeMatMul", MinIn: 3, MaxIn: 5, MaxOut: 1, New: newDynamicQuantizeMatMul},
		{Name: "MatMulIntegerToFloat", MinIn: 4, MaxIn: 7, MaxOut: 1, New: newMatMulIntegerToFloat},
	}
	for i := range rows {
		rows[i].Domain, rows[i].Strict = microsoft, Accurate
	}
	standard := Entry{Name: "SimplifiedLayerNormalization", MinIn: 2, MaxIn: 2, MaxOut: 2, Strict: Accurate, New: newSimplifiedLayerNorm}
	return slices.Concat(rows, biasedActivationTable(), []Entry{standard})
}
