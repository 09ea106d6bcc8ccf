package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/tensor"
)

// A constant that is broadcast along an axis between two of its own, as tables
// of rotary embeddings are along the heads, cuts the result into short lines.
// Repeated there once when the plan is made it makes long ones.
const (
	shortLine    = 64      // elements: lines from here on are left alone
	stretchLimit = 1 << 17 // elements of the repeated constant, at most
)

// stretched is the shape that a constant of shape s is repeated to before it
// is broadcast to out, and whether that is worth it.
func stretched(s, out tensor.Shape) (tensor.Shape, bool) {
	full := make(tensor.Shape, len(out))
	for a := range full {
		full[a] = 1
	}
	copy(full[len(out)-len(s):], s)
	first := 0
	for first < len(out) && full[first] == 1 {
		first++
	}
	line, size, own, gap := 1, 1, false, false
	for a := len(out) - 1; a >= first; a-- {
		own = own || full[a] != 1
		gap = gap || own && full[a] != out[a]
		if !gap {
			line *= out[a]
		}
		size *= out[a]
		full[a] = out[a]
	}
	return full, gap && line < shortLine && size <= stretchLimit
}

// stretchConstant gives input i its stretched form where it is a constant that
// has one: the fact to plan with, and the step that puts it in its place.
func stretchConstant(p *Binder, in []Fact, out Fact, i int) (Fact, func(Step) Step, error) {
	same := func(s Step) Step { return s }
	f := in[i]
	if f.Const == nil || f.DType == tensor.String {
		return f, same, nil
	}
	shape, worth := stretched(f.MustShape(), out.MustShape())
	if !worth {
		return f, same, nil
	}
	bc, err := planBroadcast(shape, f.MustShape())
	if err != nil {
		return f, same, err
	}
	v, err := p.Packed(f.Const, fmt.Sprint("stretched ", shape), func(t *tensor.Tensor) any {
		long := tensor.New(t.DType(), shape...)
		kernel.MoverFor(t.DType().Size(1)).Expand(nil, bc, long.Bytes(), t.Bytes())
		return long
	})
	if err != nil {
		return f, same, err
	}
	long := v.(*tensor.Tensor)
	inputs := p.State(func() any { return make([]*tensor.Tensor, len(in)) })
	return Concrete(f.DType, shape...), func(s Step) Step {
		return func(f *Frame, in, out []*tensor.Tensor) error {
			now := f.State(inputs).([]*tensor.Tensor)
			copy(now, in)
			now[i] = long
			return s(f, now, out)
		}
	}, nil
}
