package rewrite

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// A stack is the adapters of a model apart from its graph, in their order.
// Whatever is done to one of several adapters is done here: all are taken off,
// the list is changed, and what is left is put on the base again. So a graph is
// always what writing the list anew would give.
type stack []*carried

// carried is one adapter of a stack: all that is needed to write it.
type carried struct {
	cfg         adapter.Config
	form        Form // never Auto
	inputs      bool
	training    bool
	fingerprint string
	targets     []*mounted
	whole       []*whole
}

// mounted is a module of the base with the blocks it gets; calls are the layers
// that are calls of the module.
type mounted struct {
	calls  []*Linear
	blocks []ir.Data
}

func (t *mounted) path() string { return t.calls[0].Path }

// newCarried is an adapter without targets yet.
func newCarried(cfg adapter.Config, o Options) (*carried, error) {
	a := &carried{cfg: cfg}
	return a, a.as(o)
}

// as takes form and kind of blocks from o.
func (a *carried) as(o Options) (err error) {
	a.form, err = o.Form.of(a.cfg.Method)
	a.inputs, a.training = o.Inputs, o.Training
	if err == nil && a.dropout() > 0 {
		a.form = Activation
	}
	return err
}

// dropout is that of the graph: only one that is trained has it.
func (a *carried) dropout() float64 {
	if !a.training || !a.cfg.Method.Additive() {
		return 0
	}
	return a.cfg.Dropout
}

// suffixed is name as this adapter's: "default" has the bare names.
func (a *carried) suffixed(name string) string {
	if n := a.cfg.DisplayName(); n != adapter.DefaultName {
		return name + "." + n
	}
	return name
}

// prefix starts the names of new nodes: "/layers.0/q_proj/bone/".
func (a *carried) prefix(l *Linear) string {
	base := "/" + l.Path
	if i := strings.LastIndexByte(l.Node.Name, '/'); i > 0 {
		base = l.Node.Name[:i]
	}
	return base + "/" + a.suffixed(a.cfg.Method.String()) + "/"
}

// params is the number of trained values.
func (a *carried) params() int {
	n := 0
	for _, t := range a.targets {
		for _, b := range t.blocks {
			n += b.Shape().Size()
		}
	}
	for _, w := range a.whole {
		n += w.data.Shape().Size()
	}
	return n
}

// biases is the number of trained values that PEFT trains in the base itself:
// biases that are not part of modules_to_save.
func (a *carried) biases() int {
	sel, err := adapter.NewSelector(a.cfg.Selection)
	if err != nil {
		return 0 // Validate has seen it
	}
	n := 0
	for _, w := range a.whole {
		saved := false
		for i := range a.cfg.Save {
			saved = saved || sel.Saves(i, modulePathOf(w.key))
		}
		if !saved {
			n += w.data.Shape().Size()
		}
	}
	return n
}

// takeOff takes all adapters off c and returns them, and the layers of what is
// now the base.
func takeOff(c *ir.Model) (stack, *Layers, error) {
	r, err := resolve(c)
	if err != nil {
		return nil, nil, err
	}
	if err := r.remove(c); err != nil {
		return nil, nil, err
	}
	found, err := Find(c)
	if err != nil {
		return nil, nil, err
	}
	at := found.byNode()
	var list stack
	for _, a := range r.adapters {
		x, err := a.carried(at)
		if err != nil {
			return nil, nil, fmt.Errorf("adapter %q: %w", a.Config.DisplayName(), err)
		}
		list = append(list, x)
	}
	return list, found, nil
}

func (l *Layers) byNode() map[*ir.Node]*Linear {
	at := map[*ir.Node]*Linear{}
	for _, x := range l.Linear {
		at[x.Node] = x
	}
	return at
}

// carried is a, which was taken off the graph; at has the layers of the base.
func (a *Adapter) carried(at map[*ir.Node]*Linear) (*carried, error) {
	x := &carried{cfg: a.Config, form: a.Form, inputs: a.Inputs, training: a.Training, fingerprint: a.Fingerprint}
	for _, t := range a.Targets {
		m := &mounted{}
		for _, b := range t.Blocks {
			m.blocks = append(m.blocks, b.Data)
		}
		for _, s := range t.sites {
			l := at[s.base]
			if l == nil {
				return nil, fmt.Errorf("%s: its layer %v is gone", t.Path, s.base)
			}
			l.Path = t.Path // as recorded, should a name that it came from have changed
			m.calls = append(m.calls, l)
		}
		x.targets = append(x.targets, m)
	}
	for _, w := range a.Whole {
		x.whole = append(x.whole, w.off)
	}
	return x, nil
}

// named is the adapter of that name, nil where there is none.
func (s stack) named(name string) *carried {
	for _, a := range s {
		if a.cfg.DisplayName() == name {
			return a
		}
	}
	return nil
}

// split parts the adapters of these names, all where none is given, from the
// rest.
func (s stack) split(names []string) (in, rest stack) {
	for _, a := range s {
		if len(names) == 0 || slices.Contains(names, a.cfg.DisplayName()) {
			in = append(in, a)
		} else {
			rest = append(rest, a)
		}
	}
	return in, rest
}

// putOn writes the adapters into the base model c. On one layer they mean what
// adapter.Stack means in the same order: a bat sees the weight that those below
// it make, so these are in weight form there whatever was asked for; what lies
// above the last bat of a layer only adds, and takes its own form. Parameters
// that are trained whole stand in the base's place, under all blocks.
func (s stack) putOn(c *ir.Model) error {
	if len(s) == 0 {
		return nil
	}
	if err := s.oneOwner(); err != nil {
		return err
	}
	in := &injection{c: c, names: ir.NewNames(c), opset: c.Opset(""),
		shared: map[string]*ir.Value{}, results: map[*ir.Node]*ir.Value{}}
	if in.opset < minOpset {
		return fmt.Errorf("the model is of operator set %d; adapters need %d or newer", in.opset, minOpset)
	}
	if in.opset < minDropout && slices.ContainsFunc(s, func(a *carried) bool { return a.dropout() > 0 }) {
		return fmt.Errorf("the model is of operator set %d; training with dropout needs %d or newer", in.opset, minDropout)
	}
	if c.IRVersion < 4 && slices.ContainsFunc(s, func(a *carried) bool { return a.inputs }) {
		in.record.IRVersion = c.IRVersion
		c.IRVersion = 4
	}
	for _, a := range s {
		rec := adapterRecord{Config: a.cfg, Form: a.form, Inputs: a.inputs, Training: a.training, Fingerprint: a.fingerprint, Targets: []targetRecord{}}
		for _, w := range a.whole {
			x, err := in.whole(a, w)
			if err != nil {
				return fmt.Errorf("%s: %w", w.key, err)
			}
			rec.Whole = append(rec.Whole, *x)
		}
		in.record.Adapters = append(in.record.Adapters, rec)
	}
	if err := s.blocks(in); err != nil {
		return err
	}
	return in.record.store(c)
}

// blocks writes the adapters' blocks, whose records in has already.
func (s stack) blocks(in *injection) error {
	bat := map[*ir.Node]int{} // the last adapter that is a bat there
	for i, a := range s {
		for _, t := range a.targets {
			if a.cfg.Method == adapter.Bat {
				bat[t.calls[0].Node] = i
			}
		}
	}
	for i, a := range s {
		rec := &in.record.Adapters[i]
		for _, t := range a.targets {
			form := t.calls[0].formOf(a.form)
			if bat[t.calls[0].Node] > i {
				form = Weighted
			}
			target, err := in.module(a, t, form)
			if err != nil {
				return err
			}
			rec.Targets = append(rec.Targets, *target)
		}
	}
	return nil
}

func dense(ts []*tensor.Tensor) []ir.Data {
	out := make([]ir.Data, len(ts))
	for i, t := range ts {
		out[i] = ir.Dense(t)
	}
	return out
}
