package bonnx

import (
	"fmt"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// OutputNames are the names of the graph's outputs in order.
func (m *Model) OutputNames() []string { return valueNames(m.graph.Graph.Outputs) }

// InputNames are the names of the graph's inputs in order.
func (m *Model) InputNames() []string { return valueNames(m.graph.Graph.Inputs) }

func valueNames(vs []*ir.Value) []string {
	names := make([]string, len(vs))
	for i, v := range vs {
		names[i] = v.Name
	}
	return names
}

// Conform checks arrays against the graph's inputs by name, and converts
// between widths of integers and of floats (files made with NumPy often hold
// int32 ids or float64 features).
func (m *Model) Conform(given map[string]*tensor.Tensor) (map[string]*tensor.Tensor, error) {
	out := map[string]*tensor.Tensor{}
	for _, v := range m.graph.Graph.Inputs {
		t := given[v.Name]
		if t == nil {
			continue
		}
		if want := v.TensorType(); want != nil && want.Elem != t.DType() {
			alike := want.Elem.IsFloat() && t.DType().IsFloat() || want.Elem.IsInteger() && t.DType().IsInteger()
			if !alike {
				return nil, m.wrap(fmt.Errorf("input %q is %v, the array is %v", v.Name, want, t))
			}
			c, err := t.Cast(want.Elem)
			if err != nil {
				return nil, m.wrap(fmt.Errorf("input %q: %w", v.Name, err))
			}
			t = c
		}
		out[v.Name] = t
	}
	for name := range given {
		if out[name] == nil {
			return nil, m.wrap(fmt.Errorf("array %q is no input of the model; inputs are %s", name, strings.Join(m.InputNames(), ", ")))
		}
	}
	return out, nil
}
