package runtime

import (
	"cmp"
	"slices"
	"sort"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

// buffer is a stretch of the arena, or of a mutable initializer, that one or
// more values take one after the other. It lives from the step that first
// writes it to the last step that reads it.
type buffer struct {
	size        int
	first, last int
	offset      int
	kind        slotKind
	home        int // slot of the mutable initializer
	taken       int // step that took it over last, counted from 1
}

// allocate decides where every value lies: views share, steps that offer it
// work in place, and the rest is packed into one arena by lifetime.
func (pl *planner) allocate() {
	plan := pl.plan
	root := pl.roots()
	last := pl.lastUses(root)
	bufs := make([]*buffer, len(plan.slots))
	for s, sl := range plan.slots {
		if sl.kind == isMutable {
			bufs[s] = &buffer{kind: isMutable, last: last[s], home: s}
		}
	}
	stateOf := map[int]int{}
	for o, m := range pl.p.state {
		stateOf[pl.slotOf(o)] = pl.slotOf(m)
	}
	if extra := len(plan.slots) - len(bufs); extra > 0 {
		bufs = append(bufs, make([]*buffer, extra)...)
	}
	for i, st := range plan.steps {
		if st.view {
			continue
		}
		for k, s := range st.out {
			if s < 0 || plan.slots[s].kind != inArena {
				continue
			}
			if b := pl.takeOver(i, k, root, bufs, stateOf); b != nil {
				b.last, b.taken = max(last[s], i), i+1
				bufs[s] = b
				continue
			}
			size := plan.slots[s].dtype.Size(plan.slots[s].shape.Size())
			bufs[s] = &buffer{size: size, first: i, last: max(last[s], i)}
		}
	}
	pl.settle(bufs, stateOf)
}

// roots maps each slot to the one whose storage it shares as a view.
func (pl *planner) roots() []int {
	root := make([]int, len(pl.plan.slots))
	for s := range root {
		root[s] = s
	}
	for _, st := range pl.plan.steps {
		if st.view {
			root[st.out[0]] = root[st.in[st.viewOf]]
		}
	}
	return root
}

// lastUses is the last step that reads each root, forever for outputs.
func (pl *planner) lastUses(root []int) []int {
	last := make([]int, len(root))
	for i := range last {
		last[i] = -1
	}
	use := func(v *ir.Value, i int) {
		if s, ok := pl.slot[v]; ok {
			last[root[s]] = max(last[root[s]], i)
		}
	}
	for i, st := range pl.plan.steps {
		for _, s := range st.in {
			if s >= 0 {
				last[root[s]] = i
			}
		}
		for _, sub := range st.node.Subgraphs() {
			captures(sub, func(v *ir.Value) { use(v, i) })
		}
	}
	for _, s := range pl.plan.outputs {
		last[root[s]] = forever
	}
	for o := range pl.p.state {
		use(o, forever)
	}
	if pl.plan.guard >= 0 {
		last[root[pl.plan.guard]] = forever
	}
	pl.lendOut(root, last)
	return last
}

// lendOut prolongs the lives of what operators with sub-graphs read: their
// outputs may be these values themselves, passed through.
func (pl *planner) lendOut(root, last []int) {
	for i := len(pl.plan.steps) - 1; i >= 0; i-- {
		st := pl.plan.steps[i]
		if _, dynamic := st.op.(ops.Dynamic); !dynamic {
			continue
		}
		until := i
		for _, s := range st.out {
			if s >= 0 {
				until = max(until, last[root[s]])
			}
		}
		for _, s := range st.in {
			if s >= 0 {
				last[root[s]] = max(last[root[s]], until)
			}
		}
		for _, sub := range st.node.Subgraphs() {
			captures(sub, func(v *ir.Value) {
				if s, ok := pl.slot[v]; ok {
					last[root[s]] = max(last[root[s]], until)
				}
			})
		}
	}
}

// takeOver finds a buffer that output k of step i may take from an input that
// nothing else reads from then on.
func (pl *planner) takeOver(i, k int, root []int, bufs []*buffer, stateOf map[int]int) *buffer {
	st := pl.plan.steps[i]
	out := pl.plan.slots[st.out[k]]
	for _, o := range pl.offer[i] {
		if o.Out != k || o.In >= len(st.in) || st.in[o.In] < 0 {
			continue
		}
		r := root[st.in[o.In]]
		b := bufs[r]
		if b == nil || b.last != i || b.taken == i+1 || countRoot(st.in, root, r) != 1 {
			continue
		}
		in := pl.plan.slots[st.in[o.In]]
		if in.dtype.Size(in.shape.Size()) != out.dtype.Size(out.shape.Size()) {
			continue
		}
		if b.kind == isMutable {
			if home, ok := stateOf[st.out[k]]; !ok || home != b.home || i <= pl.plan.guardAt && pl.plan.guard >= 0 {
				continue
			}
		}
		return b
	}
	return nil
}

func countRoot(in, root []int, r int) int {
	n := 0
	for _, s := range in {
		if s >= 0 && root[s] == r {
			n++
		}
	}
	return n
}

// settle packs the buffers and writes their places into the slots.
func (pl *planner) settle(bufs []*buffer, stateOf map[int]int) {
	plan := pl.plan
	var arena []*buffer
	seen := map[*buffer]bool{}
	for s, b := range bufs {
		if b == nil || plan.slots[s].kind != inArena {
			continue
		}
		if b.kind == isMutable {
			plan.slots[s].kind = isMutable
			plan.mutable[s] = plan.slots[b.home].value
		} else if !seen[b] {
			seen[b] = true
			arena = append(arena, b)
		}
	}
	plan.arena = pack(arena)
	for s, b := range bufs {
		if b != nil && plan.slots[s].kind == inArena {
			plan.slots[s].offset = b.offset
		}
	}
	for s, home := range stateOf {
		if plan.slots[s].kind != isMutable {
			plan.copies = append(plan.copies, [2]int{s, home})
		}
	}
	slices.SortFunc(plan.copies, func(a, b [2]int) int { return cmp.Compare(a[0], b[0]) })
}

// pack gives each buffer an offset such that buffers alive at the same time do
// not overlap: largest first, each at the lowest place that is free during its
// life. It returns the arena's size.
func pack(bufs []*buffer) int {
	order := slices.Clone(bufs)
	sort.SliceStable(order, func(i, j int) bool { return order[i].size > order[j].size })
	total := 0
	var placed []*buffer // by offset
	for _, b := range order {
		size := (b.size + 63) &^ 63
		at := 0
		for _, o := range placed {
			if o.first > b.last || b.first > o.last {
				continue
			}
			if o.offset >= at+size {
				break
			}
			at = max(at, o.offset+(o.size+63)&^63)
		}
		b.offset = at
		total = max(total, at+size)
		i, _ := slices.BinarySearchFunc(placed, b, func(x, y *buffer) int { return cmp.Compare(x.offset, y.offset) })
		placed = slices.Insert(placed, i, b)
	}
	return total
}
