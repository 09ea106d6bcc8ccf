package ops

import "slices"

// nnTable lists the operators of neural networks: normalisations, softmax,
// convolutions, pooling, losses.
func nnTable() []Entry {
	return slices.Concat(softmaxTable(), []Entry{
		{Name: "Attention", MinIn: 3, MaxIn: 7, MaxOut: 4, Strict: Accurate, New: newAttention},
		{Domain: "ai.onnx.preview", Name: "FlexAttention", MinIn: 3, MaxIn: 3, MaxOut: 1, Strict: Accurate, New: newFlexAttention},
		{Name: "LinearAttention", MinIn: 3, MaxIn: 6, MaxOut: 2, Strict: Accurate, New: newLinearAttention},
		{Name: "CausalConvWithState", MinIn: 2, MaxIn: 4, MaxOut: 2, Strict: Accurate, New: newCausalConv},
		{Name: "RotaryEmbedding", MinIn: 3, MaxIn: 4, MaxOut: 1, Strict: Rounding, New: newRotaryEmbedding},
		{Name: "RNN", MinIn: 3, MaxIn: 6, MaxOut: 2, Strict: Accurate, New: newRNN},
		{Name: "GRU", MinIn: 3, MaxIn: 6, MaxOut: 2, Strict: Accurate, New: newGRU},
		{Name: "LSTM", MinIn: 3, MaxIn: 8, MaxOut: 3, Strict: Accurate, New: newLSTM},
		{Name: "Hardmax", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Exact, New: newHardmax},
		{Name: "LayerNormalization", MinIn: 2, MaxIn: 3, MaxOut: 3, Strict: Accurate, New: newLayerNorm},
		{Name: "RMSNormalization", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Accurate, New: newRMSNormalization},
		{Name: "Conv", MinIn: 2, MaxIn: 3, MaxOut: 1, Strict: Accurate, New: newConv},
		{Name: "ConvTranspose", MinIn: 2, MaxIn: 3, MaxOut: 1, Strict: Accurate, New: newConvTranspose},
		{Name: "MaxPool", MinIn: 1, MaxIn: 1, MaxOut: 2, Strict: Exact, New: newMaxPool},
		{Name: "AveragePool", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Accurate, New: newAveragePool},
		{Name: "LpPool", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Accurate, New: newLpPool},
		{Name: "GlobalLpPool", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Accurate, New: newGlobalLpPool},
		{Name: "GlobalAveragePool", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Accurate, New: newGlobalAveragePool},
		{Name: "GlobalMaxPool", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Exact, New: newGlobalMaxPool},
		{Name: "NegativeLogLikelihoodLoss", MinIn: 2, MaxIn: 3, MaxOut: 1, Strict: Accurate, New: newLikelihood(false)},
		{Name: "SoftmaxCrossEntropyLoss", MinIn: 2, MaxIn: 3, MaxOut: 2, Strict: Accurate, New: newLikelihood(true)},
	})
}

// nnGradTable lists the composites that the gradients of nnTable use.
func nnGradTable() []Entry {
	return slices.Concat(softmaxGradTable(), []Entry{
		{Domain: Domain, Name: "LayerNormalizationGrad", MinIn: 2, MaxIn: 5, MaxOut: 1, Strict: Accurate, New: newLayerNormGrad},
		{Domain: Domain, Name: "ConvGradInput", MinIn: 3, MaxIn: 3, MaxOut: 1, Strict: Accurate, New: newConvGradInput},
		{Domain: Domain, Name: "ConvGradWeight", MinIn: 3, MaxIn: 3, MaxOut: 1, Strict: Accurate, New: newConvGradWeight},
		{Domain: Domain, Name: "MaxPoolGrad", MinIn: 3, MaxIn: 3, MaxOut: 1, Strict: Rounding, New: newMaxPoolGrad},
		{Domain: Domain, Name: "AveragePoolGrad", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Rounding, New: newAveragePoolGrad},
	})
}
