package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// split cuts x along an axis into parts of the sizes in its second input, or
// into num_outputs parts of equal size, the last one maybe smaller.
// https://onnx.ai/onnx/operators/onnx__Split.html (num_outputs since 18)
type split struct{ axis, parts int }

func newSplit(a *Args) (Op, error) {
	o := split{a.Int("axis", 0), a.NumOut()}
	if n := a.Int("num_outputs", o.parts); n != o.parts {
		return nil, fmt.Errorf("num_outputs is %d, with %d outputs", n, o.parts)
	}
	if o.parts == 0 {
		return nil, errors.New("no outputs")
	}
	return o, nil
}

func (o split) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	out := make([]Fact, o.parts)
	if !x.Ranked {
		for i := range out {
			out[i] = unranked(x.DType)
		}
		return out, nil
	}
	axis, err := axisOf(x, o.axis)
	if err != nil {
		return nil, err
	}
	sizes, err := o.sizes(x.Dims[axis], at(in, 1))
	if err != nil {
		return nil, fmt.Errorf("%v along axis %d: %w", x, axis, err)
	}
	for i, n := range sizes {
		dims := append([]ir.Dim{}, x.Dims...)
		dims[axis] = n
		out[i] = Of(x.DType, dims...)
	}
	if e, ok := elemsOf(x); ok && len(x.Dims) == 1 {
		o.elems(out, e)
	}
	return out, nil
}

func (split) elems(out []Fact, e []ir.Dim) {
	at := 0
	for i, f := range out {
		if !f.Dims[0].Known || at+int(f.Dims[0].Value) > len(e) {
			return
		}
		n := int(f.Dims[0].Value)
		out[i] = withElems(f, e[at:at+n])
		at += n
	}
}

// sizes are the extents of the parts of an axis of extent d.
func (o split) sizes(d ir.Dim, want Fact) ([]ir.Dim, error) {
	sizes := make([]ir.Dim, o.parts)
	if want.Absent() {
		if !d.Known {
			if o.parts == 1 {
				sizes[0] = d
			}
			return sizes, nil
		}
		size := (int(d.Value) + o.parts - 1) / o.parts
		left := int(d.Value)
		for i := range sizes {
			sizes[i] = known(min(size, left))
			left -= min(size, left)
		}
		return sizes, nil
	}
	e, ok := want.Extents()
	if !ok {
		return sizes, nil
	}
	if len(e) != o.parts {
		return nil, fmt.Errorf("%d sizes for %d outputs", len(e), o.parts)
	}
	sum := int64(0)
	for _, n := range e {
		if !n.Known {
			return e, nil
		}
		if n.Value < 0 {
			return nil, fmt.Errorf("sizes %s", dimsString(e))
		}
		sum += n.Value
	}
	if d.Known && sum != d.Value {
		return nil, fmt.Errorf("sizes %s", dimsString(e))
	}
	return e, nil
}

func (o split) Bind(_ *Binder, in, out []Fact) (Step, error) {
	shape := in[0].MustShape()
	axis, err := axisIn(o.axis, len(shape))
	if err != nil {
		return nil, err
	}
	if !isConst(in, 1) {
		return late(o), nil
	}
	sizes, err := o.sizes(in[0].Dims[axis], at(in, 1))
	if err != nil {
		return nil, err
	}
	rows, step, inner := shape[:axis].Size(), shape[axis:].Size(), shape[axis+1:].Size()
	m := moverFor(in[0].DType)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		at := 0
		for i, n := range sizes {
			w := int(n.Value) * inner
			if i < len(out) && out[i] != nil {
				m.copyBlocks(f.Pool, rows, w, out[i], 0, w, in[0], at, step)
			}
			at += w
		}
		return nil
	}, nil
}

// Grad joins the gradients of the parts, zeros where none flows.
func (o split) Grad(b *GradBuilder) error {
	parts := make([]*ir.Value, o.parts)
	for i := range parts {
		if parts[i] = b.Grad(i); parts[i] != nil {
			continue
		}
		part := b.Out(i)
		if part == nil {
			return fmt.Errorf("output %d is left out: its size is not known", i)
		}
		parts[i] = b.ZerosLike(part)
	}
	b.Set(0, b.Op("Concat", parts, ir.A("axis", ir.Int(o.axis))))
	return nil
}

// ZerosLike are zeros of v's dtype and shape.
func (b *Builder) ZerosLike(v *ir.Value) *ir.Value {
	return b.zeros(b.Fact(v).DType, b.Shape(v))
}

// zeros are zeros of a shape that an int64 vector holds.
func (b *Builder) zeros(d tensor.DType, shape *ir.Value) *ir.Value {
	return b.Op("ConstantOfShape", ir.In(shape), ir.A("value", ir.TensorAttr{Data: ir.Dense(tensor.New(d, 1))}))
}
