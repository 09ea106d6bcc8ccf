package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// tile repeats x along each axis as often as its second input says.
// https://onnx.ai/onnx/operators/onnx__Tile.html
type tile struct{}

func newTile(*Args) (Op, error) { return tile{}, nil }

func (tile) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if !x.Ranked {
		return []Fact{unranked(x.DType)}, nil
	}
	times, ok := in[1].Extents()
	if !ok {
		return []Fact{ofRank(x.DType, len(x.Dims))}, nil
	}
	if len(times) != len(x.Dims) {
		return nil, fmt.Errorf("%d repeats for %v", len(times), x)
	}
	dims := make([]ir.Dim, len(times))
	for i, n := range times {
		if n.Known && n.Value < 0 {
			return nil, fmt.Errorf("repeats %s", dimsString(times))
		}
		dims[i] = dimOp('*', x.Dims[i], n)
	}
	return []Fact{Of(x.DType, dims...)}, nil
}

func (o tile) Bind(_ *Binder, in, _ []Fact) (Step, error) {
	if !isConst(in, 1) {
		return late(o), nil
	}
	repeats, err := constInts(in[1], "repeats")
	if err != nil {
		return nil, err
	}
	if len(repeats) > 8 {
		return nil, fmt.Errorf("tile of rank %d; at most 8", len(repeats))
	}
	bc := kernel.NewTile(in[0].MustShape(), repeats)
	m := moverFor(in[0].DType)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		m.expand(f.Pool, bc, out[0], in[0])
		return nil
	}, nil
}

// Grad sums over the repetitions: dy is seen as (times, extent) for each axis.
func (tile) Grad(b *GradBuilder) error {
	x, times := b.In(0), b.In(1)
	rank := b.Fact(x).Rank()
	if e, ok := b.Fact(times).Extents(); rank < 0 && ok {
		rank = len(e)
	}
	if rank < 0 {
		return fmt.Errorf("rank of %q is not known", x.Name)
	}
	if rank == 0 {
		b.Set(0, b.Grad(0))
		return nil
	}
	pairs := b.ReshapeTo(b.Op("Concat", ir.In(b.Unsqueeze(times, 1), b.Unsqueeze(b.Shape(x), 1)), ir.A("axis", ir.Int(1))), -1)
	axes := make([]int, rank)
	for i := range axes {
		axes[i] = 2 * i
	}
	b.Set(0, b.ReduceSum(b.reshapeExact(b.Grad(0), pairs), false, axes...))
	return nil
}
