package ops

import "slices"

// nnTable lists the operators of neural networks: normalisations, softmax,
// convolutions, pooling, losses.
func nnTable() []Entry {
	return slices.Concat(softmaxTable(), []Entry{
		{Name: "Hardmax", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Exact, New: newHardmax},
		{Name: "LayerNormalization", MinIn: 2, MaxIn: 3, MaxOut: 3, Strict: Accurate, New: newLayerNorm},
	})
}

// nnGradTable lists the composites that the gradients of nnTable use.
func nnGradTable() []Entry {
	return slices.Concat(softmaxGradTable(), []Entry{
		{Domain: Domain, Name: "LayerNormalizationGrad", MinIn: 2, MaxIn: 5, MaxOut: 1, Strict: Accurate, New: newLayerNormGrad},
	})
}
