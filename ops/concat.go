package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// concat joins its inputs along an axis; the other extents agree.
// https://onnx.ai/onnx/operators/onnx__Concat.html
type concat struct{ axis int }

func newConcat(a *Args) (Op, error) {
	if !a.Has("axis") {
		return nil, errors.New("attribute \"axis\" is missing")
	}
	return concat{a.Int("axis", 0)}, nil
}

func (o concat) Infer(in []Fact) ([]Fact, error) {
	var dims []ir.Dim
	axis, sum := 0, known(0)
	for i, x := range in {
		if x.Absent() || x.DType != in[0].DType {
			return nil, fmt.Errorf("input %d is %v, input 0 %v", i, x, in[0])
		}
		if !x.Ranked {
			sum = unknown
			continue
		}
		if dims == nil {
			var err error
			if axis, err = axisOf(x, o.axis); err != nil {
				return nil, err
			}
			dims = append([]ir.Dim{}, x.Dims...)
		}
		if len(x.Dims) != len(dims) {
			return nil, fmt.Errorf("inputs %v and %v do not fit", in[0], x)
		}
		for a, d := range x.Dims {
			switch {
			case a == axis:
				sum = dimOp('+', sum, d)
			case d.Known && dims[a].Known && d.Value != dims[a].Value:
				return nil, fmt.Errorf("inputs %v and %v do not fit along axis %d", in[0], x, a)
			case d.Known || dims[a].Sym == "" && !dims[a].Known:
				dims[a] = d
			}
		}
	}
	if dims == nil {
		return []Fact{unranked(in[0].DType)}, nil
	}
	dims[axis] = sum
	f := Of(in[0].DType, dims...)
	if len(dims) == 1 {
		f = o.elems(f, in)
	}
	return []Fact{f}, nil
}

// elems joins what is known of elements.
func (concat) elems(f Fact, in []Fact) Fact {
	var all []ir.Dim
	for _, x := range in {
		e, ok := elemsOf(x)
		if !ok || len(all)+len(e) > maxElems {
			return f
		}
		all = append(all, e...)
	}
	return withElems(f, all)
}

func (o concat) Bind(_ *Binder, in, out []Fact) (Step, error) {
	shape := out[0].MustShape()
	axis, err := axisIn(o.axis, len(shape))
	if err != nil {
		return nil, err
	}
	rows, step := shape[:axis].Size(), shape[axis:].Size()
	widths := make([]int, len(in))
	for i, f := range in {
		widths[i] = f.MustShape()[axis:].Size()
	}
	m := moverFor(out[0].DType)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		at := 0
		for i, w := range widths {
			m.copyBlocks(f.Pool, rows, w, out[0], at, step, in[i], 0, w)
			at += w
		}
		return nil
	}, nil
}

// Grad cuts the gradient where the inputs meet.
func (o concat) Grad(b *GradBuilder) error {
	n := len(b.Node.Inputs())
	if n == 1 {
		b.Set(0, b.Grad(0))
		return nil
	}
	sizes := make([]*ir.Value, n)
	for i := range n {
		sizes[i] = b.Extent(b.In(i), o.axis)
	}
	parts := b.Builder.Node("", "Split", ir.In(b.Grad(0), b.Join(sizes...)), n, ir.A("axis", ir.Int(o.axis)))
	for i, p := range parts {
		if b.Needs(i) {
			b.Set(i, p)
		}
	}
	return nil
}
