package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// adamW is ai.bonnx.AdamW, one step with decoupled decay (Loshchilov and
// Hutter, arXiv 1711.05101), as torch.optim.AdamW does it:
//
//	param p, grad g, m, v (all of one shape), lr (), step () counted from 1 -> p', m', v'
//	m' = beta1*m + (1-beta1)*g; v' = beta2*v + (1-beta2)*g*g
//	p' = p*(1 - lr*weight_decay) - lr/(1-beta1^step) * m'/(sqrt(v'/(1-beta2^step)) + epsilon)
type adamW struct{ beta1, beta2, eps, decay float64 }

func newAdamW(a *Args) (Op, error) {
	for i := range 3 {
		if a.Node.Output(i) == nil {
			return nil, fmt.Errorf("output %d is left out", i)
		}
	}
	return adamW{
		beta1: decimal(a.Float("beta1", 0.9)), beta2: decimal(a.Float("beta2", 0.999)),
		eps: decimal(a.Float("epsilon", 1e-8)), decay: decimal(a.Float("weight_decay", 0.01)),
	}, nil
}

func (adamW) Infer(in []Fact) ([]Fact, error) {
	if err := sameFloats([]string{"param", "grad", "m", "v"}, in[:4]); err != nil {
		return nil, err
	}
	if err := needScalars([]string{"lr", "step"}, in[4:6]); err != nil {
		return nil, err
	}
	p, err := sameShape(in[:4])
	return []Fact{p, p, p}, err
}

// needScalars wants one element each, of float32, float64 or int64.
func needScalars(what []string, in []Fact) error {
	for i, f := range in {
		if f.DType != tensor.Int64 && needFloat(what[i], f) != nil {
			return fmt.Errorf("%s is %v, want float32, float64 or int64", what[i], f)
		}
		if s, ok := f.Shape(); ok && s.Size() != 1 {
			return fmt.Errorf("%s is %v, want one element", what[i], f)
		}
	}
	return nil
}

// sameShape is the fact of values that must have one shape.
func sameShape(in []Fact) (Fact, error) {
	out := in[0].WithoutValue()
	for _, f := range in[1:] {
		if !out.Ranked {
			out = f.WithoutValue()
			continue
		}
		if !f.Ranked {
			continue
		}
		if f.Rank() != out.Rank() {
			return out, fmt.Errorf("%v beside %v: want one shape", in[0], f)
		}
		for i, d := range f.Dims {
			if _, err := agree("extents", out.Dims[i], d); err != nil {
				return out, fmt.Errorf("%v beside %v: %w", in[0], f, err)
			}
		}
	}
	return out, nil
}

// oneNumber reads one element as a float64.
func oneNumber(t *tensor.Tensor) float64 {
	switch t.DType() {
	case tensor.Float32:
		return float64(tensor.Data[float32](t)[0])
	case tensor.Int64:
		return float64(tensor.Data[int64](t)[0])
	}
	return tensor.Data[float64](t)[0]
}

func (o adamW) Bind(p *Binder, in, _ []Fact) (Step, error) {
	p.InPlace(0, 0)
	p.InPlace(1, 2)
	p.InPlace(2, 3)
	return floatStep(in[0].DType,
		func() (Step, error) { return adamWStep[float32](p, o), nil },
		func() (Step, error) { return adamWStep[float64](p, o), nil })
}

var errFirstStep = errors.New("the step must be counted from 1")

func adamWStep[T tensor.Float](_ *Binder, o adamW) Step {
	return func(f *Frame, in, out []*tensor.Tensor) error {
		step := int(oneNumber(in[5]))
		if step < 1 {
			return fmt.Errorf("step %d: %w", step, errFirstStep)
		}
		for i, from := range []int{0, 2, 3} {
			copyTensor(out[i], in[from])
		}
		kernel.AdamW(f.Pool, tensor.Data[T](out[0]), tensor.Data[T](out[1]), tensor.Data[T](out[2]), tensor.Data[T](in[1]),
			oneNumber(in[4]), o.beta1, o.beta2, o.eps, o.decay, step)
		return nil
	}
}

// Expand computes the scalars in double precision, 1-beta^step losing too much
// in single, and the rest as the equation says.
func (o adamW) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	p, g, m, v := n.Input(0), n.Input(1), n.Input(2), n.Input(3)
	lr, step := b.Cast(n.Input(4), tensor.Float64), b.Cast(n.Input(5), tensor.Float64)
	d := b.Fact(p).DType
	unbias := func(beta float64) *ir.Value {
		return b.Sub(b.Scalar(lr, 1), b.Op("Pow", ir.In(b.Scalar(lr, beta), step)))
	}
	rate := b.Cast(b.Div(lr, unbias(o.beta1)), d)
	root := b.Cast(b.Op("Sqrt", ir.In(unbias(o.beta2))), d)
	m2 := b.Add(b.Mul(m, b.Scalar(p, o.beta1)), b.Mul(g, b.Scalar(p, 1-o.beta1)))
	v2 := b.Add(b.Mul(v, b.Scalar(p, o.beta2)), b.Mul(b.Mul(g, g), b.Scalar(p, 1-o.beta2)))
	if o.decay != 0 {
		keep := b.Sub(b.Scalar(lr, 1), b.Mul(lr, b.Scalar(lr, o.decay)))
		p = b.Mul(p, b.Cast(keep, d))
	}
	size := b.Add(b.Div(b.Op("Sqrt", ir.In(v2)), root), b.Scalar(n.Input(0), o.eps))
	return ir.In(b.Sub(p, b.Mul(rate, b.Div(m2, size))), m2, v2), nil
}

// sgd is ai.bonnx.SGD, one step of gradient descent as torch.optim.SGD does
// it, u being its momentum buffer, which starts at zero:
//
//	param p, grad g, lr () [, u] -> p' [, u']
//	g += weight_decay*p; u' = momentum*u + g
//	p' = p - lr*g, with momentum p - lr*u', with nesterov p - lr*(g + momentum*u')
type sgd struct {
	momentum, decay float64
	nesterov        bool
}

func newSGD(a *Args) (Op, error) {
	o := sgd{decimal(a.Float("momentum", 0)), decimal(a.Float("weight_decay", 0)), a.Bool("nesterov", false)}
	if o.momentum != 0 && (a.NumIn() < 4 || a.NumOut() < 2) {
		return nil, errors.New("momentum needs its buffer as input 3 and output 1")
	}
	if o.momentum == 0 && a.NumOut() > 1 {
		return nil, errors.New("there is no momentum to have a buffer")
	}
	return o, nil
}

func (o sgd) Infer(in []Fact) ([]Fact, error) {
	values := []Fact{in[0], in[1]}
	if o.momentum != 0 {
		values = append(values, in[3])
	}
	if err := sameFloats([]string{"param", "grad", "buffer"}[:len(values)], values); err != nil {
		return nil, err
	}
	if err := needScalars([]string{"lr"}, in[2:3]); err != nil {
		return nil, err
	}
	p, err := sameShape(values)
	return []Fact{p, p}, err
}

func (o sgd) Bind(p *Binder, in, _ []Fact) (Step, error) {
	p.InPlace(0, 0)
	if o.momentum != 0 {
		p.InPlace(1, 3)
	}
	return floatStep(in[0].DType,
		func() (Step, error) { return sgdStep[float32](o), nil },
		func() (Step, error) { return sgdStep[float64](o), nil })
}

func sgdStep[T tensor.Float](o sgd) Step {
	return func(f *Frame, in, out []*tensor.Tensor) error {
		copyTensor(out[0], in[0])
		var u []T
		if o.momentum != 0 {
			copyTensor(out[1], in[3])
			u = tensor.Data[T](out[1])
		}
		kernel.SGD(f.Pool, tensor.Data[T](out[0]), u, tensor.Data[T](in[1]), oneNumber(in[2]), o.momentum, o.decay, o.nesterov)
		return nil
	}
}

// Expand spells the equation out.
func (o sgd) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	p, g := n.Input(0), n.Input(1)
	lr := b.Cast(n.Input(2), b.Fact(p).DType)
	if o.decay != 0 {
		g = b.Add(g, b.Mul(p, b.Scalar(p, o.decay)))
	}
	step := g
	var u *ir.Value
	if o.momentum != 0 {
		u = b.Add(b.Mul(n.Input(3), b.Scalar(p, o.momentum)), g)
		step = u
		if o.nesterov {
			step = b.Add(g, b.Mul(u, b.Scalar(p, o.momentum)))
		}
	}
	return ir.In(b.Sub(p, b.Mul(lr, step)), u), nil
}
