package ops

import "slices"

// Standard is the set of all operators that bonnx has. Each theme has its
// table in a file of its own (table_*.go).
func Standard() *Set {
	return NewSet(slices.Concat(moveTable(), mathTable(), nnTable(), nnGradTable(), imageTable(), detectTable(), quantizeTable(),
		signalTable(), stringTable(), randomTable(), trainingTable(), contribTable(), sequenceTable(), compositeTable())...)
}
