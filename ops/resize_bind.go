package ops

import (
	"cmp"
	"slices"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/tensor"
)

// resizeStage is the resampling of one axis of an array (outer,In,inner).
type resizeStage struct {
	*kernel.Resampling
	outer, inner int
}

// size is the number of elements of the stage's result.
func (s resizeStage) size() int { return s.outer * s.Out * s.inner }

// stages are the axes that change, those that shrink first, each working on
// the result of the one before: so none is larger than both input and output.
// Of axes that grow alike inner ones come first: their elements are gathered
// one by one, so the fewer the better.
func (o resize) stages(shape tensor.Shape, axes []resizeAxis) []resizeStage {
	shape = shape.Clone()
	var order []int
	for i, a := range axes {
		if a.in != a.out || a.scale != 1 || o.crop {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(i, j int) int {
		inner := cmp.Compare(i, j)
		if axes[i].out > axes[i].in {
			inner = -inner
		}
		return cmp.Or(cmp.Compare(axes[i].out*axes[j].in, axes[j].out*axes[i].in), inner)
	})
	out := make([]resizeStage, len(order))
	for k, i := range order {
		out[k] = resizeStage{o.taps(axes[i]), shape[:i].Size(), shape[i+1:].Size()}
		shape[i] = axes[i].out
	}
	return out
}

// nothingToDo is the step where x or y has no elements.
func nothingToDo(_ *Frame, _, out []*tensor.Tensor) error {
	clear(out[0].Bytes())
	return nil
}

// transposedStages lead back, in the opposite order.
func transposedStages(stages []resizeStage) []resizeStage {
	out := make([]resizeStage, len(stages))
	for i, s := range stages {
		out[len(out)-1-i] = resizeStage{s.Transposed(), s.outer, s.inner}
	}
	return out
}

// bindGathers runs stages of one tap each, for any dtype of whole bytes.
func bindGathers(p *Binder, d tensor.DType, stages []resizeStage) (Step, error) {
	m := kernel.MoverFor(d.Bits() / 8)
	if m == nil || d == tensor.String {
		return nil, errDType(d)
	}
	indices := make([][]int64, len(stages))
	between := make([]Slot, len(stages))
	for i, s := range stages {
		indices[i] = make([]int64, len(s.At))
		for k, at := range s.At {
			indices[i][k] = int64(at)
		}
		if i+1 < len(stages) {
			between[i] = p.Scratch(d.Size(s.size()))
		}
	}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		if len(stages) == 0 {
			copyTensor(out[0], in[0])
		}
		src := in[0].Bytes()
		for i, s := range stages {
			dst := out[0].Bytes()
			if i+1 < len(stages) {
				dst = f.Scratch(between[i])
			}
			m.Gather(f.Pool, s.outer, s.In, s.inner, dst, src, indices[i])
			src = dst
		}
		return nil
	}, nil
}

// bindResamples runs stages, then writes value to the ranges in fill.
func bindResamples[T kernel.Float](p *Binder, stages []resizeStage, fill []fillRange, value float64) Step {
	between := make([]Slot, len(stages))
	for i, s := range stages {
		if i+1 < len(stages) {
			between[i] = scratchOf[T](p, s.size())
		}
	}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		if len(stages) == 0 {
			copyTensor(out[0], in[0])
		}
		src := tensor.Data[T](in[0])
		for i, s := range stages {
			dst := tensor.Data[T](out[0])
			if i+1 < len(stages) {
				dst = ScratchOf[T](f, between[i])[:s.size()]
			}
			kernel.Resample(f.Pool, s.Resampling, s.outer, s.inner, dst, src)
			src = dst
		}
		for _, r := range fill {
			fillSlices(tensor.Data[T](out[0]), r, T(value))
		}
		return nil
	}
}

// fillRange is index i of an axis of extent n, between outer and inner
// elements.
type fillRange struct{ outer, n, i, inner int }

// fills are the places that are extrapolated.
func (o resize) fills(shape tensor.Shape, axes []resizeAxis) []fillRange {
	var out []fillRange
	for d, a := range axes {
		for i := range a.out {
			if !o.extrapolated(a, o.coordinate(a, float64(i))) {
				continue
			}
			r := fillRange{n: a.out, i: i}
			if shape != nil {
				r.outer, r.inner = shape[:d].Size(), shape[d+1:].Size()
			}
			out = append(out, r)
		}
	}
	return out
}

func fillSlices[T any](x []T, r fillRange, v T) {
	for o := range r.outer {
		s := x[(o*r.n+r.i)*r.inner:][:r.inner]
		for j := range s {
			s[j] = v
		}
	}
}
