package rewrite

import (
	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/ir"
)

// Adapter is an adapter that a model carries.
type Adapter struct {
	Config adapter.Config
	Form   Form
	// Inputs says that the blocks are graph inputs with defaults.
	Inputs bool
	// Training says that the graph is one to train, with dropout.
	Training bool
	// Fingerprint is that of the base model, "" where nobody has computed it.
	Fingerprint string
	Targets     []Target
	// Whole are the parameters that are trained whole.
	Whole []Whole
}

// Target is a module with an adapter.
type Target struct {
	Path    string
	Node    string // the layer's node, the first where there are several
	Kind    string
	In, Out int
	// Blocks are the initializers with the trained values, as
	// adapter.Method.Blocks lists them.
	Blocks []*ir.Value
	// Form is the adapter's, but weight under a bat, which has to see the sum.
	Form Form
	// Weight is the base layer's.
	Weight *Weight

	dims  adapter.Dims
	sites []site
}

// site is one node of a target and what was added to it.
type site struct {
	record siteRecord
	nodes  []*ir.Node
	base   *ir.Node
	weight *Weight
	from   *ir.Value // what the last added node's value stands in for
}

func (s *site) last() *ir.Value { return s.nodes[len(s.nodes)-1].Output(0) }

// BlockNames are the names of all blocks in the graph, in order.
func (a *Adapter) BlockNames() []string {
	var out []string
	for _, t := range a.Targets {
		for _, b := range t.Blocks {
			out = append(out, b.Name)
		}
	}
	return out
}

// TrainableNames are the names of all initializers that are trained: BlockNames
// and then the parameters that are trained whole.
func (a *Adapter) TrainableNames() []string {
	out := a.BlockNames()
	for _, w := range a.Whole {
		out = append(out, w.Value.Name)
	}
	return out
}

// Params is the number of trained values.
func (a *Adapter) Params() int {
	n := 0
	for _, w := range a.Whole {
		n += w.Value.Data.Shape().Size()
	}
	for _, t := range a.Targets {
		for _, b := range t.Blocks {
			n += b.Data.Shape().Size()
		}
	}
	return n
}

// Adapters are the adapters that the model carries, none for a plain model. A
// record that does not fit the graph is an error.
func Adapters(m *ir.Model) ([]*Adapter, error) {
	s, err := resolve(m)
	if err != nil {
		return nil, err
	}
	return s.adapters, nil
}
