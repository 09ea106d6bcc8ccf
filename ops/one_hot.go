package ops

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// oneHot adds an axis of extent depth: on where the index is, off elsewhere;
// values holds off and on. An index outside of [-depth, depth) is nowhere.
// https://onnx.ai/onnx/operators/onnx__OneHot.html
type oneHot struct{ axis int }

func newOneHot(a *Args) (Op, error) { return oneHot{a.Int("axis", -1)}, nil }

func (o oneHot) Infer(in []Fact) ([]Fact, error) {
	idx, d := in[0], in[2].DType
	if !idx.Ranked {
		return []Fact{unranked(d)}, nil
	}
	axis, err := axisIn(o.axis, len(idx.Dims)+1)
	if err != nil {
		return nil, err
	}
	depth, err := depthOf(in[1])
	if err != nil {
		return nil, err
	}
	return []Fact{Of(d, slices.Insert(slices.Clone(idx.Dims), axis, depth)...)}, nil
}

func depthOf(f Fact) (ir.Dim, error) {
	if t := f.Value(); t != nil && t.DType() != tensor.Int64 {
		v, err := t.Float64s()
		if err != nil || len(v) != 1 {
			return unknown, fmt.Errorf("depth is %v", f)
		}
		return known(int(v[0])), nil
	}
	if e, ok := f.Extents(); ok {
		if len(e) != 1 || e[0].Known && e[0].Value < 0 {
			return unknown, fmt.Errorf("depth is %s", dimsString(e))
		}
		return e[0], nil
	}
	return unknown, nil
}

func (o oneHot) Bind(p *Binder, _, out []Fact) (Step, error) {
	shape := out[0].MustShape()
	axis, err := axisIn(o.axis, len(shape))
	if err != nil {
		return nil, err
	}
	depth, inner := int64(shape[axis]), shape[axis+1:].Size()
	slot := p.Scratch(8 * shape.Size())
	m := moverFor(out[0].DType)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		if in[2].Size() != 2 {
			return errors.New("values are not two")
		}
		wide := in[0]
		if !wide.DType().IsInteger() {
			var err error
			if wide, err = wide.Cast(tensor.Int64); err != nil {
				return err
			}
		}
		index, err := wide.Int64s()
		if err != nil {
			return err
		}
		which := ScratchOf[int64](f, slot)
		clear(which)
		for i, v := range index {
			if v < 0 {
				v += depth
			}
			if v >= 0 && v < depth {
				which[(i/inner*int(depth)+int(v))*inner+i%inner] = 1
			}
		}
		m.gather(f.Pool, 1, 2, 1, out[0], in[2], which)
		return nil
	}, nil
}
