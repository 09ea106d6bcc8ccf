package ops

import (
	"errors"
	"fmt"
	"math"

	"github.com/bonnx/bonnx/tensor"
)

// randomTable lists the operators that draw random numbers, Dropout apart.
func randomTable() []Entry {
	return []Entry{
		{Name: "RandomNormal", MinIn: 0, MaxIn: 0, MaxOut: 1, Strict: Rounding, New: newRandom(normal, false)},
		{Name: "RandomUniform", MinIn: 0, MaxIn: 0, MaxOut: 1, Strict: Rounding, New: newRandom(uniformly, false)},
		{Name: "RandomNormalLike", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Rounding, New: newRandom(normal, true)},
		{Name: "RandomUniformLike", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Rounding, New: newRandom(uniformly, true)},
		{Name: "Bernoulli", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Exact, New: newBernoulli},
	}
}

// A stream gives a run's source of numbers: the session's, or with a seed one
// that each run starts anew.
type stream struct {
	seeded bool
	seed   uint32
}

func newStream(a *Args) stream {
	return stream{a.Has("seed"), uint32(int64(a.Float("seed", 0)))}
}

var errNoStream = errors.New("no random stream")

// bind makes the function that a step gets its source from.
func (s stream) bind(p *Binder) func(f *Frame) (uniform, error) {
	if !s.seeded {
		return func(f *Frame) (uniform, error) {
			if f.Rand == nil {
				return nil, errNoStream
			}
			return f.Rand, nil
		}
	}
	id := p.State(func() any { return new(mt19937) })
	return func(f *Frame) (uniform, error) {
		m := f.State(id).(*mt19937)
		m.seed(s.seed)
		return m, nil
	}
}

// random fills a tensor with numbers of a distribution, of a shape given as an
// attribute or of an input.
// https://onnx.ai/onnx/operators/onnx__RandomNormal.html, RandomUniform,
// RandomNormalLike, RandomUniformLike
type random struct {
	stream
	shape []int
	like  bool
	dtype tensor.DType // Undefined: the input's
	draw  func(u uniform) float64
}

func (random) Random() {}

// normal has a mean and a deviation; a number is made of two uniform ones.
func normal(a *Args) func(u uniform) float64 {
	mean, scale := a.Float("mean", 0), a.Float("scale", 1)
	return func(u uniform) float64 {
		r := math.Sqrt(-2 * math.Log(1-u.Float64()))
		return mean + scale*r*math.Cos(2*math.Pi*u.Float64())
	}
}

func uniformly(a *Args) func(u uniform) float64 {
	low, high := a.Float("low", 0), a.Float("high", 1)
	return func(u uniform) float64 { return low + (high-low)*u.Float64() }
}

func newRandom(distribution func(a *Args) func(u uniform) float64, like bool) func(*Args) (Op, error) {
	return func(a *Args) (Op, error) {
		o := random{stream: newStream(a), like: like, dtype: tensor.DType(a.Int("dtype", 0)), draw: distribution(a)}
		if !like {
			if o.shape = a.Ints("shape"); o.shape == nil {
				return nil, errors.New("shape is missing")
			}
			if _, err := tensor.Shape(o.shape).CheckedSize(); err != nil {
				return nil, err
			}
			if o.dtype == tensor.Undefined {
				o.dtype = tensor.Float32
			}
		}
		if o.dtype != tensor.Undefined && !o.dtype.IsFloat() {
			return nil, fmt.Errorf("dtype is %v", o.dtype)
		}
		return o, nil
	}
}

func (o random) Infer(in []Fact) ([]Fact, error) {
	if !o.like {
		return []Fact{Concrete(o.dtype, o.shape...)}, nil
	}
	f := in[0].WithoutValue()
	if o.dtype != tensor.Undefined {
		f.DType = o.dtype
	}
	if f.DType != tensor.Undefined && !f.DType.IsFloat() {
		return nil, fmt.Errorf("random numbers like %v", in[0])
	}
	return []Fact{f}, nil
}

func (o random) Bind(p *Binder, _, out []Fact) (Step, error) {
	source, wide := o.bind(p), newFloats(p, out[0])
	return func(f *Frame, _, out []*tensor.Tensor) error {
		u, err := source(f)
		if err != nil {
			return err
		}
		y := wide.place(f, out)[0]
		for i := range y {
			y[i] = float32(o.draw(u))
		}
		return wide.write(f, out, tensor.CastOptions{})
	}, nil
}

// bernoulli is 1 with the probability that its input has there, else 0.
// https://onnx.ai/onnx/operators/onnx__Bernoulli.html (since 15)
type bernoulli struct {
	stream
	dtype tensor.DType // Undefined: the input's
}

func newBernoulli(a *Args) (Op, error) {
	return bernoulli{newStream(a), tensor.DType(a.Int("dtype", 0))}, nil
}

func (bernoulli) Random() {}

func (o bernoulli) Infer(in []Fact) ([]Fact, error) {
	f := in[0].WithoutValue()
	if f.DType != tensor.Undefined && !f.DType.IsFloat() {
		return nil, fmt.Errorf("probabilities are %v", f)
	}
	if o.dtype != tensor.Undefined {
		f.DType = o.dtype
	}
	if f.DType == tensor.String || f.DType.IsComplex() {
		return nil, fmt.Errorf("dtype is %v", f.DType)
	}
	return []Fact{f}, nil
}

func (o bernoulli) Bind(p *Binder, in, out []Fact) (Step, error) {
	source, x, y := o.bind(p), newFloats(p, in[0]), newFloats(p, out[0])
	return func(f *Frame, in, out []*tensor.Tensor) error {
		u, err := source(f)
		if err != nil {
			return err
		}
		probs, err := x.read(f, in)
		if err != nil {
			return err
		}
		hits := y.place(f, out)[0]
		for i, prob := range probs[0] {
			hits[i] = 0
			if u.Float64() < float64(prob) {
				hits[i] = 1
			}
		}
		return y.write(f, out, tensor.CastOptions{})
	}, nil
}
