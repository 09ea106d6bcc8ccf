package adapter

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/bonnx/bonnx/tensor"
)

// Base is what the algebra may ask of the model that adapters were made for.
// Any of it may be missing: what is exact needs no weights, and sizes only
// where a method's own blocks do not tell them.
type Base struct {
	// Dims are the sizes of the weight under a module path; nil stands for
	// those of Weight.
	Dims func(path string) (in, out int, err error)
	// Weight is the weight (in, out) under a module path, of a float type.
	Weight func(path string) (*tensor.Tensor, error)
	// Fingerprint identifies the base under paths, as Set.Fingerprint does.
	Fingerprint func(paths []string) (string, error)
}

// BlendOptions are what Blend and Convert are asked for. The zero value asks
// for the smallest exact form.
type BlendOptions struct {
	Name string // of the result; "" is the first adapter's
	// Method of the result; nil is the adapters' own where they have one.
	Method *Method
	// Rank and MiniRank of the result; 0 is the smallest that is exact.
	Rank, MiniRank int
	// Labels are how messages call the adapters; nil stands for their names.
	Labels []string
	Base   Base
}

// BlendReport says how close a result is to what was asked for.
type BlendReport struct {
	// Exact says that every target is exact: that no fit was needed. The
	// elements of blocks are rounded to float32 all the same, each once.
	Exact bool `json:"exact"`
	// Error is the Frobenius norm of what is missing in all targets together,
	// relative to that of what was wanted; 0 where Exact.
	Error   float64     `json:"error"`
	Targets []TargetFit `json:"targets"`
	Notes   []string    `json:"notes,omitempty"`
}

// TargetFit is one target of a BlendReport.
type TargetFit struct {
	Path  string  `json:"path"`
	Exact bool    `json:"exact"`
	Error float64 `json:"error"`
}

// Lift is the same adapter at a multiple of its rank: not a bit of a merged
// weight changes. Bone, MiSS and miss-mini repeat their blocks, lora gets
// components that add nothing. Bat has no such form. A rank above a target's
// input size is an error where base says the sizes.
func Lift(s *Set, rank int, base Base) (*Set, error) {
	r := s.Config.Rank
	if r <= 0 || rank < r || rank%r != 0 {
		return nil, fmt.Errorf("rank %d is no multiple of the adapter's rank %d; a conversion to it is the closest fit", rank, r)
	}
	if s.Config.Method == Bat && rank != r {
		return nil, fmt.Errorf("bat at rank %d is not the same at any other rank; a conversion to rank %d is the closest fit", r, rank)
	}
	out, rep, err := Blend([]*Set{s}, []float64{1}, BlendOptions{Rank: rank, Base: base})
	if err != nil {
		return nil, err
	}
	if !rep.Exact || out.Config.scale() != s.Config.scale() {
		return nil, fmt.Errorf("%v of rank %d, alpha %v, has no exact form at rank %d", s.Config.Method, r, s.Config.Alpha, rank)
	}
	return out, nil
}

// Convert is the adapter as another method, at another rank, or both: exactly
// where that is possible (see docs/algebra.md), else what is closest in the
// merged weights, with the error in the report.
func Convert(s *Set, o BlendOptions) (*Set, *BlendReport, error) {
	return Blend([]*Set{s}, []float64{1}, o)
}

// Blend is the adapter that adds to every weight W the sum of weights[i] times
// what sets[i] adds to W alone. weights nil stands for the mean. A target that
// a set lacks counts as zero there.
//
// Adapters of Bone, MiSS and miss-mini blend exactly at the least common
// multiple of their ranks, lora at the sum of ranks, bat at one rank that all
// share. Where another method or rank is asked for, the result is what is
// closest in the merged weights. In all exact forms an element of a block is
// the float32 that is nearest to the sum, in whatever order the sets are.
//
// Fingerprints that disagree are a *DifferentBasesError.
func Blend(sets []*Set, weights []float64, o BlendOptions) (*Set, *BlendReport, error) {
	b, err := newBlend(sets, weights, o)
	if err != nil {
		return nil, nil, err
	}
	out := &Set{Config: b.config}
	if out.Fingerprint, err = b.fingerprint(); err != nil {
		return nil, nil, err
	}
	if out.Saved, err = b.saved(); err != nil {
		return nil, nil, err
	}
	var missing, wanted float64 // squared norms
	for _, t := range b.targets {
		blocks, f, err := b.solve(t)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", t.path, err)
		}
		out.Entries = append(out.Entries, Entry{Path: t.path, Blocks: blocks})
		b.report.Targets = append(b.report.Targets, TargetFit{t.path, f.exact, ratio(f.missing, f.wanted)})
		b.report.Exact = b.report.Exact && f.exact
		missing, wanted = missing+f.missing, wanted+f.wanted
	}
	b.report.Error = ratio(missing, wanted)
	return out, &b.report, nil
}

// ratio is the quotient of two norms, given squared.
func ratio(missing, wanted float64) float64 {
	if missing == 0 {
		return 0
	}
	return math.Sqrt(missing / wanted)
}

// fit is how a target's blocks were found, with squared norms over the target.
type fit struct {
	exact           bool
	missing, wanted float64
}

// solve is a target's blocks in the form of the result.
func (b *blend) solve(t *module) ([]*tensor.Tensor, fit, error) {
	m, d := b.config.Method, b.config.Dims(t.in, t.out)
	for _, blk := range m.Blocks(d) {
		if slices.Contains(blk.Shape, 0) {
			return nil, fit{}, fmt.Errorf("%v needs the size of the weight; give the base model", m)
		}
	}
	// Where nothing is put into a component it stays able to learn.
	blocks := m.Init(d, InitZero, b.config.Seed, t.path)
	values, err := float64s(blocks)
	if err != nil {
		return nil, fit{}, err
	}
	a := algebras[m]
	if a.holds(d, forms(t.parts)) {
		a.join(d, b.config.scale(), t.parts, values)
		blocks, err = pack(blocks, values, t.dtype())
		return blocks, fit{exact: true}, err
	}
	w, delta, err := b.wanted(t)
	if err != nil {
		return nil, fit{}, err
	}
	a.fit(d, tensor.Data[float64](w), delta, t.parts, values)
	if blocks, err = pack(blocks, values, t.dtype()); err != nil {
		return nil, fit{}, err
	}
	got, err := Layer{Method: m, Blocks: blocks, Alpha: b.config.Alpha}.Delta(w)
	if err != nil {
		return nil, fit{}, err
	}
	var f fit
	for i, v := range tensor.Data[float64](got) {
		f.missing += (v - delta[i]) * (v - delta[i])
		f.wanted += delta[i] * delta[i]
	}
	return blocks, f, nil
}

// wanted is the sum of what the parts add to a target's weight, and that
// weight in float64; zeros where nothing depends on it.
func (b *blend) wanted(t *module) (w *tensor.Tensor, delta []float64, err error) {
	if t.in == 0 || t.out == 0 {
		return nil, nil, errors.New("a fit needs the size of the weight; give the base model")
	}
	w = tensor.New(tensor.Float64, t.in, t.out)
	if !b.config.Method.Additive() || slices.ContainsFunc(t.parts, func(p part) bool { return !p.layer.Method.Additive() }) {
		if w, err = b.weight(t); err != nil {
			return nil, nil, err
		}
	}
	delta = make([]float64, t.in*t.out)
	for _, p := range t.parts {
		d, err := p.layer.Delta(w)
		if err != nil {
			return nil, nil, err
		}
		for i, v := range tensor.Data[float64](d) {
			delta[i] += p.weight / p.over * v
		}
	}
	for _, v := range delta {
		if !(abs(v) <= math.MaxFloat32) {
			return nil, nil, errors.New("what the adapters add together does not fit float32")
		}
	}
	return w, delta, nil
}

func (b *blend) weight(t *module) (*tensor.Tensor, error) {
	if b.Base.Weight == nil {
		return nil, errors.New("what bat adds depends on the weight; give the base model")
	}
	w, err := b.Base.Weight(t.path)
	if err != nil {
		return nil, err
	}
	if !w.DType().IsFloat() || !slices.Equal(w.Shape(), []int{t.in, t.out}) {
		return nil, fmt.Errorf("weight is %v, not float of (%d, %d)", w, t.in, t.out)
	}
	return w.Cast(tensor.Float64)
}

// pack rounds values to tensors of the type d and the shapes of like.
func pack(like []*tensor.Tensor, values [][]float64, d tensor.DType) ([]*tensor.Tensor, error) {
	out := make([]*tensor.Tensor, len(like))
	for i, t := range like {
		var err error
		if out[i], err = tensor.FromSlice(values[i], t.Shape()...).Cast(d); err != nil {
			return nil, err
		}
		if ok, err := finite(out[i]); err != nil || !ok {
			return nil, errors.Join(err, fmt.Errorf("an element of the result does not fit %v", d))
		}
	}
	return out, nil
}

func float64s(ts []*tensor.Tensor) ([][]float64, error) {
	out := make([][]float64, len(ts))
	for i, t := range ts {
		v, err := t.Float64s()
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}
