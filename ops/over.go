package ops

import (
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// A stepOf makes of the entries of one step and the state the next state, and
// after it one result.
type stepOf func(b *Builder, in, state []*ir.Value) []*ir.Value

// maxInlined is how many steps are written out.
const maxInlined = 16

// over runs step over the first axis of xs, from the initial state, backwards
// where reversed. It gives the results of all steps along a first axis, and the
// last state. A few steps of a known number are written one after the other,
// else they are the body of a Scan.
func (b *Builder) over(xs, init []*ir.Value, reversed bool, step stepOf) (y *ir.Value, last []*ir.Value, err error) {
	if s := b.Fact(xs[0]).Dim(0); s.Known && s.Value > 0 && s.Value <= maxInlined {
		y, last = b.overInline(xs, int(s.Value), init, reversed, step)
		return y, last, nil
	}
	return b.overScan(xs, init, reversed, step)
}

func (b *Builder) overInline(xs []*ir.Value, steps int, init []*ir.Value, reversed bool, step stepOf) (*ir.Value, []*ir.Value) {
	ys := make([]*ir.Value, steps)
	for k := range steps {
		i := k
		if reversed {
			i = steps - 1 - k
		}
		in := make([]*ir.Value, len(xs))
		for j, x := range xs {
			in[j] = b.entryOf(x, i)
		}
		out := step(b, in, init)
		init, ys[i] = out[:len(init)], b.Unsqueeze(out[len(init)], 0)
	}
	return b.concat(ys, 0), init
}

func (b *Builder) overScan(xs, init []*ir.Value, reversed bool, step stepOf) (*ir.Value, []*ir.Value, error) {
	body := ir.NewGraph(b.Names().Fresh(b.Prefix + "body"))
	inner := NewBuilder(b.Analysis, body, b.Names())
	inner.OnNode, inner.Prefix = b.OnNode, b.Prefix
	input := func(name string, f Fact) *ir.Value {
		v := body.AddInput(b.Names().Fresh(b.Prefix+name), nil)
		v.Type = f.Type()
		b.Analysis.Set(v, f)
		return v
	}
	state, in := make([]*ir.Value, len(init)), make([]*ir.Value, len(xs))
	for k, v := range init {
		state[k] = input("state", b.Fact(v).WithoutValue())
	}
	for k, x := range xs {
		f := b.Fact(x).WithoutValue()
		if f.Rank() > 0 {
			f.Dims = f.Dims[1:]
		}
		in[k] = input("entry", f)
	}
	out := step(inner, in, state)
	for k, v := range out { // each must be the body's own
		out[k] = inner.Op("Identity", ir.In(v))
		f := b.Fact(out[k])
		out[k].Type = ofRank(f.DType, max(0, f.Rank())).Type()
	}
	body.Outputs = out
	back := make(ir.Ints, len(xs))
	if reversed {
		for k := range back {
			back[k] = 1
		}
	}
	all := b.Node("", "Scan", append(append([]*ir.Value{}, init...), xs...), len(out),
		ir.A("body", ir.GraphAttr{Graph: body}), ir.A("num_scan_inputs", ir.Int(len(xs))),
		ir.A("scan_input_directions", back), ir.A("scan_output_directions", back[:1]))
	n := len(init)
	for k, v := range init { // a state keeps its shape
		b.Analysis.Set(all[k], b.Fact(v).WithoutValue())
	}
	return all[n], append([]*ir.Value{}, all[:n]...), inner.Err()
}

// entryOf is entry i of the first axis.
func (b *Builder) entryOf(x *ir.Value, i int) *ir.Value {
	return b.Op("Gather", ir.In(x, b.Const("entry", tensor.Scalar(int64(i)))), ir.A("axis", ir.Int(0)))
}

// concat joins values along an axis; one alone is itself.
func (b *Builder) concat(list []*ir.Value, axis int) *ir.Value {
	if len(list) == 1 {
		return list[0]
	}
	return b.Op("Concat", list, ir.A("axis", ir.Int(axis)))
}
