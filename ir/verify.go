package ir

import (
	"errors"
	"fmt"
)

// maxDepth bounds the nesting of sub-graphs that Verify accepts.
const maxDepth = 64

// Verify checks the structural rules of ONNX (those of onnx.checker): names
// present and unique across nested scopes, nodes in topological order, every
// value defined before it is read, outputs produced in their own graph,
// domains imported, attributes unique, initializers of IR 3 listed as inputs,
// functions without recursion. Operators' own schemas are not looked at.
func Verify(m *Model) error {
	if m.Graph == nil {
		return errors.New("model has no graph")
	}
	if m.IRVersion < 1 {
		return fmt.Errorf("model has IR version %d", m.IRVersion)
	}
	if len(m.Opsets) == 0 && m.IRVersion >= 3 {
		return errors.New("model imports no operator set")
	}
	c := checker{ir: m.IRVersion, opset: m.Opset, functions: map[string]*Function{}}
	for _, f := range m.Functions {
		key := functionKey(f.Domain, f.Name, f.Overload)
		if c.functions[key] != nil {
			return fmt.Errorf("function %q is defined twice", f.Name)
		}
		c.functions[key] = f
	}
	if err := c.graph(m.Graph, nil, 0); err != nil {
		return err
	}
	for _, f := range m.Functions {
		if err := c.function(f); err != nil {
			return fmt.Errorf("function %q: %w", f.Name, err)
		}
	}
	return c.recursion(m.Functions)
}

func functionKey(domain, name, overload string) string {
	return CanonicalDomain(domain) + "\x00" + name + "\x00" + overload
}

type checker struct {
	ir        int64
	opset     func(domain string) int64
	functions map[string]*Function
	inBody    bool // of a function: graph names and types are not required
}

// scope is the set of values defined so far, by name, with the scopes around.
type scope struct {
	names  map[string]*Value
	parent *scope
}

func (s *scope) find(name string) *Value {
	for ; s != nil; s = s.parent {
		if v, ok := s.names[name]; ok {
			return v
		}
	}
	return nil
}

func (s *scope) define(v *Value) error {
	if v.Name == "" {
		return errors.New("a value has no name")
	}
	if s.find(v.Name) != nil {
		return fmt.Errorf("name %q is defined twice", v.Name)
	}
	s.names[v.Name] = v
	return nil
}

func (c *checker) graph(g *Graph, around *scope, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("sub-graphs are nested more than %d deep", maxDepth)
	}
	if g.Name == "" && !c.inBody {
		return errors.New("graph has no name")
	}
	s := &scope{names: map[string]*Value{}, parent: around}
	if err := c.inputs(g, s, depth); err != nil {
		return err
	}
	for n := range g.Nodes() {
		if err := c.node(n, s, depth); err != nil {
			return err
		}
	}
	for _, v := range g.Outputs {
		if v.Name == "" {
			return errors.New("a graph output has no name")
		}
		if s.names[v.Name] != v {
			return fmt.Errorf("graph output %q is not produced in the graph", v.Name)
		}
		if depth == 0 && !c.inBody && v.Type == nil {
			return fmt.Errorf("graph output %q has no type", v.Name)
		}
	}
	return nil
}

func (c *checker) inputs(g *Graph, s *scope, depth int) error {
	for _, v := range g.Inputs {
		if err := s.define(v); err != nil {
			return fmt.Errorf("graph input: %w", err)
		}
		if depth == 0 && !c.inBody && v.Type == nil {
			return fmt.Errorf("graph input %q has no type", v.Name)
		}
	}
	seen := map[*Value]bool{}
	for _, v := range g.Initializers {
		if seen[v] {
			return fmt.Errorf("initializer %q is listed twice", v.Name)
		}
		seen[v] = true
		if s.names[v.Name] == v && v.Name != "" {
			continue // a default of an input
		}
		if err := s.define(v); err != nil {
			return fmt.Errorf("initializer: %w", err)
		}
		if c.ir < 4 && depth == 0 && !c.inBody {
			return fmt.Errorf("initializer %q is not an input, which IR version %d demands", v.Name, c.ir)
		}
	}
	return nil
}

func (c *checker) node(n *Node, s *scope, depth int) error {
	if n.OpType == "" {
		return fmt.Errorf("%v has no operator", n)
	}
	if c.opset(n.Domain) == 0 && c.functions[functionKey(n.Domain, n.OpType, n.Overload)] == nil && c.ir >= 3 {
		return fmt.Errorf("%v: operator set %q is not imported", n, n.Domain)
	}
	for _, v := range n.inputs {
		if v != nil && s.find(v.Name) != v {
			return fmt.Errorf("%v reads %q, which is not defined before it (missing, or the graph has a cycle or is not sorted)", n, v.Name)
		}
	}
	names := map[string]bool{}
	for _, a := range n.Attrs {
		if a.Name == "" || names[a.Name] {
			return fmt.Errorf("%v: attribute %q is unnamed or given twice", n, a.Name)
		}
		names[a.Name] = true
		if a.RefAttr != "" && !c.inBody {
			return fmt.Errorf("%v: attribute %q refers to one of a function, outside of any", n, a.Name)
		}
	}
	for _, sub := range n.Subgraphs() {
		if err := c.graph(sub, s, depth+1); err != nil {
			return fmt.Errorf("%v: sub-graph %q: %w", n, sub.Name, err)
		}
	}
	for _, v := range n.outputs {
		if v == nil {
			continue
		}
		if err := s.define(v); err != nil {
			return fmt.Errorf("%v: output: %w", n, err)
		}
	}
	return nil
}

func (c *checker) function(f *Function) error {
	body := *c
	body.inBody = true
	body.opset = func(domain string) int64 {
		if v := f.Opset(domain); v != 0 {
			return v
		}
		return c.opset(domain)
	}
	return body.graph(f.Body, nil, 0)
}

// recursion refuses functions that call themselves, directly or not.
func (c *checker) recursion(fs []*Function) error {
	const (
		busy = 1
		done = 2
	)
	state := map[*Function]int{}
	var visit func(f *Function, depth int) error
	visit = func(f *Function, depth int) error {
		if state[f] == done {
			return nil
		}
		if state[f] == busy || depth > maxDepth {
			return fmt.Errorf("function %q calls itself or nests too deep", f.Name)
		}
		state[f] = busy
		var err error
		walkGraphs(f.Body, func(g *Graph) bool {
			for n := range g.Nodes() {
				if callee := c.functions[functionKey(n.Domain, n.OpType, n.Overload)]; callee != nil && err == nil {
					err = visit(callee, depth+1)
				}
			}
			return err == nil
		})
		state[f] = done
		return err
	}
	for _, f := range fs {
		if err := visit(f, 0); err != nil {
			return err
		}
	}
	return nil
}
