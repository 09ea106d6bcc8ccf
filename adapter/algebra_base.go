package adapter

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/tensor"
)

// DifferentBasesError says that adapters were made for different base models,
// or for another than the one at hand.
type DifferentBasesError struct {
	Labels       [2]string
	Fingerprints [2]string
}

func (e *DifferentBasesError) Error() string {
	return fmt.Sprintf("%s and %s do not belong together: the base of one has fingerprint %s, that of the other %s",
		e.Labels[0], e.Labels[1], e.Fingerprints[0], e.Fingerprints[1])
}

// fingerprint holds the sets to one base and is the result's. A fingerprint
// covers an adapter's targets alone, so without the base only adapters of the
// same targets can be compared.
func (b *blend) fingerprint() (string, error) {
	seen := map[string]int{} // by paths: the first set that has them
	for i, s := range b.sets {
		if s.Fingerprint == "" {
			b.note("%s says nothing of the base it was made for; that it is the others' is not checked", b.label(i))
			continue
		}
		paths := s.sortedPaths()
		key := strings.Join(paths, "\n")
		first, ok := seen[key]
		if !ok {
			seen[key] = i
			if err := b.checkBase(i, paths); err != nil {
				return "", err
			}
			continue
		}
		if f := b.sets[first].Fingerprint; f != s.Fingerprint {
			return "", &DifferentBasesError{[2]string{b.label(first), b.label(i)}, [2]string{f, s.Fingerprint}}
		}
	}
	all := make([]string, len(b.targets))
	for i, t := range b.targets {
		all[i] = t.path
	}
	slices.Sort(all)
	if i, ok := seen[strings.Join(all, "\n")]; ok {
		b.uncompared(len(seen))
		return b.sets[i].Fingerprint, nil
	}
	if b.Base.Fingerprint != nil {
		return b.Base.Fingerprint(all)
	}
	b.uncompared(len(seen))
	if len(seen) > 0 {
		b.note("the result does not say which base it is for")
	}
	return "", nil
}

// checkBase holds a set's fingerprint to the base at hand.
func (b *blend) checkBase(i int, paths []string) error {
	if b.Base.Fingerprint == nil {
		return nil
	}
	got, err := b.Base.Fingerprint(paths)
	if err == nil && got != b.sets[i].Fingerprint {
		err = &DifferentBasesError{[2]string{b.label(i), "the base model"}, [2]string{b.sets[i].Fingerprint, got}}
	}
	return err
}

func (b *blend) uncompared(lists int) {
	if lists > 1 && b.Base.Fingerprint == nil {
		b.note("the adapters have different targets, so that without the base model their fingerprints cannot be compared")
	}
}

// aliases tells of targets that look like one module under two names, as one
// adapter's "model.layers.0.q_proj" and another's "layers.0.q_proj".
func (b *blend) aliases(at map[string]*module) {
	for _, t := range b.targets {
		for _, short, ok := strings.Cut(t.path, "."); ok; _, short, ok = strings.Cut(short, ".") {
			both := func(s *Set) bool { return s.Entry(t.path) != nil && s.Entry(short) != nil }
			if at[short] != nil && !slices.ContainsFunc(b.sets, both) {
				b.note("%s and %s may be one module under two names; here they are two targets", t.path, short)
				return
			}
		}
	}
}

func (b *blend) note(format string, args ...any) {
	b.report.Notes = append(b.report.Notes, fmt.Sprintf(format, args...))
}

// saved is the sum of the trained parameters, which are values of the base and
// no differences to it: sum_i weight_i p_i is base + sum_i weight_i (p_i - base)
// where the weights add up to 1, and in no other case.
func (b *blend) saved() ([]Named, error) {
	all := make([]map[string]*tensor.Tensor, len(b.sets))
	var keys []string
	for i, s := range b.sets {
		all[i] = map[string]*tensor.Tensor{}
		for _, n := range s.Saved {
			all[i][n.Key] = n.Tensor
			if !slices.Contains(keys, n.Key) {
				keys = append(keys, n.Key)
			}
		}
	}
	if len(keys) == 0 {
		return nil, nil
	}
	var sum exactSum
	sum.reset()
	for _, w := range b.weights {
		sum.add(w, 1)
	}
	if total := sum.over(b.over); math.Abs(total-1) > 1e-12 {
		return nil, fmt.Errorf("the adapters hold trained values of their base, such as %s, which only weights that add up to 1 can blend; these add up to %g", keys[0], total)
	}
	out := make([]Named, len(keys))
	for k, key := range keys {
		var same []*tensor.Tensor
		for i := range b.sets {
			t := all[i][key]
			if t == nil {
				return nil, fmt.Errorf("%s has no value of %s, which another adapter has trained; such values blend only where all adapters have them", b.label(i), key)
			}
			same = append(same, t)
		}
		t, err := weightedSum(same, b.weights, b.over)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		out[k] = Named{key, t}
	}
	return out, nil
}

// weightedSum is sum_i weights[i] ts[i] / over, exact but for one rounding to the type
// of the first. What is not float must be the same in all.
func weightedSum(ts []*tensor.Tensor, weights []float64, over float64) (*tensor.Tensor, error) {
	first := ts[0]
	equal := true
	for _, t := range ts {
		if t.DType() != first.DType() || !slices.Equal(t.Shape(), first.Shape()) {
			return nil, fmt.Errorf("values differ in kind: %v and %v", first, t)
		}
		equal = equal && t.Equal(first)
	}
	if equal {
		return first, nil
	}
	if !first.DType().IsFloat() {
		return nil, fmt.Errorf("values of type %v differ and cannot be blended", first.DType())
	}
	values, err := float64s(ts)
	if err != nil {
		return nil, err
	}
	var sum exactSum
	for i := range values[0] {
		sum.reset()
		for k, w := range weights {
			sum.add(w, values[k][i])
		}
		values[0][i] = sum.over(over)
	}
	out, err := pack(ts[:1], values[:1], first.DType())
	if err != nil {
		return nil, err
	}
	return out[0], nil
}
