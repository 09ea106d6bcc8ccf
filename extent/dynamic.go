package extent

import (
	"errors"
	"fmt"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// Report says what DynamicBatch did.
type Report struct {
	// Symbol is what the batch axes are called now.
	Symbol string `json:"symbol"`
	// Was is the extent that the file had fixed, 0 where no input had a fixed
	// batch and the model is as it was.
	Was     int64    `json:"was"`
	Inputs  []string `json:"inputs"`
	Outputs []string `json:"outputs"`
	// Nodes had the batch in a constant operand, which was replaced.
	Nodes []string `json:"nodes"`
}

// DynamicBatch gives the inputs and outputs of m a symbolic first axis instead
// of a fixed one, and replaces the constants that contain the batch.
//
// It follows the samples through the graph: for every value it knows in which
// axis they are, or that the value is the same for all of them, and for every
// node it proves by the operator's rule that what the node computes of one
// sample does not depend on the others, and by shape inference with a symbolic
// batch that it still computes something. What cannot be proven is an error
// that names the first node in the way, and m stays as it was.
//
// A model whose file fixes a batch of 1 computes for each of n samples what it
// did for that one. One that fixes more, likewise; constants with a row for
// each sample are then in the way.
func DynamicBatch(m *ir.Model, set *ops.Set) (*Report, error) {
	if m == nil || m.Graph == nil {
		return nil, errors.New("model has no graph")
	}
	inputs, was, symbol, err := batchInputs(m)
	if err != nil {
		return nil, err
	}
	rep := &Report{Symbol: symbol, Was: was, Inputs: []string{}, Outputs: []string{}, Nodes: []string{}}
	if was == 0 {
		return rep, nil
	}
	c, t, err := traced(m, set, inputs, was, false)
	if err != nil && was > 1 {
		// What has as many copies as there were samples may be one for each.
		if c2, t2, err2 := traced(m, set, inputs, was, true); err2 == nil {
			c, t, err = c2, t2, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the batch stays %d: %w", was, err)
	}
	t.declare(symbol)
	for i, v := range m.Graph.Inputs {
		if inputs[v] {
			setFirst(c.Graph.Inputs[i], ir.Symbol(symbol))
			rep.Inputs = append(rep.Inputs, v.Name)
		}
	}
	for _, v := range c.Graph.Outputs {
		rep.Outputs = append(rep.Outputs, v.Name)
	}
	rep.Nodes = append(rep.Nodes, t.changed...)
	if err := ir.Verify(c); err != nil {
		return nil, fmt.Errorf("rewritten model is invalid: %w", err)
	}
	*m = *c
	return rep, nil
}

// traced is a copy of m in which the samples of the batch inputs were followed,
// and changed where that was needed. copies says that whatever is expanded to
// the batch that the file has is expanded for the samples.
func traced(m *ir.Model, set *ops.Set, inputs map[*ir.Value]bool, was int64, copies bool) (*ir.Model, *tracer, error) {
	c := m.Clone()
	for i, v := range m.Graph.Inputs {
		if inputs[v] {
			setFirst(c.Graph.Inputs[i], ir.Symbol(samples))
		}
	}
	forget(c)
	t, err := newTracer(c, set, was)
	if err != nil {
		return nil, nil, err
	}
	t.copies = copies
	return c, t, t.run()
}

// batchInputs are the inputs whose first axis is the batch, its extent (0
// where none is fixed) and the symbol for it: that of inputs where it is
// dynamic already, or a new one.
func batchInputs(m *ir.Model) (inputs map[*ir.Value]bool, was int64, symbol string, err error) {
	inputs = map[*ir.Value]bool{}
	taken := map[string]bool{}
	for _, v := range m.Graph.Inputs {
		t := v.TensorType()
		if v.Data != nil || t == nil || !t.Ranked || !hasBatch(t) {
			continue
		}
		first := t.Dims[0]
		switch {
		case !first.Known && first.Sym != "" && symbol == "":
			symbol = first.Sym
		case !first.Known && first.Sym != symbol:
			return nil, 0, "", fmt.Errorf("inputs have batches %q and %q: which is it?", symbol, first)
		case first.Known && was == 0:
			was = first.Value
		case first.Known && first.Value != was && first.Value > 0:
			continue // no batch: the same for all samples
		}
		inputs[v] = true
		for _, d := range t.Dims[1:] {
			taken[d.Sym] = true
		}
	}
	if was < 0 {
		return nil, 0, "", fmt.Errorf("a batch of %d", was)
	}
	for _, s := range []string{"batch", "batch_size", "samples"} {
		if symbol == "" && !taken[s] {
			symbol = s
		}
	}
	if symbol == "" || strings.Contains(symbol, samples) {
		return nil, 0, "", fmt.Errorf("the symbols of the inputs' axes leave no name for the batch")
	}
	return inputs, was, symbol, nil
}

// setFirst replaces the first extent of a value's type.
func setFirst(v *ir.Value, d ir.Dim) {
	t := *v.TensorType()
	t.Dims = append([]ir.Dim{d}, t.Dims[1:]...)
	v.Type = &t
}

// forget drops what a file declares of values that nodes compute, but for the
// element types of outputs: it is of the fixed batch.
func forget(m *ir.Model) {
	m.Graphs(func(g *ir.Graph) bool {
		for n := range g.Nodes() {
			for _, v := range n.Outputs() {
				if v == nil || v.Type == nil {
					continue
				}
				if t := v.TensorType(); t != nil {
					v.Type = &ir.TensorType{Elem: t.Elem}
				}
			}
		}
		return true
	})
}

// declare writes what was found into the types of all values that the file
// declares, with the batch under its symbol.
func (t *tracer) declare(symbol string) {
	for traced, v := range t.values {
		if v.Type == nil || v.TensorType() == nil {
			continue
		}
		f := t.an.Fact(traced)
		if f.DType == tensor.Undefined {
			continue
		}
		dims := make([]ir.Dim, len(f.Dims))
		for i, d := range f.Dims {
			if strings.HasPrefix(d.Sym, "?") || strings.Contains(d.Sym, "(?") {
				continue // made up for what is not known
			}
			if dims[i] = d; mentions(d) {
				dims[i].Sym = strings.ReplaceAll(d.Sym, samples, symbol)
			}
		}
		v.Type = &ir.TensorType{Elem: f.DType, Ranked: f.Ranked, Dims: dims}
	}
}
