package bonnx

import (
	"fmt"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/extent"
	"github.com/bonnx/bonnx/rewrite"
)

// Inspection is what Inspect found.
type Inspection struct {
	rewrite.Inspection
	// Fixed are axes of inputs whose extent the file fixes though models of its
	// kind take any batch and length.
	Fixed []extent.Fixed `json:"fixed"`
}

// Inspect lists linear layers, what each method would add, the adapters that
// the model carries, and extents that are fixed. Weights are read only where
// there is an adapter.
func (m *Model) Inspect() (*Inspection, error) {
	in, err := rewrite.Inspect(m.graph)
	if err != nil {
		return nil, m.wrap(invalidModel(err))
	}
	return &Inspection{*in, append([]extent.Fixed{}, extent.FixedDims(m.graph)...)}, nil
}

// Explain tells how the layers that name means came by their module paths: what
// every source says and which rule decided. A name is a module path, its end at
// a dot, or that of a node, weight or bias. Where it means nothing the error is
// a *NoMatchError.
func (m *Model) Explain(name string) (*rewrite.Explanation, error) {
	e, err := rewrite.Explain(m.graph, name)
	if err != nil {
		return nil, m.wrap(invalidModel(err))
	}
	if len(e.Layers)+len(e.Others) > 0 {
		return e, nil
	}
	found, err := rewrite.Find(m.graph)
	if err != nil {
		return nil, m.wrap(invalidModel(err))
	}
	return e, m.wrap(adapter.NoMatch(adapter.Selection{Targets: adapter.Modules{List: []string{name}}}, found.Paths()))
}

// takesBatches reports whether the inputs take batches of n samples; 0 is a size
// not chosen yet.
func (m *Model) takesBatches(n int) error {
	for _, f := range extent.FixedDims(m.graph) {
		if f.Kind == extent.Batch && n > 0 && int64(n) != f.Extent {
			return m.wrap(fmt.Errorf("input %q has its batch fixed at %d; batches of %d need a dynamic one (DynamicBatch, --dynamic-batch)", f.Input, f.Extent, n))
		}
	}
	return nil
}

// DynamicBatch gives a model whose file fixes the batch a dynamic one, where it
// is certain that what the model computes of a sample does not depend on the
// others. A model without a fixed batch stays as it is; where the batch has to
// stay, so does the model, and the error names the node in the way.
func (m *Model) DynamicBatch() error {
	g := m.graph.Clone()
	r, err := extent.DynamicBatch(g, m.set)
	if err != nil {
		return m.wrap(invalidModel(err))
	}
	m.graph = g
	if r.Was > 0 {
		m.logger().Info(fmt.Sprintf("the batch, fixed at %d, is dynamic now, called %s; constants of %d nodes were replaced", r.Was, r.Symbol, len(r.Nodes)))
	}
	return nil
}

// InlineFunctions puts the bodies of the model's functions in the place of their
// calls, so that layers in them can take adapters, each call its own. What the
// model computes stays the same; taking adapters off does not bring the
// functions back.
func (m *Model) InlineFunctions() error {
	g := m.graph.Clone()
	n, err := rewrite.Inline(g)
	if err != nil {
		return m.wrap(invalidModel(err))
	}
	m.graph = g
	if n > 0 {
		m.logger().Info(fmt.Sprintf("%d calls of functions are inlined", n))
	}
	return nil
}
