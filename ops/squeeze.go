package ops

import (
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/ir"
)

// squeeze drops the axes in its second input, each of extent 1; without it,
// all such axes. https://onnx.ai/onnx/operators/onnx__Squeeze.html
type squeeze struct{}

func newSqueeze(*Args) (Op, error) { return squeeze{}, nil }

func (squeeze) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	f, err := squeezed(x, at(in, 1))
	if err != nil {
		return nil, err
	}
	if f.Ranked && len(f.Dims) <= 1 && x.Rank() <= 1 {
		f = keepElems(f, x)
	}
	return []Fact{f}, nil
}

func squeezed(x, axisList Fact) (Fact, error) {
	if !isIndex(axisList.DType) {
		return Fact{}, fmt.Errorf("axes are %v", axisList)
	}
	if !x.Ranked {
		return unranked(x.DType), nil
	}
	if axisList.Absent() {
		var dims []ir.Dim
		for _, d := range x.Dims {
			if !d.Known {
				return unranked(x.DType), nil
			}
			if d.Value != 1 {
				dims = append(dims, d)
			}
		}
		return Of(x.DType, dims...), nil
	}
	axes, ok := axisList.Ints()
	if !ok {
		if e, ok := axisList.Extents(); ok && len(e) <= len(x.Dims) {
			return ofRank(x.DType, len(x.Dims)-len(e)), nil
		}
		return unranked(x.DType), nil
	}
	abs, err := axesIn(axes, len(x.Dims))
	if err != nil {
		return Fact{}, err
	}
	var dims []ir.Dim
	for i, d := range x.Dims {
		if !slices.Contains(abs, i) {
			dims = append(dims, d)
		} else if d.Known && d.Value != 1 {
			return Fact{}, fmt.Errorf("axis %d of %v is not 1", i, x)
		}
	}
	return Of(x.DType, dims...), nil
}

func (squeeze) ViewOf() int { return 0 }

func (squeeze) Bind(p *Binder, _, _ []Fact) (Step, error) { return bindCopy(p) }

func (squeeze) Grad(b *GradBuilder) error { return gradReshape(b) }

// unsqueeze inserts axes of extent 1 so that they are where its second input
// says, counted in the result.
// https://onnx.ai/onnx/operators/onnx__Unsqueeze.html
type unsqueeze struct{}

func newUnsqueeze(*Args) (Op, error) { return unsqueeze{}, nil }

func (unsqueeze) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if !isIndex(in[1].DType) {
		return nil, fmt.Errorf("axes are %v", in[1])
	}
	axes, ok := in[1].Ints()
	if !x.Ranked {
		return []Fact{unranked(x.DType)}, nil
	}
	if !ok {
		if e, ok := in[1].Extents(); ok {
			return []Fact{ofRank(x.DType, len(x.Dims)+len(e))}, nil
		}
		return []Fact{unranked(x.DType)}, nil
	}
	abs, err := axesIn(axes, len(x.Dims)+len(axes))
	if err != nil {
		return nil, err
	}
	dims := make([]ir.Dim, 0, len(x.Dims)+len(axes))
	rest := x.Dims
	for i := range cap(dims) {
		if slices.Contains(abs, i) {
			dims = append(dims, known(1))
		} else {
			dims, rest = append(dims, rest[0]), rest[1:]
		}
	}
	f := Of(x.DType, dims...)
	if len(dims) <= 1 {
		f = keepElems(f, x)
	}
	return []Fact{f}, nil
}

func (unsqueeze) ViewOf() int { return 0 }

func (unsqueeze) Bind(p *Binder, _, _ []Fact) (Step, error) { return bindCopy(p) }

func (unsqueeze) Grad(b *GradBuilder) error { return gradReshape(b) }
