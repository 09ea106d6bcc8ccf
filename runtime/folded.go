package runtime

import (
	"fmt"
	"sync"
	"weak"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// largeFolded is from how many elements on a folded constant is made when it is
// read. A dequantized weight goes through half a dozen nodes, each of which
// makes as much as the weight, and is then packed: none of that need stay.
const largeFolded = 1 << 16

// folded is output i of an operator on constants. It is held for as long as
// somebody reads it, and made again for the next.
type folded struct {
	node  *ir.Node
	op    ops.Op
	in    []ops.Fact
	i     int
	dtype tensor.DType
	shape tensor.Shape

	mu   sync.Mutex
	held weak.Pointer[tensor.Tensor]
}

// DType implements ir.Data.
func (f *folded) DType() tensor.DType { return f.dtype }

// Shape implements ir.Data.
func (f *folded) Shape() tensor.Shape { return f.shape }

// Derivation implements ops.Derived.
func (f *folded) Derivation() (ops.Op, []ops.Fact) { return f.op, f.in }

// Tensor implements ir.Data.
func (f *folded) Tensor() (*tensor.Tensor, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.held.Value(); t != nil {
		return t, nil
	}
	args, err := values(f.node, f.in)
	if err != nil {
		return nil, err
	}
	outs, err := ops.Eval(f.op, args, len(f.node.Outputs()))
	if err != nil {
		return nil, fmt.Errorf("%v: %w", f.node, err)
	}
	for i, in := range f.in {
		if f.node.Input(i) != nil {
			ir.Release(in.Const)
		}
	}
	f.held = weak.Make(outs[f.i])
	return outs[f.i], nil
}

// values reads constants, nil where a node has no input.
func values(n *ir.Node, in []ops.Fact) ([]*tensor.Tensor, error) {
	args := make([]*tensor.Tensor, len(in))
	for i, f := range in {
		if n.Input(i) == nil {
			continue
		}
		t, err := f.Const.Tensor()
		if err != nil {
			return nil, fmt.Errorf("constant %q: %w", n.Input(i).Name, err)
		}
		args[i] = t
	}
	return args, nil
}

// foldLater are the facts of a node on constants whose only output is large and
// of a shape that is known; nil where the node has to be evaluated to be known.
func foldLater(n *ir.Node, op ops.Op, in, out []ops.Fact) []ops.Fact {
	if len(out) != 1 || len(n.Outputs()) != 1 || out[0].DType == tensor.String {
		return nil
	}
	s, ok := out[0].Shape()
	if !ok || s.Size() < largeFolded {
		return nil
	}
	if out[0].Const != nil {
		return out
	}
	return []ops.Fact{ops.ConstantData(&folded{node: n, op: op, in: in, dtype: out[0].DType, shape: s})}
}

// manyNarrow is from how many bytes of numbers of 16 bits and fewer on a program
// leaves weights as they are stored. Products of fewer are faster by floats that
// were packed once, which then take at most a hundred megabytes.
const manyNarrow = 8 << 20

// staysNarrow reports whether the initializers of m hold that many.
func staysNarrow(m *ir.Model) bool {
	bytes := 0
	for _, v := range m.Graph.Initializers {
		d := v.Data
		if r, ok := d.(ops.Recast); ok {
			d = r.Data
		}
		if n := d.Shape().Size(); d.DType().Bits() <= 16 && d.DType() != tensor.String && n >= largeFolded/8 {
			bytes += d.DType().Size(n)
		}
	}
	return bytes >= manyNarrow
}
