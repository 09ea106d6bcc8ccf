package ops

import (
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// gather takes slices of x along an axis: y[..., i, ...] = x[..., index[i], ...],
// the index's extents in place of the axis. Negative entries count from the
// end. https://onnx.ai/onnx/operators/onnx__Gather.html
type gather struct{ axis int }

func newGather(a *Args) (Op, error) { return gather{a.Int("axis", 0)}, nil }

func (o gather) Infer(in []Fact) ([]Fact, error) {
	x, idx := in[0], in[1]
	if !isIndex(idx.DType) {
		return nil, fmt.Errorf("index is %v", idx)
	}
	if !x.Ranked || !idx.Ranked {
		return []Fact{unranked(x.DType)}, nil
	}
	axis, err := axisOf(x, o.axis)
	if err != nil {
		return nil, err
	}
	f := Of(x.DType, slices.Concat(x.Dims[:axis], idx.Dims, x.Dims[axis+1:])...)
	if len(x.Dims) == 1 && len(idx.Dims) <= 1 {
		f = gatherElems(f, x, idx)
	}
	return []Fact{f}, nil
}

func isIndex(d tensor.DType) bool {
	return d == tensor.Int64 || d == tensor.Int32 || d == tensor.Undefined
}

func gatherElems(f, x, idx Fact) Fact {
	e, ok := elemsOf(x)
	ints, ok2 := idx.Ints()
	if !ok || !ok2 || len(ints) > maxElems {
		return f
	}
	picked := make([]ir.Dim, len(ints))
	for i, k := range ints {
		if k < 0 {
			k += len(e)
		}
		if k < 0 || k >= len(e) {
			return f // an error when it runs
		}
		picked[i] = e[k]
	}
	return withElems(f, picked)
}

func (o gather) Bind(p *Binder, in, out []Fact) (Step, error) {
	shape := in[0].MustShape()
	axis, err := axisIn(o.axis, len(shape))
	if err != nil {
		return nil, err
	}
	outer, n, inner := shape[:axis].Size(), shape[axis], shape[axis+1:].Size()
	index := newIndexReader(p, in[1].MustShape().Size())
	m := moverFor(in[0].DType)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		at, err := index.read(f, in[1], n)
		if err != nil {
			return err
		}
		m.gather(f.Pool, outer, n, inner, out[0], in[0], at)
		return nil
	}, nil
}

// indexReader makes indices of either integer type int64 and not negative, in
// scratch memory.
type indexReader struct{ slot Slot }

func newIndexReader(p *Binder, n int) indexReader { return indexReader{p.Scratch(8 * n)} }

// read is the indices in t, each of which must be in [-n, n).
func (r indexReader) read(f *Frame, t *tensor.Tensor, n int) ([]int64, error) {
	dst := r.raw(f, t)
	if i := kernel.NonNegative(dst, dst, n); i >= 0 {
		return nil, fmt.Errorf("index %d is outside of extent %d", dst[i], n)
	}
	return dst, nil
}

// raw is a copy of the indices in t.
func (r indexReader) raw(f *Frame, t *tensor.Tensor) []int64 {
	dst := ScratchOf[int64](f, r.slot)
	if t.DType() == tensor.Int64 {
		copy(dst, tensor.Data[int64](t))
		return dst
	}
	for i, v := range tensor.Data[int32](t) {
		dst[i] = int64(v)
	}
	return dst
}

func (o gather) Grad(b *GradBuilder) error {
	if b.Needs(0) {
		b.Set(0, b.Composite("GatherGrad", ir.In(b.Grad(0), b.In(1), b.Shape(b.In(0))), 1, ir.A("axis", ir.Int(o.axis)))[0])
	}
	return nil
}

// gatherGrad is the gradient of Gather: dx[..., index[i], ...] is the sum of
// dy[..., i, ...] over all i of the same index. Inputs: dy, index, x's shape.
type gatherGrad struct{ axis int }

func newGatherGrad(a *Args) (Op, error) { return gatherGrad{a.Int("axis", 0)}, nil }

func (gatherGrad) Infer(in []Fact) ([]Fact, error) {
	if !isIndex(in[1].DType) {
		return nil, fmt.Errorf("index is %v", in[1])
	}
	if e, ok := in[2].Extents(); ok {
		return []Fact{Of(in[0].DType, e...)}, nil
	}
	return []Fact{unranked(in[0].DType)}, nil
}

func (o gatherGrad) Bind(p *Binder, in, out []Fact) (Step, error) {
	shape := out[0].MustShape()
	axis, err := axisIn(o.axis, len(shape))
	if err != nil {
		return nil, err
	}
	outer, n, inner := shape[:axis].Size(), shape[axis], shape[axis+1:].Size()
	index := newIndexReader(p, in[1].MustShape().Size())
	if outer*inner*in[1].MustShape().Size() != in[0].MustShape().Size() {
		return nil, errDataShape
	}
	return bindTyped(p, o, []typedStep{
		scatterAddStep[float32](index, outer, n, inner), scatterAddStep[float64](index, outer, n, inner),
	}, in, out)
}

func scatterAddStep[T kernel.Float](index indexReader, outer, n, inner int) typedStep {
	return typedStep{tensor.DTypeOf[T](), func(f *Frame, in, out []*tensor.Tensor) error {
		at, err := index.read(f, in[1], n)
		if err != nil {
			return err
		}
		clear(out[0].Bytes())
		kernel.ScatterAdd(f.Pool, outer, n, inner, tensor.Data[T](out[0]), tensor.Data[T](in[0]), at)
		return nil
	}}
}

// Expand scatters dy to the places that Gather takes from a count of all
// elements.
func (o gatherGrad) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	return b.scatterBack(n.Input(0), n.Input(2), func(count *ir.Value) *ir.Value {
		return b.Op("Gather", ir.In(count, n.Input(1)), ir.A("axis", ir.Int(o.axis)))
	}), nil
}

func (o gatherGrad) Grad(b *GradBuilder) error {
	if b.Needs(0) {
		b.Set(0, b.Op("Gather", ir.In(b.Grad(0), b.In(1)), ir.A("axis", ir.Int(o.axis))))
	}
	return nil
}
