package rewrite

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// MergeReport says what Merge did.
type MergeReport struct {
	Adapters []string `json:"adapters"`
	// Merged are the paths of the modules whose weights changed.
	Merged []string `json:"merged"`
	// Notes tell of weights that had to be copied.
	Notes []string `json:"notes,omitempty"`
	// Dequantized are the modules whose quantized weights became floats,
	// Requantized those whose merged weights were quantized again.
	Dequantized []string      `json:"-"`
	Requantized []Requantized `json:"-"`
}

// MergeOptions are how MergeWith writes weights.
type MergeOptions struct {
	// Requantize keeps quantized weights quantized: the merged weight is rounded
	// to the same number of bits. Else it becomes one of floats, since a trained
	// update is often smaller than the steps of the base. A quantized weight that
	// other modules share becomes one of floats in any case.
	Requantize bool
}

// Merge folds adapters, those named or all, into the weights and takes them
// off; the others stay on top of what comes of it. A weight that something else
// uses too is copied first. An adapter that makes a weight infinite or NaN is an
// error, and so is one that cannot be folded in before those below it without
// changing the result: of two on one layer of which the lower stays, neither may
// be a bat. Quantized weights become floats.
func Merge(m *ir.Model, names ...string) (*MergeReport, error) {
	return MergeWith(m, MergeOptions{}, names...)
}

// MergeWith is Merge with options.
func MergeWith(m *ir.Model, o MergeOptions, names ...string) (*MergeReport, error) {
	rep := &MergeReport{Merged: []string{}}
	err := edit(m, func(c *ir.Model) error {
		if _, err := chosen(c, names); err != nil {
			return err
		}
		list, found, err := takeOff(c)
		if err != nil {
			return err
		}
		if err := list.mergeable(names); err != nil {
			return err
		}
		merged, rest := list.split(names)
		if err := merged.foldWhole(c, found, rep); err != nil {
			return err
		}
		if err := merged.fold(c, o, rep); err != nil {
			return err
		}
		rep.describe()
		rest.rebased(rep.Merged)
		return rest.putOn(c)
	})
	if err != nil {
		return nil, err
	}
	return rep, nil
}

// mergeable reports whether folding in the adapters of these names gives what
// the whole stack does.
func (s stack) mergeable(names []string) error {
	in, rest := s.split(names)
	whole := map[ir.Use]*carried{}
	for _, a := range rest {
		for _, w := range a.whole {
			for _, x := range w.slots {
				whole[ir.Use{Node: x.node, Index: x.index}] = a
			}
		}
	}
	stay := map[*ir.Node][]*carried{}
	for _, a := range s {
		merge := slices.Contains(in, a)
		for _, t := range a.targets {
			n := t.calls[0].Node
			if !merge {
				stay[n] = append(stay[n], a)
				continue
			}
			if b := whole[ir.Use{Node: n, Index: t.calls[0].slot}]; b != nil {
				return fmt.Errorf("%s: adapter %q trains the weight whole, so what %q adds to it cannot be merged without that one", t.path(), b.cfg.DisplayName(), a.cfg.DisplayName())
			}
			for _, below := range stay[n] {
				if below.cfg.Method.Additive() && a.cfg.Method.Additive() {
					continue
				}
				return fmt.Errorf("%s: adapter %q (%v) stands on %q (%v) and cannot be merged without it: a bat's update depends on the weight under it; merge both, or strip %[4]q first",
					t.path(), a.cfg.DisplayName(), a.cfg.Method, below.cfg.DisplayName(), below.cfg.Method)
			}
		}
	}
	return nil
}

// foldWhole writes the parameters that the adapters train whole into the base
// c, where they stand under all blocks; found are its layers.
func (s stack) foldWhole(c *ir.Model, found *Layers, rep *MergeReport) error {
	fresh, any := ir.NewNames(c), false
	for _, a := range s {
		for _, w := range a.whole {
			if err := w.fold(c, fresh); err != nil {
				return fmt.Errorf("adapter %q: %s: %w", a.cfg.DisplayName(), w.key, err)
			}
			rep.merged(modulePathOf(w.key))
			any = true
		}
	}
	if !any {
		return nil
	}
	for _, l := range found.Linear { // some read another constant now
		now, err := readLayer(l.Node, l.Node.Input)
		if err != nil {
			return fmt.Errorf("%v: %w", l.Node, err)
		}
		l.Weight = now.Weight
	}
	return nil
}

// merged notes a module whose weights changed.
func (r *MergeReport) merged(path string) {
	if !slices.Contains(r.Merged, path) {
		r.Merged = append(r.Merged, path)
	}
}

// fold writes the adapters' sum into the weights of the base c.
func (s stack) fold(c *ir.Model, o MergeOptions, rep *MergeReport) error {
	var all []*merged
	at := map[*ir.Node]*merged{}
	for _, a := range s {
		rep.Adapters = append(rep.Adapters, a.cfg.DisplayName())
		for _, t := range a.targets {
			l, err := a.layer(t)
			if err != nil {
				return fmt.Errorf("%s: %w", t.path(), err)
			}
			x := at[t.calls[0].Node]
			if x == nil {
				x = &merged{path: t.path(), calls: t.calls}
				at[t.calls[0].Node] = x
				all = append(all, x)
			}
			x.stack = append(x.stack, l)
		}
	}
	fresh := ir.NewNames(c)
	for _, x := range all {
		if err := x.write(c, fresh, o, rep); err != nil {
			return fmt.Errorf("%s: %w", x.path, err)
		}
	}
	return nil
}

// rebased forgets the fingerprints of adapters whose base has changed.
func (s stack) rebased(paths []string) {
	for _, a := range s {
		if slices.ContainsFunc(a.targets, func(t *mounted) bool { return slices.Contains(paths, t.path()) }) {
			a.fingerprint = ""
		}
	}
}

// merged is a module and all that is folded into its weight.
type merged struct {
	path  string
	calls []*Linear
	stack adapter.Stack
}

// layer is the maths of one target.
func (a *carried) layer(t *mounted) (adapter.Layer, error) {
	l := adapter.Layer{Method: a.cfg.Method, Alpha: a.cfg.Alpha, Name: a.cfg.DisplayName()}
	for _, b := range t.blocks {
		x, err := b.Tensor()
		if err != nil {
			return l, err
		}
		l.Blocks = append(l.Blocks, x)
	}
	return l, nil
}

// write folds the stack into the weight, in place where nothing but the
// module's own nodes reads it.
func (x *merged) write(c *ir.Model, fresh *ir.Names, o MergeOptions, rep *MergeReport) error {
	weight := x.calls[0].Weight
	w, err := weight.Read()
	if err != nil {
		return err
	}
	after, err := x.stack.Merge(w)
	if err != nil {
		return err
	}
	readers := map[*ir.Node]bool{}
	for _, l := range x.calls {
		readers[l.Node] = true
		for _, k := range l.Weight.links {
			readers[k.node] = true
		}
	}
	rep.merged(x.path)
	own := !slices.ContainsFunc(x.calls, func(l *Linear) bool { return !l.Weight.own(readers) })
	if weight.quantized() {
		return x.writeQuantized(c, fresh, after, own && o.Requantize, rep)
	}
	if own {
		return weight.replace(after)
	}
	rep.Notes = append(rep.Notes, fmt.Sprintf("%s shares its weight with other nodes and got a copy", x.path))
	copies := map[bool]*ir.Value{}
	for _, l := range x.calls {
		v := copies[l.Weight.transposed]
		if v == nil {
			t, err := l.Weight.asSeen(after)
			if err != nil {
				return err
			}
			v = addInitializer(c, fresh, x.path+".weight", ir.Dense(t), false)
			copies[l.Weight.transposed] = v
		}
		l.Node.SetInput(l.slot, v)
	}
	return nil
}

// replace is write with a check that no narrower type on the way overflows.
func (w *Weight) replace(t *tensor.Tensor) error {
	if err := w.write(t); err != nil {
		return err
	}
	if w.rootData().DType() == w.dtype {
		return nil
	}
	back, err := through(w.rootData(), w.links)
	if err != nil {
		return err
	}
	if ok, err := finite(back); err != nil || !ok {
		return errors.Join(err, fmt.Errorf("the merged weight does not fit %v, the type it is stored as", w.rootData().DType()))
	}
	return nil
}

// finite reports whether no value is infinite or NaN.
func finite(t *tensor.Tensor) (bool, error) {
	values, err := t.Float64s()
	return !slices.ContainsFunc(values, func(v float64) bool { return math.IsInf(v, 0) || math.IsNaN(v) }), err
}
