package runtime

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

// findKept finds the values that are read after the last step.
func (pl *planner) findKept() {
	pl.kept = map[*ir.Value]bool{}
	for _, v := range pl.p.outputs {
		pl.kept[v] = true
	}
	for v := range pl.p.state {
		pl.kept[v] = true
	}
	for i := len(pl.live) - 1; i >= 0; i-- {
		n := pl.live[i]
		if v, ok := pl.p.an.Op(n).(ops.View); ok && pl.kept[n.Output(0)] {
			pl.kept[n.Input(v.ViewOf())] = true
		}
	}
}

// overwritten reports whether a view node would show state that the end of
// the run overwrites, to someone who looks after that: it then has to copy.
func (pl *planner) overwritten(n *ir.Node, of int) bool {
	if !pl.kept[n.Output(0)] {
		return false
	}
	for _, home := range pl.p.state {
		if home == n.Input(of) {
			return true
		}
	}
	return false
}

// reads notes the inputs of a step whose content it reads, all where reads is
// nil.
func (pl *planner) reads(st step, reads func(i int) bool) {
	for i, s := range st.in {
		if s >= 0 && (reads == nil || reads(i)) {
			pl.read[s] = true
		}
	}
}

// constants gets the values of the constants that steps look at, each once for
// all plans. The others, packed weights above all, are not kept twice.
func (pl *planner) constants() error {
	for i := range pl.plan.slots {
		s := &pl.plan.slots[i]
		if s.kind != isConst || !pl.read[i] {
			continue
		}
		var err error
		if s.konst, err = pl.pack.Tensor(pl.fact(s.value).Const); err != nil {
			return fmt.Errorf("constant %q: %w", s.value.Name, err)
		}
	}
	return nil
}
