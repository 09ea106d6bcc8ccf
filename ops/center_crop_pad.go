package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
)

// centerCropPad cuts or pads with zeros around the middle of each axis, so that
// the extents are those given.
//
//	x (...), shape (number of axes) -> y
//
// https://onnx.ai/onnx/operators/onnx__CenterCropPad.html (since 18)
type centerCropPad struct {
	function
	axes []int // nil for all
}

func newCenterCropPad(a *Args) (Op, error) { return centerCropPad{axes: a.Ints("axes")}, nil }

// Expand builds the body.
func (o centerCropPad) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x, want := n.Input(0), n.Input(1)
	axes := o.axes
	if axes == nil {
		if !b.Fact(x).Ranked {
			return nil, fmt.Errorf("x is %v; without axes its rank must be known", b.Fact(x))
		}
		for a := range b.Fact(x).Rank() {
			axes = append(axes, a)
		}
	}
	at := b.Ints(axes...)
	have := b.Op("Gather", ir.In(b.Op("Shape", ir.In(x)), at))
	zero, two := b.Ints(0), b.Ints(2)
	start := b.Div(b.Op("Max", ir.In(b.Sub(have, want), zero)), two)
	kept := b.Op("Min", ir.In(have, want))
	y := b.Op("Slice", ir.In(x, start, b.Add(start, kept), at))
	missing := b.Sub(want, kept)
	before := b.Div(missing, two)
	pads := b.Op("Concat", ir.In(before, b.Sub(missing, before)), ir.A("axis", ir.Int(0)))
	return []*ir.Value{b.Op("Pad", []*ir.Value{y, pads, nil, at})}, nil
}
