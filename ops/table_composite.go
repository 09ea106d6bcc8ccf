package ops

// compositeTable lists the operators of the domain ai.bonnx.
func compositeTable() []Entry {
	return []Entry{}
}
