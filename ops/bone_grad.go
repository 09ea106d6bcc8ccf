package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// boneGradX is ai.bonnx.BoneGradX, the gradient of Bone for x:
//
//	dy (..., out), W (in, out) or, transB, (out, in), D (r, out) [, more (..., in)] -> dx (..., in)
//	dx[i,k] = sum_j dy[i,j] * (W[k,j] + D[k mod r,j]) + more[i,k]
//
// more is what else the gradient is a sum of; it is put in when a graph is
// readied to run.
type boneGradX struct{ layer bone }

// moreGrad is the input more.
const moreGrad = 3

func newBoneGradX(a *Args) (Op, error) { return boneGradX{bone{transB: a.Bool("transB", false)}}, nil }

func (o boneGradX) Infer(in []Fact) ([]Fact, error) {
	if err := sameFloats([]string{"dy", "weight", "block"}, in[:moreGrad]); err != nil {
		return nil, err
	}
	cols, out, _, err := o.layer.weights(in[1], in[2])
	if err != nil {
		return nil, err
	}
	if in[0].Ranked && in[0].Rank() == 0 {
		return nil, fmt.Errorf("dy %v: %w", in[0], errRank)
	}
	if _, err := agree("inner extents", in[0].Dim(-1), out); err != nil {
		return nil, fmt.Errorf("dy %v, weight %v: %w", in[0], in[1], err)
	}
	dx := withLast(in[0], cols)
	return []Fact{dx}, ending{residual: moreGrad}.check(in, dx)
}

func (o boneGradX) Bind(p *Binder, in, _ []Fact) (Step, error) {
	s, err := newBoneSizes(p, in[0], in[1], in[2], o.layer.transB)
	if err != nil {
		return nil, err
	}
	if !at(in, moreGrad).Absent() {
		p.InPlace(0, moreGrad)
	}
	return floatStep(in[0].DType,
		func() (Step, error) { return bindBoneGradX[float32](p, s, in, o.layer.transB) },
		func() (Step, error) { return bindBoneGradX[float64](p, s, in, o.layer.transB) })
}

func bindBoneGradX[T tensor.Float](p *Binder, s boneSizes, in []Fact, transB bool) (Step, error) {
	w, err := bindBoneWeight[T](p, s, in[1], transB)
	if err != nil {
		return nil, err
	}
	slot := scratchOf[T](p, max(w.scratch(true), kernel.GemmScratch[T](s.rows, s.r, s.out)))
	whole := s.tiled || w.packed != nil || w.narrow != nil // panels are copied anyway
	var part Slot
	if !whole {
		part = scratchOf[T](p, s.rows*s.r)
	}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		dy, d, dx := tensor.Data[T](in[0]), tensor.Data[T](in[2]), tensor.Data[T](out[0])
		scratch := ScratchOf[T](f, slot)
		more := arg(in, moreGrad)
		if more != nil {
			copyTensor(out[0], more) // where it does not lie there
		}
		if whole {
			w.product(f, true, dy, in[1], d, kernel.Finish[T]{}, more != nil, dx, scratch)
			return nil
		}
		ds := ScratchOf[T](f, part)
		w.product(f, true, dy, in[1], nil, kernel.Finish[T]{}, more != nil, dx, scratch)
		kernel.Gemm(f.Pool, false, true, s.rows, s.r, s.out, 1, dy, s.out, d, s.out, false, ds, s.r, scratch)
		kernel.Unfold(f.Pool, s.rows, s.in, s.r, dx, ds, true)
		return nil
	}, nil
}

// Expand multiplies by the transpose of W'.
func (o boneGradX) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	dy, w, d := n.Input(0), n.Input(1), n.Input(2)
	in, r := b.boneExtents(w, d, o.layer.transB)
	dx := b.MatMul(dy, b.Transpose(b.boneWeight(w, d, b.ModRange(in, r), o.layer.transB), 1, 0))
	if more := n.Input(moreGrad); more != nil {
		dx = b.Add(dx, more)
	}
	return ir.In(dx), nil
}
