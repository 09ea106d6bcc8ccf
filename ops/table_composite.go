package ops

// compositeTable lists the operators of the domain ai.bonnx.
func compositeTable() []Entry {
	rows := []Entry{
		{Name: "SumTo", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Accurate, New: newSumTo},
		{Name: "FusedMatMul", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Accurate, New: newFusedMatMul},
		{Name: "Linear", MinIn: 2, MaxIn: 4, MaxOut: 1, Strict: Accurate, New: newLinear},
		{Name: "CrossEntropy", MinIn: 2, MaxIn: 2, MaxOut: 3, Strict: Accurate, New: newCrossEntropy},
		{Name: "CrossEntropyGrad", MinIn: 4, MaxIn: 4, MaxOut: 1, Strict: Accurate, New: newCrossEntropyGrad},
		{Name: "RMSNorm", MinIn: 2, MaxIn: 2, MaxOut: 2, Strict: Accurate, New: newRMSNorm},
		{Name: "RMSNormGrad", MinIn: 4, MaxIn: 4, MaxOut: 1, Strict: Accurate, New: newRMSNormGrad},
		{Name: "Gelu", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Accurate, New: newFusedGelu},
		{Name: "GeluGrad", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Accurate, New: newFusedGeluGrad},
		{Name: "SiLU", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Accurate, New: newSiLU},
		{Name: "SiLUGrad", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Accurate, New: newSiLUGrad},
		{Name: "Attention", MinIn: 3, MaxIn: 4, MaxOut: 1, Strict: Accurate, New: newFusedAttention},
		{Name: "AttentionGrad", MinIn: 4, MaxIn: 5, MaxOut: 3, Strict: Accurate, New: newFusedAttentionGrad},
		{Name: "Rotary", MinIn: 3, MaxIn: 3, MaxOut: 1, Strict: Rounding, New: newFusedRotary},
		{Name: "RotaryGrad", MinIn: 3, MaxIn: 3, MaxOut: 1, Strict: Rounding, New: newFusedRotaryGrad},
		{Name: "GatedSiLU", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Accurate, New: newGatedSiLU},
		{Name: "GatedSiLUGrad", MinIn: 3, MaxIn: 3, MaxOut: 2, Strict: Accurate, New: newGatedSiLUGrad},
		{Name: "FakeQuantize", MinIn: 2, MaxIn: 3, MaxOut: 1, Strict: Rounding, New: newFakeQuantize},
		{Name: "DequantizeNBits", MinIn: 2, MaxIn: 3, MaxOut: 1, Strict: Rounding, New: newDequantizeNBits},
		{Name: "Bone", MinIn: 3, MaxIn: 5, MaxOut: 2, Strict: Accurate, New: newBone},
		{Name: "BoneGradX", MinIn: 3, MaxIn: 4, MaxOut: 1, Strict: Accurate, New: newBoneGradX},
		{Name: "BatWeight", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Accurate, New: newBatWeight},
		{Name: "BatWeightGrad", MinIn: 3, MaxIn: 3, MaxOut: 1, Strict: Accurate, New: newBatWeightGrad},
		{Name: "BatWeightGradW", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Accurate, New: newBatWeightGradW},
		{Name: "AdamW", MinIn: 6, MaxIn: 6, MaxOut: 3, Strict: Accurate, New: newAdamW},
		{Name: "SGD", MinIn: 3, MaxIn: 4, MaxOut: 2, Strict: Accurate, New: newSGD},
		{Name: "GlobalNorm", MinIn: 1, MaxIn: -1, MaxOut: 1, Strict: Accurate, New: newGlobalNorm},
		{Name: "ClipScale", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Rounding, New: newClipScale},
		{Name: "AllFinite", MinIn: 1, MaxIn: -1, MaxOut: 1, Strict: Exact, New: newAllFinite},
	}
	for i := range rows {
		rows[i].Domain = Domain
	}
	return rows
}
