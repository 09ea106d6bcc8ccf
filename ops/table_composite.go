package ops

// compositeTable lists the operators of the domain ai.bonnx.
func compositeTable() []Entry {
	rows := []Entry{
		{Name: "SumTo", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Accurate, New: newSumTo},
		{Name: "FusedMatMul", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Accurate, New: newFusedMatMul},
		{Name: "CrossEntropy", MinIn: 2, MaxIn: 2, MaxOut: 3, Strict: Accurate, New: newCrossEntropy},
		{Name: "CrossEntropyGrad", MinIn: 4, MaxIn: 4, MaxOut: 1, Strict: Accurate, New: newCrossEntropyGrad},
		{Name: "RMSNorm", MinIn: 2, MaxIn: 2, MaxOut: 2, Strict: Accurate, New: newRMSNorm},
		{Name: "RMSNormGrad", MinIn: 4, MaxIn: 4, MaxOut: 1, Strict: Accurate, New: newRMSNormGrad},
	}
	for i := range rows {
		rows[i].Domain = Domain
	}
	return rows
}
