package rewrite

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/ir"
)

// Linear is a linear layer of a graph: a node with a constant weight that can
// take an adapter.
type Linear struct {
	Node   *ir.Node
	Path   string // of the module it came from, unique but for repeated calls
	Source Source // where Path was found
	Kind   string // the operator
	In     int
	Out    int
	Weight *Weight
	Bias   *ir.Value // the constant vector added to its result, or nil
	// Head says that a graph output is this layer's result, but for what
	// leaves out all of what a model learns.
	Head bool

	spot
	unique string
	rule   string // by which Path was chosen
	label  string // as the base has it
}

// Params is the number of values of weight and bias.
func (l *Linear) Params() int {
	if l.Bias != nil {
		return l.In*l.Out + l.Bias.Data.Shape().Size()
	}
	return l.In * l.Out
}

// Label is how messages call the layer: its node, or its path where that has
// no name.
func (l *Linear) Label() string { return l.label }

func label(n *ir.Node) string {
	if n.Name != "" {
		return n.Name
	}
	for _, v := range n.Outputs() {
		if v != nil {
			return v.Name
		}
	}
	return n.OpType
}

// Skip is a node that is no target, and why.
type Skip struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
	// Path is the module, where the node is a linear layer.
	Path string `json:"-"`
	// Computed says that the node multiplies computed values, as attention
	// does: nothing that an adapter is ever put on.
	Computed bool `json:"-"`
}

// Layers is what Find found, in the order of the graph.
type Layers struct {
	Linear []*Linear
	// Others are matrix products and the like that cannot take an adapter.
	Others []Skip
}

// At is the first layer of that path, nil where there is none.
func (l *Layers) At(path string) *Linear {
	for _, x := range l.Linear {
		if x.Path == path {
			return x
		}
	}
	return nil
}

// Paths are the modules, each once.
func (l *Layers) Paths() []string {
	var out []string
	seen := map[string]bool{}
	for _, x := range l.Linear {
		if !seen[x.Path] {
			seen[x.Path] = true
			out = append(out, x.Path)
		}
	}
	return out
}

// constant reports whether a constant of the file is behind v.
func constant(v *ir.Value) bool {
	var w Weight
	_, _, err := w.root(v)
	return err == nil
}

// Find lists the linear layers of the main graph and its sub-graphs. Those of
// a model with adapters are the layers of its base model, and so are the nodes
// in the result. No weight is read.
func Find(m *ir.Model) (*Layers, error) {
	if m == nil || m.Graph == nil {
		return nil, errors.New("model has no graph")
	}
	if _, ok := m.Metadata.Get(MetadataKey); ok {
		m = m.Clone()
		r, err := resolve(m)
		if err != nil {
			return nil, err
		}
		if err := r.remove(m); err != nil {
			return nil, err
		}
	}
	f := &finder{found: &Layers{}, heads: map[*ir.Value]bool{}}
	for _, v := range m.Graph.Outputs {
		f.heads[v] = true
	}
	f.graph(m.Graph)
	for _, fn := range m.Functions {
		f.function(fn.Name, fn.Body)
	}
	distinct(f.found.Linear)
	return f.found, nil
}

type finder struct {
	found *Layers
	heads map[*ir.Value]bool // whether a value is an output but for post-processing
}

func (f *finder) graph(g *ir.Graph) {
	for n := range g.Nodes() {
		f.node(n)
		for _, sub := range n.Subgraphs() {
			f.graph(sub)
		}
	}
}

// function reports layers in the body of a function: an adapter there would be
// shared by all its calls.
func (f *finder) function(name string, g *ir.Graph) {
	for n := range g.Nodes() {
		if kindOf(n) != nil && slices.ContainsFunc(n.Inputs(), constant) {
			f.skip(n, fmt.Errorf("it is inside function %q; inline functions first (--inline-functions)", name))
		}
		for _, sub := range n.Subgraphs() {
			f.function(name, sub)
		}
	}
}

func (f *finder) node(n *ir.Node) {
	if kindOf(n) == nil {
		if otherKinds[kindKey(n)] {
			f.skip(n, fmt.Errorf("adapters are not put on %s", n.OpType))
		}
		return
	}
	l, err := readLayer(n, n.Input)
	if err != nil {
		f.skip(n, err)
		return
	}
	l.Path, l.Source, l.rule = modulePath(l, len(f.found.Linear))
	l.Head = f.head(l.result, 0)
	f.found.Linear = append(f.found.Linear, l)
}

func (f *finder) skip(n *ir.Node, err error) {
	f.found.Others = append(f.found.Others, Skip{Node: label(n), Reason: err.Error(), Computed: errors.Is(err, errComputed)})
}

// afterHead is the table of operators through which a head's result stays a
// head's result, by the input it comes in at.
var afterHead = map[string]func(u ir.Use) bool{
	"Add":  func(u ir.Use) bool { return constant(u.Node.Input(1 - u.Index)) },
	"Cast": first, "Reshape": first, "Slice": first, "Gather": first, "Identity": first,
	"Softmax": first, "LogSoftmax": first, "Sigmoid": first, "ArgMax": first,
}

func first(u ir.Use) bool { return u.Index == 0 }

// head reports whether v is a graph output, or becomes one through operators
// of afterHead alone.
func (f *finder) head(v *ir.Value, depth int) bool {
	if v == nil || depth > maxChain {
		return false
	}
	if is, ok := f.heads[v]; ok {
		return is
	}
	f.heads[v] = f.headOfBranch(v, depth) || slices.ContainsFunc(v.Uses(), func(u ir.Use) bool {
		pass := afterHead[u.Node.OpType]
		return pass != nil && ir.CanonicalDomain(u.Node.Domain) == "" && len(u.Node.Inputs()) > u.Index && pass(u) &&
			f.head(u.Node.Output(0), depth+1)
	})
	return f.heads[v]
}

// headOfBranch reports whether v is what a branch of an If gives, and that a
// head's result.
func (f *finder) headOfBranch(v *ir.Value, depth int) bool {
	n := v.Graph().Parent()
	if n == nil || !n.Is("If") {
		return false
	}
	for i, o := range v.Graph().Outputs {
		if o == v && f.head(n.Output(i), depth+1) {
			return true
		}
	}
	return false
}
