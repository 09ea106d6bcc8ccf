package ops

import "github.com/bonnx/bonnx/tensor"

// floats shows tensors of any real type as float32, through scratch memory
// where they are of another type: what steps use that take many types.
type floats struct {
	facts  []Fact
	slots  []Slot
	narrow Slot // room for round
	id     StateID
}

// floatViews are a session's tensors and slices.
type floatViews struct {
	heads []*tensor.Tensor
	data  [][]float32
	small *tensor.Tensor
}

func newFloats(p *Binder, facts ...Fact) *floats {
	w := &floats{facts: facts, slots: make([]Slot, len(facts))}
	for i, f := range facts {
		if !f.Absent() && f.DType != tensor.Float32 {
			w.slots[i] = p.Scratch(tensor.Float32.Size(f.MustShape().Size()))
			w.narrow = p.Scratch(f.DType.Size(f.MustShape().Size()))
		}
	}
	w.id = p.State(func() any {
		v := &floatViews{make([]*tensor.Tensor, len(facts)), make([][]float32, len(facts)), tensor.Header(facts[0].DType)}
		for i := range facts {
			v.heads[i] = tensor.Header(tensor.Float32)
		}
		return v
	})
	return w
}

// place gives the memory of each tensor's float32 form, nil of absent ones.
func (w *floats) place(f *Frame, ts []*tensor.Tensor) [][]float32 {
	v := f.State(w.id).(*floatViews)
	for i := range w.facts {
		switch t := arg(ts, i); {
		case t == nil:
			v.data[i] = nil
		case t.DType() == tensor.Float32:
			v.data[i] = tensor.Data[float32](t)
		default:
			v.data[i] = tensor.Data[float32](placed(f, v.heads[i], w.slots[i], t))
		}
	}
	return v.data
}

// read is place with the tensors' values.
func (w *floats) read(f *Frame, ts []*tensor.Tensor) ([][]float32, error) {
	data := w.place(f, ts)
	v := f.State(w.id).(*floatViews)
	for i := range w.facts {
		if t := arg(ts, i); t != nil && t.DType() != tensor.Float32 {
			if err := tensor.CastInto(v.heads[i], t, tensor.CastOptions{}); err != nil {
				return nil, err
			}
		}
	}
	return data, nil
}

// write rounds what is in place into the tensors.
func (w *floats) write(f *Frame, ts []*tensor.Tensor, o tensor.CastOptions) error {
	v := f.State(w.id).(*floatViews)
	for i := range w.facts {
		if t := arg(ts, i); t != nil && t.DType() != tensor.Float32 {
			if err := tensor.CastInto(t, v.heads[i], o); err != nil {
				return err
			}
		}
	}
	return nil
}

// round rounds data, of a shape, to the type of the first fact and back.
func (w *floats) round(f *Frame, data []float32, shape tensor.Shape) error {
	v := f.State(w.id).(*floatViews)
	v.small.Reset(shape, f.Scratch(w.narrow))
	wide := v.heads[0]
	wide.Reset(shape, tensor.FromSlice(data, len(data)).Bytes())
	if err := tensor.CastInto(v.small, wide, tensor.CastOptions{}); err != nil {
		return err
	}
	return tensor.CastInto(wide, v.small, tensor.CastOptions{})
}
