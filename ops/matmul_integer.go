package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/tensor"
)

// matmulInteger is (A - a_zero)(B - b_zero) in 32-bit integers, for A and B of
// 8-bit ones. a_zero is one number or one for each row of A, b_zero one number
// or one for each column of B. Eight bits less eight bits are at most nine: the
// kernel multiplies them as floats.
// https://onnx.ai/onnx/operators/onnx__MatMulInteger.html
type matmulInteger struct{}

func newMatMulInteger(*Args) (Op, error) { return matmulInteger{}, nil }

func (matmulInteger) Infer(in []Fact) ([]Fact, error) {
	a, b := in[0], in[1]
	for _, f := range []Fact{a, b} {
		if f.DType != tensor.Int8 && f.DType != tensor.Uint8 {
			return nil, fmt.Errorf("operand is %v, want int8 or uint8", f)
		}
	}
	a.DType, b.DType = tensor.Int32, tensor.Int32
	f, err := plainProduct.infer(a, b)
	return []Fact{f}, err
}

func (matmulInteger) Bind(p *Binder, in, out []Fact) (Step, error) {
	g, err := plainProduct.plan(in[0], in[1])
	if err != nil {
		return nil, err
	}
	var slots [2]Slot
	var broadcasts [2]*kernel.Broadcast
	for i := range slots {
		shape := in[i].MustShape()
		slots[i] = p.Scratch(4 * shape.Size())
		zero := at(in, i+2)
		if zero.Absent() {
			continue
		}
		zs := zero.MustShape()
		if i == 0 && len(zs) == 1 && len(shape) > 1 {
			zs = append(zs.Clone(), 1) // one for each row
		}
		if s, err := tensor.Broadcast(shape, zs); err != nil || !s.Equal(shape) {
			return nil, errors.New("zero point does not fit its operand")
		}
		if broadcasts[i], err = planBroadcast(shape, shape, zs); err != nil {
			return nil, err
		}
	}
	zeros := [2]Slot{p.Scratch(4 * zeroSize(in, 2)), p.Scratch(4 * zeroSize(in, 3))}
	scratch := scratchOf[float32](p, kernel.MatMulSmallScratch(g.m, g.n, g.k))
	id := p.State(func() any { return headers(tensor.Float32, make([]Fact, 4)) })
	return func(f *Frame, in, out []*tensor.Tensor) error {
		w := f.State(id).([]*tensor.Tensor)
		for i := range 2 {
			x := placed(f, w[i], slots[i], in[i])
			if err := tensor.CastInto(x, in[i], tensor.CastOptions{}); err != nil {
				return err
			}
			if broadcasts[i] == nil {
				continue
			}
			z := placed(f, w[i+2], zeros[i], in[i+2])
			if err := tensor.CastInto(z, in[i+2], tensor.CastOptions{}); err != nil {
				return err
			}
			kernel.Sub(f.Pool, broadcasts[i], tensor.Data[float32](x), tensor.Data[float32](x), tensor.Data[float32](z))
		}
		a, b, c := tensor.Data[float32](w[0]), tensor.Data[float32](w[1]), tensor.Data[int32](out[0])
		if g.sharedB {
			kernel.MatMulSmall(f.Pool, g.m, g.n, g.k, a, b, c, ScratchOf[float32](f, scratch))
			return nil
		}
		for l, at := range g.at.OffC {
			kernel.MatMulSmall(f.Pool, g.m, g.n, g.k, a[g.at.OffA[l]:], b[g.at.OffB[l]:], c[at:], ScratchOf[float32](f, scratch))
		}
		return nil
	}, nil
}

func zeroSize(in []Fact, i int) int {
	if at(in, i).Absent() {
		return 0
	}
	return in[i].MustShape().Size()
}
