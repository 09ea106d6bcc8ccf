package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// A typedStep is a step for inputs of one dtype: operators list one for each
// dtype that they have a kernel for.
type typedStep struct {
	dtype tensor.DType
	step  Step
}

// unaryStep runs an elementwise kernel of one input.
func unaryStep[T kernel.Numeric](k func(p *par.Pool, dst, x []T)) typedStep {
	return typedStep{tensor.DTypeOf[T](), func(f *Frame, in, out []*tensor.Tensor) error {
		k(f.Pool, tensor.Data[T](out[0]), tensor.Data[T](in[0]))
		return nil
	}}
}

// bindTyped picks the step for in[0]'s dtype. 16-bit floats go through
// float32 where that has a step.
func bindTyped(p *Binder, o Op, steps []typedStep, in, out []Fact) (Step, error) {
	d := in[0].DType
	if s := stepFor(steps, d); s != nil {
		return s, nil
	}
	if isNarrow(d) && stepFor(steps, tensor.Float32) != nil {
		return viaFloat32(p, o, in, out)
	}
	return nil, errDType(d)
}

func stepFor(steps []typedStep, d tensor.DType) Step {
	for _, s := range steps {
		if s.dtype == d {
			return s.step
		}
	}
	return nil
}

func errDType(d tensor.DType) error { return fmt.Errorf("no kernel for %v", d) }

func isNarrow(d tensor.DType) bool { return d == tensor.Float16 || d == tensor.BFloat16 }

// viaFloat32 binds an operator for 16-bit floats: inputs are converted to
// float32 in scratch memory, the float32 step runs, outputs are converted
// back. Rounding happens once, at the end.
func viaFloat32(p *Binder, o Op, in, out []Fact) (Step, error) {
	return viaWide(p, o, tensor.Float32, isNarrow, in, out)
}

// viaWide binds an operator through its step for the dtype wide, converting
// what is of the dtypes that need it.
func viaWide(p *Binder, o Op, wide tensor.DType, needs func(tensor.DType) bool, in, out []Fact) (Step, error) {
	inWide, inSlots := widen(p, wide, needs, in)
	outWide, outSlots := widen(p, wide, needs, out)
	step, err := o.Bind(p, inWide, outWide)
	if err != nil {
		return nil, err
	}
	fixed, err := wideConstants(p, inWide, in)
	if err != nil {
		return nil, err
	}
	id := p.State(func() any {
		return &wideTensors{headers(wide, in), headers(wide, out), make([]*tensor.Tensor, len(in)), make([]*tensor.Tensor, len(out))}
	})
	return func(f *Frame, in, out []*tensor.Tensor) error {
		w := f.State(id).(*wideTensors)
		for i, t := range in {
			w.in[i] = t
			switch {
			case fixed[i] != nil:
				w.in[i] = fixed[i]
			case t != nil && needs(t.DType()) && inWide[i].Const == nil:
				w.in[i] = placed(f, w.inHeads[i], inSlots[i], t)
				if err := tensor.CastInto(w.in[i], t, tensor.CastOptions{}); err != nil {
					return err
				}
			}
		}
		for i, t := range out {
			if w.out[i] = t; t != nil && needs(t.DType()) {
				w.out[i] = placed(f, w.outHeads[i], outSlots[i], t)
			}
		}
		if err := step(f, w.in[:len(in)], w.out[:len(out)]); err != nil {
			return err
		}
		for i, t := range out {
			if t != nil && w.out[i] != t {
				if err := tensor.CastInto(t, w.out[i], tensor.CastOptions{}); err != nil {
					return err
				}
			}
		}
		return nil
	}, nil
}

// wideTensors are a session's wider stand-ins.
type wideTensors struct{ inHeads, outHeads, in, out []*tensor.Tensor }

// wideConstants are the wide forms of constant inputs, made once; nil for those
// that the step does not read, or that are as they were.
func wideConstants(p *Binder, wide, in []Fact) ([]*tensor.Tensor, error) {
	out := make([]*tensor.Tensor, len(in))
	for i, f := range wide {
		if f.Const == nil || f.DType == in[i].DType || p.unread[i] {
			continue
		}
		v, err := p.Packed(f.Const, "itself", func(t *tensor.Tensor) any { return t })
		if err != nil {
			return nil, err
		}
		out[i] = v.(*tensor.Tensor)
	}
	return out, nil
}

// widen makes wide facts of those that need it and reserves their storage;
// constants stay constants.
func widen(p *Binder, wide tensor.DType, needs func(tensor.DType) bool, facts []Fact) ([]Fact, []Slot) {
	out, slots := make([]Fact, len(facts)), make([]Slot, len(facts))
	for i, f := range facts {
		if needs(f.DType) {
			c := f.Const
			f = f.WithoutValue()
			f.DType = wide
			if c != nil {
				f.Const = Recast{c, wide}
			} else {
				slots[i] = p.Scratch(wide.Size(f.MustShape().Size()))
			}
		}
		out[i] = f
	}
	return out, slots
}

func headers(d tensor.DType, facts []Fact) []*tensor.Tensor {
	h := make([]*tensor.Tensor, len(facts))
	for i := range h {
		h[i] = tensor.Header(d)
	}
	return h
}

// placed lays a header of like's shape over a slot.
func placed(f *Frame, h *tensor.Tensor, s Slot, like *tensor.Tensor) *tensor.Tensor {
	h.Reset(like.Shape(), f.Scratch(s))
	return h
}

// planBroadcast is kernel.NewBroadcast with the kernel's limit as an error.
func planBroadcast(out tensor.Shape, in ...tensor.Shape) (*kernel.Broadcast, error) {
	if len(out) > 16 {
		return nil, fmt.Errorf("broadcast of %d dimensions; at most 16", len(out))
	}
	shapes := make([][]int, len(in))
	for i, s := range in {
		if b, err := tensor.Broadcast(s, out); err != nil || !b.Equal(out) {
			return nil, fmt.Errorf("%v does not broadcast to %v", s, out)
		}
		shapes[i] = s
	}
	return kernel.NewBroadcast(out, shapes...), nil
}

// inPlaceIfSame offers output 0 the storage of those inputs that have its
// shape and element size.
func inPlaceIfSame(p *Binder, in []Fact, out Fact, candidates ...int) {
	for _, i := range candidates {
		if i < len(in) && !in[i].Absent() && in[i].DType.Bits() == out.DType.Bits() && sameDims(in[i].Dims, out.Dims) {
			p.InPlace(0, i)
		}
	}
}

// commonDType is the dtype that all given inputs share.
func commonDType(in []Fact) (tensor.DType, error) {
	d := tensor.Undefined
	for _, f := range in {
		switch {
		case f.DType == tensor.Undefined || f.DType == d:
		case d == tensor.Undefined:
			d = f.DType
		default:
			return d, fmt.Errorf("inputs are %v and %v", d, f.DType)
		}
	}
	return d, nil
}

// broadcastFact is what inputs broadcast to: their common shape, of dtype d.
func broadcastFact(d tensor.DType, in []Fact) (Fact, error) {
	out := Fact{DType: d, Ranked: true}
	for _, f := range in {
		if !f.Ranked {
			return Fact{DType: d}, nil
		}
		dims, ok := BroadcastDims(out.Dims, f.Dims)
		if !ok {
			return Fact{}, fmt.Errorf("shapes do not broadcast: %v", shapesOf(in))
		}
		out.Dims = dims
	}
	return out, nil
}

func shapesOf(in []Fact) string {
	s := ""
	for i, f := range in {
		if i > 0 {
			s += " and "
		}
		s += dimsString(f.Dims)
	}
	return s
}

// extentsFact is an int64 tensor of rank 0 or 1 made of extents.
func extentsFact(rank int, elems []ir.Dim) Fact {
	f := Of(tensor.Int64)
	if rank == 1 {
		f = Of(tensor.Int64, known(len(elems)))
	}
	f.Elems = elems
	ints, ok := f.Ints()
	if !ok {
		return f
	}
	t := tensor.Ints(ints...)
	if rank == 0 {
		t = t.Reshape()
	}
	return Constant(t)
}
