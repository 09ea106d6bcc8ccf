package rewrite

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
)

// Convert gives the adapter of a model another form, or makes its blocks
// inputs or not, and keeps the blocks. SkipUnfit does not count.
func Convert(m *ir.Model, o Options) error {
	if _, err := one(m, ""); err != nil {
		return err
	}
	return edit(m, func(c *ir.Model) error {
		a, err := one(c, "")
		if err != nil {
			return err
		}
		if err := strip(c, nil); err != nil {
			return err
		}
		calls, self, err := a.calls(c)
		if err != nil {
			return err
		}
		blocks := make([][]ir.Data, len(a.Targets))
		for i, t := range a.Targets {
			for _, b := range t.Blocks {
				blocks[i] = append(blocks[i], b.Data)
			}
		}
		in, err := newInjection(c, a.Config, o)
		if err != nil {
			return err
		}
		if err := in.modules(calls, blocks, self); err != nil {
			return err
		}
		return in.finish(a.Fingerprint)
	})
}

// calls finds the layers of a's targets in c, which a has been taken off, and
// the nodes of c mapped to themselves.
func (a *Adapter) calls(c *ir.Model) ([][]*Linear, map[*ir.Node]*ir.Node, error) {
	found, err := Find(c)
	if err != nil {
		return nil, nil, err
	}
	at := map[*ir.Node]*Linear{}
	self := map[*ir.Node]*ir.Node{}
	for _, l := range found.Linear {
		at[l.Node], self[l.Node] = l, l.Node
	}
	out := make([][]*Linear, len(a.Targets))
	for i, t := range a.Targets {
		for _, s := range t.sites {
			l := at[s.base]
			if l == nil {
				return nil, nil, fmt.Errorf("%s: its layer %v is gone", t.Path, s.base)
			}
			l.Path = t.Path
			out[i] = append(out[i], l)
		}
	}
	return out, self, nil
}
