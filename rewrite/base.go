package rewrite

import (
	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Base is a model as the algebra of adapters asks for it: its layers' sizes and
// weights, and its fingerprint. Module paths may differ by a prefix, as for
// Apply. The model may carry adapters; what they add does not count.
func Base(m *ir.Model) (adapter.Base, error) {
	found, err := Find(m)
	if err != nil {
		return adapter.Base{}, err
	}
	groups := modules(found.Linear)
	at := func(path string) (*Linear, error) {
		if l := found.At(path); l != nil {
			return l, nil
		}
		if g := prefixed(groups, path); g != nil {
			return g[0], nil
		}
		return nil, adapter.NoMatch(adapter.Selection{Targets: adapter.Modules{List: []string{path}}}, found.Paths())
	}
	return adapter.Base{
		Dims: func(path string) (in, out int, err error) {
			l, err := at(path)
			if err != nil {
				return 0, 0, err
			}
			return l.In, l.Out, nil
		},
		Weight: func(path string) (*tensor.Tensor, error) {
			l, err := at(path)
			if err != nil {
				return nil, err
			}
			return l.Weight.Read()
		},
		Fingerprint: func(paths []string) (string, error) {
			list := make([]named, len(paths))
			for i, p := range paths {
				l, err := at(p)
				if err != nil {
					return "", err
				}
				list[i] = named{p, l.Weight}
			}
			return fingerprint(list)
		},
	}, nil
}
