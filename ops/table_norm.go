package ops

// normTable lists the normalisations over batch, groups and channels.
func normTable() []Entry {
	return []Entry{
		{Name: "BatchNormalization", MinIn: 5, MaxIn: 5, MaxOut: 3, Strict: Accurate, New: newBatchNorm},
		{Name: "InstanceNormalization", MinIn: 3, MaxIn: 3, MaxOut: 1, Strict: Accurate, New: newInstanceNorm},
		{Name: "GroupNormalization", MinIn: 3, MaxIn: 3, MaxOut: 1, Strict: Accurate, New: newGroupNorm},
		{Name: "LpNormalization", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Accurate, New: newLpNorm},
		{Name: "LRN", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Accurate, New: newLRN},
	}
}
