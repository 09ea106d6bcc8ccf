package rewrite

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// MetadataKey is the entry of a model's metadata in which its adapters are
// recorded, as JSON.
const MetadataKey = "bonnx.adapters"

// recordVersion is raised when older readers would misread a record. Version 2
// has parameters that are trained whole; records without are still of version 1.
const recordVersion = 2

// record is all that is needed to take the adapters off again. Nodes are named
// by names that were fresh when they were added; what they were added to is
// read off the graph.
type record struct {
	Version int `json:"version"`
	// IRVersion is that of the base model, where it was raised.
	IRVersion int64 `json:"base_ir_version,omitempty"`
	// Constants are initializers that several targets share.
	Constants []string        `json:"constants,omitempty"`
	Adapters  []adapterRecord `json:"adapters"`
}

type adapterRecord struct {
	Config      adapter.Config `json:"config"`
	Form        Form           `json:"form"`
	Inputs      bool           `json:"inputs,omitempty"`
	Training    bool           `json:"training,omitempty"`
	Fingerprint string         `json:"fingerprint,omitempty"`
	Targets     []targetRecord `json:"targets"`
	Whole       []wholeRecord  `json:"whole,omitempty"`
}

type targetRecord struct {
	Path   string   `json:"path"`
	In     int      `json:"in"`
	Out    int      `json:"out"`
	Blocks []string `json:"blocks"`
	// Form is the target's own where a bat above asks for another than the
	// adapter's.
	Form  Form         `json:"form,omitzero"`
	Sites []siteRecord `json:"sites"`
}

// siteRecord is one node of a target; a module that is called several times
// has several.
type siteRecord struct {
	Node  string   `json:"node"`
	Kind  string   `json:"kind"`
	Nodes []string `json:"nodes"` // added, in order
}

// resolved is a record with the parts of the graph that it names.
type resolved struct {
	record    record
	constants []*ir.Value
	adapters  []*Adapter
	byLast    map[*ir.Value]*site
	standIn   map[*ir.Value]*ir.Value // what a trained copy stands for
	nodes     map[string]*ir.Node
	indexes   map[*ir.Graph]map[string]*ir.Value
	values    map[string]*ir.Value // initializers of the main graph
}

func resolve(m *ir.Model) (*resolved, error) {
	if m == nil || m.Graph == nil {
		return nil, errors.New("model has no graph")
	}
	r := &resolved{byLast: map[*ir.Value]*site{}, standIn: map[*ir.Value]*ir.Value{}, indexes: map[*ir.Graph]map[string]*ir.Value{}}
	text, ok := m.Metadata.Get(MetadataKey)
	if !ok {
		return r, nil
	}
	wrap := func(err error) error { return fmt.Errorf("metadata %s: %w", MetadataKey, err) }
	if err := json.Unmarshal([]byte(text), &r.record); err != nil {
		return nil, wrap(err)
	}
	if v := r.record.Version; v < 1 || v > recordVersion {
		return nil, wrap(fmt.Errorf("version %d; this program knows up to %d", v, recordVersion))
	}
	if err := r.index(m); err != nil {
		return nil, wrap(err)
	}
	if err := r.look(); err != nil {
		return nil, wrap(err)
	}
	return r, nil
}

// look finds everything that the record names.
func (r *resolved) look() error {
	for _, name := range r.record.Constants {
		v := r.values[name]
		if v == nil {
			return missing("initializer", name)
		}
		r.constants = append(r.constants, v)
	}
	for i := range r.record.Adapters {
		a, err := r.adapter(&r.record.Adapters[i])
		if err != nil {
			return fmt.Errorf("adapter %q: %w", r.record.Adapters[i].Config.DisplayName(), err)
		}
		r.adapters = append(r.adapters, a)
	}
	for _, a := range r.adapters {
		for i := range a.Targets {
			if err := r.bases(&a.Targets[i]); err != nil {
				return fmt.Errorf("%s: %w", a.Targets[i].Path, err)
			}
		}
	}
	return nil
}

func missing(what, name string) error {
	return fmt.Errorf("the graph has no %s %q (changed by another program since?)", what, name)
}

// index looks up every node and initializer that the record may name.
func (r *resolved) index(m *ir.Model) error {
	r.nodes, r.values = map[string]*ir.Node{}, map[string]*ir.Value{}
	for _, v := range m.Graph.Initializers {
		r.values[v.Name] = v
	}
	for _, a := range r.record.Adapters {
		for _, n := range a.nodes() {
			if _, ok := r.nodes[n]; ok {
				return fmt.Errorf("node %q is named twice", n)
			}
			r.nodes[n] = nil
		}
	}
	var err error
	m.Graphs(func(g *ir.Graph) bool {
		for n := range g.Nodes() {
			if old, ok := r.nodes[n.Name]; ok && old != nil {
				err = fmt.Errorf("two nodes are named %q", n.Name)
			} else if ok {
				r.nodes[n.Name] = n
			}
		}
		return err == nil
	})
	return err
}

// nodes are the names of all nodes that were added.
func (a *adapterRecord) nodes() []string {
	var out []string
	for _, t := range a.Targets {
		for _, s := range t.Sites {
			out = append(out, s.Nodes...)
		}
	}
	for _, w := range a.Whole {
		for _, x := range w.Reads {
			out = append(out, x.Nodes...)
		}
	}
	return out
}

func (r *resolved) adapter(rec *adapterRecord) (*Adapter, error) {
	if err := rec.Config.Validate(); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(r.adapters, func(a *Adapter) bool { return a.Config.DisplayName() == rec.Config.DisplayName() }) {
		return nil, errors.New("is recorded twice")
	}
	if f, err := rec.Form.of(rec.Config.Method); err != nil || f != rec.Form {
		return nil, errors.Join(err, fmt.Errorf("form is %v", rec.Form))
	}
	a := &Adapter{Config: rec.Config, Form: rec.Form, Inputs: rec.Inputs, Training: rec.Training, Fingerprint: rec.Fingerprint}
	for i := range rec.Targets {
		t, err := r.target(a, &rec.Targets[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rec.Targets[i].Path, err)
		}
		a.Targets = append(a.Targets, *t)
	}
	for i := range rec.Whole {
		w, err := r.whole(&rec.Whole[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rec.Whole[i].Key, err)
		}
		a.Whole = append(a.Whole, *w)
	}
	return a, nil
}

func (r *resolved) target(a *Adapter, rec *targetRecord) (*Target, error) {
	t := &Target{Path: rec.Path, In: rec.In, Out: rec.Out, Form: a.Form}
	if rec.Form != Auto {
		t.Form = rec.Form
	}
	if _, err := t.Form.of(a.Config.Method); err != nil {
		return nil, err
	}
	var shapes [][]int
	for _, name := range rec.Blocks {
		v := r.values[name]
		if v == nil {
			return nil, missing("initializer", name)
		}
		if v.Data.DType() != tensor.Float32 {
			return nil, fmt.Errorf("block %q is %v", name, v.Data.DType())
		}
		t.Blocks = append(t.Blocks, v)
		shapes = append(shapes, v.Data.Shape())
	}
	dims, err := a.Config.Method.DimsOf(rec.In, rec.Out, shapes...)
	if err != nil {
		return nil, err
	}
	if want := a.Config.Dims(rec.In, rec.Out); dims != want {
		return nil, fmt.Errorf("blocks of rank %d; the configuration says %d", dims.Rank, want.Rank)
	}
	t.dims = dims
	if len(rec.Sites) == 0 {
		return nil, errors.New("no nodes are recorded")
	}
	t.Node, t.Kind = rec.Sites[0].Node, rec.Sites[0].Kind
	t.sites = make([]site, len(rec.Sites))
	for i := range rec.Sites {
		s := &t.sites[i]
		s.record = rec.Sites[i]
		if err := r.site(t, s); err != nil {
			return nil, err
		}
		r.byLast[s.last()] = s
	}
	return t, nil
}

// site finds the nodes of a site and the value that they were added to: what
// they read that is neither their own, nor a block, nor a shared constant.
func (r *resolved) site(t *Target, s *site) error {
	own := map[*ir.Value]bool{}
	for _, v := range r.constants {
		own[v] = true
	}
	for _, b := range t.Blocks {
		own[b] = true
	}
	for _, name := range s.record.Nodes {
		n := r.nodes[name]
		if n == nil {
			return missing("node", name)
		}
		if len(n.Outputs()) != 1 || n.Output(0) == nil || len(n.Subgraphs()) > 0 {
			return fmt.Errorf("%v is no node of an adapter", n)
		}
		for _, v := range n.Inputs() {
			if v != nil && !own[v] && v.Producer() != nil && slices.Contains(s.record.Nodes, v.Producer().Name) {
				return fmt.Errorf("%v comes before %v in the record", n, v.Producer())
			}
		}
		s.nodes = append(s.nodes, n)
		own[n.Output(0)] = true
	}
	if len(s.nodes) == 0 {
		return errors.New("no added nodes are recorded")
	}
	if t.Form == Activation {
		last := s.nodes[len(s.nodes)-1]
		if s.from = last.Input(0); !last.Is("Add") || s.from == nil || own[s.from] {
			return fmt.Errorf("%v is not where the adapter joins its layer", last)
		}
		return nil
	}
	return s.outside(own)
}

// outside makes from the one value that the nodes read and that is not own:
// the weight that they add to.
func (s *site) outside(own map[*ir.Value]bool) error {
	for _, n := range s.nodes {
		for _, v := range n.Inputs() {
			if v == nil || own[v] || v == s.from {
				continue
			}
			if s.from != nil {
				return fmt.Errorf("%v reads %q besides the weight", n, v.Name)
			}
			s.from = v
		}
	}
	if s.from == nil {
		return errors.New("no added node reads the weight")
	}
	return s.connected()
}

// connected checks that the last node's value depends on from. The graph has
// no cycles, so neither has the walk from one adapter to what it stands on.
func (s *site) connected() error {
	reached := map[*ir.Value]bool{s.from: true}
	for _, n := range s.nodes {
		if slices.ContainsFunc(n.Inputs(), func(v *ir.Value) bool { return v != nil && reached[v] }) {
			reached[n.Output(0)] = true
		}
	}
	if !reached[s.last()] {
		return fmt.Errorf("%v does not depend on the weight %q", s.nodes[len(s.nodes)-1], s.from.Name)
	}
	return nil
}

// bases finds the layers under the sites, once all sites are known: one
// adapter may stand on another.
func (r *resolved) bases(t *Target) error {
	for i := range t.sites {
		s := &t.sites[i]
		var l *Linear
		if t.Form == Activation {
			l = r.layerOf(r.below(s.from), s.record.Kind)
		} else {
			l = r.reader(s.last(), s.record.Kind)
		}
		if l == nil {
			return fmt.Errorf("the layer of node %q is not where it was", s.record.Node)
		}
		s.base, s.weight = l.Node, l.Weight
		if l.In != t.In || l.Out != t.Out || i > 0 && !s.weight.same(t.Weight) {
			return fmt.Errorf("%v: its weight is not the one that was adapted", s.base)
		}
		if i == 0 {
			t.Weight = s.weight
		}
	}
	return nil
}

// layer is the layer that n is without adapters, nil where it is none of that
// kind.
func (r *resolved) layer(n *ir.Node, kind string) *Linear {
	if n == nil || n.OpType != kind || kindOf(n) == nil {
		return nil
	}
	l, err := readLayer(n, func(i int) *ir.Value { return r.below(n.Input(i)) })
	if err != nil {
		return nil
	}
	return l
}

// layerOf is the layer whose result is y. Its node may come some nodes before.
func (r *resolved) layerOf(y *ir.Value, kind string) *Linear {
	front := []*ir.Value{y}
	for range maxTail {
		var next []*ir.Value
		for _, v := range front {
			if v == nil || v.Producer() == nil {
				continue
			}
			if l := r.layer(v.Producer(), kind); l != nil && l.result == y {
				return l
			}
			next = append(next, v.Producer().Inputs()...)
		}
		front = next
	}
	return nil
}

// below is v as it is without adapters. The bound is for records that lie.
func (r *resolved) below(v *ir.Value) *ir.Value {
	for range len(r.byLast) + len(r.standIn) {
		if s := r.byLast[v]; s != nil {
			v = s.from
		} else if o := r.standIn[v]; o != nil {
			v = o
		} else {
			break
		}
	}
	return v
}

// reader is the layer that reads the adapted weight v.
func (r *resolved) reader(v *ir.Value, kind string) *Linear {
	for _, u := range v.Uses() {
		if l := r.layer(u.Node, kind); l != nil && l.slot == u.Index {
			return l
		}
	}
	for _, s := range r.byLast {
		if s.from == v {
			return r.reader(s.last(), kind)
		}
	}
	return nil
}
