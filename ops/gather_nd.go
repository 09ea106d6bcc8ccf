package ops

import (
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// gatherND reads a block for each row of the index (..., k): the row is a
// place in the k axes of x after batch_dims, which index has too.
// https://onnx.ai/onnx/operators/onnx__GatherND.html
type gatherND struct{ batch int }

func newGatherND(a *Args) (Op, error) {
	o := gatherND{a.Int("batch_dims", 0)}
	if o.batch < 0 || o.batch > maxRank {
		return nil, fmt.Errorf("batch_dims %d", o.batch)
	}
	return o, nil
}

func (o gatherND) Infer(in []Fact) ([]Fact, error) {
	x, idx := in[0], in[1]
	if !isIndex(idx.DType) {
		return nil, fmt.Errorf("index is %v", idx)
	}
	k := idx.Dim(-1)
	if !x.Ranked || !idx.Ranked || !k.Known {
		return []Fact{unranked(x.DType)}, nil
	}
	from := o.batch + int(min(max(k.Value, 0), maxRank))
	if from > len(x.Dims) || k.Value > maxRank {
		return nil, fmt.Errorf("index %v for %v with %d batch axes", idx, x, o.batch)
	}
	return []Fact{Of(x.DType, slices.Concat(idx.Dims[:len(idx.Dims)-1], x.Dims[from:])...)}, nil
}

func (o gatherND) Bind(p *Binder, in, _ []Fact) (Step, error) {
	places, err := newBlockPlaces(p, in[0].MustShape(), in[1].MustShape(), o.batch)
	if err != nil {
		return nil, err
	}
	m := moverFor(in[0].DType)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		at, err := places.read(f, in[1])
		if err != nil {
			return err
		}
		m.gather(f.Pool, 1, places.total, places.inner, out[0], in[0], at)
		return nil
	}, nil
}

func (o gatherND) Grad(b *GradBuilder) error {
	switch {
	case !b.Needs(0):
	case o.batch == 0:
		b.Set(0, b.Op("ScatterND", ir.In(b.ZerosLike(b.In(0)), b.In(1), b.Grad(0)), ir.A("reduction", ir.String("add"))))
	default:
		b.Set(0, b.scatterBack(b.Grad(0), b.Shape(b.In(0)), func(count *ir.Value) *ir.Value {
			return b.Op("GatherND", ir.In(count, b.In(1)), ir.A("batch_dims", ir.Int(o.batch)))
		})[0])
	}
	return nil
}

// scatterND writes a block of updates for each row of the index (..., k) into
// a copy of x: the row is a place in x's first k axes.
// https://onnx.ai/onnx/operators/onnx__ScatterND.html
type scatterND struct{ mode scatterMode }

func newScatterND(a *Args) (Op, error) {
	m, err := newScatterMode(a)
	return scatterND{m}, err
}

func (scatterND) Infer(in []Fact) ([]Fact, error) { return inferScatter(in) }

func (o scatterND) Bind(p *Binder, in, out []Fact) (Step, error) {
	idx, up := in[1].MustShape(), in[2].MustShape()
	places, err := newBlockPlaces(p, in[0].MustShape(), idx, 0)
	if err != nil {
		return nil, err
	}
	if up.Size() != idx[:len(idx)-1].Size()*places.inner {
		return nil, fmt.Errorf("updates %v for index %v and data %v", in[2], in[1], in[0])
	}
	return bindScatter(p, o, o.mode, places.inner, places.read, in, out)
}

func (o scatterND) Grad(b *GradBuilder) error {
	return gradScatter(b, o.mode,
		func(x *ir.Value) *ir.Value { return b.Op("GatherND", ir.In(x, b.In(1))) },
		func(x, u *ir.Value) *ir.Value { return b.Op("ScatterND", ir.In(x, b.In(1), u)) })
}
