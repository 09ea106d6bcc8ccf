package runtime

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// findLoose finds the nodes whose shapes are known only as they run: those
// that make their outputs themselves, and all that comes of these.
func (pl *planner) findLoose() {
	pl.loose = map[*ir.Node]bool{}
	known := func(v *ir.Value) bool {
		if v == nil {
			return true
		}
		_, ok := pl.fact(v).Shape()
		return ok && (v.Producer() == nil || !pl.loose[v.Producer()] || pl.fact(v).Const != nil)
	}
	for _, n := range pl.live {
		_, loose := pl.p.an.Op(n).(ops.Dynamic)
		for _, v := range n.Inputs() {
			loose = loose || !known(v)
		}
		for _, v := range n.Outputs() {
			loose = loose || !known(v)
		}
		if loose {
			pl.loose[n] = true
		}
	}
}

// bindAll appends the steps of the live nodes.
func (pl *planner) bindAll() error {
	chains := pl.findChains()
	for i, n := range pl.live {
		var err error
		switch g := chains.of[i]; {
		case g == nil:
			err = pl.bind(n)
		case g.last() == i:
			n, err = pl.bindChain(chains, g)
		}
		if err != nil {
			return fmt.Errorf("%v: %w", n, err)
		}
	}
	return nil
}

// bind appends the step of a node.
func (pl *planner) bind(n *ir.Node) error {
	st := step{node: n, op: pl.p.an.Op(n)}
	if err := pl.slotsOf(&st, n.Inputs(), n.Outputs()); err != nil {
		return err
	}
	if err := pl.capture(n); err != nil {
		return err
	}
	if pl.loose[n] {
		for _, s := range st.out {
			if s >= 0 {
				pl.plan.slots[s].kind = onHeap
			}
		}
		pl.reads(st, nil)
		pl.add(st, nil)
		return nil
	}
	if v, ok := st.op.(ops.View); ok && pl.fact(n.Input(v.ViewOf())).DType != tensor.String && !pl.overwritten(n, v.ViewOf()) {
		st.view, st.viewOf = true, v.ViewOf()
		pl.plan.slots[st.out[0]].kind = isView
		pl.reads(st, nil)
		pl.add(st, nil)
		return nil
	}
	return pl.bindStep(st, n.Inputs(), n.Outputs())
}

// bindChain appends the step of a chain. With an error it gives the node of it.
func (pl *planner) bindChain(c *chainer, g *chain) (*ir.Node, error) {
	op, in, out := c.linked(g)
	st := step{node: pl.live[g.last()], op: op}
	for _, m := range g.members {
		st.chain = append(st.chain, pl.live[m])
	}
	if err := pl.slotsOf(&st, in, out); err != nil {
		return st.node, err
	}
	err := pl.bindStep(st, in, out)
	return st.blame(err), err
}

// slotsOf gives slots to what a step reads and computes.
func (pl *planner) slotsOf(st *step, in, out []*ir.Value) error {
	for _, v := range in {
		if v != nil {
			if err := pl.given(v); err != nil {
				return err
			}
		}
		st.in = append(st.in, pl.slotOf(v))
	}
	for _, v := range out {
		st.out = append(st.out, pl.slotOf(v))
	}
	return nil
}

// bindStep binds the operator of a step and appends it.
func (pl *planner) bindStep(st step, in, out []*ir.Value) error {
	b := ops.NewBinder(pl.pack, &pl.plan.states)
	b.Threads = pl.p.pool.Threads()
	var err error
	if st.run, err = st.op.Bind(b, pl.factsOf(in), pl.factsOf(out)); err != nil {
		return err
	}
	pl.plan.scratch = max(pl.plan.scratch, b.ScratchSize())
	pl.reads(st, b.Reads)
	pl.add(st, b.InPlaceOffers())
	return nil
}

func (pl *planner) factsOf(values []*ir.Value) []ops.Fact {
	facts := make([]ops.Fact, len(values))
	for i, v := range values {
		facts[i] = pl.fact(v)
	}
	return facts
}

// given checks that a graph input has a value.
func (pl *planner) given(v *ir.Value) error {
	if v.Producer() == nil && !v.IsInitializer() && !pl.fed[v] {
		return fmt.Errorf("input %q was not given", v.Name)
	}
	return nil
}

// capture gives slots to what the sub-graphs of n read from the main graph,
// constants of the plan among them.
func (pl *planner) capture(n *ir.Node) error {
	var err error
	for _, sub := range n.Subgraphs() {
		captures(sub, func(v *ir.Value) {
			if v.Graph() != pl.p.model.Graph || err != nil {
				return
			}
			if err = pl.given(v); err == nil {
				pl.read[pl.slotOf(v)] = true
			}
		})
	}
	return err
}

func (pl *planner) add(st step, offers []ops.InPlace) {
	pl.plan.steps = append(pl.plan.steps, st)
	pl.offer = append(pl.offer, offers)
}
