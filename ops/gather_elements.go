package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// gatherElements reads one element for each of the index: y[i,j,k] =
// x[i,index[i,j,k],k] for axis 1.
// https://onnx.ai/onnx/operators/onnx__GatherElements.html
type gatherElements struct{ axis int }

func newGatherElements(a *Args) (Op, error) { return gatherElements{a.Int("axis", 0)}, nil }

func (o gatherElements) Infer(in []Fact) ([]Fact, error) {
	if !isIndex(in[1].DType) {
		return nil, fmt.Errorf("index is %v", in[1])
	}
	f := in[1].WithoutValue()
	f.DType = in[0].DType
	return []Fact{f}, nil
}

func (o gatherElements) Bind(p *Binder, in, _ []Fact) (Step, error) {
	shape := in[0].MustShape()
	places, err := newElementPlaces(p, shape, in[1].MustShape(), o.axis)
	if err != nil {
		return nil, err
	}
	m := moverFor(in[0].DType)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		at, err := places.read(f, in[1])
		if err != nil {
			return err
		}
		m.gather(f.Pool, 1, shape.Size(), 1, out[0], in[0], at)
		return nil
	}, nil
}

func (o gatherElements) Grad(b *GradBuilder) error {
	if b.Needs(0) {
		b.Set(0, b.Op("ScatterElements", ir.In(b.ZerosLike(b.In(0)), b.In(1), b.Grad(0)),
			ir.A("axis", ir.Int(o.axis)), ir.A("reduction", ir.String("add"))))
	}
	return nil
}

// scatterElements writes one element for each of the index into a copy of x:
// y[i,index[i,j,k],k] = u[i,j,k] for axis 1, or combined with what is there.
// https://onnx.ai/onnx/operators/onnx__ScatterElements.html
type scatterElements struct {
	axis int
	mode scatterMode
}

func newScatterElements(a *Args) (Op, error) {
	m, err := newScatterMode(a)
	return scatterElements{a.Int("axis", 0), m}, err
}

func (scatterElements) Infer(in []Fact) ([]Fact, error) { return inferScatter(in) }

func inferScatter(in []Fact) ([]Fact, error) {
	if !isIndex(in[1].DType) {
		return nil, fmt.Errorf("index is %v", in[1])
	}
	if _, err := commonDType([]Fact{in[0], in[2]}); err != nil {
		return nil, err
	}
	return []Fact{in[0].WithoutValue()}, nil
}

func (o scatterElements) Bind(p *Binder, in, out []Fact) (Step, error) {
	places, err := newElementPlaces(p, in[0].MustShape(), in[1].MustShape(), o.axis)
	if err != nil {
		return nil, err
	}
	if !in[1].MustShape().Equal(in[2].MustShape()) {
		return nil, fmt.Errorf("index %v for updates %v", in[1], in[2])
	}
	return bindScatter(p, o, o.mode, 1, places.read, in, out)
}

func (o scatterElements) Grad(b *GradBuilder) error {
	axis := ir.A("axis", ir.Int(o.axis))
	return gradScatter(b, o.mode,
		func(x *ir.Value) *ir.Value { return b.Op("GatherElements", ir.In(x, b.In(1)), axis) },
		func(x, u *ir.Value) *ir.Value { return b.Op("ScatterElements", ir.In(x, b.In(1), u), axis) })
}
