package ir

import "strconv"

// Names is the one authority for fresh names in a model: names of values and
// of nodes, in all graphs, share it, because sub-graphs may not shadow.
type Names struct {
	taken map[string]bool
	next  map[string]int
}

// NewNames collects every name that the model uses.
func NewNames(m *Model) *Names {
	s := &Names{taken: map[string]bool{}, next: map[string]int{}}
	m.Graphs(func(g *Graph) bool { s.collect(g); return true })
	return s
}

func (s *Names) collect(g *Graph) {
	for _, list := range [][]*Value{g.Inputs, g.Initializers, g.Outputs} {
		for _, v := range list {
			s.taken[v.Name] = true
		}
	}
	for n := range g.Nodes() {
		s.taken[n.Name] = true
		for _, v := range n.outputs {
			if v != nil {
				s.taken[v.Name] = true
			}
		}
	}
}

// Taken reports whether a name is in use.
func (s *Names) Taken(name string) bool { return s.taken[name] }

// Fresh is base where that is free, else base with a number, and takes it.
func (s *Names) Fresh(base string) string {
	if base == "" {
		base = "v"
	}
	name := base
	for s.taken[name] {
		s.next[base]++
		name = base + "_" + strconv.Itoa(s.next[base])
	}
	s.taken[name] = true
	return name
}
