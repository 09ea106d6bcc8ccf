package runtime

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// runFree runs a node whose shapes are known only now: operators that make
// their outputs themselves, and nodes downstream of them.
func (s *Session) runFree(inst *instance, n *ir.Node, op ops.Op, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if d, ok := op.(ops.Dynamic); ok {
		return d.RunDynamic(&env{s, inst, map[*ir.Value]*tensor.Tensor{}}, in)
	}
	return ops.EvalOn(inst.frame.Pool, s.rand, op, in, len(n.Outputs()))
}

// env runs the sub-graphs of one node. Values that these capture are looked
// up here first, then among the plan's.
type env struct {
	s    *Session
	inst *instance
	vals map[*ir.Value]*tensor.Tensor
}

// Frame is the session's frame.
func (e *env) Frame() *ops.Frame { return e.inst.frame }

// RunGraph runs a sub-graph node by node.
func (e *env) RunGraph(g *ir.Graph, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if len(in) != len(g.Inputs) {
		return nil, fmt.Errorf("sub-graph %q takes %d inputs, got %d", g.Name, len(g.Inputs), len(in))
	}
	for i, v := range g.Inputs {
		e.vals[v] = in[i]
	}
	for n := range g.Nodes() {
		op, err := e.s.prog.subOp(n)
		if err != nil {
			return nil, err
		}
		args := make([]*tensor.Tensor, len(n.Inputs()))
		for i, v := range n.Inputs() {
			if args[i], err = e.value(v); err != nil {
				return nil, fmt.Errorf("%v: %w", n, err)
			}
		}
		outs, err := e.run(n, op, args)
		if err != nil {
			return nil, fmt.Errorf("%v: %w", n, err)
		}
		for i, v := range n.Outputs() {
			if v != nil {
				e.vals[v] = outs[i]
			}
		}
	}
	outs := make([]*tensor.Tensor, len(g.Outputs))
	for i, v := range g.Outputs {
		var err error
		if outs[i], err = e.value(v); err != nil {
			return nil, err
		}
	}
	return outs, nil
}

func (e *env) run(n *ir.Node, op ops.Op, in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	if d, ok := op.(ops.Dynamic); ok {
		return d.RunDynamic(e, in)
	}
	b := e.s.bodies[n]
	if b == nil || !b.fits(in) {
		b = e.bindBody(n, op, in)
		e.s.bodies[n] = b
	}
	if b.step == nil {
		return ops.EvalOn(e.inst.frame.Pool, e.s.rand, op, in, len(n.Outputs()))
	}
	return b.run(in)
}

func (e *env) value(v *ir.Value) (*tensor.Tensor, error) {
	if v == nil {
		return nil, nil
	}
	if t := e.vals[v]; t != nil {
		return t, nil
	}
	if i, ok := e.inst.plan.index[v]; ok { // before mutable: what is fed wins
		return e.inst.vals[i], nil
	}
	if t := e.s.mutable[v]; t != nil {
		return t, nil
	}
	if f := e.s.prog.an.Fact(v); f.Const != nil {
		return f.Const.Tensor()
	}
	if v.Data != nil {
		return v.Data.Tensor()
	}
	return nil, fmt.Errorf("value %q is not there", v.Name)
}

// subOp parses the operator of a node in a sub-graph once.
func (p *Program) subOp(n *ir.Node) (ops.Op, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if op := p.subs[n]; op != nil {
		return op, nil
	}
	op, err := p.set.Parse(n, p.model.Opset(n.Domain))
	if err == nil {
		p.subs[n] = op
	}
	return op, err
}
