package autodiff

import (
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

// Missing lists the nodes between params and the values to of the main graph
// that have no gradient, the bodies of control flow included. Where the type of
// a value is not known, it is taken for a float.
func Missing(b *ops.Builder, params, to []*ir.Value) []*ir.Node {
	d := &differ{b: b, active: activeValues(b.Graph, params), loose: true}
	return d.missing(to, b.Graph)
}

func (d *differ) missing(to []*ir.Value, g *ir.Graph) (list []*ir.Node) {
	for _, n := range d.path(to, g) {
		bodies := n.Subgraphs()
		for _, sub := range bodies {
			d.activate(sub)
			list = append(list, d.missing(sub.Outputs, sub)...)
		}
		if _, ok := d.b.Analysis.Op(n).(ops.Differentiable); !ok && len(bodies) == 0 {
			list = append(list, n)
		}
	}
	return list
}

// activate notes what a body computes from its inputs, and from what is active
// around it.
func (d *differ) activate(sub *ir.Graph) {
	for v := range activeValues(sub, append(sub.Inputs[:len(sub.Inputs):len(sub.Inputs)], d.known()...)) {
		d.active[v] = true
	}
}

func (d *differ) known() (list []*ir.Value) {
	for v := range d.active {
		list = append(list, v)
	}
	return list
}
