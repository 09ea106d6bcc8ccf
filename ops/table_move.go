package ops

// moveTable lists the operators that move data or compute shapes.
func moveTable() []Entry {
	return []Entry{
		{Name: "Identity", MinIn: 1, MaxIn: 1, MaxOut: 1, New: newIdentity},
		{Name: "Shape", MinIn: 1, MaxIn: 1, MaxOut: 1, New: newShape},
	}
}
