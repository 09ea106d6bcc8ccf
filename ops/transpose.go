package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// transpose reorders axes: axis i of y is axis perm[i] of x. Without perm the
// order is reversed. https://onnx.ai/onnx/operators/onnx__Transpose.html
type transpose struct{ perm []int }

func newTranspose(a *Args) (Op, error) {
	perm := a.Ints("perm")
	seen := make([]bool, len(perm))
	for _, p := range perm {
		if p < 0 || p >= len(perm) || seen[p] {
			return nil, fmt.Errorf("perm %v is no permutation", perm)
		}
		seen[p] = true
	}
	return transpose{perm}, nil
}

// order is perm for a rank.
func (o transpose) order(rank int) []int {
	if len(o.perm) > 0 {
		return o.perm
	}
	perm := make([]int, rank)
	for i := range perm {
		perm[i] = rank - 1 - i
	}
	return perm
}

func (o transpose) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if !x.Ranked {
		if o.perm != nil {
			return []Fact{ofRank(x.DType, len(o.perm))}, nil
		}
		return []Fact{unranked(x.DType)}, nil
	}
	perm := o.order(len(x.Dims))
	if len(perm) != len(x.Dims) {
		return nil, fmt.Errorf("perm %v for %v", perm, x)
	}
	dims := make([]ir.Dim, len(perm))
	for i, p := range perm {
		dims[i] = x.Dims[p]
	}
	return []Fact{Of(x.DType, dims...)}, nil
}

func (o transpose) Bind(_ *Binder, in, _ []Fact) (Step, error) {
	shape := in[0].MustShape()
	if len(shape) > 16 {
		return nil, errManyAxes
	}
	t := kernel.NewTransposition(shape, o.order(len(shape)))
	m := moverFor(in[0].DType)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		if in[0].Size() > 0 {
			m.transpose(f.Pool, t, out[0], in[0])
		}
		return nil
	}, nil
}

func (o transpose) Grad(b *GradBuilder) error {
	if o.perm == nil { // the reversed order is its own inverse
		b.Set(0, b.Op("Transpose", ir.In(b.Grad(0))))
		return nil
	}
	inv := make([]int, len(o.perm))
	for i, p := range o.perm {
		inv[p] = i
	}
	b.Set(0, b.Transpose(b.Grad(0), inv...))
	return nil
}
