package runtime

import (
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// A bodyStep is a node of a sub-graph, bound for inputs of some dtypes and
// shapes: a body runs many times, and what its products read of weights is then
// packed once.
type bodyStep struct {
	in    []*tensor.Tensor // such as those that it was bound for
	out   []ops.Fact
	step  ops.Step // nil where the shapes of outputs depend on values
	frame *ops.Frame
}

// fits reports whether the inputs are like those that it was bound for.
func (b *bodyStep) fits(in []*tensor.Tensor) bool {
	for i, t := range in {
		was := b.in[i]
		if (t == nil) != (was == nil) || t != nil && (t.DType() != was.DType() || !t.Shape().Equal(was.Shape())) {
			return false
		}
	}
	return true
}

// bindBody binds a node for inputs of which constants alone are known. One that
// cannot be bound so has no step.
func (e *env) bindBody(n *ir.Node, op ops.Op, in []*tensor.Tensor) *bodyStep {
	b := &bodyStep{in: make([]*tensor.Tensor, len(in))}
	facts := make([]ops.Fact, len(in))
	own := map[ir.Data]bool{} // constants that the program does not know
	for i, t := range in {
		if t == nil {
			continue
		}
		b.in[i] = tensor.Header(t.DType())
		b.in[i].Reset(t.Shape().Clone(), nil)
		if c := e.constant(n.Input(i)); c != nil {
			facts[i] = ops.ConstantData(c)
		} else if c := n.Input(i).Producer(); c != nil && c.Is("Constant") {
			facts[i] = ops.Constant(t)
			own[facts[i].Const] = true
		} else {
			facts[i] = ops.Concrete(t.DType(), t.Shape()...)
		}
	}
	out, err := op.Infer(facts)
	if err != nil || len(out) < len(n.Outputs()) {
		return b
	}
	b.out = out[:len(n.Outputs())]
	for _, f := range b.out {
		if s, ok := f.Shape(); !ok || f.DType == tensor.String {
			return b
		} else if _, err := s.CheckedSize(); err != nil {
			return b
		}
	}
	var states []func() any
	p := ops.NewBinder(e.s.prog.pack.Below(func(d ir.Data) bool { return own[d] }), &states)
	p.Threads = e.s.prog.pool.Threads()
	step, err := op.Bind(p, facts, b.out)
	if err != nil {
		return b // whoever runs it will say so
	}
	b.step, b.frame = step, ops.NewFrame(e.s.prog.pool, e.s.rand, p.ScratchSize(), states)
	return b
}

// constant is what a value that a sub-graph reads is in all runs, nil where it
// may change or is computed in the sub-graph.
func (e *env) constant(v *ir.Value) ir.Data {
	switch f := e.s.prog.an.Fact(v); {
	case v.IsInput() || e.s.mutable[v] != nil:
		return nil
	case v.Graph() == e.s.prog.model.Graph && f.Const != nil:
		return f.Const
	}
	return v.Data
}

// run computes the outputs, which are new: a loop keeps those of each turn.
func (b *bodyStep) run(in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	outs := make([]*tensor.Tensor, len(b.out))
	for i, f := range b.out {
		outs[i] = tensor.New(f.DType, f.MustShape()...)
	}
	return outs, b.step(b.frame, in, outs)
}
