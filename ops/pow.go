package ops

import (
	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// pow is x**y under broadcasting; the result has x's dtype, y may have another.
// https://onnx.ai/onnx/operators/onnx__Pow.html
type pow struct{ same binary }

func newPow(*Args) (Op, error) {
	return pow{binary{&binaryRow{name: "Pow", kinds: []binaryKind{
		binaryOf(kernel.Pow[float32]), binaryOf(kernel.Pow[float64]),
		binaryOf(kernel.Pow[int64]), binaryOf(kernel.Pow[int32]),
	}}}}, nil
}

func (o pow) Infer(in []Fact) ([]Fact, error) {
	out, err := broadcastFact(in[0].DType, in)
	return []Fact{out}, err
}

func (o pow) Bind(p *Binder, in, out []Fact) (Step, error) {
	if in[0].DType == in[1].DType {
		return o.same.Bind(p, in, out)
	}
	return bindPowMixed(p, in, out)
}

// bindPowMixed computes in float64 what has two dtypes.
func bindPowMixed(p *Binder, in, out []Fact) (Step, error) {
	shape := out[0].MustShape()
	bc, err := planBroadcast(shape, in[0].MustShape(), in[1].MustShape())
	if err != nil {
		return nil, err
	}
	slots := [3]Slot{p.Scratch(8 * in[0].MustShape().Size()), p.Scratch(8 * in[1].MustShape().Size()), p.Scratch(8 * shape.Size())}
	id := p.State(func() any {
		return &[3]*tensor.Tensor{tensor.Header(tensor.Float64), tensor.Header(tensor.Float64), tensor.Header(tensor.Float64)}
	})
	return func(f *Frame, in, out []*tensor.Tensor) error {
		w := f.State(id).(*[3]*tensor.Tensor)
		x, y, z := placed(f, w[0], slots[0], in[0]), placed(f, w[1], slots[1], in[1]), placed(f, w[2], slots[2], out[0])
		if err := tensor.CastInto(x, in[0], tensor.CastOptions{}); err != nil {
			return err
		}
		if err := tensor.CastInto(y, in[1], tensor.CastOptions{}); err != nil {
			return err
		}
		kernel.Pow(f.Pool, bc, tensor.Data[float64](z), tensor.Data[float64](x), tensor.Data[float64](y))
		return tensor.CastInto(out[0], z, tensor.CastOptions{})
	}, nil
}

// Grad: dx = dy*c*x^(c-1) and dc = dy*x^c*log(x), taken as 0 where x is not
// positive. Squares and roots, which norms are made of, have short forms.
func (o pow) Grad(b *GradBuilder) error {
	x, dy := b.In(0), b.Grad(0)
	if b.Needs(0) {
		b.SetSum(0, b.Mul(dy, powSlope(b, x, b.In(1))))
	}
	if b.Needs(1) {
		log := b.f("Where", b.f("Greater", x, b.c(0)), b.f("Log", x), b.c(0))
		g := b.Mul(dy, b.Mul(b.Out(0), log))
		b.SetSum(1, b.Cast(g, b.Fact(b.In(1)).DType))
	}
	return nil
}

func powSlope(b *GradBuilder, x, c *ir.Value) *ir.Value {
	switch e, ok := scalarOf(b.Fact(c)); {
	case ok && e == 2:
		return b.Mul(x, b.c(2))
	case ok && e == 0.5:
		return b.Div(b.c(0.5), b.Out(0))
	case ok:
		return b.Mul(b.c(e), b.f("Pow", x, b.c(e-1)))
	}
	c = b.Cast(c, b.Fact(x).DType)
	return b.Mul(c, b.f("Pow", x, b.Sub(c, b.c(1))))
}

// scalarOf is the value of a constant of one element that does not add
// dimensions to what it is broadcast with.
func scalarOf(f Fact) (float64, bool) {
	if f.Const == nil || f.Rank() != 0 && !(f.Rank() == 1 && isOne(f.Dims[0])) {
		return 0, false
	}
	t := f.Value()
	if t == nil {
		return 0, false
	}
	v, err := t.Float64s()
	if err != nil || len(v) != 1 {
		return 0, false
	}
	return v[0], true
}
