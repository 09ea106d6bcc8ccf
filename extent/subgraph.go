package extent

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

// subgraphs traces a node that runs graphs. Branches of an If are traced like
// the graph around them; what else runs graphs may see no sample.
func (c *call) subgraphs() (place, error) {
	switch {
	case !c.n.Is("If"):
		if err := c.blind(); err != nil {
			return place{}, err
		}
		return c.still()
	case c.place(0).kind != free:
		return place{}, errors.New("its condition is of the samples")
	}
	branches := c.n.Subgraphs()
	for _, g := range branches {
		for n := range g.Nodes() {
			if err := c.node(n); err != nil {
				return place{}, err
			}
		}
		for _, v := range g.Outputs {
			v.Type = c.an.Fact(v).Type()
		}
	}
	if err := c.infer(); err != nil {
		return place{}, err
	}
	for i, v := range c.n.Outputs() {
		p, err := c.agreed(branches, i)
		if err != nil {
			return place{}, fmt.Errorf("output %d: %w", i, err)
		}
		if c.each = append(c.each, p); v != nil {
			c.an.Set(v, common(c.an.Fact(branches[0].Outputs[i]), c.an.Fact(branches[1].Outputs[i])))
		}
	}
	return place{}, nil
}

// agreed is where all branches have the samples in output i.
func (c *call) agreed(branches []*ir.Graph, i int) (place, error) {
	p := c.places[branches[0].Outputs[i]]
	for _, g := range branches[1:] {
		if q := c.places[g.Outputs[i]]; q != p {
			return p, errors.New("the branches have the samples in different places")
		}
	}
	return p, nil
}

// common is what two facts of one rank agree on.
func common(a, b ops.Fact) ops.Fact {
	f := a.WithoutValue()
	if !a.Ranked || len(a.Dims) != len(b.Dims) {
		return ops.Fact{DType: a.DType}
	}
	f.Dims = make([]ir.Dim, len(a.Dims))
	for i, d := range a.Dims {
		if ops.SameDim(d, b.Dims[i]) {
			f.Dims[i] = d
		}
	}
	return f
}

// blind demands that no sample goes into the node, nor into the graphs that it
// runs, and nothing that depends on their number.
func (c *call) blind() error {
	var err error
	look := func(n *ir.Node) {
		for _, v := range n.Inputs() {
			if v != nil && c.places[v].kind != free && err == nil {
				err = fmt.Errorf("it runs a graph over the samples, of which %q is one", v.Name)
			}
		}
	}
	look(c.n)
	for _, g := range c.n.Subgraphs() {
		walk(g, look)
	}
	return err
}

// walk visits the nodes of a graph and of all graphs in it.
func walk(g *ir.Graph, visit func(*ir.Node)) {
	for n := range g.Nodes() {
		visit(n)
		for _, sub := range n.Subgraphs() {
			walk(sub, visit)
		}
	}
}
