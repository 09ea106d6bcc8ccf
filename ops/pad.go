package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// pad adds elements before and after along axes: a constant, or by mode those
// of x reflected, repeated at the edge, or wrapped around. Negative numbers
// take elements away. Inputs: data, pads (all before, then all after), value
// (0), axes (all). https://onnx.ai/onnx/operators/onnx__Pad.html
type pad struct {
	mode  string
	place func(p, n int) int // which element of n stands at p; nil for a constant
}

// padPlaces are the modes that repeat elements.
var padPlaces = map[string]func(p, n int) int{
	"constant": nil,
	"reflect": func(p, n int) int {
		if n == 1 {
			return 0
		}
		if p = mod(p, 2*(n-1)); p >= n {
			p = 2*(n-1) - p
		}
		return p
	},
	"edge": func(p, n int) int { return min(max(p, 0), n-1) },
	"wrap": mod,
}

func mod(p, n int) int { return (p%n + n) % n }

func newPad(a *Args) (Op, error) {
	mode := a.String("mode", "constant")
	place, ok := padPlaces[mode]
	if !ok {
		return nil, fmt.Errorf("mode %q", mode)
	}
	return pad{mode, place}, nil
}

func (o pad) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if !x.Ranked {
		return []Fact{unranked(x.DType)}, nil
	}
	before, after, ok, err := padSizes(in)
	if err != nil {
		return nil, err
	}
	if !ok {
		return []Fact{ofRank(x.DType, len(x.Dims))}, nil
	}
	dims := make([]ir.Dim, len(x.Dims))
	for i, d := range x.Dims {
		dims[i] = dimOp('+', dimOp('+', d, before[i]), after[i])
		if dims[i].Known && dims[i].Value < 0 {
			return nil, fmt.Errorf("pads take more than axis %d of %v has", i, x)
		}
		if o.place != nil && d.Known && d.Value == 0 && (!dims[i].Known || dims[i].Value != 0) {
			return nil, fmt.Errorf("mode %s on axis %d of %v", o.mode, i, x)
		}
	}
	return []Fact{Of(x.DType, dims...)}, nil
}

// padSizes are the numbers of elements before and after, for every axis.
func padSizes(in []Fact) (before, after []ir.Dim, ok bool, err error) {
	rank := len(in[0].Dims)
	axes := make([]int, rank)
	for i := range axes {
		axes[i] = i
	}
	if f := at(in, 3); !f.Absent() {
		ints, ok := f.Ints()
		if !ok {
			return nil, nil, false, nil
		}
		if axes, err = axesIn(ints, rank); err != nil {
			return nil, nil, false, err
		}
	}
	e, ok := in[1].Extents()
	if !ok {
		return nil, nil, false, nil
	}
	if len(e) != 2*len(axes) {
		return nil, nil, false, fmt.Errorf("%d pads for %d axes", len(e), len(axes))
	}
	before, after = make([]ir.Dim, rank), make([]ir.Dim, rank)
	for i := range rank {
		before[i], after[i] = known(0), known(0)
	}
	for i, a := range axes {
		before[a], after[a] = e[i], e[len(axes)+i]
	}
	return before, after, true, nil
}

func (o pad) Bind(p *Binder, in, out []Fact) (Step, error) {
	if !isConst(in, 1, 3) {
		return late(o), nil
	}
	before, _, ok, err := padSizes(in)
	if err != nil {
		return nil, err
	}
	src, dst := in[0].MustShape(), out[0].MustShape()
	if len(src) > 16 {
		return nil, errManyAxes
	}
	lead := make([]int, len(src))
	grows, shrinks := false, false
	for i, d := range before {
		if !ok || !d.Known {
			return nil, errors.New("pads are not known")
		}
		lead[i] = int(d.Value)
		trail := dst[i] - src[i] - lead[i]
		grows = grows || lead[i] > 0 || trail > 0
		shrinks = shrinks || lead[i] < 0 || trail < 0
	}
	switch {
	case o.place == nil && !grows:
		return o.bindCrop(in[0].DType, src, dst, lead), nil
	case o.place == nil && !shrinks:
		return o.bindFrame(in[0].DType, src, dst, lead)
	}
	return o.bindPlaces(in[0].DType, src, dst, lead)
}

func ones(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = 1
	}
	return s
}

// bindCrop only takes away.
func (pad) bindCrop(d tensor.DType, src, dst tensor.Shape, lead []int) Step {
	start := make([]int, len(lead))
	for i, n := range lead {
		start[i] = -n
	}
	v := kernel.NewView(src, start, ones(len(src)), dst)
	m := moverFor(d)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		m.readView(f.Pool, v, out[0], in[0])
		return nil
	}
}

// padValue is what a constant pad adds.
func padValue(in []*tensor.Tensor, zero *tensor.Tensor) (*tensor.Tensor, error) {
	v := arg(in, 2)
	if v == nil {
		return zero, nil
	}
	if v.Size() != 1 || v.DType() != zero.DType() {
		return nil, fmt.Errorf("value is %v, want a scalar of %v", v, zero.DType())
	}
	return v, nil
}

// bindFrame only adds a constant.
func (pad) bindFrame(d tensor.DType, src, dst tensor.Shape, lead []int) (Step, error) {
	bc, err := planBroadcast(dst, tensor.Shape{})
	if err != nil {
		return nil, err
	}
	v := kernel.NewView(dst, lead, ones(len(src)), src)
	m, zero := moverFor(d), tensor.New(d)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		value, err := padValue(in, zero)
		if err != nil {
			return err
		}
		m.expand(f.Pool, bc, out[0], value)
		m.writeView(f.Pool, v, out[0], in[0])
		return nil
	}, nil
}

// bindPlaces does the rest by a list of places, one for each element.
func (o pad) bindPlaces(d tensor.DType, src, dst tensor.Shape, lead []int) (Step, error) {
	bc, err := planBroadcast(dst, tensor.Shape{})
	if err != nil {
		return nil, err
	}
	var from, to []int64
	count := make([]int, len(dst))
	strides := src.Strides()
	for i := range dst.Size() {
		place, inside := 0, true
		for a, c := range count {
			p := c - lead[a]
			if o.place != nil {
				p = o.place(p, src[a])
			}
			inside = inside && p >= 0 && p < src[a]
			place += p * strides[a]
		}
		if inside {
			from, to = append(from, int64(place)), append(to, int64(i))
		}
		for a := len(dst) - 1; a >= 0; a-- {
			if count[a]++; count[a] < dst[a] {
				break
			}
			count[a] = 0
		}
	}
	m, zero := moverFor(d), tensor.New(d)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		if o.place != nil { // every element has a place
			m.gather(f.Pool, 1, src.Size(), 1, out[0], in[0], from)
			return nil
		}
		value, err := padValue(in, zero)
		if err != nil {
			return err
		}
		part := tensor.New(d, len(from))
		m.gather(f.Pool, 1, src.Size(), 1, part, in[0], from)
		m.expand(f.Pool, bc, out[0], value)
		m.scatter(1, out[0], part, to)
		return nil
	}, nil
}

// Grad of a constant pad takes away what was added; other modes add up what
// was repeated.
func (o pad) Grad(b *GradBuilder) error {
	dy, pads, axes := b.Grad(0), b.In(1), b.In(3)
	if o.place != nil {
		if b.Needs(0) {
			b.Set(0, b.scatterBack(dy, b.Shape(b.In(0)), func(count *ir.Value) *ir.Value {
				return b.Op("Pad", ir.In(count, pads, nil, axes), ir.A("mode", ir.String(o.mode)))
			})[0])
		}
		return nil
	}
	dx := b.Op("Pad", ir.In(dy, b.Neg(pads), nil, axes))
	if b.Needs(0) {
		b.Set(0, dx)
	}
	if b.Needs(2) {
		all := func(x *ir.Value) *ir.Value { return b.Op("ReduceSum", ir.In(x), ir.A("keepdims", ir.Int(0))) }
		b.Set(2, b.ReshapeLike(b.Sub(all(dy), all(dx)), b.In(2)))
	}
	return nil
}
