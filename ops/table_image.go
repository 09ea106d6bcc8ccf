package ops

// imageTable lists the normalisations over batch, groups and channels, and what
// else works on images.
func imageTable() []Entry {
	return []Entry{
		{Name: "BatchNormalization", MinIn: 5, MaxIn: 5, MaxOut: 3, Strict: Accurate, New: newBatchNorm},
		{Name: "InstanceNormalization", MinIn: 3, MaxIn: 3, MaxOut: 1, Strict: Accurate, New: newInstanceNorm},
		{Name: "GroupNormalization", MinIn: 3, MaxIn: 3, MaxOut: 1, Strict: Accurate, New: newGroupNorm},
		{Name: "LpNormalization", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Accurate, New: newLpNorm},
		{Name: "LRN", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Accurate, New: newLRN},
		{Name: "CenterCropPad", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Exact, New: newCenterCropPad},
		{Name: "AffineGrid", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Accurate, New: newAffineGrid},
		{Name: "Col2Im", MinIn: 3, MaxIn: 3, MaxOut: 1, Strict: Rounding, New: newCol2Im},
		{Name: "GridSample", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Accurate, New: newGridSample},
		{Name: "MeanVarianceNormalization", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Accurate, New: newMeanVariance},
		{Name: "Resize", MinIn: 1, MaxIn: 4, MaxOut: 1, Strict: Accurate, New: newResize},
		{Domain: Domain, Name: "ResizeGrad", MinIn: 2, MaxIn: 5, MaxOut: 1, Strict: Accurate, New: newResizeGrad},
	}
}
