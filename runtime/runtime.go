// Package runtime runs graphs: Compile checks and optimises a model once, a
// Plan is its program for concrete input shapes, a Session runs plans. It
// knows parameters by name and nothing of adapters or training.
package runtime

import (
	"fmt"
	"slices"
	"sync"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// Options tune Compile. The zero value runs a model as it is.
type Options struct {
	// Set is the table of operators; nil means ops.Standard().
	Set *ops.Set
	// Threads is the number of threads that kernels use; 0 means all cores.
	Threads int
	// Prepared says that the model is canonical, raised, and the caller's to
	// give away: a training step. Else Compile works on a private copy.
	Prepared bool
	// Mutable says which initializers may change between runs. They are never
	// folded and live in the Session. Those that are also inputs always may.
	Mutable func(name string) bool
	// Outputs restricts what is computed; nil means all graph outputs.
	Outputs []string
	// State maps outputs to mutable initializers of the same type: after a
	// run, the initializer holds the output.
	State map[string]string
	// Guard names a bool scalar output. Where it comes out false, the run ends
	// there with a GuardError, before any state has changed.
	Guard string
	// NoFusion leaves fusions out, so that tests can compare.
	NoFusion bool
	// Share is a program whose threads and packed constants this one uses too:
	// of models that have weights in common, each is packed once. Threads does
	// not count then, and Share must be closed last.
	Share *Program
}

// GuardError says that a run ended early because its guard came out false.
type GuardError struct{ Guard string }

func (e *GuardError) Error() string { return fmt.Sprintf("guard %q came out false", e.Guard) }

// Program is a compiled model. It is immutable, but for caches behind a lock,
// and may be shared between goroutines; each of them needs a Session.
type Program struct {
	model   *ir.Model
	set     *ops.Set
	an      *ops.Analysis
	opts    Options
	pool    *par.Pool
	pack    *ops.Cache
	outputs []*ir.Value
	state   map[*ir.Value]*ir.Value // output -> mutable initializer
	guard   *ir.Value
	mutable []*ir.Value
	index   map[string]*ir.Value

	mu    sync.Mutex
	plans map[planKey]*Plan
	subs  map[*ir.Node]ops.Op // operators of sub-graphs, parsed when first run
}

// Compile checks a model and readies it to be planned. Errors name the node.
func Compile(m *ir.Model, o Options) (*Program, error) {
	p := &Program{set: o.Set, opts: o, plans: map[planKey]*Plan{}, subs: map[*ir.Node]ops.Op{}}
	if p.set == nil {
		p.set = ops.Standard()
	}
	var err error
	if p.model, err = p.prepare(m); err != nil {
		return nil, err
	}
	if p.an, err = p.set.Analyze(p.model, ops.AnalyzeOptions{Mutable: p.isMutable}); err != nil {
		return nil, err
	}
	p.index = p.model.Graph.Index()
	if err := p.resolve(); err != nil {
		return nil, err
	}
	if err := p.fold(); err != nil {
		return nil, err
	}
	if o.Share != nil {
		p.pool, p.pack = o.Share.pool, o.Share.pack
		return p, nil
	}
	p.pool, p.pack = par.New(o.Threads), &ops.Cache{Narrow: staysNarrow(p.model)}
	return p, nil
}

func (p *Program) isMutable(v *ir.Value) bool {
	return p.opts.Mutable != nil && p.opts.Mutable(v.Name) || v.IsInput()
}

// resolve resolves the names in Options.
func (p *Program) resolve() error {
	g := p.model.Graph
	find := func(name, what string) (*ir.Value, error) {
		v := p.index[name]
		if v == nil {
			return nil, fmt.Errorf("%s %q is not in the graph", what, name)
		}
		return v, nil
	}
	p.outputs = g.Outputs
	if p.opts.Outputs != nil {
		p.outputs = nil
		for _, name := range p.opts.Outputs {
			v, err := find(name, "output")
			if err != nil {
				return err
			}
			p.outputs = append(p.outputs, v)
		}
	}
	for _, v := range g.Initializers {
		if p.isMutable(v) {
			p.mutable = append(p.mutable, v)
		}
	}
	p.state = map[*ir.Value]*ir.Value{}
	for out, init := range p.opts.State {
		o, err := find(out, "state output")
		if err != nil {
			return err
		}
		i, err := find(init, "state")
		if err != nil {
			return err
		}
		if !slices.Contains(p.mutable, i) {
			return fmt.Errorf("state %q is not a mutable initializer", init)
		}
		p.state[o] = i
	}
	if p.opts.Guard != "" {
		var err error
		if p.guard, err = find(p.opts.Guard, "guard"); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the program's threads, unless they are another's. Sessions then
// run on their caller alone.
func (p *Program) Close() {
	if p.opts.Share == nil {
		p.pool.Close()
	}
}

// Threads is the number of threads that kernels use.
func (p *Program) Threads() int { return p.pool.Threads() }

// Kernels names the kernels in use: results depend on them to the bit.
func Kernels() string { return kernel.Chosen() }

// Port is an input or output as the model declares it.
type Port struct {
	Name string
	Type ir.Type
	// Default tells that an input may be left out: the model has a value.
	Default bool
}

// Inputs are the graph's inputs in order.
func (p *Program) Inputs() []Port {
	var ports []Port
	for _, v := range p.model.Graph.Inputs {
		ports = append(ports, Port{v.Name, p.an.Fact(v).Type(), v.Data != nil})
	}
	return ports
}

// Outputs are the outputs in order, with inferred types.
func (p *Program) Outputs() []Port {
	var ports []Port
	for _, v := range p.outputs {
		ports = append(ports, Port{Name: v.Name, Type: p.an.Fact(v).Type()})
	}
	return ports
}

// initial reads the value that a mutable initializer starts with.
func initial(v *ir.Value) (*tensor.Tensor, error) {
	t, err := v.Data.Tensor()
	if err != nil {
		return nil, fmt.Errorf("initializer %q: %w", v.Name, err)
	}
	return t.Clone(), nil
}
