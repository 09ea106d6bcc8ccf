// Package rewrite is adapter surgery on graphs: it finds the linear layers of
// a model, puts adapters on them, merges them into the weights, takes them off
// again, and moves them between models. It runs nothing and knows operators
// only as far as the layers it changes, so it works on graphs that bonnx
// cannot run.
//
// Every function that changes a model works on a copy, checks it with
// ir.Verify, and replaces *m only when all is well: after an error the model is
// as it was, after a success values and nodes taken from it before are stale.
package rewrite

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
)

// edit runs f on a copy of m, checks the result and makes it m.
func edit(m *ir.Model, f func(*ir.Model) error) error {
	if m == nil || m.Graph == nil {
		return fmt.Errorf("model has no graph")
	}
	c := m.Clone()
	if err := f(c); err != nil {
		return err
	}
	if err := ir.Verify(c); err != nil {
		return fmt.Errorf("rewritten model is invalid: %w", err)
	}
	*m = *c
	return nil
}

// addInitializer adds a constant to the main graph under a fresh name near the
// one given. As an input it may be fed; up to IR version 3 every initializer
// has to be one.
func addInitializer(m *ir.Model, names *ir.Names, name string, d ir.Data, input bool) *ir.Value {
	v := m.Graph.AddInitializer(names.Fresh(name), d)
	if input || m.IRVersion < 4 {
		v.Type = ir.TensorOf(d.DType(), d.Shape())
		m.Graph.Inputs = append(m.Graph.Inputs, v)
	}
	return v
}
