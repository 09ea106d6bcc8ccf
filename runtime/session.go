package runtime

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/bonnx/bonnx/internal/hugepage"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// Session runs a Program and holds all that changes: mutable initializers,
// memory, random state. It is for one goroutine at a time.
type Session struct {
	prog    *Program
	mutable map[*ir.Value]*tensor.Tensor
	arena   []byte
	ready   map[*Plan]*instance
	bodies  map[*ir.Node]*bodyStep // nodes of sub-graphs that have run
	last    *instance
	source  *rand.PCG
	rand    *rand.Rand
}

// instance is a plan with a session's memory under it.
type instance struct {
	plan  *Plan
	feeds []Feed
	vals  []*tensor.Tensor
	in    [][]*tensor.Tensor // of each step
	out   [][]*tensor.Tensor
	outs  []*tensor.Tensor // what a run returns
	frame *ops.Frame
}

// maxInstances bounds how many shapes a session keeps ready.
const maxInstances = 16

// Observer sees each node after it ran, with its outputs. Tests and the search
// for the first non-finite value use it.
type Observer func(n *ir.Node, out []*tensor.Tensor)

// Profiler sees each step after it ran: a node, or the nodes of a chain of
// elementwise operators that ran together.
type Profiler func(nodes ...*ir.Node)

// NewSession starts with the model's values for mutable initializers. Those
// that one of the sessions in share has under the same name, type and shape
// share its storage: what one session trains, the other sees. Such sessions
// together are for one goroutine at a time.
func (p *Program) NewSession(share ...*Session) (*Session, error) {
	s := &Session{prog: p, mutable: map[*ir.Value]*tensor.Tensor{}, ready: map[*Plan]*instance{}, bodies: map[*ir.Node]*bodyStep{}, source: &rand.PCG{}}
	s.rand = rand.New(s.source)
	for _, v := range p.mutable {
		if t := shared(v, share); t != nil {
			s.mutable[v] = t
			continue
		}
		t, err := initial(v)
		if err != nil {
			return nil, err
		}
		s.mutable[v] = t
	}
	s.Seed(0)
	return s, nil
}

func shared(v *ir.Value, share []*Session) *tensor.Tensor {
	for _, o := range share {
		t := o.mutable[o.prog.index[v.Name]]
		if t != nil && t.DType() == v.Data.DType() && t.Shape().Equal(v.Data.Shape()) {
			return t
		}
	}
	return nil
}

// Mutable is the current value of every mutable initializer by name: the
// storage itself.
func (s *Session) Mutable() map[string]*tensor.Tensor {
	m := make(map[string]*tensor.Tensor, len(s.mutable))
	for v, t := range s.mutable {
		m[v.Name] = t
	}
	return m
}

// ArenaBytes is the memory that values take for the shapes run last.
func (s *Session) ArenaBytes() int {
	if s.last == nil {
		return 0
	}
	return s.last.plan.arena
}

// MemoryBytes is ArenaBytes and the scratch memory for the shapes run last.
func (s *Session) MemoryBytes() int {
	if s.last == nil {
		return 0
	}
	return s.last.plan.MemoryBytes()
}

// Seed starts the session's random stream anew.
func (s *Session) Seed(seed uint64) { s.source.Seed(seed, 0x9e3779b97f4a7c15) }

// RandomState is the random stream's state; SetRandomState continues from it.
func (s *Session) RandomState() ([]byte, error) { return s.AppendRandomState(nil) }

// AppendRandomState is RandomState at the end of b.
func (s *Session) AppendRandomState(b []byte) ([]byte, error) { return s.source.AppendBinary(b) }

// SetRandomState continues a random stream.
func (s *Session) SetRandomState(b []byte) error { return s.source.UnmarshalBinary(b) }

// Get is the current value of a mutable initializer: the storage itself, valid
// until the session ends, changed by runs.
func (s *Session) Get(name string) (*tensor.Tensor, error) {
	v := s.prog.index[name]
	t := s.mutable[v]
	if t == nil {
		return nil, fmt.Errorf("%q is not a mutable initializer", name)
	}
	return t, nil
}

// Put copies t into a mutable initializer of the same type and shape.
func (s *Session) Put(name string, t *tensor.Tensor) error {
	dst, err := s.Get(name)
	if err != nil {
		return err
	}
	if dst.DType() != t.DType() || !dst.Shape().Equal(t.Shape()) {
		return fmt.Errorf("%q is %v, got %v", name, dst, t)
	}
	copy(dst.Bytes(), t.Bytes())
	return nil
}

// Bind makes t, of the same type and shape, the value of a mutable initializer,
// without a copy: t must not change while the session uses it, and a session
// with state in it would write to it.
func (s *Session) Bind(name string, t *tensor.Tensor) error {
	old, err := s.Get(name)
	if err != nil {
		return err
	}
	if old.DType() != t.DType() || !old.Shape().Equal(t.Shape()) {
		return fmt.Errorf("%q is %v, got %v", name, old, t)
	}
	v := s.prog.index[name]
	s.mutable[v] = t
	for _, inst := range s.ready {
		for slot, m := range inst.plan.mutable {
			if m == v {
				inst.vals[slot].Reset(t.Shape(), t.Bytes())
			}
		}
	}
	return nil
}

// Run computes the outputs, in the order of Program.Outputs. The slice and the
// tensors are the session's own: valid until its next run, and maybe sharing
// storage with the feeds. A run with feeds of shapes that are ready allocates
// nothing, unless shapes depend on data. Cancelling ctx ends the run between two
// nodes, but not after the guard, where state begins to change.
func (s *Session) Run(ctx context.Context, feeds map[string]*tensor.Tensor) ([]*tensor.Tensor, error) {
	return s.run(ctx, feeds, s.prog.opts.NoFusion, nil)
}

// RunObserved is Run with an observer. Each node is run by itself then, to the
// same results.
func (s *Session) RunObserved(ctx context.Context, feeds map[string]*tensor.Tensor, see Observer) ([]*tensor.Tensor, error) {
	return s.run(ctx, feeds, true, func(inst *instance, i int) { see(inst.plan.steps[i].node, inst.out[i]) })
}

// RunProfiled is Run with a profiler.
func (s *Session) RunProfiled(ctx context.Context, feeds map[string]*tensor.Tensor, see Profiler) ([]*tensor.Tensor, error) {
	return s.run(ctx, feeds, s.prog.opts.NoFusion, func(inst *instance, i int) { see(inst.plan.steps[i].nodes()...) })
}

// run runs the plan for feeds; apart says whether each node has a step of its
// own in it. see, where not nil, is called after each step.
func (s *Session) run(ctx context.Context, feeds map[string]*tensor.Tensor, apart bool, see func(inst *instance, step int)) ([]*tensor.Tensor, error) {
	inst, err := s.instance(feeds, apart)
	if err != nil {
		return nil, err
	}
	plan := inst.plan
	for i, f := range inst.feeds {
		t := feeds[f.Name]
		if sl := plan.inputs[i]; t.DType() == tensor.String {
			*inst.vals[sl] = *t
		} else {
			inst.vals[sl].Reset(t.Shape(), t.Bytes())
		}
	}
	for i := range plan.steps {
		if i%32 == 0 && i <= plan.guardAt && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err := s.step(inst, i); err != nil {
			return nil, fmt.Errorf("%v: %w", plan.steps[i].blame(err), err)
		}
		if see != nil {
			see(inst, i)
		}
		if plan.guard >= 0 && i == plan.guardAt && !tensor.Data[bool](inst.vals[plan.guard])[0] {
			return nil, &GuardError{s.prog.opts.Guard}
		}
	}
	for _, c := range plan.copies {
		copy(inst.vals[c[1]].Bytes(), inst.vals[c[0]].Bytes())
	}
	return inst.outs, nil
}

func (s *Session) step(inst *instance, i int) error {
	st := &inst.plan.steps[i]
	switch {
	case st.view:
		inst.out[i][0].Reset(inst.plan.slots[st.out[0]].shape, inst.in[i][st.viewOf].Bytes())
		return nil
	case st.run != nil:
		return st.run(inst.frame, inst.in[i], inst.out[i])
	}
	outs, err := s.runFree(inst, st.node, st.op, inst.in[i])
	if err != nil {
		return err
	}
	for k, t := range inst.out[i] {
		if t != nil {
			*t = *outs[k]
		}
	}
	return nil
}

// instance finds or makes the memory for the fed shapes.
func (s *Session) instance(feeds map[string]*tensor.Tensor, apart bool) (*instance, error) {
	if s.last != nil && s.last.takes(feeds, apart) {
		return s.last, nil
	}
	for _, inst := range s.ready {
		if inst.takes(feeds, apart) {
			s.last = inst
			return inst, nil
		}
	}
	list, err := feedList(feeds)
	if err != nil {
		return nil, err
	}
	plan, err := s.prog.plan(list, apart)
	if err != nil {
		return nil, err
	}
	if _, err := (tensor.Shape{plan.arena}).CheckedSize(); err != nil {
		return nil, fmt.Errorf("the values between the nodes need %d bytes: %w", plan.arena, err)
	}
	if plan.arena > len(s.arena) {
		s.arena = tensor.New(tensor.Uint8, plan.arena).Bytes()
		hugepage.Advise(s.arena)
		clear(s.ready) // they point into the old arena
	}
	inst := s.ready[plan]
	if inst == nil {
		if len(s.ready) >= maxInstances {
			clear(s.ready)
		}
		if inst, err = s.newInstance(plan); err != nil {
			return nil, err
		}
		inst.feeds = list
		s.ready[plan] = inst
	}
	s.last = inst
	return inst, nil
}

// takes reports whether the instance is for feeds like these.
func (inst *instance) takes(feeds map[string]*tensor.Tensor, apart bool) bool {
	if len(feeds) != len(inst.feeds) || inst.plan.apart != apart {
		return false
	}
	for _, f := range inst.feeds {
		t := feeds[f.Name]
		if t == nil || t.DType() != f.DType || !t.Shape().Equal(f.Shape) {
			return false
		}
	}
	return true
}

func (s *Session) newInstance(plan *Plan) (*instance, error) {
	inst := &instance{plan: plan, vals: make([]*tensor.Tensor, len(plan.slots))}
	for i, sl := range plan.slots {
		var err error
		switch sl.kind {
		case inArena:
			n := sl.dtype.Size(sl.shape.Size())
			if sl.dtype == tensor.String {
				inst.vals[i] = tensor.New(tensor.String, sl.shape...)
				continue
			}
			inst.vals[i], err = tensor.FromBytes(sl.dtype, sl.shape, s.arena[sl.offset:sl.offset+n:sl.offset+n])
		case isConst:
			if inst.vals[i] = sl.konst; sl.konst == nil { // nobody looks at it
				inst.vals[i] = tensor.Header(sl.dtype)
			}
		case isMutable:
			m := s.mutable[plan.mutable[i]]
			inst.vals[i], err = tensor.FromBytes(m.DType(), m.Shape(), m.Bytes())
		default:
			inst.vals[i] = tensor.Header(sl.dtype)
		}
		if err != nil {
			return nil, fmt.Errorf("value %q: %w", sl.value.Name, err)
		}
	}
	pick := func(slots []int) []*tensor.Tensor {
		out := make([]*tensor.Tensor, len(slots))
		for k, sl := range slots {
			if sl >= 0 {
				out[k] = inst.vals[sl]
			}
		}
		return out
	}
	for _, st := range plan.steps {
		inst.in = append(inst.in, pick(st.in))
		inst.out = append(inst.out, pick(st.out))
	}
	inst.outs = pick(plan.outputs)
	inst.frame = ops.NewFrame(s.prog.pool, s.rand, plan.scratch, plan.states)
	return inst, nil
}
