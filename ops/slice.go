package ops

import (
	"errors"
	"fmt"
	"math"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// slice takes from each of the axes given the elements starts, starts+steps,
// ... before ends, as NumPy does: negative places count from the end, places
// outside are clamped. Inputs: data, starts, ends, axes (all in order), steps
// (1). https://onnx.ai/onnx/operators/onnx__Slice.html
type slice struct{}

func newSlice(*Args) (Op, error) { return slice{}, nil }

func (slice) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if !x.Ranked {
		return []Fact{unranked(x.DType)}, nil
	}
	cuts, ok, err := sliceCuts(in)
	if err != nil {
		return nil, err
	}
	if !ok {
		return []Fact{ofRank(x.DType, len(x.Dims))}, nil
	}
	dims := append([]ir.Dim{}, x.Dims...)
	for _, c := range cuts {
		if dims[c.axis], err = c.extent(x.Dims[c.axis]); err != nil {
			return nil, err
		}
	}
	f := Of(x.DType, dims...)
	if len(dims) == 1 && len(cuts) == 1 {
		f = sliceElems(f, x, cuts[0])
	}
	return []Fact{f}, nil
}

// A cut is what is asked of one axis.
type cut struct {
	axis             int
	start, end, step ir.Dim
}

// sliceCuts reads starts, ends, axes and steps; ok is false where the axes are
// not known.
func sliceCuts(in []Fact) (cuts []cut, ok bool, err error) {
	starts, ok1 := in[1].Extents()
	ends, ok2 := in[2].Extents()
	if !ok1 || !ok2 {
		return nil, false, nil
	}
	rank := len(in[0].Dims)
	axes := make([]int, len(starts))
	for i := range axes {
		axes[i] = i
	}
	if f := at(in, 3); !f.Absent() {
		ints, ok := f.Ints()
		if !ok {
			return nil, false, nil
		}
		if axes, err = axesIn(ints, rank); err != nil {
			return nil, false, err
		}
	}
	steps := make([]ir.Dim, len(starts))
	for i := range steps {
		steps[i] = known(1)
	}
	if f := at(in, 4); !f.Absent() {
		if e, ok := f.Extents(); ok {
			steps = e
		} else {
			clear(steps)
		}
	}
	if len(ends) != len(starts) || len(axes) != len(starts) || len(steps) != len(starts) || len(axes) > rank {
		return nil, false, fmt.Errorf("%d starts, %d ends, %d axes, %d steps for rank %d", len(starts), len(ends), len(axes), len(steps), rank)
	}
	for i, a := range axes {
		cuts = append(cuts, cut{a, starts[i], ends[i], steps[i]})
	}
	return cuts, true, nil
}

var errManyAxes = errors.New("more than 16 axes")

var errStep = errors.New("a step is 0")

// extent is how many elements the cut leaves of an axis of extent d.
func (c cut) extent(d ir.Dim) (ir.Dim, error) {
	if c.step.Known && c.step.Value == 0 {
		return unknown, errStep
	}
	if d.Known && c.start.Known && c.end.Known && c.step.Known {
		_, n := c.bounds(int(d.Value))
		return known(n), nil
	}
	if !isOne(c.step) {
		return unknown, nil
	}
	const far = math.MaxInt32 - 1 // what exporters write for "to the end"
	toEnd := c.end.Known && c.end.Value >= far || !c.end.Known && SameDim(c.end, d)
	switch {
	case c.start.Known && c.start.Value == 0 && toEnd:
		return d, nil
	case c.start.Known && c.start.Value == 0 && (!c.end.Known || c.end.Value >= 0):
		return minDim(d, c.end), nil
	case c.start.Known && c.start.Value == -1 && toEnd:
		return known(1), nil // a symbolic axis has an element
	case c.start.Known && c.start.Value < 0 && toEnd:
		return minDim(d, ir.Fixed(-c.start.Value)), nil
	case c.start.Known && c.start.Value > 0 && toEnd && !d.Known:
		return dimOp('-', d, c.start), nil
	case c.start.Known && c.start.Value == 0 && c.end.Known && !d.Known:
		return dimOp('+', d, c.end), nil
	}
	return unknown, nil
}

// bounds is the first element and the number of elements, all being known.
func (c cut) bounds(d int) (start, n int) {
	step := int(c.step.Value)
	lo, hi := 0, d
	if step < 0 {
		lo, hi = -1, d-1
	}
	clamp := func(v int64) int {
		if v < 0 {
			v = max(v, math.MinInt64+int64(d)+1) + int64(d)
		}
		return int(min(max(v, int64(lo)), int64(hi)))
	}
	start, end := clamp(c.start.Value), clamp(c.end.Value)
	if step > 0 && end > start {
		n = (end-start-1)/step + 1
	}
	if step < 0 && end < start {
		n = (start-end-1)/-step + 1
	}
	return start, n
}

// sliceElems follows extents.
func sliceElems(f, x Fact, c cut) Fact {
	e, ok := elemsOf(x)
	if !ok || !c.start.Known || !c.end.Known || !c.step.Known {
		return f
	}
	start, n := c.bounds(len(e))
	picked := make([]ir.Dim, n)
	for i := range picked {
		picked[i] = e[start+i*int(c.step.Value)]
	}
	return withElems(f, picked)
}

// sliceView is the part of an array of the given shape that cuts leave.
func sliceView(shape tensor.Shape, cuts []cut) (*kernel.View, error) {
	if len(shape) > 16 {
		return nil, errManyAxes
	}
	start, step := make([]int, len(shape)), make([]int, len(shape))
	for i := range step {
		step[i] = 1
	}
	size := shape.Clone()
	for _, c := range cuts {
		if !c.start.Known || !c.end.Known || !c.step.Known {
			return nil, errors.New("starts, ends or steps are not known")
		}
		if c.step.Value == 0 {
			return nil, errStep
		}
		start[c.axis], size[c.axis] = c.bounds(shape[c.axis])
		step[c.axis] = int(c.step.Value)
	}
	return kernel.NewView(shape, start, step, size), nil
}

func (o slice) Bind(_ *Binder, in, _ []Fact) (Step, error) {
	cuts, ok, err := sliceCuts(in)
	if err != nil {
		return nil, err
	}
	if !ok || !isConst(in, 1, 2, 3, 4) {
		return late(o), nil
	}
	v, err := sliceView(in[0].MustShape(), cuts)
	if err != nil {
		return nil, err
	}
	m := moverFor(in[0].DType)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		m.readView(f.Pool, v, out[0], in[0])
		return nil
	}, nil
}

// Grad puts the gradient where the slice was, into zeros.
func (slice) Grad(b *GradBuilder) error {
	in := []*ir.Value{b.Grad(0), b.Shape(b.In(0))}
	in = append(in, b.Node.Inputs()[1:]...)
	b.Set(0, b.Composite("SliceGrad", in, 1)[0])
	return nil
}

// sliceGrad is the gradient of Slice: zeros of a shape, with dy where Slice
// reads. Inputs: dy, shape, starts, ends, axes, steps.
type sliceGrad struct{}

func newSliceGrad(*Args) (Op, error) { return sliceGrad{}, nil }

// asSlice are the inputs of the Slice that o is the gradient of.
func (sliceGrad) asSlice(in []Fact) []Fact {
	x := unranked(in[0].DType)
	if e, ok := in[1].Extents(); ok {
		x = Of(in[0].DType, e...)
	}
	return append([]Fact{x}, in[2:]...)
}

func (o sliceGrad) Infer(in []Fact) ([]Fact, error) { return []Fact{o.asSlice(in)[0]}, nil }

func (o sliceGrad) Bind(_ *Binder, in, _ []Fact) (Step, error) {
	if !isConst(in, 1, 2, 3, 4, 5) {
		return late(o), nil
	}
	sl := o.asSlice(in)
	cuts, ok, err := sliceCuts(sl)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errDataShape
	}
	v, err := sliceView(sl[0].MustShape(), cuts)
	if err != nil {
		return nil, err
	}
	if v.Len() != in[0].MustShape().Size() {
		return nil, errDataShape
	}
	m := moverFor(in[0].DType)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		clear(out[0].Bytes())
		m.writeView(f.Pool, v, out[0], in[0])
		return nil
	}, nil
}

// Expand pads dy where the places are known and next to each other, else it
// scatters dy to the places that Slice takes from a count of all elements.
func (o sliceGrad) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	in := make([]Fact, len(n.Inputs()))
	for i, v := range n.Inputs() {
		in[i] = b.Fact(v)
	}
	if pads, ok := o.pads(in); ok {
		return ir.In(b.Op("Pad", ir.In(n.Input(0), b.Ints(pads...)))), nil
	}
	return b.scatterBack(n.Input(0), n.Input(1), func(count *ir.Value) *ir.Value {
		return b.Op("Slice", append([]*ir.Value{count}, n.Inputs()[2:]...))
	}), nil
}

// pads are what a Pad has to add to dy, where that is known and enough.
func (o sliceGrad) pads(in []Fact) ([]int, bool) {
	sl := o.asSlice(in)
	if !sl[0].Ranked || !isConst(in, 2, 3, 4, 5) {
		return nil, false
	}
	cuts, ok, err := sliceCuts(sl)
	if !ok || err != nil {
		return nil, false
	}
	rank := len(sl[0].Dims)
	pads := make([]int, 2*rank)
	for _, c := range cuts {
		d := sl[0].Dims[c.axis]
		if !d.Known || !isOne(c.step) || !c.start.Known || !c.end.Known {
			return nil, false
		}
		start, n := c.bounds(int(d.Value))
		pads[c.axis], pads[rank+c.axis] = start, int(d.Value)-start-n
	}
	return pads, true
}

func (sliceGrad) Grad(b *GradBuilder) error {
	if b.Needs(0) {
		b.Set(0, b.Op("Slice", append([]*ir.Value{b.Grad(0)}, b.Node.Inputs()[2:]...)))
	}
	return nil
}

// scatterBack is the gradient of any operator that only picks elements: pick,
// applied to a tensor of the given shape that counts its elements, says which
// element each of dy's belongs to; they are added up.
func (b *Builder) scatterBack(dy, shape *ir.Value, pick func(count *ir.Value) *ir.Value) []*ir.Value {
	size := b.sizeOf(shape)
	place := b.ReshapeTo(pick(b.reshapeExact(b.Count(size), shape)), -1)
	zero := b.zeros(b.Fact(dy).DType, size)
	flat := b.Op("ScatterElements", ir.In(zero, place, b.ReshapeTo(dy, -1)), ir.A("axis", ir.Int(0)), ir.A("reduction", ir.String("add")))
	return []*ir.Value{b.reshapeExact(flat, shape)}
}

// sizeOf is the number of elements of a shape, an int64 vector, as a vector of
// one element: a constant where it is known.
func (b *Builder) sizeOf(shape *ir.Value) *ir.Value {
	if ints, ok := b.Fact(shape).Ints(); ok {
		return b.Ints(tensor.Shape(ints).Size())
	}
	return b.Op("ReduceProd", ir.In(shape), ir.A("keepdims", ir.Int(1)))
}
