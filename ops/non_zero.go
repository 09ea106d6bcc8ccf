package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/tensor"
)

// nonZero lists the places of x's elements that are not zero, one column for
// each, in order: (rank, count) int64. The shape depends on data.
// https://onnx.ai/onnx/operators/onnx__NonZero.html
type nonZero struct{}

func newNonZero(*Args) (Op, error) { return nonZero{}, nil }

func (nonZero) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if t := x.Value(); t != nil {
		n, err := eachNonZero(t, nil)
		if err != nil {
			return nil, err
		}
		return []Fact{Of(tensor.Int64, known(t.Rank()), known(n))}, nil
	}
	if !x.Ranked {
		return []Fact{ofRank(tensor.Int64, 2)}, nil
	}
	return []Fact{Of(tensor.Int64, known(len(x.Dims)), unknown)}, nil
}

// eachNonZero visits the elements that are not zero and counts them.
func eachNonZero(t *tensor.Tensor, visit func(count, at int)) (int, error) {
	var set func(i int) bool
	if t.DType() == tensor.String {
		s := t.Strings()
		set = func(i int) bool { return s[i] != "" }
	} else {
		b, err := t.Cast(tensor.Bool)
		if err != nil {
			return 0, err
		}
		v := tensor.Data[bool](b)
		set = func(i int) bool { return v[i] }
	}
	n := 0
	for i := range t.Size() {
		if set(i) {
			if visit != nil {
				visit(n, i)
			}
			n++
		}
	}
	return n, nil
}

func (nonZero) Bind(_ *Binder, in, out []Fact) (Step, error) {
	shape := in[0].MustShape()
	strides := shape.Strides()
	cols := out[0].MustShape()[1]
	return func(_ *Frame, in, out []*tensor.Tensor) error {
		y := tensor.Data[int64](out[0])
		n, err := eachNonZero(in[0], func(k, i int) {
			for a, s := range strides {
				if k < cols {
					y[a*cols+k] = int64(i / s % shape[a])
				}
			}
		})
		if err == nil && n != cols {
			err = fmt.Errorf("%d elements are not zero, %d were planned", n, cols)
		}
		return err
	}, nil
}

// compress keeps the slices along an axis (or without one, of all elements in
// order) for which the condition holds; the condition may be shorter.
// https://onnx.ai/onnx/operators/onnx__Compress.html
type compress struct {
	axis int
	flat bool
}

func newCompress(a *Args) (Op, error) { return compress{a.Int("axis", 0), !a.Has("axis")}, nil }

func (o compress) Infer(in []Fact) ([]Fact, error) {
	x, n := in[0], unknown
	if err := needBool(in[1:]); err != nil {
		return nil, err
	}
	if t := in[1].Value(); t != nil {
		n = known(len(chosen(tensor.Data[bool](t))))
	}
	if o.flat {
		return []Fact{Of(x.DType, n)}, nil
	}
	if !x.Ranked {
		return []Fact{unranked(x.DType)}, nil
	}
	axis, err := axisOf(x, o.axis)
	if err != nil {
		return nil, err
	}
	f := x.WithoutValue()
	f.Dims = append(f.Dims[:axis:axis], n)
	f.Dims = append(f.Dims, x.Dims[axis+1:]...)
	return []Fact{f}, nil
}

// chosen are the positions at which cond holds.
func chosen(cond []bool) []int64 {
	var at []int64
	for i, c := range cond {
		if c {
			at = append(at, int64(i))
		}
	}
	return at
}

func (o compress) Bind(_ *Binder, in, out []Fact) (Step, error) {
	shape, axis := in[0].MustShape(), 0
	outer, n, inner := 1, shape.Size(), 1
	if !o.flat {
		var err error
		if axis, err = axisIn(o.axis, len(shape)); err != nil {
			return nil, err
		}
		outer, n, inner = shape[:axis].Size(), shape[axis], shape[axis+1:].Size()
	}
	want := out[0].MustShape()[axis]
	m := moverFor(in[0].DType)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		index := chosen(tensor.Data[bool](in[1]))
		if len(index) != want {
			return errDataShape
		}
		if want > 0 && int(index[want-1]) >= n {
			return fmt.Errorf("condition is longer than extent %d", n)
		}
		m.gather(f.Pool, outer, n, inner, out[0], in[0], index)
		return nil
	}, nil
}
