package ops

// signalTable lists what prepares sound.
func signalTable() []Entry {
	return []Entry{
		{Name: "DFT", MinIn: 1, MaxIn: 3, MaxOut: 1, Strict: Accurate, New: newDFT},
		{Name: "STFT", MinIn: 2, MaxIn: 4, MaxOut: 1, Strict: Accurate, New: newSTFT},
		{Name: "MelWeightMatrix", MinIn: 5, MaxIn: 5, MaxOut: 1, Strict: Rounding, New: newMelWeightMatrix},
		{Name: "HannWindow", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Rounding, New: newCosineWindow(0.5, 0.5, 0)},
		{Name: "HammingWindow", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Rounding, New: newCosineWindow(25.0/46, 21.0/46, 0)},
		{Name: "BlackmanWindow", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Rounding, New: newCosineWindow(0.42, 0.5, 0.08)},
	}
}
