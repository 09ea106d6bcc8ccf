package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/tensor"
)

// cast converts elements to another type.
// https://onnx.ai/onnx/operators/onnx__Cast.html (saturate since 19,
// round_mode since 24)
type cast struct {
	to   tensor.DType
	opts tensor.CastOptions
}

// roundings are the values of round_mode.
var roundings = map[string]tensor.Rounding{"up": tensor.RoundUp, "down": tensor.RoundDown, "nearest": tensor.RoundNearest}

func castOptions(a *Args) (tensor.CastOptions, error) {
	mode := a.String("round_mode", "up")
	r, ok := roundings[mode]
	if !ok {
		return tensor.CastOptions{}, fmt.Errorf("round_mode %q", mode)
	}
	return tensor.CastOptions{NoSaturate: !a.Bool("saturate", true), Round: r}, nil
}

func newCast(a *Args) (Op, error) {
	o, err := castOptions(a)
	if err != nil {
		return nil, err
	}
	to := a.Int("to", 0)
	if to <= 0 || to > 255 || !tensor.DType(to).Valid() {
		return nil, fmt.Errorf("attribute \"to\" is %d, which is no element type", to)
	}
	return cast{tensor.DType(to), o}, nil
}

func (o cast) Infer(in []Fact) ([]Fact, error) {
	f := in[0].WithoutValue()
	f.DType = o.to
	if f.Rank() >= 0 && f.Rank() <= 1 && (in[0].DType.IsInteger() || in[0].DType == tensor.Bool) && o.to.IsInteger() {
		f = keepElems(f, in[0])
	}
	return []Fact{f}, nil
}

func (o cast) Bind(p *Binder, in, out []Fact) (Step, error) {
	if in[0].DType == o.to {
		return bindCopy(p)
	}
	return func(_ *Frame, in, out []*tensor.Tensor) error {
		return tensor.CastInto(out[0], in[0], o.opts)
	}, nil
}

func (cast) Grad(b *GradBuilder) error {
	if d := b.Fact(b.In(0)).DType; d.IsFloat() {
		b.Set(0, b.Cast(b.Grad(0), d))
	}
	return nil
}

// castLike converts elements to the type of its second input.
// https://onnx.ai/onnx/operators/onnx__CastLike.html
type castLike struct{ opts tensor.CastOptions }

func newCastLike(a *Args) (Op, error) {
	o, err := castOptions(a)
	return castLike{o}, err
}

func (o castLike) Infer(in []Fact) ([]Fact, error) {
	return cast{in[1].DType, o.opts}.Infer(in)
}

func (o castLike) Bind(p *Binder, in, out []Fact) (Step, error) {
	return cast{in[1].DType, o.opts}.Bind(p, in, out)
}

func (o castLike) Grad(b *GradBuilder) error {
	return cast{b.Fact(b.In(1)).DType, o.opts}.Grad(b)
}
