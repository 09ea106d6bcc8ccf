package ops

import (
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// topK gives the k largest (or smallest) elements along an axis, in order, and
// their places; of equal ones the first comes first.
// https://onnx.ai/onnx/operators/onnx__TopK.html
type topK struct {
	axis    int
	largest bool
}

func newTopK(a *Args) (Op, error) {
	a.Skip("sorted") // sorted results are always right
	return topK{a.Int("axis", -1), a.Bool("largest", true)}, nil
}

func (o topK) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if !x.Ranked {
		return []Fact{unranked(x.DType), unranked(tensor.Int64)}, nil
	}
	axis, err := axisOf(x, o.axis)
	if err != nil {
		return nil, err
	}
	k := unknown
	if e, ok := in[1].Extents(); ok && len(e) == 1 {
		k = e[0]
	}
	if d := x.Dims[axis]; k.Known && (k.Value < 0 || d.Known && k.Value > d.Value) {
		return nil, fmt.Errorf("k is %d for extent %v", k.Value, d)
	}
	dims := slices.Clone(x.Dims)
	dims[axis] = k
	return []Fact{Of(x.DType, dims...), Of(tensor.Int64, slices.Clone(dims)...)}, nil
}

func (o topK) Bind(p *Binder, in, out []Fact) (Step, error) {
	if !isConst(in, 1) {
		return late(o), nil
	}
	shape := in[0].MustShape()
	axis, err := axisIn(o.axis, len(shape))
	if err != nil {
		return nil, err
	}
	k, err := constInts(in[1], "k")
	if err != nil {
		return nil, err
	}
	t := topKPlan{shape[:axis].Size(), shape[axis], shape[axis+1:].Size(), k[0], o.largest, p.Scratch(8 * shape[axis])}
	return bindTyped(p, o, []typedStep{
		topKStep[float32](t), topKStep[float64](t), topKStep[int64](t), topKStep[int32](t), topKStep[int16](t),
		topKStep[int8](t), topKStep[uint64](t), topKStep[uint32](t), topKStep[uint16](t), topKStep[uint8](t),
	}, in, out)
}

type topKPlan struct {
	outer, n, inner, k int
	largest            bool
	order              Slot
}

func topKStep[T kernel.Numeric](p topKPlan) typedStep {
	return typedStep{tensor.DTypeOf[T](), func(f *Frame, in, out []*tensor.Tensor) error {
		x, order := tensor.Data[T](in[0]), ScratchOf[int64](f, p.order)
		var y []T
		var places []int64
		if out[0] != nil {
			y = tensor.Data[T](out[0])
		}
		if t := arg(out, 1); t != nil {
			places = tensor.Data[int64](t)
		}
		for lane := range p.outer * p.inner {
			o, i := lane/p.inner, lane%p.inner
			at := func(j int64) T { return x[(o*p.n+int(j))*p.inner+i] }
			for j := range order {
				order[j] = int64(j)
			}
			slices.SortFunc(order, func(a, b int64) int {
				u, v := at(a), at(b)
				if !p.largest {
					u, v = v, u
				}
				switch { // not a number is larger than any
				case u > v || u != u && v == v:
					return -1
				case u < v || v != v && u == u:
					return 1
				}
				return int(a - b)
			})
			for j := range p.k {
				dst := (o*p.k+j)*p.inner + i
				if y != nil {
					y[dst] = at(order[j])
				}
				if places != nil {
					places[dst] = order[j]
				}
			}
		}
		return nil
	}}
}

// Grad puts the gradient at the places taken. A node without an output for
// them gets one.
func (o topK) Grad(b *GradBuilder) error {
	places := b.Out(1)
	if places == nil {
		places = b.Node.Graph().NewValue(b.Names().Fresh(b.Node.Name+"_places"), nil)
		b.Node.SetOutput(1, places)
		f := b.Fact(b.Out(0)).WithoutValue()
		f.DType = tensor.Int64
		b.Analysis.Set(places, f)
	}
	if b.Needs(0) {
		b.Set(0, b.Op("ScatterElements", ir.In(b.ZerosLike(b.In(0)), places, b.Grad(0)), ir.A("axis", ir.Int(o.axis))))
	}
	return nil
}
