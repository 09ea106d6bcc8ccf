package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Unroller operators (Loop, Scan) run their body a number of times that may be
// known when a graph is built: the body's copies, one after the other, then
// stand for the node, and have gradients.
type Unroller interface {
	Op
	// Unroll builds the copies before n and returns what stands for n's outputs.
	Unroll(b *Builder, n *ir.Node) ([]*ir.Value, error)
}

// maxUnrolled bounds how many nodes the copies of a body are.
const maxUnrolled = 1 << 17

// errCount says that a gradient needs to know how often a body runs.
var errCount = errors.New("the number of iterations depends on data or on a symbolic extent; a gradient needs it to be known")

// iterate copies the body once; in are the values of its inputs.
func iterate(b *Builder, body *ir.Graph, in []*ir.Value) []*ir.Value {
	seen := map[*ir.Value]*ir.Value{}
	for i, v := range body.Inputs {
		seen[v] = in[i]
	}
	b.Copy(body, seen)
	out := make([]*ir.Value, len(body.Outputs))
	for i, v := range body.Outputs {
		if out[i] = v; seen[v] != nil { // else it is a value from around the body
			out[i] = seen[v]
		}
	}
	return out
}

// stacked joins the values of all iterations along a new axis.
func (b *Builder) stacked(list []*ir.Value, axis int) (*ir.Value, error) {
	if len(list) == 0 {
		return nil, errors.New("no iteration, of which a value is stacked")
	}
	parts := make([]*ir.Value, len(list))
	for i, v := range list {
		parts[i] = b.Unsqueeze(v, axis)
	}
	return b.Op("Concat", parts, ir.A("axis", ir.Int(axis))), nil
}

// Unroll runs the body while its condition is known to hold.
func (o loop) Unroll(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	limit := -1
	if m := n.Input(0); m != nil {
		trips, ok := b.Fact(m).Ints()
		if !ok || len(trips) != 1 {
			return nil, errCount
		}
		limit = max(trips[0], 0)
	}
	on := n.Input(1)
	if on == nil {
		on = b.Const("on", tensor.Scalar(true))
	}
	state := append([]*ir.Value{}, n.Inputs()[2:]...)
	scans := make([][]*ir.Value, len(o.body.Outputs)-1-o.carried)
	for i := 0; i != limit; i++ {
		c, ok := elemsOf(b.Fact(on))
		if !ok || len(c) != 1 || !c[0].Known {
			return nil, errCount
		}
		if c[0].Value == 0 {
			break
		}
		if (i+1)*max(1, o.body.Len()) > maxUnrolled {
			return nil, fmt.Errorf("unrolling makes more than %d nodes", maxUnrolled)
		}
		out := iterate(b, o.body, append([]*ir.Value{b.Const("iteration", tensor.Scalar(int64(i))), on}, state...))
		if b.Err() != nil {
			return nil, b.Err()
		}
		on = out[0]
		copy(state, out[1:])
		for k := range scans {
			scans[k] = append(scans[k], out[1+o.carried+k])
		}
	}
	return b.stackAll(n, state, scans, make([]int, len(scans)))
}

// stackAll appends the stacked scans that n's outputs want to the state.
func (b *Builder) stackAll(n *ir.Node, state []*ir.Value, scans [][]*ir.Value, axes []int) ([]*ir.Value, error) {
	for k, list := range scans {
		if n.Output(len(state)) == nil {
			state = append(state, nil)
			continue
		}
		v, err := b.stacked(list, axes[k])
		if err != nil {
			return nil, err
		}
		state = append(state, v)
	}
	return state, nil
}

// Unroll runs the body once for each entry of the scanned inputs.
func (o scan) Unroll(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	state := append([]*ir.Value{}, n.Inputs()[:o.states]...)
	seqs := n.Inputs()[o.states:]
	steps := -1
	for i, v := range seqs {
		f := b.Fact(v)
		if !f.Ranked {
			return nil, errCount
		}
		axis, err := axisOf(f, o.inAxes[i])
		if err != nil {
			return nil, err
		}
		if d := f.Dims[axis]; d.Known {
			steps = int(d.Value)
		}
	}
	if steps < 0 {
		return nil, errCount
	}
	if steps*max(1, o.body.Len()) > maxUnrolled {
		return nil, fmt.Errorf("unrolling makes more than %d nodes", maxUnrolled)
	}
	scans := make([][]*ir.Value, len(o.outAxes))
	for step := range steps {
		in := append([]*ir.Value{}, state...)
		for i, v := range seqs {
			at := step
			if o.inBackward[i] != 0 {
				at = steps - 1 - step
			}
			in = append(in, b.Op("Gather", ir.In(v, b.Const("entry", tensor.Scalar(int64(at)))), ir.A("axis", ir.Int(o.inAxes[i]))))
		}
		out := iterate(b, o.body, in)
		if b.Err() != nil {
			return nil, b.Err()
		}
		copy(state, out[:o.states])
		for k := range scans {
			v := out[o.states+k]
			if o.outBackwards[k] != 0 {
				scans[k] = append([]*ir.Value{v}, scans[k]...)
				continue
			}
			scans[k] = append(scans[k], v)
		}
	}
	return b.stackAll(n, state, scans, o.outAxes)
}

// Captured visits the values that the sub-graphs of n read from around them,
// each time they are read.
func Captured(n *ir.Node, visit func(v *ir.Value)) {
	for _, g := range n.Subgraphs() {
		inside := map[*ir.Graph]bool{}
		capturedBy(g, inside, visit)
	}
}

func capturedBy(g *ir.Graph, inside map[*ir.Graph]bool, visit func(v *ir.Value)) {
	inside[g] = true
	outer := func(v *ir.Value) {
		if v != nil && !inside[v.Graph()] {
			visit(v)
		}
	}
	for n := range g.Nodes() {
		for _, v := range n.Inputs() {
			outer(v)
		}
		for _, sub := range n.Subgraphs() {
			capturedBy(sub, inside, visit)
		}
	}
	for _, v := range g.Outputs {
		outer(v)
	}
}
