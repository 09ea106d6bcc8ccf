package runtime

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// Plan is a Program's schedule for concrete input shapes: which nodes run in
// which order, and where every value lies. It is immutable and shared.
type Plan struct {
	prog    *Program
	apart   bool // each node has a step of its own
	steps   []step
	slots   []slot
	inputs  []int // slots of graph inputs that are fed, in feed order
	mutable map[int]*ir.Value
	outputs []int
	copies  [][2]int // state that could not be updated in place: from, to
	guard   int      // slot, -1 without
	guardAt int      // index of the step after which the guard is looked at
	arena   int      // bytes
	scratch int      // bytes
	states  []func() any
	index   map[*ir.Value]int // slots, for sub-graphs that capture values
}

// step is one node of the schedule, or a chain of them.
type step struct {
	node    *ir.Node   // the last one of a chain
	chain   []*ir.Node // nil where it is not a chain
	op      ops.Op
	run     ops.Step // nil where shapes depend on data: run then binds anew
	view    bool     // output 0 is the storage of input viewOf
	viewOf  int
	in, out []int // slots, -1 where left out
}

// nodes are those that the step runs.
func (st *step) nodes() []*ir.Node {
	if st.chain != nil {
		return st.chain
	}
	return []*ir.Node{st.node}
}

// blame is the node in which err happened.
func (st *step) blame(err error) *ir.Node {
	var link *ops.LinkError
	if st.chain != nil && errors.As(err, &link) {
		return st.chain[link.Link]
	}
	return st.node
}

// slot is where a value lives.
type slot struct {
	value  *ir.Value
	dtype  tensor.DType
	shape  tensor.Shape
	kind   slotKind
	konst  *tensor.Tensor
	offset int // in the arena
}

type slotKind uint8

const (
	inArena slotKind = iota
	isInput
	isConst
	isMutable
	isView
	onHeap // made by a step whose shapes depend on data
)

// planner is the state of building one Plan.
type planner struct {
	p     *Program
	facts map[*ir.Value]ops.Fact
	fed   map[*ir.Value]bool
	live  []*ir.Node
	loose map[*ir.Node]bool // live nodes whose shapes depend on data
	plan  *Plan
	slot  map[*ir.Value]int
	own   map[ir.Data]bool // constants of this plan, not of the program
	pack  *ops.Cache
	offer [][]ops.InPlace    // of each step
	read  map[int]bool       // slots of constants whose content is looked at
	kept  map[*ir.Value]bool // outlive the steps: outputs, new state and what they are views of
}

// Feed is the dtype and shape of one fed input.
type Feed struct {
	Name  string
	DType tensor.DType
	Shape tensor.Shape
}

// Plan is the schedule for the fed inputs, built once per set of shapes.
func (p *Program) Plan(feeds []Feed) (*Plan, error) { return p.plan(feeds, p.opts.NoFusion) }

// plan is Plan, or where apart is set a plan in which each node has a step.
func (p *Program) plan(feeds []Feed, apart bool) (*Plan, error) {
	key := planKey{feedsKey(feeds), apart}
	p.mu.Lock()
	defer p.mu.Unlock()
	if plan := p.plans[key]; plan != nil {
		return plan, nil
	}
	plan, err := p.build(feeds, apart)
	if err != nil {
		return nil, err
	}
	if len(p.plans) >= maxPlans {
		clear(p.plans) // sessions keep those that they are using
	}
	p.plans[key] = plan
	return plan, nil
}

// PlanFor is the schedule for inputs such as these, whose values do not
// matter. It takes no memory for what is computed; see Plan.MemoryBytes.
func (p *Program) PlanFor(feeds map[string]*tensor.Tensor) (*Plan, error) {
	list, err := feedList(feeds)
	if err != nil {
		return nil, err
	}
	return p.Plan(list)
}

// feedList describes feeds, ordered by name.
func feedList(feeds map[string]*tensor.Tensor) ([]Feed, error) {
	list := make([]Feed, 0, len(feeds))
	for _, name := range slices.Sorted(maps.Keys(feeds)) {
		t := feeds[name]
		if t == nil {
			return nil, fmt.Errorf("input %q is nil", name)
		}
		list = append(list, Feed{name, t.DType(), t.Shape().Clone()})
	}
	return list, nil
}

// maxPlans bounds how many plans a program keeps: data of many lengths would
// fill memory with them.
const maxPlans = 64

type planKey struct {
	feeds string
	apart bool
}

func feedsKey(feeds []Feed) string {
	var b strings.Builder
	for _, f := range feeds {
		b.WriteString(strconv.Quote(f.Name))
		b.WriteString(f.DType.String())
		for _, d := range f.Shape {
			b.WriteByte(' ')
			b.WriteString(strconv.Itoa(d))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (p *Program) build(feeds []Feed, apart bool) (*Plan, error) {
	pl := &planner{p: p, facts: map[*ir.Value]ops.Fact{}, fed: map[*ir.Value]bool{}, slot: map[*ir.Value]int{},
		own: map[ir.Data]bool{}, read: map[int]bool{}, plan: &Plan{prog: p, apart: apart, mutable: map[int]*ir.Value{}, guard: -1}}
	pl.pack = p.pack.Below(func(d ir.Data) bool { return pl.own[d] })
	if err := pl.takeFeeds(feeds); err != nil {
		return nil, err
	}
	if err := pl.infer(); err != nil {
		return nil, err
	}
	pl.findLive()
	pl.findLoose()
	pl.findKept()
	pl.plan.index = pl.slot
	for _, f := range feeds {
		pl.plan.inputs = append(pl.plan.inputs, pl.slotOf(p.index[f.Name]))
	}
	if err := pl.bindAll(); err != nil {
		return nil, err
	}
	for _, v := range p.outputs {
		if err := pl.given(v); err != nil {
			return nil, err
		}
		pl.plan.outputs = append(pl.plan.outputs, pl.slotOf(v))
		pl.read[pl.slotOf(v)] = true
	}
	pl.placeGuard()
	if err := pl.constants(); err != nil {
		return nil, err
	}
	pl.allocate()
	return pl.plan, nil
}

// takeFeeds checks the fed shapes against the declared ones.
func (pl *planner) takeFeeds(feeds []Feed) error {
	symbols := map[string]int64{}
	for _, f := range feeds {
		v := pl.p.index[f.Name]
		if v == nil || !v.IsInput() {
			return fmt.Errorf("%q is not an input; inputs are %s", f.Name, pl.p.inputNames())
		}
		d := ops.FromType(v.Type)
		if d.DType != tensor.Undefined && d.DType != f.DType {
			return fmt.Errorf("input %q is %v, got %v", f.Name, d.DType, f.DType)
		}
		if d.Ranked && len(d.Dims) != len(f.Shape) {
			return fmt.Errorf("input %q is %v, got %v", f.Name, d, f.Shape)
		}
		for i, dim := range d.Dims {
			n := int64(f.Shape[i])
			want, seen := symbols[dim.Sym]
			switch {
			case dim.Known && dim.Value != n:
				return fmt.Errorf("input %q is %v, got %v", f.Name, d, f.Shape)
			case dim.Sym != "" && seen && want != n:
				return fmt.Errorf("input %q: extent %d is %d, but %q is %d elsewhere", f.Name, i, n, dim.Sym, want)
			case dim.Sym != "":
				symbols[dim.Sym] = n
			}
		}
		pl.facts[v] = ops.Concrete(f.DType, f.Shape...)
		pl.fed[v] = true
	}
	return nil
}

func (p *Program) inputNames() string {
	var names []string
	for _, v := range p.model.Graph.Inputs {
		names = append(names, strconv.Quote(v.Name))
	}
	return strings.Join(names, ", ")
}

func (pl *planner) fact(v *ir.Value) ops.Fact {
	if v == nil {
		return ops.Fact{}
	}
	if f, ok := pl.facts[v]; ok {
		return f
	}
	return pl.p.an.Fact(v)
}

// infer makes facts concrete and folds what the shapes make constant.
func (pl *planner) infer() error {
	for n := range pl.p.model.Graph.Nodes() {
		if pl.isFolded(n) {
			continue
		}
		in := make([]ops.Fact, len(n.Inputs()))
		for i, v := range n.Inputs() {
			in[i] = pl.fact(v)
		}
		op := pl.p.an.Op(n)
		out, err := op.Infer(in)
		if err == nil {
			var folded []ops.Fact
			if folded, err = foldNode(n, op, in); folded != nil {
				out = folded
			}
		}
		if err != nil {
			return fmt.Errorf("%v: %w", n, err)
		}
		for i, v := range n.Outputs() {
			if v == nil || i >= len(out) {
				continue
			}
			pl.facts[v] = out[i]
			if c := out[i].Const; c != nil && !pl.inherited(in, c) {
				pl.own[c] = true
			}
		}
	}
	return nil
}

// inherited reports whether a constant is one of the inputs' (a view's, say)
// and these are not the plan's own.
func (pl *planner) inherited(in []ops.Fact, c ir.Data) bool {
	for _, f := range in {
		if f.Const == c {
			return !pl.own[c]
		}
	}
	return false
}

// isFolded reports whether every output of n is a constant of the program.
func (pl *planner) isFolded(n *ir.Node) bool {
	for _, v := range n.Outputs() {
		if v != nil && pl.p.an.Fact(v).Const == nil {
			return false
		}
	}
	return true
}

// findLive lists the nodes that the outputs, the state and the guard need.
func (pl *planner) findLive() {
	need := map[*ir.Value]bool{}
	want := func(v *ir.Value) {
		if v != nil && pl.fact(v).Const == nil {
			need[v] = true
		}
	}
	for _, v := range pl.p.outputs {
		want(v)
	}
	for v := range pl.p.state {
		want(v)
	}
	want(pl.p.guard)
	var rev []*ir.Node
	for n := range pl.p.model.Graph.Backward() {
		used := false
		for _, v := range n.Outputs() {
			used = used || v != nil && need[v]
		}
		if !used {
			continue
		}
		rev = append(rev, n)
		for _, v := range n.Inputs() {
			want(v)
		}
		for _, sub := range n.Subgraphs() {
			captures(sub, want)
		}
	}
	for i := len(rev) - 1; i >= 0; i-- {
		pl.live = append(pl.live, rev[i])
	}
}

// captures visits the values that a sub-graph reads from around it.
func captures(g *ir.Graph, visit func(*ir.Value)) {
	for n := range g.Nodes() {
		for _, v := range n.Inputs() {
			if v != nil && v.Graph() != g {
				visit(v)
			}
		}
		for _, sub := range n.Subgraphs() {
			captures(sub, visit)
		}
	}
	for _, v := range g.Outputs {
		if v.Graph() != g {
			visit(v)
		}
	}
}

// slotOf gives v a slot.
func (pl *planner) slotOf(v *ir.Value) int {
	if v == nil {
		return -1
	}
	if i, ok := pl.slot[v]; ok {
		return i
	}
	f := pl.fact(v)
	s := slot{value: v, dtype: f.DType}
	s.shape, _ = f.Shape()
	i := len(pl.plan.slots)
	switch {
	case pl.fed[v]:
		s.kind = isInput
	case f.Const != nil:
		s.kind = isConst
	case v.IsInitializer():
		s.kind = isMutable
		pl.plan.mutable[i] = v
	}
	pl.slot[v] = i
	pl.plan.slots = append(pl.plan.slots, s)
	return i
}

// placeGuard finds the step after which the guard is known.
func (pl *planner) placeGuard() {
	pl.plan.guardAt = len(pl.plan.steps)
	if pl.p.guard == nil {
		return
	}
	pl.plan.guard, pl.plan.guardAt = pl.slotOf(pl.p.guard), -1
	for i, st := range pl.plan.steps {
		for _, s := range st.out {
			if s == pl.plan.guard {
				pl.plan.guardAt = i
			}
		}
	}
}

// ArenaBytes is the memory that the plan's values take.
func (pl *Plan) ArenaBytes() int { return pl.arena }

// MemoryBytes is what a Session takes to run the plan, beside mutable
// initializers and values whose sizes depend on data.
func (pl *Plan) MemoryBytes() int { return pl.arena + pl.scratch }

const forever = math.MaxInt
