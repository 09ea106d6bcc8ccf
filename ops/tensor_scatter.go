package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// tensorScatter writes an update into a cache, for each batch from an index of
// its own on; in circular mode places beyond the end go on at the start.
//
//	past (B,...,M,...), update (B,...,S,...) [, index (B) int64] -> present (B,...,M,...)
//
// M and S are the extents of axis.
// https://onnx.ai/onnx/operators/onnx__TensorScatter.html (since 24)
type tensorScatter struct {
	axis     int
	circular bool
}

func newTensorScatter(a *Args) (Op, error) {
	mode := a.String("mode", "linear")
	if mode != "linear" && mode != "circular" {
		return nil, fmt.Errorf("mode is %q, want linear or circular", mode)
	}
	return tensorScatter{a.Int("axis", -2), mode == "circular"}, nil
}

func (o tensorScatter) Infer(in []Fact) ([]Fact, error) {
	past, update := in[0], in[1]
	if _, err := commonDType(in[:2]); err != nil {
		return nil, err
	}
	if i := at(in, 2); !i.Absent() && i.DType != tensor.Int64 {
		return nil, fmt.Errorf("index is %v, want int64", i)
	}
	if past.Ranked {
		axis, err := axisOf(past, o.axis)
		if err != nil {
			return nil, err
		}
		if axis == 0 || update.Ranked && update.Rank() != past.Rank() {
			return nil, fmt.Errorf("update %v along axis %d of %v", update, axis, past)
		}
	}
	return []Fact{past.WithoutValue()}, nil
}

func (o tensorScatter) Bind(p *Binder, in, out []Fact) (Step, error) {
	past, update := in[0].MustShape(), in[1].MustShape()
	axis, err := axisIn(o.axis, len(past))
	if err != nil {
		return nil, err
	}
	if i := at(in, 2); axis == 0 || len(past) != len(update) || !i.Absent() && !i.MustShape().Equal(past[:1]) {
		return nil, fmt.Errorf("update %v at %v along axis %d of %v", in[1], i, axis, in[0])
	}
	for i := range past {
		if i != axis && past[i] != update[i] {
			return nil, fmt.Errorf("update %v does not fit %v", in[1], in[0])
		}
	}
	m, s := past[axis], update[axis]
	rows, inner := past[1:axis].Size(), past[axis+1:].Size()
	move := moverFor(in[0].DType)
	p.InPlace(0, 0)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		copyTensor(out[0], in[0])
		for b := range past[0] {
			from := 0
			if index := arg(in, 2); index != nil {
				from = int(tensor.Data[int64](index)[b])
			}
			if from < 0 || from >= m || !o.circular && from+s > m {
				return fmt.Errorf("%d entries from %d on, in a cache of %d", s, from, m)
			}
			for i := range s {
				move.copyBlocks(nil, rows, inner, out[0], (b*rows*m+(from+i)%m)*inner, m*inner, in[1], (b*rows*s+i)*inner, s*inner)
			}
		}
		return nil
	}, nil
}

// Grad: what was written over has no slope, what was written has that of its
// place.
func (o tensorScatter) Grad(b *GradBuilder) error {
	dy, update, index := b.Grad(0), b.In(1), b.In(2)
	if b.Needs(0) {
		zeros := b.ZerosLike(update)
		b.Set(0, b.Op("TensorScatter", []*ir.Value{dy, zeros, index}, b.Node.Attrs...))
	}
	if !b.Needs(1) {
		return nil
	}
	rank := b.Fact(update).Rank()
	axis, err := axisIn(o.axis, rank)
	if err != nil {
		return err
	}
	at := b.Count(b.Extent(update, axis)) // places, as (B,1,...,S,...,1)
	for range rank - 1 - axis {
		at = b.Unsqueeze(at, -1)
	}
	if index != nil {
		for range rank - 1 {
			index = b.Unsqueeze(index, -1)
		}
		at = b.Add(at, index)
	}
	if o.circular {
		at = b.Op("Mod", ir.In(at, b.Extent(dy, axis)))
	}
	at = b.Op("Expand", ir.In(at, b.Shape(update)))
	b.Set(1, b.Op("GatherElements", ir.In(dy, at), ir.A("axis", ir.Int(axis))))
	return nil
}
