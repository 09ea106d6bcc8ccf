package ops

import (
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// foldSmall computes a node whose inputs are small constants, so that shapes
// computed from constants (axes, masks of a -1, products) are known while a
// graph is built. It returns nil where that does not apply; errors are left
// to whoever runs the node.
func foldSmall(n *ir.Node, op Op, in, out []Fact) []Fact {
	if _, random := op.(Random); random || len(n.Subgraphs()) > 0 || len(in) == 0 {
		return nil
	}
	if _, dynamic := op.(Dynamic); dynamic {
		return nil
	}
	for i := range n.Outputs() {
		if i >= len(out) || !isSmall(out[i]) {
			return nil
		}
	}
	args := make([]*tensor.Tensor, len(in))
	for i, f := range in {
		if n.Input(i) == nil {
			continue
		}
		if f.Const == nil || !isSmall(f) {
			return nil
		}
		if args[i] = f.Value(); args[i] == nil {
			return nil
		}
	}
	vals, err := Eval(op, args, len(n.Outputs()))
	if err != nil {
		return nil
	}
	facts := make([]Fact, len(vals))
	for i, t := range vals {
		facts[i] = Constant(t)
	}
	return facts
}

// isSmall reports whether f is of a known shape of few elements.
func isSmall(f Fact) bool {
	s, ok := f.Shape()
	if !ok {
		return false
	}
	n, err := s.CheckedSize()
	return err == nil && n <= maxElems
}
