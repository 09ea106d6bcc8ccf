package rewrite

import (
	"fmt"
	"math"

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
}

// Merge folds adapters, those named or all, into the weights and takes them
// off. A weight that something else uses too is copied first. An adapter that
// makes a weight infinite or NaN is an error.
func Merge(m *ir.Model, names ...string) (*MergeReport, error) {
	if _, err := chosen(m, names); err != nil {
		return nil, err
	}
	rep := &MergeReport{Merged: []string{}}
	err := edit(m, func(c *ir.Model) error {
		adapters, err := chosen(c, names)
		if err != nil {
			return err
		}
		merged := make([]*merged, 0, len(adapters))
		for _, a := range adapters {
			rep.Adapters = append(rep.Adapters, a.Config.DisplayName())
			for i := range a.Targets {
				if merged, err = join(merged, a, &a.Targets[i]); err != nil {
					return fmt.Errorf("%s: %w", a.Targets[i].Path, err)
				}
			}
		}
		if err := strip(c, names); err != nil {
			return err
		}
		fresh := ir.NewNames(c)
		for _, x := range merged {
			if err := x.write(c, fresh, rep); err != nil {
				return fmt.Errorf("%s: %w", x.target.Path, err)
			}
		}
		return nil
	})
	return rep, err
}

// merged is a module and all that is folded into its weight.
type merged struct {
	target *Target
	stack  adapter.Stack
}

// join adds one adapter's part of a module to the list.
func join(list []*merged, a *Adapter, t *Target) ([]*merged, error) {
	if t.Weight.quantized() {
		return nil, errQuantized
	}
	l, err := a.layer(t)
	if err != nil {
		return nil, err
	}
	for _, x := range list {
		if x.target.Path == t.Path && x.target.Weight.same(t.Weight) {
			x.stack = append(x.stack, l)
			return list, nil
		}
	}
	return append(list, &merged{t, adapter.Stack{l}}), nil
}

// layer is the maths of one target.
func (a *Adapter) layer(t *Target) (adapter.Layer, error) {
	l := adapter.Layer{Method: a.Config.Method, Alpha: a.Config.Alpha, Name: a.Config.DisplayName()}
	for _, b := range t.Blocks {
		x, err := b.Data.Tensor()
		if err != nil {
			return l, err
		}
		l.Blocks = append(l.Blocks, x)
	}
	return l, nil
}

// write folds the stack into the weight, in place where nothing but the
// module's own nodes reads it.
func (x *merged) write(c *ir.Model, fresh *ir.Names, rep *MergeReport) error {
	w, err := x.target.Weight.Read()
	if err != nil {
		return err
	}
	after, err := x.stack.Merge(w)
	if err != nil {
		return err
	}
	readers := map[*ir.Node]bool{}
	for _, s := range x.target.sites {
		readers[s.base] = true
		for _, l := range s.weight.links {
			readers[l.node] = true
		}
	}
	rep.Merged = append(rep.Merged, x.target.Path)
	own := true
	for _, s := range x.target.sites {
		own = own && s.weight.own(readers)
	}
	if own {
		return x.target.Weight.replace(after)
	}
	rep.Notes = append(rep.Notes, fmt.Sprintf("%s shares its weight with other nodes and got a copy", x.target.Path))
	copies := map[bool]*ir.Value{}
	for _, s := range x.target.sites {
		v := copies[s.weight.transposed]
		if v == nil {
			t, err := s.weight.asSeen(after)
			if err != nil {
				return err
			}
			v = addInitializer(c, fresh, x.target.Path+".weight", ir.Dense(t), false)
			copies[s.weight.transposed] = v
		}
		s.base.SetInput(1, v)
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
	back, err := w.Read()
	if err != nil {
		return err
	}
	values, err := back.Float64s()
	if err != nil {
		return err
	}
	for _, v := range values {
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return fmt.Errorf("the merged weight does not fit %v, the type it is stored as", w.rootData().DType())
		}
	}
	return nil
}
