package bonnx

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
)

// BoneModel is PEFT's BoneModel: a base model and named adapters, of which any
// may be active, in any order. The base stays as it was opened; a graph with
// adapters is made of it when one is run, trained or saved. So switching,
// merging and unmerging cost nothing and lose nothing.
//
// A BoneModel is for one goroutine at a time; the Programs compiled from it are
// not bound to that.
type BoneModel struct {
	base     *Model
	adapters []*held
	active   []string
	disabled bool

	merged  []string
	weights *ir.Model // the base with merged adapters in its weights, nil for none

	layouts map[int]*layouts // by threads
}

// held is an adapter that a BoneModel has.
type held struct {
	name   string
	config BoneConfig
	set    *adapter.Set
	frozen bool
	// as is how it stood in the file that it came from.
	as rewrite.Options
}

// Report says where an adapter was put, what was skipped and why, and counts
// parameters.
type Report = rewrite.Report

// NoMatchError says that no layer was selected, what there is, and what is
// called almost so.
type NoMatchError = adapter.NoMatchError

// New puts a first adapter on a model and makes it active. It reads no weight
// but those of ModulesToSave and biases that train. An empty name stands for
// "default". A selection that finds nothing is a *NoMatchError. The base must
// not be changed or closed while the BoneModel is in use.
func New(base *Model, name string, c BoneConfig) (*BoneModel, error) {
	m := &BoneModel{base: base}
	if name == "" {
		name = adapter.DefaultName
	}
	if _, err := m.AddAdapter(name, c); err != nil {
		return nil, err
	}
	return m, m.SetAdapter(name)
}

// Adapted is the BoneModel of a model that was saved with adapters, all of them
// active in the order of the file. A model without adapters gives one without.
func Adapted(saved *Model) (*BoneModel, error) {
	m := &BoneModel{base: saved}
	all, err := rewrite.Adapters(saved.graph)
	if err != nil {
		return nil, saved.wrap(invalidModel(err))
	}
	if len(all) == 0 {
		return m, nil
	}
	sets, err := rewrite.Sets(saved.graph)
	if err != nil {
		return nil, saved.wrap(invalidModel(err))
	}
	base := saved.graph.Clone()
	if err := rewrite.Strip(base); err != nil {
		return nil, saved.wrap(err)
	}
	m.base = saved.with(base)
	for i, s := range sets {
		h := &held{name: s.Config.DisplayName(), set: s, as: rewrite.Options{Form: all[i].Form, Inputs: all[i].Inputs}}
		if h.config, err = boneConfig(s.Config); err != nil {
			return nil, saved.wrap(invalidModel(err))
		}
		m.adapters, m.active = append(m.adapters, h), append(m.active, h.name)
	}
	return m, nil
}

// Base is the model under the adapters.
func (m *BoneModel) Base() *Model { return m.base }

// AddAdapter puts one more adapter on the model, not active yet. The report
// says where.
func (m *BoneModel) AddAdapter(name string, c BoneConfig) (*Report, error) {
	if m.find(name) != nil {
		return nil, m.base.wrap(fmt.Errorf("the model has an adapter %q already; give the new one another name, or take that one off first", name))
	}
	cfg, err := m.base.resolve(name, c)
	if err != nil {
		return nil, err
	}
	g := m.base.graph.Clone()
	r, err := rewrite.Inject(g, cfg, rewrite.Options{SkipUnfit: c.SkipUnfit})
	if err != nil {
		return nil, m.base.wrap(err)
	}
	return r, m.hold(&held{name: name, config: c}, g)
}

// hold keeps the only adapter of g under the name of h.
func (m *BoneModel) hold(h *held, g *ir.Model) error {
	sets, err := rewrite.Sets(g)
	if err != nil {
		return m.base.wrap(err)
	}
	h.set = sets[0]
	h.set.Config.Name = h.name
	m.adapters = append(m.adapters, h)
	return nil
}

// find is the adapter of that name, nil where there is none.
func (m *BoneModel) find(name string) *held {
	for _, h := range m.adapters {
		if h.name == name {
			return h
		}
	}
	return nil
}

// named are the adapters of those names.
func (m *BoneModel) named(names []string) ([]*held, error) {
	out := make([]*held, len(names))
	for i, n := range names {
		if out[i] = m.find(n); out[i] == nil {
			return nil, &UnknownAdapterError{n, m.Adapters()}
		}
		if slices.Contains(names[:i], n) {
			return nil, fmt.Errorf("adapter %q is named twice", n)
		}
	}
	return out, nil
}

// Adapters are the names of all adapters in the order in which they came.
func (m *BoneModel) Adapters() []string {
	out := make([]string, len(m.adapters))
	for i, h := range m.adapters {
		out[i] = h.name
	}
	return out
}

// Config is an adapter's configuration.
func (m *BoneModel) Config(name string) (BoneConfig, error) {
	h, err := m.named([]string{name})
	if err != nil {
		return BoneConfig{}, err
	}
	return h[0].config, nil
}

// SetAdapter makes the named adapters the active ones, applied in that order:
// Bone adds, so the order does not matter; Bat sees the weights that the one
// before it made. As in PEFT they are trained from here on, and no others.
func (m *BoneModel) SetAdapter(names ...string) error {
	active, err := m.named(names)
	if err != nil {
		return err
	}
	m.active = slices.Clone(names)
	for _, h := range m.adapters {
		h.frozen = !slices.Contains(active, h)
	}
	return nil
}

// ActiveAdapters are the active adapters in order; none while adapters are
// disabled.
func (m *BoneModel) ActiveAdapters() []string {
	if m.disabled {
		return nil
	}
	return slices.Clone(m.active)
}

// Disable has the model be its base, with what is merged into it, until Enable.
func (m *BoneModel) Disable() { m.disabled = true }

// Enable ends Disable.
func (m *BoneModel) Enable() { m.disabled = false }

// DeleteAdapter forgets an adapter. Where it was the only active one, the first
// that is left becomes active, as in PEFT. A merged adapter is an error.
func (m *BoneModel) DeleteAdapter(name string) error {
	gone, err := m.named([]string{name})
	if err != nil {
		return err
	}
	if slices.Contains(m.merged, name) {
		return fmt.Errorf("adapter %q is merged; unmerge it first", name)
	}
	m.adapters = slices.DeleteFunc(m.adapters, func(h *held) bool { return h == gone[0] })
	was := len(m.active)
	m.active = slices.DeleteFunc(m.active, func(n string) bool { return n == name })
	if was > 0 && len(m.active) == 0 && len(m.adapters) > 0 {
		return m.SetAdapter(m.adapters[0].name)
	}
	return nil
}

// SetRequiresGrad says whether the named adapters, all where none is named, are
// trained while they are active.
func (m *BoneModel) SetRequiresGrad(on bool, names ...string) error {
	if len(names) == 0 {
		names = m.Adapters()
	}
	list, err := m.named(names)
	if err != nil {
		return err
	}
	for _, h := range list {
		h.frozen = !on
	}
	return nil
}

// NumParameters counts the values that train now, and all: those of the base
// as far as a file tells parameters from other constants, and of all adapters.
func (m *BoneModel) NumParameters() (trainable, all int) {
	all = rewrite.Params(m.base.graph)
	for _, h := range m.adapters {
		n := h.params()
		all += n
		if !h.frozen && !m.disabled && slices.Contains(m.active, h.name) {
			trainable += n
		}
	}
	return trainable, all
}

// params counts the values of an adapter, modules saved whole included.
func (h *held) params() int {
	n := h.set.Params()
	for _, s := range h.set.Saved {
		n += s.Tensor.Size()
	}
	return n
}

// LayerStatus is what PEFT's get_layer_status tells of one adapted module.
type LayerStatus struct {
	Name         string // module path
	Enabled      bool
	Active       []string          // active adapters of this module, in order
	Merged       []string          // in order
	Available    []string          // all of this module
	RequiresGrad map[string]bool   // by adapter
	Methods      map[string]string // bone, bat, ... by adapter
}

// LayerStatus lists the modules that have adapters, in the order in which the
// adapters name them.
func (m *BoneModel) LayerStatus() []LayerStatus {
	var out []LayerStatus
	at := map[string]int{}
	for _, h := range m.adapters {
		for _, e := range h.set.Entries {
			i, ok := at[e.Path]
			if !ok {
				i, at[e.Path] = len(out), len(out)
				out = append(out, LayerStatus{Name: e.Path, Enabled: !m.disabled, RequiresGrad: map[string]bool{}, Methods: map[string]string{}})
			}
			l := &out[i]
			l.Available = append(l.Available, h.name)
			l.RequiresGrad[h.name] = !h.frozen
			l.Methods[h.name] = h.set.Config.Method.String()
		}
	}
	for i := range out {
		has := func(n string) bool { return slices.Contains(out[i].Available, n) }
		for _, n := range m.active {
			if has(n) {
				out[i].Active = append(out[i].Active, n)
			}
		}
		for _, n := range m.merged {
			if has(n) {
				out[i].Merged = append(out[i].Merged, n)
			}
		}
	}
	return out
}

// errNothingTrains is why a model cannot be trained.
var errNothingTrains = errors.New("no active adapter is to be trained; put one on the model first, or see SetAdapter and SetRequiresGrad")
