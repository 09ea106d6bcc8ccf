package runtime

import (
	"fmt"

	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// prepare is the part of Compile that rewrites the graph. What the Options
// name stays under its name.
func (p *Program) prepare(m *ir.Model) (*ir.Model, error) {
	c := m
	if !p.opts.Prepared {
		var err error
		if c, err = ops.Canonical(m); err != nil {
			return nil, err
		}
	}
	if p.opts.NoFusion {
		return c, nil
	}
	if c.Opset(ops.Domain) == 0 {
		c.SetOpset(ops.Domain, 1)
	}
	o := fuse.Options{Mutable: p.isMutable, Keep: p.named()}
	if !p.opts.Prepared {
		if err := fuse.Raise(c, p.set, o); err != nil {
			return nil, err
		}
	}
	if err := fuse.Late(c, p.set, o); err != nil {
		return nil, err
	}
	return c, nil
}

// named tells which values the Options name.
func (p *Program) named() func(*ir.Value) bool {
	names := map[string]bool{p.opts.Guard: true}
	for _, n := range p.opts.Outputs {
		names[n] = true
	}
	for out, init := range p.opts.State {
		names[out], names[init] = true, true
	}
	return func(v *ir.Value) bool { return names[v.Name] }
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
	size := 0
	for i, f := range in {
		if n.Input(i) == nil {
			continue
		}
		if f.Const == nil {
			return nil, nil
		}
		count := f.Const.Shape().Size()
		if f.DType == tensor.Uint8 { // which may hold four numbers of two bits
			count *= 4
		}
		size += count
	}
	inferred, err := op.Infer(in)
	if err != nil {
		return nil, err
	}
	if big, err := blowsUp(inferred, size); big || err != nil {
		return nil, err
	}
	if later := foldLater(n, op, in, inferred); later != nil {
		return later, nil
	}
	args, err := values(n, in)
	if err != nil {
		return nil, err
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

// maxFolded is how many elements folding may make of fewer.
const maxFolded = 1 << 26

// blowsUp reports whether an operator's outputs are more than maxFolded elements of
// fewer: a few bytes of a file (ConstantOfShape, Expand, Tile) must not take
// memory before the model runs, nor for as long as it is loaded.
func blowsUp(outs []ops.Fact, size int) (bool, error) {
	for _, f := range outs {
		s, ok := f.Shape()
		if !ok {
			continue
		}
		n, err := s.CheckedSize()
		if err != nil {
			return false, err
		}
		if n > max(maxFolded, size) {
			return true, nil
		}
	}
	return false, nil
}
