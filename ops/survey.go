package ops

import (
	"errors"
	"slices"

	"github.com/bonnx/bonnx/ir"
)

// A Problem is a node that cannot be run, and why; the node is nil where it is
// the whole model.
type Problem struct {
	Node *ir.Node
	Err  error
}

// Survey makes the canonical form of a model and analyzes it as far as that
// goes: all problems come at once. What depends on a node that fails is known by
// what the file declares, and is itself a problem only where its operator or its
// attributes are. Where there is no canonical form the model is returned as it
// is, without an Analysis.
func (s *Set) Survey(m *ir.Model) (*ir.Model, *Analysis, []Problem) {
	c, err := Canonical(m)
	if err != nil {
		return m, nil, append(s.unknown(m), Problem{nil, err})
	}
	a := s.start(c, AnalyzeOptions{})
	v := &surveyor{a: a, failed: map[*ir.Value]bool{}}
	v.graph(c.Graph)
	return c, a, v.problems
}

// unknown are the nodes of m whose operators are not in the set.
func (s *Set) unknown(m *ir.Model) (list []Problem) {
	calls := func(n *ir.Node) bool {
		return slices.ContainsFunc(m.Functions, func(f *ir.Function) bool { return f.Name == n.OpType && f.Domain == n.Domain })
	}
	m.Graphs(func(g *ir.Graph) bool {
		for n := range g.Nodes() {
			if _, ok := s.Lookup(n.Domain, n.OpType); ok || calls(n) || lifts[n.OpType] != nil || n.Is("Constant") {
				continue
			}
			list = append(list, Problem{n, &UnsupportedOpError{Node: n.String(), Domain: n.Domain, Op: n.OpType, Opset: m.Opset(n.Domain)}})
		}
		return true
	})
	return list
}

type surveyor struct {
	a        *Analysis
	failed   map[*ir.Value]bool // values of which nothing is known for certain
	problems []Problem
}

func (v *surveyor) graph(g *ir.Graph) {
	for n := range g.Nodes() {
		v.node(n)
		for _, sub := range n.Subgraphs() {
			for _, in := range sub.Inputs {
				v.a.Set(in, FromType(in.Type))
			}
			v.graph(sub)
		}
	}
}

func (v *surveyor) node(n *ir.Node) {
	inner := n.Graph().Parent() != nil // shapes there are known in runs alone
	uncertain := inner || slices.ContainsFunc(n.Inputs(), func(x *ir.Value) bool { return v.failed[x] })
	err := v.a.Node(n)
	if err == nil {
		return
	}
	if v.a.ops[n] == nil || !uncertain && !errors.Is(err, errFunction) {
		v.problems = append(v.problems, Problem{n, err})
	}
	for _, y := range n.Outputs() {
		if y != nil {
			v.failed[y] = true
			v.a.Set(y, FromType(y.Type))
		}
	}
}
