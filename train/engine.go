package train

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// Result is what one step or evaluation gives.
type Result struct {
	LossSum  float64 // summed over what counts
	Count    float64 // tokens, samples or elements
	GradNorm float64 // before clipping
	// Correct is, of an Evaluate over classes, how many labels were the class
	// of the largest logit; else nil.
	Correct *float64
	// Task is, of an Evaluate, what the labels were compared as.
	Task Task
}

// Loss is the mean, 0 where nothing counts.
func (r Result) Loss() float64 {
	if r.Count == 0 {
		return 0
	}
	return r.LossSum / r.Count
}

// Engine runs steps. The loop knows no more than this, so that another engine
// can take the Session's place.
type Engine interface {
	// Step trains on batches, whose gradients are accumulated by what counts
	// in each, and returns the loss before the update. On *NonFiniteError and
	// on a cancelled context no parameter has changed.
	Step(ctx context.Context, batches []Batch, lr float64, step int) (Result, error)
	// Eval computes the loss alone.
	Eval(ctx context.Context, b Batch) (Result, error)
	// Bytes is the memory that training on b and evaluating it takes, without
	// taking it.
	Bytes(b Batch) (int64, error)
	// State is every parameter and optimizer state by name: the storage itself.
	State() map[string]*tensor.Tensor
	// RandomState and SetRandomState save and restore the random stream.
	RandomState() ([]byte, error)
	SetRandomState([]byte) error
	Close()
}

// NonFiniteError says that a loss or gradient was not finite.
type NonFiniteError struct {
	Step  int
	Node  string // the first node with a non-finite output, "" if only the loss of many is
	Value string
}

func (e *NonFiniteError) Error() string {
	where := "in the sum over the batches"
	if e.Node != "" {
		where = fmt.Sprintf("first in %q of %s", e.Value, e.Node)
	}
	return fmt.Sprintf("step %d: loss or gradient is not finite (%s); nothing was changed by this step. Try a smaller --lr, --warmup or --clip", e.Step, where)
}

// engine runs steps on bonnx's own runtime.
type engine struct {
	eval  *unit
	whole *unit // loss, gradients and update in one: without accumulation
	grads *unit // adds gradients to accumulators
	apply *unit // updates from the accumulators
	sums  []string
	again reused

	inputs []Port          // that can be fed, labels among them
	unused map[string]bool // of these, what the loss does not depend on

	example *example     // what a prefix was looked for by, nil where none was
	prefix  *prefix      // that was found
	cache   *prefixCache // of that, nil where it does not pay
	cached  bool         // eval reads the cache too
}

// unit is one program with its session.
type unit struct {
	prog    *runtime.Program
	session *runtime.Session
	state   []string // mutable initializers that a run updates
}

// Names of the outputs of a step.
const (
	lossOutput  = "loss_sum"
	countOutput = "loss_count"
	normOutput  = "grad_norm"
	guardOutput = "all_finite"
)

// newEngine compiles what a run needs of a model.
func newEngine(m *ir.Model, set *ops.Set, c Config) (*engine, string, error) {
	e := &engine{}
	from, err := e.compile(m, set, c, nil)
	if err != nil {
		e.Close()
		return nil, "", err
	}
	return e, from, nil
}

// compile returns where the loss attached. ready, which may be nil, is told what
// can be fed, and gives the example that a prefix is looked for by, or nil.
func (e *engine) compile(m *ir.Model, set *ops.Set, c Config, ready func(inputs []Port, unused map[string]bool) (*example, error)) (string, error) {
	e.again = newReused()
	ge, err := newGraph(settled(m), set, c.Params, c.LossConfig)
	if err != nil {
		return "", err
	}
	ge.setOutputs(ge.loss.sum, ge.loss.count)
	e.inputs, e.unused = ge.inputs()
	var x *example
	if ready != nil {
		if x, err = ready(e.inputs, e.unused); err != nil {
			return "", err
		}
	}
	g, err := newGraph(m, set, c.Params, c.LossConfig)
	if err != nil {
		return "", err
	}
	prefix, err := e.split(g, set, x)
	if err != nil {
		return "", err
	}
	if err := e.compileStep(g, set, c); err != nil {
		return "", err
	}
	if e.cache != nil {
		if err := e.cache.start(prefix, set, e.holder()); err != nil {
			return "", err
		}
		e.cached = e.cache.replace(ge)
	}
	e.eval, err = ge.unit(set, c.Threads, runtime.Options{Mutable: isParam(c.Params)}, e.holder())
	return g.loss.from, err
}

// compileStep compiles what trains.
func (e *engine) compileStep(g *graph, set *ops.Set, c Config) (err error) {
	g.recompute = c.Recompute
	if c.Accumulate == 1 {
		e.whole, err = g.whole(set, c)
	} else {
		e.grads, e.apply, e.sums, err = accumulation(g, set, c)
	}
	return err
}

// holder is the unit whose session owns the parameters.
func (e *engine) holder() *unit {
	if e.whole != nil {
		return e.whole
	}
	return e.apply
}

func isParam(names []string) func(string) bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return func(n string) bool { return m[n] }
}

// unit compiles the graph; its session shares the parameters of with, if any,
// and its program threads and packed weights.
func (g *graph) unit(set *ops.Set, threads int, o runtime.Options, with *unit) (*unit, error) {
	o.Set, o.Threads, o.Prepared = set, threads, true
	if err := g.b.Err(); err != nil {
		return nil, err
	}
	if with != nil {
		o.Share = with.prog
	}
	prog, err := runtime.Compile(g.model, o)
	if err != nil {
		return nil, err
	}
	var share []*runtime.Session
	if with != nil {
		share = append(share, with.session)
	}
	s, err := prog.NewSession(share...)
	if err != nil {
		prog.Close()
		return nil, err
	}
	return &unit{prog, s, slices.Sorted(maps.Values(o.State))}, nil
}

// whole finishes the step as one graph that updates in place.
func (g *graph) whole(set *ops.Set, c Config) (*unit, error) {
	mean := g.loss.mean(g.b)
	if err := g.differentiate(mean); err != nil {
		return nil, err
	}
	norm, guard := g.finish(c, mean)
	o := g.stateOptions()
	o.Outputs = []string{g.name(g.loss.sum, lossOutput), g.name(g.loss.count, countOutput), g.name(norm, normOutput)}
	o.Guard = g.name(guard, guardOutput)
	return g.unit(set, c.Threads, o, nil)
}

// finish appends the guard before the optimizer, so that nothing is updated
// where it comes out false.
func (g *graph) finish(c Config, watched ...*ir.Value) (norm, guard *ir.Value) {
	norm = g.optimize(c.OptimConfig, g.zeroState)
	guard = g.b.Composite("AllFinite", append(watched, norm), 1)[0]
	// The updates must come after the guard in the schedule.
	for _, p := range g.params {
		g.b.Graph.Move(p.updated[0].Producer(), nil)
	}
	return norm, guard
}

// stateOptions names what a run updates in place.
func (g *graph) stateOptions() runtime.Options {
	state, mutable := map[string]string{}, map[string]bool{}
	g.states(func(from, to *ir.Value) {
		state[g.name(to, from.Name+".new")] = from.Name
		mutable[from.Name] = true
	})
	return runtime.Options{State: state, Mutable: func(n string) bool { return mutable[n] }}
}

// accumulation finishes the step as two graphs: one that adds the gradients of
// the summed loss, the sum and the count to accumulators, one that divides by
// the count, clips and updates.
func accumulation(g *graph, set *ops.Set, c Config) (grads, apply *unit, sums []string, err error) {
	if apply, sums, err = applyGraph(g, set, c); err != nil {
		return nil, nil, nil, err
	}
	if err = g.differentiate(g.loss.sum); err != nil {
		return nil, apply, nil, err
	}
	state, mutable := map[string]string{}, map[string]bool{}
	for i, p := range g.params {
		acc := g.zeroState(p, "grad")
		sum := g.b.Add(acc, p.grad)
		acc.Name = sums[i] // what the other graph calls it, so that the sessions share it
		state[g.name(sum, sums[i]+".new")] = sums[i]
		mutable[sums[i]], mutable[p.value.Name] = true, true
	}
	o := runtime.Options{State: state, Mutable: func(n string) bool { return mutable[n] }}
	o.Outputs = []string{g.name(g.loss.sum, lossOutput), g.name(g.loss.count, countOutput)}
	grads, err = g.unit(set, c.Threads, o, apply)
	return grads, apply, sums, err
}

// applyGraph is the update alone: its inputs are the accumulators, which are
// initializers that the other graph's session shares, and the count.
func applyGraph(of *graph, set *ops.Set, c Config) (*unit, []string, error) {
	m := &ir.Model{IRVersion: 10, Graph: ir.NewGraph("apply"), Opsets: []ir.Opset{
		{Version: ops.CanonicalOpset}, {Domain: ops.Domain, Version: 1}}}
	an, err := set.Analyze(m, ops.AnalyzeOptions{Mutable: func(*ir.Value) bool { return true }})
	if err != nil {
		return nil, nil, err
	}
	g := &graph{model: m, b: ops.NewBuilder(an, m.Graph, ir.NewNames(m))}
	count := g.scalarInput(countOutput, tensor.Float32)
	var sums []string
	for _, p := range of.params {
		q := &param{value: m.Graph.AddInitializer(g.b.Names().Fresh(p.value.Name), p.value.Data)}
		acc := g.zeroState(q, "grad")
		sums = append(sums, acc.Name)
		q.grad = g.b.Div(acc, g.b.Cast(count, p.value.Data.DType()))
		g.params = append(g.params, q)
	}
	norm, guard := g.finish(c)
	o := g.stateOptions()
	held := o.Mutable
	o.Mutable = func(n string) bool { return held(n) || isParam(sums)(n) }
	o.Outputs = []string{g.name(norm, normOutput)}
	o.Guard = g.name(guard, guardOutput)
	u, err := g.unit(set, c.Threads, o, nil)
	return u, sums, err
}

func (e *engine) Close() {
	for _, u := range []*unit{e.cacheUnit(), e.eval, e.whole, e.grads, e.apply} {
		if u != nil {
			u.prog.Close()
		}
	}
}

func (e *engine) State() map[string]*tensor.Tensor {
	u := e.holder()
	state, all := map[string]*tensor.Tensor{}, u.session.Mutable()
	for _, name := range u.state {
		state[name] = all[name]
	}
	return state
}

func (e *engine) RandomState() ([]byte, error)  { return e.stepUnit().session.RandomState() }
func (e *engine) SetRandomState(b []byte) error { return e.stepUnit().session.SetRandomState(b) }

func (e *engine) stepUnit() *unit {
	if e.whole != nil {
		return e.whole
	}
	return e.grads
}

func (e *engine) Eval(ctx context.Context, b Batch) (Result, error) {
	feeds := b.Feeds
	if e.cached {
		var err error
		if feeds, err = e.cache.feeds(ctx, b); err != nil {
			return Result{}, err
		}
	}
	out, err := e.eval.session.Run(ctx, feeds)
	if err != nil {
		return Result{}, err
	}
	r := Result{LossSum: scalar(out[0]), Count: scalar(out[1])}
	if len(out) > 2 {
		correct := scalar(out[2])
		r.Correct = &correct
	}
	return r, nil
}

// Bytes counts what sessions would hold: values, scratch and mutable state,
// not the weights nor what is kept of a prefix. What the update alone needs is
// little beside the gradients.
func (e *engine) Bytes(b Batch) (int64, error) {
	var sum int64
	batch := b.Feeds
	if e.cache != nil {
		plan, values, err := e.cache.plan(b)
		if err != nil {
			return 0, err
		}
		sum, batch = int64(plan.MemoryBytes()), values
	}
	for _, u := range []*unit{e.eval, e.whole, e.grads} {
		if u == nil {
			continue
		}
		feeds := batch
		switch {
		case u == e.eval && !e.cached:
			feeds = b.Feeds
		case u == e.whole:
			feeds = maps.Clone(feeds)
			maps.Copy(feeds, hyper(0, 1))
		}
		plan, err := u.prog.PlanFor(feeds)
		if err != nil {
			return 0, err
		}
		sum += int64(plan.MemoryBytes())
	}
	if u := e.holder(); u != nil {
		for _, t := range u.session.Mutable() {
			sum += int64(len(t.Bytes()))
		}
	}
	return sum, nil
}

// scalar reads a one-element float tensor.
func scalar(t *tensor.Tensor) float64 {
	if t.DType() == tensor.Float64 {
		return tensor.Data[float64](t)[0]
	}
	return float64(tensor.Data[float32](t)[0])
}

// newEvaluator is an engine that can only Eval.
func newEvaluator(m *ir.Model, set *ops.Set, c LossConfig, threads int) (*engine, error) {
	g, err := newGraph(settled(m), set, nil, c)
	if err != nil {
		return nil, err
	}
	outputs := []*ir.Value{g.loss.sum, g.loss.count}
	if g.loss.logits != nil {
		outputs = append(outputs, g.loss.correct(g.b))
	}
	g.setOutputs(outputs...)
	e := &engine{}
	e.inputs, e.unused = g.inputs()
	e.eval, err = g.unit(set, threads, runtime.Options{}, nil)
	return e, err
}

// kernels names the kernels that compute: what results depend on to the bit.
func kernels() string { return runtime.Kernels() }
