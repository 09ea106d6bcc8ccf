package ops

// compositeTable lists the operators of the domain ai.bonnx.
func compositeTable() []Entry {
	rows := []Entry{
		{Name: "SumTo", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Accurate, New: newSumTo},
		{Name: "FusedMatMul", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Accurate, New: newFusedMatMul},
	}
	for i := range rows {
		rows[i].Domain = Domain
	}
	return rows
}
