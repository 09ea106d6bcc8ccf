package rewrite

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/ir"
)

// ErrNoAdapter is what errors about a model without (that) adapter wrap.
var ErrNoAdapter = errors.New("the model has no adapter")

// Strip takes adapters off again, those named or all: what is left is the base
// model, field for field, or the base with the other adapters. A bat that stood
// on one of those sees the base weight then.
func Strip(m *ir.Model, names ...string) error {
	return edit(m, func(c *ir.Model) error {
		if _, err := chosen(c, names); err != nil {
			return err
		}
		list, _, err := takeOff(c)
		if err != nil {
			return err
		}
		_, rest := list.split(names)
		return rest.putOn(c)
	})
}

// chosen are the adapters of those names, all where none is given.
func chosen(m *ir.Model, names []string) ([]*Adapter, error) {
	all, err := Adapters(m)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, ErrNoAdapter
	}
	if len(names) == 0 {
		return all, nil
	}
	var out []*Adapter
	var have []string
	for _, a := range all {
		have = append(have, a.Config.DisplayName())
		if slices.Contains(names, a.Config.DisplayName()) {
			out = append(out, a)
		}
	}
	for _, n := range names {
		if !slices.Contains(have, n) {
			return nil, fmt.Errorf("%w %q; it has %s", ErrNoAdapter, n, strings.Join(have, ", "))
		}
	}
	return out, nil
}

// remove takes all adapters off c, the topmost first.
func (r *resolved) remove(c *ir.Model) error {
	if len(r.adapters) == 0 {
		return nil
	}
	fresh := ir.NewNames(c)
	for _, a := range slices.Backward(r.adapters) {
		if err := a.remove(c, fresh); err != nil {
			return fmt.Errorf("adapter %q: %w", a.Config.DisplayName(), err)
		}
	}
	for _, a := range r.adapters { // no block stands on them any more
		for i := range a.Whole {
			if err := a.Whole[i].remove(c); err != nil {
				return fmt.Errorf("adapter %q: %w", a.Config.DisplayName(), err)
			}
		}
	}
	if err := removeInitializers(c.Graph, r.constants); err != nil {
		return err
	}
	if r.record.IRVersion != 0 {
		c.IRVersion = r.record.IRVersion
	}
	c.Metadata.Delete(MetadataKey)
	return nil
}

// remove takes one adapter's nodes and blocks out of c.
func (a *Adapter) remove(c *ir.Model, fresh *ir.Names) error {
	for i := len(a.Targets) - 1; i >= 0; i-- {
		t := &a.Targets[i]
		for j := len(t.sites) - 1; j >= 0; j-- {
			s := &t.sites[j]
			p := ir.NewPatch(s.nodes[0].Graph(), fresh)
			if t.Form == Activation {
				p.TakeOver(s.last(), s.from)
			} else {
				p.Redirect(s.last(), s.from)
			}
			for _, n := range slices.Backward(s.nodes) {
				p.Remove(n)
			}
			if err := p.Apply(); err != nil {
				return fmt.Errorf("%s: %w", t.Path, err)
			}
		}
	}
	for _, t := range a.Targets {
		if err := removeInitializers(c.Graph, t.Blocks); err != nil {
			return fmt.Errorf("%s: %w", t.Path, err)
		}
	}
	return nil
}

func removeInitializers(g *ir.Graph, vs []*ir.Value) error {
	for _, v := range vs {
		if !v.Unused() {
			return fmt.Errorf("initializer %q of an adapter is used elsewhere", v.Name)
		}
		g.RemoveInitializer(v)
	}
	return nil
}
