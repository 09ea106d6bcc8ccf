package rewrite

import (
	"fmt"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Sets are all adapters of a model as values apart from it, in order, with the
// fingerprints that they carry. None is computed: no weight is read.
func Sets(m *ir.Model) ([]*adapter.Set, error) {
	all, err := Adapters(m)
	if err != nil {
		return nil, err
	}
	out := make([]*adapter.Set, len(all))
	for i, a := range all {
		if out[i], err = a.set(); err != nil {
			return nil, fmt.Errorf("adapter %q: %w", a.Config.DisplayName(), err)
		}
	}
	return out, nil
}

// SetFingerprint computes the fingerprint of m's base under the targets of s
// and gives it to s.
func SetFingerprint(m *ir.Model, s *adapter.Set) error {
	paths := make([]string, len(s.Entries))
	for i, e := range s.Entries {
		paths[i] = e.Path
	}
	print, err := Fingerprint(m, paths)
	if err != nil {
		return err
	}
	s.Fingerprint = print
	return nil
}

// Extract is one adapter of a model as a value apart from it: configuration,
// blocks and the base's fingerprint, which is computed here. An empty name
// means the only adapter.
func Extract(m *ir.Model, name string) (*adapter.Set, error) {
	a, err := one(m, name)
	if err != nil {
		return nil, err
	}
	s, err := a.set()
	if err != nil {
		return nil, err
	}
	s.Fingerprint, err = a.fingerprint()
	return s, err
}

// set is the adapter apart from its graph.
func (a *Adapter) set() (*adapter.Set, error) {
	s := &adapter.Set{Config: a.Config, Fingerprint: a.Fingerprint}
	for _, t := range a.Targets {
		e := adapter.Entry{Path: t.Path}
		for _, b := range t.Blocks {
			x, err := b.Data.Tensor()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", b.Name, err)
			}
			e.Blocks = append(e.Blocks, x)
		}
		s.Entries = append(s.Entries, e)
	}
	for _, w := range a.Whole {
		t, err := w.tensor()
		if err != nil {
			return nil, err
		}
		s.Saved = append(s.Saved, adapter.Named{Key: w.Key, Tensor: t})
	}
	return s, nil
}

// one is the adapter of that name, or the only one.
func one(m *ir.Model, name string) (*Adapter, error) {
	var names []string
	if name != "" {
		names = []string{name}
	}
	list, err := chosen(m, names)
	if err != nil {
		return nil, err
	}
	if len(list) > 1 {
		return nil, fmt.Errorf("the model has %d adapters; say which", len(list))
	}
	return list[0], nil
}

// SetBlocks gives what adapters train new values, as after training. values is
// keyed by the initializers' names in the graph, which TrainableNames lists;
// shapes must be the same. What it does not name stays.
func SetBlocks(m *ir.Model, values map[string]*tensor.Tensor) error {
	return edit(m, func(c *ir.Model) error {
		r, err := resolve(c)
		if err != nil {
			return err
		}
		blocks := map[string]*ir.Value{}
		for _, a := range r.adapters {
			for _, t := range a.Targets {
				for _, b := range t.Blocks {
					blocks[b.Name] = b
				}
			}
			for _, w := range a.Whole {
				blocks[w.Value.Name] = w.Value
			}
		}
		for name, t := range values {
			b := blocks[name]
			if b == nil {
				return fmt.Errorf("%q is no block of an adapter of this model", name)
			}
			if err := setBlock(b, t); err != nil {
				return err
			}
		}
		return nil
	})
}

// setBlock replaces a block's value, as float32.
func setBlock(b *ir.Value, t *tensor.Tensor) error {
	if !t.DType().IsFloat() || !t.Shape().Equal(b.Data.Shape()) {
		return fmt.Errorf("block %q is %v%v; got %v", b.Name, b.Data.DType(), b.Data.Shape(), t)
	}
	t, err := t.Cast(b.Data.DType())
	if err != nil {
		return fmt.Errorf("block %q: %w", b.Name, err)
	}
	b.Data = ir.Dense(t)
	return nil
}
