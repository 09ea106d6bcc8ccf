package ops

import (
	"fmt"
	"strconv"
	"sync"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Analysis holds the parsed operators and the facts of a graph, and keeps up
// with nodes that a Builder adds.
type Analysis struct {
	set     *Set
	opset   func(domain string) int64
	ops     map[*ir.Node]Op
	facts   map[*ir.Value]Fact
	mutable func(*ir.Value) bool
}

// AnalyzeOptions tune Analyze.
type AnalyzeOptions struct {
	// Inputs replaces what the model declares of graph inputs, by name.
	Inputs map[string]Fact
	// Mutable says which initializers may change: their values are not
	// constants. Those that are also inputs always may.
	Mutable func(*ir.Value) bool
}

// Analyze parses and infers the main graph of a canonical model.
func (s *Set) Analyze(m *ir.Model, o AnalyzeOptions) (*Analysis, error) {
	a := s.start(m, o)
	for n := range m.Graph.Nodes() {
		if err := a.Node(n); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// start is an Analysis that knows the inputs and the initializers.
func (s *Set) start(m *ir.Model, o AnalyzeOptions) *Analysis {
	a := &Analysis{set: s, opset: m.Opset, ops: map[*ir.Node]Op{}, facts: map[*ir.Value]Fact{}, mutable: o.Mutable}
	for _, v := range m.Graph.Inputs {
		f, ok := o.Inputs[v.Name]
		if !ok {
			f = FromType(v.Type)
		}
		if v.Data != nil {
			f = Concrete(v.Data.DType(), v.Data.Shape()...)
		}
		a.Set(v, f)
	}
	for _, v := range m.Graph.Initializers {
		if _, isInput := a.facts[v]; !isInput {
			a.initializer(v)
		}
	}
	return a
}

func (a *Analysis) initializer(v *ir.Value) Fact {
	f := Concrete(v.Data.DType(), v.Data.Shape()...)
	if a.mutable == nil || !a.mutable(v) {
		f.Const = memoize(v.Data)
	}
	a.facts[v] = f
	return f
}

// memo reads lazy Data once, so that its identity and its reading are shared.
type memo struct {
	ir.Data
	once func() (*tensor.Tensor, error)
}

func (m *memo) Tensor() (*tensor.Tensor, error) { return m.once() }

// Release implements ir.Released.
func (m *memo) Release() { ir.Release(m.Data) }

// origin is what a memo reads: the same in every analysis of models that share
// their weights.
func origin(d ir.Data) ir.Data {
	for {
		m, ok := d.(*memo)
		if !ok {
			return d
		}
		d = m.Data
	}
}

func memoize(d ir.Data) ir.Data { return &memo{d, sync.OnceValues(d.Tensor)} }

// Op is the parsed operator of a node.
func (a *Analysis) Op(n *ir.Node) Op { return a.ops[n] }

// Fact is what is known of a value; initializers added later are looked up.
func (a *Analysis) Fact(v *ir.Value) Fact {
	if v == nil {
		return Fact{}
	}
	f, ok := a.facts[v]
	if !ok && v.IsInitializer() {
		return a.initializer(v)
	}
	return f
}

// Set records a fact. Unknown extents are given names of their own, so that
// what is computed from the same value is known to agree.
func (a *Analysis) Set(v *ir.Value, f Fact) {
	for i, d := range f.Dims {
		if !d.Known && d.Sym == "" {
			dims := append([]ir.Dim{}, f.Dims...)
			for j := i; j < len(dims); j++ {
				if !dims[j].Known && dims[j].Sym == "" {
					dims[j].Sym = "?" + v.Name + "." + strconv.Itoa(j)
				}
			}
			f.Dims = dims
			break
		}
	}
	a.facts[v] = f
}

// Node parses n, where that is not done, and infers its outputs.
func (a *Analysis) Node(n *ir.Node) error {
	op := a.ops[n]
	if op == nil {
		var err error
		if op, err = a.set.Parse(n, a.opset(n.Domain)); err != nil {
			return err
		}
		a.ops[n] = op
	}
	in := make([]Fact, len(n.Inputs()))
	for i, v := range n.Inputs() {
		in[i] = a.Fact(v)
	}
	out, err := op.Infer(in)
	if err != nil {
		return fmt.Errorf("%v: %w", n, err)
	}
	if folded := foldSmall(n, op, in, out); folded != nil {
		out = folded
	}
	for i, v := range n.Outputs() {
		if v == nil {
			continue
		}
		if i >= len(out) {
			return fmt.Errorf("%v: output %d does not exist", n, i)
		}
		f := out[i]
		if !f.Ranked && v.Type != nil {
			if d := FromType(v.Type); d.DType == f.DType {
				f.Ranked, f.Dims = d.Ranked, d.Dims
			}
		}
		a.Set(v, f)
	}
	return nil
}

// Body infers what it can of a sub-graph from what its inputs declare and what
// it reads from around.
func (a *Analysis) Body(g *ir.Graph) {
	for _, v := range g.Inputs {
		a.Set(v, FromType(v.Type))
	}
	for n := range g.Nodes() {
		_ = a.Node(n) // who needs the fact will miss it
	}
}
