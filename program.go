package bonnx

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"sync"

	"github.com/bonnx/bonnx/internal/cpu"
	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// Program is a compiled model with the adapters that it had then. It is
// immutable and safe for concurrent use; what changes while it runs is in
// Sessions. Adapters of one structure (method, rank, layers) share the compiled
// code, and all share the base's packed weights, so a thousand tenants cost
// their blocks.
type Program struct {
	model    *BoneModel // its own copy
	threads  int
	standard []string // active when it was compiled
	layouts  *layouts
	closed   bool // under the layouts' lock

	mu     sync.Mutex
	combos map[string]*combo
}

// layouts are the compiled structures of a base, shared by its programs of one
// number of threads.
type layouts struct {
	mu    sync.Mutex
	byKey map[string]*layout
	root  *runtime.Program // whose threads and packed weights the others use
	users int
}

// layout is one structure. It is compiled once, by whoever asks first; nobody
// else waits for that but who asks for the same.
type layout struct {
	once    sync.Once
	program *runtime.Program
	err     error
}

// combo is a list of adapters, ready to be bound to its layout.
type combo struct {
	once    sync.Once
	program *runtime.Program
	values  map[string]*tensor.Tensor // by the layout's names
	outputs []string
	err     error
}

// Compile readies the model to be run on the given number of threads, 0 for all
// cores. Errors that name an operator are *UnsupportedOpError.
func (m *Model) Compile(threads int) (*Program, error) {
	return (&BoneModel{base: m}).Compile(threads)
}

// Compile readies the model with all its adapters: the active ones are what a
// Session runs unless WithAdapter says otherwise. Each adapter alone, the base
// and the active list are made ready here; another list is when it is first
// asked for (or by Prepare), and stays so.
func (m *BoneModel) Compile(threads int) (*Program, error) {
	own := *m
	own.adapters, own.active = slices.Clone(m.adapters), slices.Clone(m.active)
	p := &Program{model: &own, threads: threads, standard: m.applied(), layouts: m.shared(threads), combos: map[string]*combo{}}
	lists := [][]string{nil, p.standard}
	for _, name := range m.unmerged(m.Adapters()) {
		lists = append(lists, []string{name})
	}
	for _, names := range lists {
		if err := p.Prepare(names...); err != nil {
			p.Close()
			return nil, err
		}
	}
	return p, nil
}

// shared are the layouts of programs with that many threads.
func (m *BoneModel) shared(threads int) *layouts {
	if m.layouts == nil {
		m.layouts = map[int]*layouts{}
	}
	l := m.layouts[threads]
	if l == nil {
		l = &layouts{byKey: map[string]*layout{}}
		m.layouts[threads] = l
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users++
	return l
}

// Prepare compiles what a list of adapters needs, where that has not been done:
// WithAdapter of the same list, and of lists of adapters of the same structure,
// then begins at once.
func (p *Program) Prepare(names ...string) error {
	_, err := p.combo(names)
	return err
}

// Close ends the program's threads, once it is the last that uses them.
// Sessions then run on their caller alone.
func (p *Program) Close() {
	l := p.layouts
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	if l.users--; l.users == 0 && l.root != nil {
		l.root.Close()
		l.root, l.byKey = nil, map[string]*layout{}
	}
}

// combo finds or makes what a list of adapters is run with.
func (p *Program) combo(names []string) (*combo, error) {
	if _, err := p.model.named(names); err != nil { // names come from requests: only those that are known are kept
		return nil, err
	}
	key := fmt.Sprintf("%q", names)
	p.mu.Lock()
	c := p.combos[key]
	if c == nil {
		c = &combo{values: map[string]*tensor.Tensor{}}
		p.combos[key] = c
	}
	p.mu.Unlock()
	c.once.Do(func() { c.err = p.fill(c, names) })
	return c, c.err
}

// fill makes a combo ready.
func (p *Program) fill(c *combo, names []string) error {
	g, structure, err := p.slots(names)
	if err != nil {
		return err
	}
	blocks, err := trainable(g)
	if err != nil {
		return err
	}
	index := g.Graph.Index()
	for _, n := range blocks {
		if c.values[n], err = index[n].Data.Tensor(); err != nil {
			return fmt.Errorf("%s: %w", n, err)
		}
	}
	if c.program, err = p.layout(structure, g, c.values); err != nil {
		return p.model.base.wrap(invalidModel(err))
	}
	for _, port := range c.program.Outputs() {
		c.outputs = append(c.outputs, port.Name)
	}
	return nil
}

// slots is the graph of a list of adapters under names that say only their
// place in the list, and a key that is equal for lists of the same structure.
func (p *Program) slots(names []string) (*ir.Model, string, error) {
	list, err := p.model.named(names)
	if err != nil {
		return nil, "", err
	}
	m := *p.model
	m.adapters = nil
	h := fnv.New128a()
	var at []string
	for i, x := range list {
		if slices.Contains(m.merged, x.name) {
			return nil, "", fmt.Errorf("adapter %q is merged into the weights", x.name)
		}
		set := *x.set
		set.Config.Name = fmt.Sprintf("slot%d", i)
		m.adapters = append(m.adapters, &held{name: set.Config.Name, set: &set, as: rewrite.Options{Form: x.as.Form}})
		at = append(at, set.Config.Name)
		_, _ = fmt.Fprintf(h, "%v %d %d %g %v\n", set.Config.Method, set.Config.Rank, set.Config.MiniRank, set.Config.Alpha, x.as.Form)
		for _, e := range set.Entries {
			_, _ = fmt.Fprintf(h, "%q\n", e.Path)
		}
		for _, s := range set.Saved {
			_, _ = fmt.Fprintf(h, "saved %q\n", s.Key)
		}
	}
	g, err := m.compose(at, rewrite.Options{})
	return g, string(h.Sum(nil)), err
}

// layout finds or compiles a structure, whose trained values are the keys of
// mutable.
func (p *Program) layout(key string, g *ir.Model, mutable map[string]*tensor.Tensor) (*runtime.Program, error) {
	l := p.layouts
	l.mu.Lock()
	x := l.byKey[key]
	if x == nil {
		x = &layout{}
		l.byKey[key] = x
	}
	o := runtime.Options{Set: p.model.base.set, Threads: p.threads, Share: l.root}
	if l.users == 0 {
		o.Threads = 1 // closed: sessions run on their callers
	}
	l.mu.Unlock()
	x.once.Do(func() {
		o.Mutable = func(name string) bool { _, ok := mutable[name]; return ok }
		x.program, x.err = runtime.Compile(g, o)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.root == nil && x.err == nil {
			l.root = x.program // the base's, which Compile asks for before anything else
		}
	})
	return x.program, x.err
}

// Session is what one goroutine needs to run a Program: memory and random
// state. It is for one goroutine at a time; what one does, others do not see.
func (p *Program) Session() *Session {
	return &Session{program: p, runs: map[*runtime.Program]*run{}}
}

// Session runs a Program for one goroutine at a time.
type Session struct {
	program *Program
	runs    map[*runtime.Program]*run
	last    *run       // is bound to the adapters names
	names   []string   // of the last run
	options runOptions // of the run under way
}

// run is a session of one layout.
type run struct {
	session *runtime.Session
	bound   *combo
}

// RunOption changes one run of a Session.
type RunOption func(*runOptions)

type runOptions struct{ adapters []string }

// WithAdapter has a run use these adapters, in that order, instead of those
// that were active when the Program was compiled; no name is the base. A name
// that the Program does not know is an *UnknownAdapterError.
func WithAdapter(names ...string) RunOption {
	return func(o *runOptions) { o.adapters = names }
}

// Run computes the outputs for one set of inputs, both by name. The results are
// the caller's. When ctx ends, so does the run, with ctx.Err().
func (s *Session) Run(ctx context.Context, feeds map[string]*tensor.Tensor, opts ...RunOption) (map[string]*tensor.Tensor, error) {
	results := map[string]*tensor.Tensor{}
	if err := s.RunInto(ctx, feeds, results, opts...); err != nil {
		return nil, err
	}
	return results, nil
}

// RunInto is Run with the results in a map that the caller has: over the values
// of the tensors in there that have the right types and shapes, which must share
// no memory with the feeds. A run with feeds of shapes that are ready allocates
// nothing then.
func (s *Session) RunInto(ctx context.Context, feeds, results map[string]*tensor.Tensor, opts ...RunOption) error {
	o := &s.options
	*o = runOptions{adapters: s.program.standard}
	for _, opt := range opts {
		opt(o)
	}
	r, err := s.ready(o.adapters)
	if err != nil {
		return err
	}
	outs, err := r.session.Run(ctx, feeds)
	if err != nil {
		return s.program.model.base.wrap(err)
	}
	for i, name := range r.bound.outputs {
		results[name] = copyTo(results[name], outs[i])
	}
	return nil
}

// copyTo is a copy of t, in the memory of old where that has the type and shape.
func copyTo(old, t *tensor.Tensor) *tensor.Tensor {
	if old == nil || t.DType() == tensor.String || old.DType() != t.DType() || !old.Shape().Equal(t.Shape()) {
		return t.Clone()
	}
	copy(old.Bytes(), t.Bytes())
	return old
}

// ready is a session of the right layout with the adapters' values bound.
func (s *Session) ready(names []string) (*run, error) {
	if s.last != nil && slices.Equal(s.names, names) {
		return s.last, nil
	}
	s.last = nil
	r, err := s.bind(names)
	if err == nil {
		s.last, s.names = r, append(s.names[:0], names...)
	}
	return r, err
}

// bind finds or makes the session of the layout, and binds the values.
func (s *Session) bind(names []string) (*run, error) {
	c, err := s.program.combo(names)
	if err != nil {
		return nil, err
	}
	r := s.runs[c.program]
	if r == nil {
		inner, err := c.program.NewSession()
		if err != nil {
			return nil, s.program.model.base.wrap(err)
		}
		r = &run{session: inner}
		s.runs[c.program] = r
	}
	if r.bound == c {
		return r, nil
	}
	for name, t := range c.values {
		if err := r.session.Bind(name, t); err != nil {
			return nil, s.program.model.base.wrap(err)
		}
	}
	r.bound = c
	return r, nil
}

// Run computes the outputs for one set of inputs, both by name: Compile and
// Session.Run for once.
func (m *Model) Run(ctx context.Context, feeds map[string]*tensor.Tensor, threads int) (map[string]*tensor.Tensor, error) {
	p, err := m.Compile(threads)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.Session().Run(ctx, feeds)
}

// Kernels names the kernels that this machine's processor was given, and the
// instruction sets that they were chosen by.
func Kernels() (name string, features []string) { return kernel.Chosen(), cpu.Detect().Names() }
