package runtime

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// prepare is the part of Compile that rewrites the graph.
func prepare(m *ir.Model, set *ops.Set, o Options) (*ir.Model, error) {
	if o.Prepared {
		return m, nil
	}
	return m.Clone(), nil
}

// fold computes, once for all plans, the nodes whose inputs are constants.
func (p *Program) fold() error {
	for n := range p.model.Graph.Nodes() {
		in := make([]ops.Fact, len(n.Inputs()))
		for i, v := range n.Inputs() {
			in[i] = p.an.Fact(v)
		}
		out, err := foldNode(n, p.an.Op(n), in)
		if err != nil {
			return fmt.Errorf("%v: %w", n, err)
		}
		for i, f := range out {
			if v := n.Output(i); v != nil {
				p.an.Set(v, f)
			}
		}
	}
	return nil
}

// foldNode evaluates a node all of whose inputs are constant, and returns the
// facts of its outputs; nil where it cannot be folded.
func foldNode(n *ir.Node, op ops.Op, in []ops.Fact) ([]ops.Fact, error) {
	if _, random := op.(ops.Random); random {
		return nil, nil
	}
	if _, dynamic := op.(ops.Dynamic); dynamic || len(n.Subgraphs()) > 0 {
		return nil, nil
	}
	args := make([]*tensor.Tensor, len(in))
	for i, f := range in {
		if n.Input(i) == nil {
			continue
		}
		if f.Const == nil {
			return nil, nil
		}
		t, err := f.Const.Tensor()
		if err != nil {
			return nil, fmt.Errorf("constant %q: %w", n.Input(i).Name, err)
		}
		args[i] = t
	}
	outs, err := ops.Eval(op, args, len(n.Outputs()))
	if err != nil {
		return nil, err
	}
	facts := make([]ops.Fact, len(outs))
	for i, t := range outs {
		facts[i] = ops.Constant(t)
	}
	return facts, nil
}
