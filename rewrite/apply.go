package rewrite

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Apply puts an adapter that exists onto a model, in the form that o says: onto
// a base model, or on top of adapters of other names. Where the model has an
// adapter of this name already, its blocks are replaced by name and its form
// stays.
//
// The adapter's fingerprint must be the base's, else the error is a
// *BaseMismatchError unless o says that any base will do; an adapter without
// one is applied with a note. The
// module paths may differ by a prefix, such as PEFT's "model.".
func Apply(m *ir.Model, set *adapter.Set, o Options) (*Report, error) {
	if len(set.Entries) == 0 {
		return nil, errors.New("the adapter has no blocks")
	}
	all, err := Adapters(m)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if a.Config.DisplayName() == set.Config.DisplayName() {
			return replaceBlocks(m, a, set, o)
		}
	}
	return applyOnTop(m, set, o)
}

// checkBase holds an adapter's fingerprint to that of the base. It returns
// the fingerprint where it is the base's, and a note where there is none.
func checkBase(set *adapter.Set, weights []named, o Options) (print, note string, err error) {
	if set.Fingerprint == "" {
		return "", "the adapter says nothing of the base it was made for; that it fits this model is not checked", nil
	}
	if o.Trusted {
		return set.Fingerprint, "", nil
	}
	got, err := fingerprint(weights)
	if err != nil {
		return "", "", err
	}
	if got != set.Fingerprint && o.AnyBase {
		return got, fmt.Sprintf("the adapter was made for another base: it carries fingerprint %s, this model's is %s", set.Fingerprint, got), nil
	}
	if got != set.Fingerprint {
		return "", "", &BaseMismatchError{set.Fingerprint, got}
	}
	return got, "", nil
}

// applyOnTop puts an adapter that m does not have on top of those it has.
func applyOnTop(m *ir.Model, set *adapter.Set, o Options) (*Report, error) {
	if err := set.Config.Validate(); err != nil {
		return nil, err
	}
	var rep *Report
	err := edit(m, func(c *ir.Model) error {
		list, found, err := takeOff(c)
		if err != nil {
			return err
		}
		a, err := newCarried(set.Config, o)
		if err != nil {
			return err
		}
		notes, err := a.mount(found, set, o)
		if err != nil {
			return err
		}
		if len(set.Saved) > 0 {
			if err := a.stand(params(c, found), set.Saved); err != nil {
				return err
			}
		}
		notes = append(notes, unsaved(set)...)
		list = append(list, a)
		rep = list.report(c, &Selected{Notes: notes})
		return list.putOn(c)
	})
	if err != nil {
		return nil, err
	}
	return rep, nil
}

// mount gives a the targets of set, once its base is known to be this one.
func (a *carried) mount(found *Layers, set *adapter.Set, o Options) (notes []string, err error) {
	calls, err := locate(found, set)
	if err != nil {
		return nil, err
	}
	weights := make([]named, len(calls))
	for i, e := range set.Entries {
		weights[i] = named{e.Path, calls[i][0].Weight}
		ts, err := float32s(e.Blocks)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Path, err)
		}
		a.targets = append(a.targets, &mounted{calls[i], dense(ts)})
	}
	print, note, err := checkBase(set, weights, o)
	if err != nil {
		return nil, err
	}
	if note != "" {
		notes = append(notes, note)
	}
	a.fingerprint = print
	if p, q := set.Entries[0].Path, a.targets[0].path(); p != q {
		notes = append(notes, fmt.Sprintf("the adapter's %s is the model's %s", p, q))
		a.fingerprint = "" // it is that of the adapter's paths
	}
	return notes, nil
}

// stand gives a the parameters that it trains whole; all are those of the base.
func (a *carried) stand(all []*param, saved []adapter.Named) error {
	taken := map[*param]string{}
	for _, s := range saved {
		p := paramOf(all, s.Key)
		if p == nil {
			hint := ""
			if near := adapter.Nearest([]string{modulePathOf(s.Key)}, modulesOf(all)); len(near) > 0 {
				hint = "; did you mean " + strings.Join(near, ", ") + "?"
			}
			return fmt.Errorf("the adapter holds %s, and the model has no such parameter%s", s.Key, hint)
		}
		if old, ok := taken[p]; ok {
			return fmt.Errorf("the adapter's %s and %s both are the model's %s", old, s.Key, p.key())
		}
		taken[p] = s.Key
		w, err := p.with(s.Tensor)
		if err != nil {
			return err
		}
		a.whole = append(a.whole, w)
	}
	return nil
}

// unsaved notes modules_to_save of which a set holds nothing: files of PEFT up to
// 0.18 may lack biases, others were cut.
func unsaved(set *adapter.Set) (notes []string) {
	sel, err := adapter.NewSelector(set.Config.Selection)
	if err != nil {
		return nil // Validate has seen it
	}
	for i, name := range set.Config.Save {
		if !slices.ContainsFunc(set.Saved, func(n adapter.Named) bool { return sel.Saves(i, modulePathOf(n.Key)) }) {
			notes = append(notes, fmt.Sprintf("modules_to_save names %s, and the adapter holds nothing of it: the base's stays", name))
		}
	}
	if b := set.Config.Bias; b != "" && b != "none" && !slices.ContainsFunc(set.Saved, func(n adapter.Named) bool { return strings.HasSuffix(n.Key, "bias") }) {
		notes = append(notes, fmt.Sprintf("bias is %s, and the adapter holds no biases: the base's stay", b))
	}
	return notes
}

// paramOf is the parameter of that key, or the only one whose key is that but
// for leading names that one of them lacks.
func paramOf(all []*param, key string) *param {
	var hit *param
	for _, p := range all {
		switch k := p.key(); {
		case k == key:
			return p
		case !strings.HasSuffix(key, "."+k) && !strings.HasSuffix(k, "."+key):
		case hit != nil:
			return nil
		default:
			hit = p
		}
	}
	return hit
}

func float32s(ts []*tensor.Tensor) ([]*tensor.Tensor, error) {
	out := make([]*tensor.Tensor, len(ts))
	for i, t := range ts {
		if !t.DType().IsFloat() {
			return nil, fmt.Errorf("block is %v", t)
		}
		var err error
		if out[i], err = t.Cast(tensor.Float32); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// locate finds the layers of every entry and checks that its blocks fit.
func locate(found *Layers, set *adapter.Set) ([][]*Linear, error) {
	groups := modules(found.Linear)
	byPath := map[string][]*Linear{}
	for _, g := range groups {
		byPath[g[0].Path] = g
	}
	out := make([][]*Linear, len(set.Entries))
	taken := map[string]string{}
	var absent []string
	for i, e := range set.Entries {
		g := byPath[e.Path]
		if g == nil {
			g = prefixed(groups, e.Path)
		}
		if g == nil {
			absent = append(absent, e.Path)
			continue
		}
		if old, ok := taken[g[0].Path]; ok {
			return nil, fmt.Errorf("the adapter's %s and %s both are the model's %s", old, e.Path, g[0].Path)
		}
		taken[g[0].Path] = e.Path
		if err := g[0].takes(set.Config.Method); err != nil {
			return nil, fmt.Errorf("%s: %w", e.Path, err)
		}
		if err := fits(set, e, g[0].In, g[0].Out); err != nil {
			return nil, err
		}
		out[i] = g
	}
	if len(absent) > 0 {
		return nil, adapter.NoMatch(adapter.Selection{Targets: adapter.Modules{List: absent}}, found.Paths())
	}
	return out, nil
}

// prefixed is the only module whose path is the wanted one but for leading
// names that one of them lacks.
func prefixed(groups [][]*Linear, path string) []*Linear {
	var hit []*Linear
	for _, g := range groups {
		p := g[0].Path
		if !strings.HasSuffix(path, "."+p) && !strings.HasSuffix(p, "."+path) {
			continue
		}
		if hit != nil {
			return nil
		}
		hit = g
	}
	return hit
}

// fits holds an entry's blocks to the sizes of its layer.
func fits(set *adapter.Set, e adapter.Entry, in, out int) error {
	c := set.Config
	shapes := make([][]int, len(e.Blocks))
	for i, b := range e.Blocks {
		shapes[i] = b.Shape()
	}
	d, err := c.Method.DimsOf(in, out, shapes...)
	if err == nil {
		err = c.Method.Check(d)
	}
	if err == nil && d != c.Dims(in, out) {
		err = fmt.Errorf("blocks of rank %d; the configuration says %d", d.Rank, c.Rank)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	return nil
}

// replaceBlocks gives a's blocks the values of set.
func replaceBlocks(m *ir.Model, a *Adapter, set *adapter.Set, o Options) (*Report, error) {
	if err := sameMaths(a.Config, set); err != nil {
		return nil, err
	}
	at := map[string]*Target{}
	for i := range a.Targets {
		at[a.Targets[i].Path] = &a.Targets[i]
	}
	weights := make([]named, len(set.Entries))
	values := map[string]*tensor.Tensor{}
	for i, e := range set.Entries {
		t := at[e.Path]
		if t == nil {
			return nil, fmt.Errorf("the model's adapter has no module %s", e.Path)
		}
		if len(e.Blocks) != len(t.Blocks) {
			return nil, fmt.Errorf("%s: %d blocks; the model's adapter has %d", e.Path, len(e.Blocks), len(t.Blocks))
		}
		weights[i] = named{e.Path, t.Weight}
		for k, b := range e.Blocks {
			values[t.Blocks[k].Name] = b
		}
	}
	if err := a.replaceWhole(set.Saved, values); err != nil {
		return nil, err
	}
	_, note, err := checkBase(set, weights, o)
	if err != nil {
		return nil, err
	}
	rep := &Report{Targets: []TargetReport{}, Skipped: []Skip{}, Trainable: a.Params(), All: Params(m)}
	if note != "" {
		rep.Notes = append(rep.Notes, note)
	}
	for _, t := range a.Targets {
		if set.Entry(t.Path) == nil {
			rep.Notes = append(rep.Notes, fmt.Sprintf("%s is not in the adapter and keeps its blocks", t.Path))
			continue
		}
		rep.Targets = append(rep.Targets, TargetReport{Path: t.Path, Node: t.Node, Kind: t.Kind, In: t.In, Out: t.Out, Parameters: a.Config.Method.Params(t.dims)})
	}
	return rep, SetBlocks(m, values)
}

// replaceWhole adds the values of parameters that are trained whole, by name.
func (a *Adapter) replaceWhole(saved []adapter.Named, values map[string]*tensor.Tensor) error {
	for _, s := range saved {
		i := slices.IndexFunc(a.Whole, func(w Whole) bool { return w.Key == s.Key })
		if i < 0 {
			return fmt.Errorf("the model's adapter does not train %s", s.Key)
		}
		w := a.Whole[i]
		shape := w.Value.Data.Shape()
		if !s.Tensor.DType().IsFloat() || !s.Tensor.Shape().Equal(turnedShape(shape, w.Turned)) {
			return fmt.Errorf("%s: %v does not fit the model's, which is %v", s.Key, s.Tensor, turnedShape(shape, w.Turned))
		}
		t, err := graphLayout(s.Tensor, w.Turned, w.Value.Data.DType())
		if err != nil {
			return fmt.Errorf("%s: %w", s.Key, err)
		}
		values[w.Value.Name] = t
	}
	return nil
}

// sameMaths refuses blocks that mean something else than those of c. Bone, MiSS
// and miss-mini differ by name alone where the blocks have one shape, which is
// checked block by block; bare blocks say nothing of lora's alpha.
func sameMaths(c adapter.Config, set *adapter.Set) error {
	fold := func(m adapter.Method) bool { return m != adapter.Bat && m != adapter.LoRA }
	if a, b := c.Method, set.Config.Method; a != b && !(fold(a) && fold(b)) {
		return fmt.Errorf("the model's adapter is %v, the one to apply is %v", a, b)
	}
	if a, b := c.Alpha, set.Config.Alpha; a != b && (b != 0 || set.Fingerprint != "") {
		return fmt.Errorf("the model's adapter has alpha %v, the one to apply %v", a, b)
	}
	return nil
}
