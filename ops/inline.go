package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
)

// inline replaces a call of a model-local function by the function's body. The
// body's nodes follow n, so that the walk which met n lifts them next.
func (l *lifter) inline(n *ir.Node, f *ir.Function) error {
	if len(n.Inputs()) > len(f.Body.Inputs) || len(n.Outputs()) > len(f.Body.Outputs) {
		return fmt.Errorf("%d inputs and %d outputs for a function of %d and %d", len(n.Inputs()), len(n.Outputs()), len(f.Body.Inputs), len(f.Body.Outputs))
	}
	if l.inlined += f.Body.Len(); l.inlined > maxNodes {
		return fmt.Errorf("inlining functions makes more than %d nodes", maxNodes)
	}
	for _, o := range f.Opsets {
		if l.model.Opset(o.Domain) == 0 {
			l.model.SetOpset(o.Domain, o.Version)
		}
	}
	version := f.Opset("")
	if version == 0 {
		version = l.target
	}
	l.replace(n, version, func(b *ir.Builder) []*ir.Value { return b.Call(n, f) })
	return nil
}

// splice puts the branch that an If takes, which is lifted already, in its
// place.
func (l *lifter) splice(n *ir.Node, branch *ir.Graph) {
	l.replace(n, l.target, func(b *ir.Builder) []*ir.Value { return b.Body(n, branch) })
}

// replace puts the nodes that build copies in the place of n.
func (l *lifter) replace(n *ir.Node, version int64, build func(b *ir.Builder) []*ir.Value) {
	g := n.Graph()
	b := ir.NewBuilder(g, l.names)
	b.Before = n.Next()
	b.Prefix = n.Name + "/"
	b.OnNode = func(d *ir.Node) error {
		l.version[d] = version
		return nil
	}
	for i, v := range build(b) {
		if v != nil {
			l.stand(n, i, v, b.Before)
		}
	}
	g.Remove(n)
}

// stand makes v what output i of n was; end follows the copied body.
func (l *lifter) stand(n *ir.Node, i int, v *ir.Value, end *ir.Node) {
	y := n.Output(i)
	if !y.IsOutput() {
		y.ReplaceUses(v)
		return
	}
	n.SetOutput(i, nil)
	id := ir.NewNode("", "Identity", v)
	id.Name = l.names.Fresh(n.Name + "/Identity")
	id.SetOutput(0, y)
	n.Graph().InsertBefore(id, end)
	l.version[id] = l.target
}
