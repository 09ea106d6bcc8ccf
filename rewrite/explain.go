package rewrite

import (
	"slices"
	"strings"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/ir"
)

// Explanation says how nodes came by the module paths that configurations name
// them by. Its JSON form is part of the command line's contract.
type Explanation struct {
	Name string `json:"name"`
	// Layers are the linear layers that the name means.
	Layers []ExplainedLayer `json:"layers"`
	// Others are nodes that it means and that take no adapter, and why.
	Others []Skip `json:"others"`
	// Nearest are paths like the name, where it means nothing.
	Nearest []string `json:"nearest"`
}

// ExplainedLayer is a linear layer and what every source says of its path.
type ExplainedLayer struct {
	LayerInfo
	Rule       string      `json:"rule"` // by which the path was chosen
	Candidates []Candidate `json:"candidates"`
}

// Explain tells of the layers that name means: a module path, its end at a dot,
// the name of a node, of one of its results, or of a weight or bias.
func Explain(m *ir.Model, name string) (*Explanation, error) {
	found, err := Find(m)
	if err != nil {
		return nil, err
	}
	e := &Explanation{Name: name, Layers: []ExplainedLayer{}, Others: []Skip{}, Nearest: []string{}}
	for _, l := range found.Linear {
		if l.means(name) {
			e.Layers = append(e.Layers, ExplainedLayer{l.info(), l.rule, candidates(l)})
		}
	}
	for _, s := range found.Others {
		if s.Node == name {
			e.Others = append(e.Others, s)
		}
	}
	if len(e.Layers)+len(e.Others) > 0 {
		return e, nil
	}
	if n := nodeNamed(m, name); n != nil {
		e.Others = append(e.Others, Skip{Node: label(n), Reason: "its operator " + n.OpType + " is no linear layer"})
	}
	names := found.Paths()
	for _, l := range found.Linear {
		names = append(names, l.Node.Name)
	}
	e.Nearest = append(e.Nearest, adapter.Nearest([]string{name}, slices.DeleteFunc(names, func(n string) bool { return n == "" }))...)
	return e, nil
}

// means reports whether name is one of the names that the layer has.
func (l *Linear) means(name string) bool {
	if name == "" {
		return false
	}
	if l.Path == name || strings.HasSuffix(l.Path, "."+name) || l.label == name || l.result.Name == name {
		return true
	}
	for _, c := range candidates(l) {
		if c.From == name || c.Path == name {
			return true
		}
	}
	return slices.ContainsFunc(l.parts, func(n *ir.Node) bool { return n.Name == name })
}

// nodeNamed is the first node of that name, or that makes a value of that name.
func nodeNamed(m *ir.Model, name string) (hit *ir.Node) {
	m.Graphs(func(g *ir.Graph) bool {
		for n := range g.Nodes() {
			if n.Name == name && name != "" || slices.ContainsFunc(n.Outputs(), func(v *ir.Value) bool { return v != nil && v.Name == name }) {
				hit = n
				break
			}
		}
		return hit == nil
	})
	return hit
}

// info is what lists tell of the layer.
func (l *Linear) info() LayerInfo {
	return LayerInfo{l.Path, l.Source, l.Label(), l.Kind, l.In, l.Out, l.Params(), l.Head}
}
