package ops

// detectTable lists operators around the detection of objects, and what counts
// words.
func detectTable() []Entry {
	return []Entry{
		{Name: "MaxUnpool", MinIn: 2, MaxIn: 3, MaxOut: 1, Strict: Exact, New: newMaxUnpool},
		{Name: "NonMaxSuppression", MinIn: 2, MaxIn: 5, MaxOut: 1, Strict: Exact, New: newNonMaxSuppression},
		{Name: "RoiAlign", MinIn: 3, MaxIn: 3, MaxOut: 1, Strict: Accurate, New: newRoiAlign},
		{Name: "TfIdfVectorizer", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Rounding, New: newTfIdf},
	}
}
