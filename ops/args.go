package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Args is what an operator is made from: its node, the opset that the model
// imports of the node's domain, and readers for the attributes. The readers
// note what they read; an attribute that nobody reads is an error.
type Args struct {
	Node  *ir.Node
	Opset int64

	read map[string]bool
	err  error
}

// NumIn is the number of inputs, left out ones in the middle counted.
func (a *Args) NumIn() int { return len(a.Node.Inputs()) }

// NumOut is the number of outputs, left out ones in the middle counted.
func (a *Args) NumOut() int { return len(a.Node.Outputs()) }

func (a *Args) fail(name, want string) {
	if a.err == nil {
		a.err = fmt.Errorf("attribute %q is not %s", name, want)
	}
}

// Has reports whether the attribute is given.
func (a *Args) Has(name string) bool {
	a.read[name] = true
	return a.Node.Attr(name) != nil
}

// Skip marks attributes as known that change nothing for bonnx.
func (a *Args) Skip(names ...string) {
	for _, n := range names {
		a.read[n] = true
	}
}

func attr[T ir.AttrValue](a *Args, name, want string) (T, bool) {
	a.read[name] = true
	var zero T
	at := a.Node.Attr(name)
	if at == nil {
		return zero, false
	}
	v, ok := at.Value.(T)
	if !ok {
		a.fail(name, want)
	}
	return v, ok
}

// Int is an integer attribute.
func (a *Args) Int(name string, def int) int {
	if v, ok := attr[ir.Int](a, name, "an integer"); ok {
		return int(v)
	}
	return def
}

// Bool is an integer attribute that is 0 or not.
func (a *Args) Bool(name string, def bool) bool {
	d := 0
	if def {
		d = 1
	}
	return a.Int(name, d) != 0
}

// Float is a float attribute.
func (a *Args) Float(name string, def float64) float64 {
	if v, ok := attr[ir.Float](a, name, "a float"); ok {
		return float64(v)
	}
	return def
}

// String is a string attribute.
func (a *Args) String(name, def string) string {
	if v, ok := attr[ir.String](a, name, "a string"); ok {
		return string(v)
	}
	return def
}

// Ints is a list of integers, nil where absent.
func (a *Args) Ints(name string) []int {
	v, ok := attr[ir.Ints](a, name, "a list of integers")
	if !ok {
		return nil
	}
	return append(make([]int, 0, len(v)), toInts([]int64(v))...)
}

// Floats is a list of floats, nil where absent.
func (a *Args) Floats(name string) []float32 {
	v, _ := attr[ir.Floats](a, name, "a list of floats")
	return v
}

// Strings is a list of strings, nil where absent.
func (a *Args) Strings(name string) []string {
	v, _ := attr[ir.Strings](a, name, "a list of strings")
	return v
}

// Tensor is a tensor attribute, nil where absent.
func (a *Args) Tensor(name string) *tensor.Tensor {
	v, ok := attr[ir.TensorAttr](a, name, "a tensor")
	if !ok {
		return nil
	}
	t, err := v.Data.Tensor()
	if err != nil && a.err == nil {
		a.err = fmt.Errorf("attribute %q: %w", name, err)
	}
	return t
}

// Graph is a sub-graph attribute, nil where absent.
func (a *Args) Graph(name string) *ir.Graph {
	v, _ := attr[ir.GraphAttr](a, name, "a graph")
	return v.Graph
}
