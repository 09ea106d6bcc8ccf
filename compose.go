package bonnx

import (
	"context"
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
)

// Merge folds the named adapters, those active where none is named, into the
// weights in order, as PEFT's merge with safe_merge does: a weight that is not
// finite is an error and changes nothing. Merged adapters are not applied
// again. The base's own weights are kept for Unmerge.
func (m *BoneModel) Merge(names ...string) error {
	if len(names) == 0 {
		names = m.ActiveAdapters()
	}
	if _, err := m.named(names); err != nil {
		return err
	}
	return m.mergeExactly(slices.Concat(m.merged, m.unmerged(names)))
}

// Unmerge takes merged adapters, those named or all, out of the weights again,
// which are then bit for bit what they were.
func (m *BoneModel) Unmerge(names ...string) error {
	if len(names) == 0 {
		names = m.merged
	}
	for _, n := range names {
		if !slices.Contains(m.merged, n) {
			return fmt.Errorf("adapter %q is not merged", n)
		}
	}
	return m.mergeExactly(slices.DeleteFunc(slices.Clone(m.merged), func(n string) bool { return slices.Contains(names, n) }))
}

// mergeExactly makes the list the merged adapters.
func (m *BoneModel) mergeExactly(names []string) error {
	w, _, err := m.fold(names, rewrite.MergeOptions{})
	if err != nil {
		return err
	}
	m.merged, m.weights = names, w
	m.layouts = nil // programs of other weights
	return nil
}

// fold is the base with adapters in its weights, nil for none.
func (m *BoneModel) fold(names []string, o rewrite.MergeOptions) (*ir.Model, []string, error) {
	if len(names) == 0 {
		return nil, nil, nil
	}
	g, err := m.pristine(names)
	if err != nil {
		return nil, nil, err
	}
	r, err := rewrite.MergeWith(g, o)
	if err != nil {
		return nil, nil, m.base.wrap(err)
	}
	return g, r.Notes, nil
}

// MergeAndUnload is a plain model with the named adapters, those active where
// none is named, folded into its weights. Quantized weights become floats. The
// BoneModel stays as it is.
func (m *BoneModel) MergeAndUnload(names ...string) (*Model, error) {
	return m.unload(rewrite.MergeOptions{}, names)
}

// MergeAndRequantize is MergeAndUnload where quantized weights stay quantized,
// with as many bits: a remark says what rounding adds.
func (m *BoneModel) MergeAndRequantize(names ...string) (*Model, error) {
	return m.unload(rewrite.MergeOptions{Requantize: true}, names)
}

func (m *BoneModel) unload(o rewrite.MergeOptions, names []string) (*Model, error) {
	if len(names) == 0 {
		names = m.ActiveAdapters()
	}
	if names = slices.Concat(m.merged, m.unmerged(names)); len(names) == 0 {
		return nil, m.base.wrap(rewrite.ErrNoAdapter)
	}
	g, notes, err := m.fold(names, o)
	if err != nil {
		return nil, err
	}
	m.base.notes(notes)
	return m.base.with(g), nil
}

// Unload is the base model, as it was before adapters were put on it.
func (m *BoneModel) Unload() (*Model, error) {
	if len(m.adapters) == 0 {
		return nil, m.base.wrap(rewrite.ErrNoAdapter)
	}
	return m.base.with(m.base.graph.Clone()), nil
}

// Model is the model as it computes now, active adapters in its graph: what
// Save writes.
func (m *BoneModel) Model(o SaveOptions) (*Model, error) {
	form, err := o.form()
	if err != nil {
		return nil, err
	}
	g, err := m.compose(m.applied(), rewrite.Options{Form: form, Inputs: o.BlockInputs})
	if err != nil {
		return nil, err
	}
	return m.base.with(g), nil
}

// Save writes the model with its active adapters. Adapters that are not active
// are not in the file; SaveAdapter writes any of them.
func (m *BoneModel) Save(ctx context.Context, path string, o SaveOptions) error {
	x, err := m.Model(o)
	if err != nil {
		return err
	}
	return x.Save(ctx, path, o)
}

// applied are the adapters that are active and not merged.
func (m *BoneModel) applied() []string { return m.unmerged(m.ActiveAdapters()) }

// unmerged are those of names that are not merged, in order.
func (m *BoneModel) unmerged(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(m.merged, n) })
}

// compose is the graph with the named adapters on it, in that order.
func (m *BoneModel) compose(names []string, o rewrite.Options) (*ir.Model, error) {
	g := m.current().Clone()
	return g, m.apply(g, names, o)
}

// current is the base with merged adapters in its weights.
func (m *BoneModel) current() *ir.Model {
	if m.weights != nil {
		return m.weights
	}
	return m.base.graph
}

// apply puts adapters on g, in the form that o says or that each came in.
func (m *BoneModel) apply(g *ir.Model, names []string, o rewrite.Options) error {
	list, err := m.named(names)
	if err != nil {
		return err
	}
	for _, h := range list {
		with := o
		if with.Form == rewrite.Auto {
			with.Form = h.as.Form
		}
		with.Inputs = with.Inputs || h.as.Inputs
		with.Trusted = true // it was held to the base when it came
		if _, err := rewrite.Apply(g, h.set, with); err != nil {
			return m.base.wrap(fmt.Errorf("adapter %q: %w", h.name, err))
		}
	}
	return nil
}
