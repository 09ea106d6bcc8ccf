package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// reverseSequence reverses the first lens[b] entries along the time axis, for
// each entry b of the batch axis; these are axes 0 and 1, in either order.
// https://onnx.ai/onnx/operators/onnx__ReverseSequence.html
type reverseSequence struct{ batch, time int }

func newReverseSequence(a *Args) (Op, error) {
	o := reverseSequence{a.Int("batch_axis", 1), a.Int("time_axis", 0)}
	if o.batch+o.time != 1 || o.batch*o.time != 0 {
		return nil, fmt.Errorf("batch_axis %d and time_axis %d are not 0 and 1", o.batch, o.time)
	}
	return o, nil
}

func (reverseSequence) Infer(in []Fact) ([]Fact, error) {
	if r := in[0].Rank(); r >= 0 && r < 2 {
		return nil, fmt.Errorf("%v has no two axes", in[0])
	}
	return []Fact{in[0].WithoutValue()}, nil
}

func (o reverseSequence) Bind(p *Binder, in, _ []Fact) (Step, error) {
	shape := in[0].MustShape()
	inner, n := shape[2:].Size(), shape[0]*shape[1]
	slot := p.Scratch(8 * n)
	m := moverFor(in[0].DType)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		lens, err := integers(in[1])
		if err != nil {
			return err
		}
		if len(lens) != shape[o.batch] {
			return fmt.Errorf("%d lengths for a batch of %d", len(lens), shape[o.batch])
		}
		places := ScratchOf[int64](f, slot)
		for i := range n {
			at := [2]int{i / shape[1], i % shape[1]}
			k := int(lens[at[o.batch]])
			if k < 0 || k > shape[o.time] {
				return fmt.Errorf("length %d of %d", k, shape[o.time])
			}
			if at[o.time] < k {
				at[o.time] = k - 1 - at[o.time]
			}
			places[i] = int64(at[0]*shape[1] + at[1])
		}
		m.gather(f.Pool, 1, n, inner, out[0], in[0], places)
		return nil
	}, nil
}

// integers is Int64s, but the storage itself where t is int64.
func integers(t *tensor.Tensor) ([]int64, error) {
	if t.DType() == tensor.Int64 {
		return tensor.Data[int64](t), nil
	}
	return t.Int64s()
}

// Grad reverses back.
func (o reverseSequence) Grad(b *GradBuilder) error {
	b.Set(0, b.Op("ReverseSequence", ir.In(b.Grad(0), b.In(1)), ir.A("batch_axis", ir.Int(o.batch)), ir.A("time_axis", ir.Int(o.time))))
	return nil
}
