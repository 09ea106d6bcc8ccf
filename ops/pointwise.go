package ops

// Pointwise operators compute an element of their outputs, which all have one
// shape, from those elements of the inputs that broadcasting puts in its place,
// whatever lies around these. So they also work on parts of tensors, and give
// the same bits there: see Chain.
type Pointwise interface {
	Op
	Pointwise()
}

func (unary) Pointwise()          {}
func (binary) Pointwise()         {}
func (variadic) Pointwise()       {}
func (pow) Pointwise()            {}
func (clip) Pointwise()           {}
func (cast) Pointwise()           {}
func (where) Pointwise()          {}
func (compare) Pointwise()        {}
func (logic) Pointwise()          {}
func (not) Pointwise()            {}
func (isNaN) Pointwise()          {}
func (isInf) Pointwise()          {}
func (fusedUnary) Pointwise()     {}
func (fusedUnaryGrad) Pointwise() {}
func (gatedSiLU) Pointwise()      {}
func (gatedSiLUGrad) Pointwise()  {}
