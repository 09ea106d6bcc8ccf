package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// where is x where the condition holds, else y, all three broadcast.
// https://onnx.ai/onnx/operators/onnx__Where.html
type where struct{}

func newWhere(*Args) (Op, error) { return where{}, nil }

func (where) Infer(in []Fact) ([]Fact, error) {
	if in[0].DType != tensor.Bool && !in[0].Absent() {
		return nil, fmt.Errorf("condition is %v", in[0])
	}
	d, err := commonDType(in[1:])
	if err != nil {
		return nil, err
	}
	f, err := broadcastFact(d, in)
	if err != nil || !f.Ranked || len(f.Dims) > 1 {
		return []Fact{f}, err
	}
	return []Fact{whereElems(f, in)}, nil
}

// whereElems follows extents: exporters choose between a shape and ones so.
func whereElems(f Fact, in []Fact) Fact {
	n := 1
	if s, ok := f.Shape(); ok {
		n = s.Size()
	}
	var e [3][]ir.Dim
	for i := range e {
		var ok bool
		if e[i], ok = elemsOf(in[i]); !ok || len(e[i]) != n && len(e[i]) != 1 {
			return f
		}
	}
	out := make([]ir.Dim, n)
	for i := range out {
		c, x, y := e[0][i%len(e[0])], e[1][i%len(e[1])], e[2][i%len(e[2])]
		switch {
		case c.Known && c.Value != 0 || SameDim(x, y):
			out[i] = x
		case c.Known:
			out[i] = y
		}
	}
	return withElems(f, out)
}

func (where) Bind(p *Binder, in, out []Fact) (Step, error) {
	bc, err := planBroadcast(out[0].MustShape(), in[0].MustShape(), in[1].MustShape(), in[2].MustShape())
	if err != nil {
		return nil, err
	}
	m := moverFor(in[1].DType)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		m.where(f.Pool, bc, out[0], tensor.Data[bool](in[0]), in[1], in[2])
		return nil
	}, nil
}

func (where) Grad(b *GradBuilder) error {
	dy := b.Grad(0)
	zero := b.Scalar(dy, 0)
	if b.Needs(1) {
		b.SetSum(1, b.Op("Where", ir.In(b.In(0), dy, zero)))
	}
	if b.Needs(2) {
		b.SetSum(2, b.Op("Where", ir.In(b.In(0), zero, dy)))
	}
	return nil
}
