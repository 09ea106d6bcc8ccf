package bonnx

import (
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/rewrite"
)

// Blend is the adapter that adds to every weight the weighted sum of what the
// adapters add to it; weights nil stands for the mean, a negative weight
// subtracts. Bone and MiSS blend exactly at the least common multiple of their
// ranks: docs/algebra.md says what is exact, and Adapter.Fit how close the rest
// came.
//
// Of to, method (PeftType, InitWeights) and ranks (R, MiniR) count: where
// PeftType is "" the adapters' own method is kept, where R is 0 the smallest
// exact rank. base may be nil; bat and what else goes by the weights needs it,
// and so does holding adapters of different layers to one base. Adapters of
// different bases are a *BaseMismatchError.
func Blend(base *Model, adapters []*Adapter, weights []float64, to BoneConfig) (*Adapter, error) {
	o := adapter.BlendOptions{Rank: to.R}
	if base != nil {
		var err error
		if o.Base, err = rewrite.Base(base.graph); err != nil {
			return nil, base.wrap(err)
		}
	}
	if to.PeftType != "" {
		if to.R == 0 {
			to.R = 1 // for the check alone
		}
		a, _, err := to.parsed()
		if err != nil {
			return nil, err
		}
		o.Method, o.MiniRank = &a.Method, a.MiniRank
	}
	var files []string
	sets := make([]*adapter.Set, len(adapters))
	for i, a := range adapters {
		sets[i] = a.set
		label := fmt.Sprintf("adapter %d", i+1)
		if len(a.files) > 0 {
			label = a.files[len(a.files)-1]
		}
		o.Labels = append(o.Labels, label)
		files = append(files, a.files...)
	}
	set, fit, err := adapter.Blend(sets, weights, o)
	if err != nil {
		return nil, mismatch(err)
	}
	return &Adapter{set: set, fit: fit, notes: slices.Clone(fit.Notes), files: files}, nil
}

// Convert is the adapter as another method or at another rank, as Blend of it
// alone: a multiple of the rank changes no bit of a merged weight.
func (a *Adapter) Convert(base *Model, to BoneConfig) (*Adapter, error) {
	return Blend(base, []*Adapter{a}, []float64{1}, to)
}

// Fit says how close a blended or converted adapter is to what was asked for;
// nil for an adapter that was read.
func (a *Adapter) Fit() *adapter.BlendReport { return a.fit }

// mismatch gives an error about different bases the type that callers branch on.
func mismatch(err error) error {
	if d, ok := err.(*adapter.DifferentBasesError); ok {
		return fmt.Errorf("%w (%w)", &BaseMismatchError{Adapter: d.Fingerprints[0], Model: d.Fingerprints[1]}, err)
	}
	return err
}
