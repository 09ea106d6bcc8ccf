package ops

import (
	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// variadic folds any number of inputs, broadcast to a common shape, with a
// function of two: Sum, Mean, Min, Max.
// https://onnx.ai/onnx/operators/onnx__Max.html
type variadic struct{ row *variadicRow }

type variadicRow struct {
	name   string
	strict Strictness
	kinds  []binaryKind
	mean   bool // the result is divided by the number of inputs
	choose bool // the result is one of the inputs
}

func variadicTable() []Entry {
	rows := []*variadicRow{
		{"Sum", Rounding, addKinds(), false, false},
		{"Mean", Rounding, addKinds()[:2], true, false},
		{"Min", Exact, minKinds(), false, true},
		{"Max", Exact, maxKinds(), false, true},
	}
	entries := make([]Entry, len(rows))
	for i, r := range rows {
		entries[i] = Entry{Name: r.name, MinIn: 1, MaxIn: -1, MaxOut: 1, Strict: r.strict,
			New: func(*Args) (Op, error) { return variadic{r}, nil }}
	}
	return entries
}

func minKinds() []binaryKind {
	return []binaryKind{
		binaryOf(kernel.Min[float32]), binaryOf(kernel.Min[float64]), binaryOf(kernel.Min[int64]), binaryOf(kernel.Min[int32]),
		binaryOf(kernel.Min[int16]), binaryOf(kernel.Min[int8]), binaryOf(kernel.Min[uint64]), binaryOf(kernel.Min[uint32]),
		binaryOf(kernel.Min[uint16]), binaryOf(kernel.Min[uint8]),
	}
}

func maxKinds() []binaryKind {
	return []binaryKind{
		binaryOf(kernel.Max[float32]), binaryOf(kernel.Max[float64]), binaryOf(kernel.Max[int64]), binaryOf(kernel.Max[int32]),
		binaryOf(kernel.Max[int16]), binaryOf(kernel.Max[int8]), binaryOf(kernel.Max[uint64]), binaryOf(kernel.Max[uint32]),
		binaryOf(kernel.Max[uint16]), binaryOf(kernel.Max[uint8]),
	}
}

func (o variadic) Infer(in []Fact) ([]Fact, error) {
	d, err := commonDType(in)
	if err != nil {
		return nil, err
	}
	out, err := broadcastFact(d, in)
	return []Fact{out}, err
}

func (o variadic) Bind(p *Binder, in, out []Fact) (Step, error) {
	kind := kindFor(o.row.kinds, in[0].DType)
	if kind == nil {
		if isNarrow(in[0].DType) {
			return viaFloat32(p, o, in, out)
		}
		return nil, errDType(in[0].DType)
	}
	if len(in) == 1 {
		return identity{}.Bind(p, in, out)
	}
	shape := out[0].MustShape()
	bc, err := planBroadcast(shape, in[0].MustShape(), in[1].MustShape())
	if err != nil {
		return nil, err
	}
	inPlaceIfSame(p, in, out[0], 0, 1)
	first := kind.bind(bc, 0, 1)
	if len(in) == 2 && !o.row.mean {
		return first, nil
	}
	rest := make([]Step, 0, len(in)-1)
	for j := 2; j < len(in); j++ {
		bc, err := planBroadcast(shape, shape, in[j].MustShape())
		if err != nil {
			return nil, err
		}
		rest = append(rest, kind.fold(bc, j))
	}
	if o.row.mean {
		rest = append(rest, scaleStep(in[0].DType, 1/float64(len(in))))
	}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		if err := first(f, in, out); err != nil {
			return err
		}
		for _, s := range rest {
			if err := s(f, in, out); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// scaleStep multiplies out[0], of floats, by a constant in place.
func scaleStep(d tensor.DType, by float64) Step {
	if d == tensor.Float64 {
		return func(f *Frame, _, out []*tensor.Tensor) error {
			y := tensor.Data[float64](out[0])
			kernel.Scale(f.Pool, y, y, by)
			return nil
		}
	}
	return func(f *Frame, _, out []*tensor.Tensor) error {
		y := tensor.Data[float32](out[0])
		kernel.Scale(f.Pool, y, y, float32(by))
		return nil
	}
}

// Grad: a sum passes the gradient on; a choice gives it to the inputs that
// equal the result, in equal parts.
func (o variadic) Grad(b *GradBuilder) error {
	n := len(b.Node.Inputs())
	g := b.Grad(0)
	if o.row.mean && n > 1 {
		g = b.Mul(g, b.c(1/float64(n)))
	}
	var masks []*ir.Value
	if o.row.choose && n > 1 {
		var ties *ir.Value
		masks, ties = o.masks(b)
		g = b.Div(g, ties)
	}
	for i := range n {
		switch {
		case !b.Needs(i):
		case masks != nil:
			b.SetSum(i, b.Mul(g, masks[i]))
		default:
			b.SetSum(i, g)
		}
	}
	return nil
}

// masks are 1 where an input equals the result, and how many do.
func (o variadic) masks(b *GradBuilder) (masks []*ir.Value, ties *ir.Value) {
	d := b.Fact(b.Grad(0)).DType
	for i := range b.Node.Inputs() {
		m := b.Cast(b.f("Equal", b.In(i), b.Out(0)), d)
		masks = append(masks, m)
		if i == 0 {
			ties = m
		} else {
			ties = b.Add(ties, m)
		}
	}
	return masks, ties
}
