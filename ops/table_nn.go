package ops

import "slices"

// nnTable lists the operators of neural networks: normalisations, softmax,
// convolutions, pooling, losses.
func nnTable() []Entry {
	return slices.Concat(softmaxTable(), []Entry{
		{Name: "Hardmax", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Exact, New: newHardmax},
	})
}

// nnGradTable lists the composites that the gradients of nnTable use.
func nnGradTable() []Entry {
	return softmaxGradTable()
}
