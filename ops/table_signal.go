package ops

// signalTable lists what prepares sound.
func signalTable() []Entry {
	return []Entry{
		{Name: "HannWindow", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Rounding, New: newCosineWindow(0.5, 0.5, 0)},
		{Name: "HammingWindow", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Rounding, New: newCosineWindow(25.0/46, 21.0/46, 0)},
		{Name: "BlackmanWindow", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Rounding, New: newCosineWindow(0.42, 0.5, 0.08)},
	}
}
