package ops

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// fusedUnary is an activation that the standard operators of CanonicalOpset
// need several nodes for: ai.bonnx.Gelu and ai.bonnx.SiLU.
//
//	x (...) -> y (...)
//	Gelu: y = x*Phi(x); approximate "tanh": y = x/2*(1+tanh(sqrt(2/pi)*(x+0.044715*x^3)))
//	SiLU: y = x*sigmoid(x)
type fusedUnary struct{ f *activation }

// fusedUnaryGrad is its gradient, ai.bonnx.GeluGrad and ai.bonnx.SiLUGrad:
//
//	x (...), dy (...) -> dx (...) = dy * (derivative at x)
type fusedUnaryGrad struct{ f *activation }

// activation is one function: its kernels and how they are written in
// standard operators.
type activation struct {
	name   string // of the operator; its gradient adds Grad
	attrs  func() []*ir.Attr
	f32    func(p *par.Pool, dst, x []float32)
	f64    func(p *par.Pool, dst, x []float64)
	grad32 func(p *par.Pool, dx, x, dy []float32)
	grad64 func(p *par.Pool, dx, x, dy []float64)
	expand func(b *Builder, x *ir.Value) *ir.Value
	slope  func(b *Builder, x *ir.Value) *ir.Value
}

func noAttrs() []*ir.Attr { return nil }

var geluErf = &activation{
	name: "Gelu", attrs: noAttrs,
	f32: kernel.GELU[float32], f64: kernel.GELU[float64],
	grad32: kernel.GELUGrad[float32], grad64: kernel.GELUGrad[float64],
	expand: func(b *Builder, x *ir.Value) *ir.Value { return b.Mul(x, b.phi(x)) },
	slope: func(b *Builder, x *ir.Value) *ir.Value { // Phi(x) + x*density(x)
		density := b.Mul(b.Op("Exp", ir.In(b.Mul(b.Mul(x, x), b.Scalar(x, -0.5)))), b.Scalar(x, 1/math.Sqrt(2*math.Pi)))
		return b.Add(b.phi(x), b.Mul(x, density))
	},
}

// phi is the normal distribution function, (1+erf(x/sqrt(2)))/2.
func (b *Builder) phi(x *ir.Value) *ir.Value {
	e := b.Op("Erf", ir.In(b.Mul(x, b.Scalar(x, math.Sqrt2/2))))
	return b.Mul(b.Add(e, b.Scalar(x, 1)), b.Scalar(x, 0.5))
}

// geluC are the constants of the tanh form.
var geluC = [2]float64{math.Sqrt(2 / math.Pi), 0.044715}

var geluTanh = &activation{
	name:  "Gelu",
	attrs: func() []*ir.Attr { return []*ir.Attr{ir.A("approximate", ir.String("tanh"))} },
	f32:   kernel.GELUTanh[float32], f64: kernel.GELUTanh[float64],
	grad32: kernel.GELUTanhGrad[float32], grad64: kernel.GELUTanhGrad[float64],
	expand: func(b *Builder, x *ir.Value) *ir.Value {
		return b.Mul(b.Mul(x, b.Scalar(x, 0.5)), b.Add(b.geluTanh(x), b.Scalar(x, 1)))
	},
	slope: func(b *Builder, x *ir.Value) *ir.Value { // (1+t)/2 + x/2*(1-t^2)*c*(1+3*0.044715*x^2)
		t := b.geluTanh(x)
		half, one := b.Scalar(x, 0.5), b.Scalar(x, 1)
		inner := b.Add(b.Mul(b.Mul(x, x), b.Scalar(x, 3*geluC[0]*geluC[1])), b.Scalar(x, geluC[0]))
		side := b.Mul(b.Mul(b.Mul(x, half), b.Sub(one, b.Mul(t, t))), inner)
		return b.Add(b.Mul(b.Add(t, one), half), side)
	},
}

func (b *Builder) geluTanh(x *ir.Value) *ir.Value {
	cube := b.Mul(b.Mul(b.Mul(x, x), x), b.Scalar(x, geluC[1]))
	return b.Op("Tanh", ir.In(b.Mul(b.Add(x, cube), b.Scalar(x, geluC[0]))))
}

var silu = &activation{
	name: "SiLU", attrs: noAttrs,
	f32: kernel.SiLU[float32], f64: kernel.SiLU[float64],
	grad32: kernel.SiLUGrad[float32], grad64: kernel.SiLUGrad[float64],
	expand: func(b *Builder, x *ir.Value) *ir.Value { return b.Mul(x, b.Op("Sigmoid", ir.In(x))) },
	slope: func(b *Builder, x *ir.Value) *ir.Value { // s*(1+x*(1-s))
		s, one := b.Op("Sigmoid", ir.In(x)), b.Scalar(x, 1)
		return b.Mul(s, b.Add(b.Mul(x, b.Sub(one, s)), one))
	},
}

// gelus are the forms of Gelu by the attribute approximate.
var gelus = map[string]*activation{"none": geluErf, "tanh": geluTanh}

func geluForm(a *Args) (*activation, error) {
	name := a.String("approximate", "none")
	f := gelus[name]
	if f == nil {
		return nil, fmt.Errorf("approximate is %q, want none or tanh", name)
	}
	return f, nil
}

func newFusedGelu(a *Args) (Op, error) {
	f, err := geluForm(a)
	return fusedUnary{f}, err
}

func newFusedGeluGrad(a *Args) (Op, error) {
	f, err := geluForm(a)
	return fusedUnaryGrad{f}, err
}

func newSiLU(*Args) (Op, error) { return fusedUnary{silu}, nil }

func newSiLUGrad(*Args) (Op, error) { return fusedUnaryGrad{silu}, nil }

func (o fusedUnary) Infer(in []Fact) ([]Fact, error) {
	return []Fact{in[0].WithoutValue()}, needFloat("x", in[0])
}

func (o fusedUnary) Bind(p *Binder, in, _ []Fact) (Step, error) {
	p.InPlace(0, 0)
	return floatStep(in[0].DType,
		func() (Step, error) { return unaryOf(o.f.f32), nil },
		func() (Step, error) { return unaryOf(o.f.f64), nil })
}

func unaryOf[T tensor.Float](k func(p *par.Pool, dst, x []T)) Step {
	return func(f *Frame, in, out []*tensor.Tensor) error {
		k(f.Pool, tensor.Data[T](out[0]), tensor.Data[T](in[0]))
		return nil
	}
}

func (o fusedUnary) Grad(b *GradBuilder) error {
	if b.Needs(0) {
		b.Set(0, b.Composite(o.f.name+"Grad", ir.In(b.In(0), b.Grad(0)), 1, o.f.attrs()...)[0])
	}
	return nil
}

// Expand spells the function out.
func (o fusedUnary) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	return ir.In(o.f.expand(b, n.Input(0))), nil
}

func (o fusedUnaryGrad) Infer(in []Fact) ([]Fact, error) {
	if err := sameFloats([]string{"x", "dy"}, in); err != nil {
		return nil, err
	}
	f, err := sameShape(in)
	return []Fact{f}, err
}

func (o fusedUnaryGrad) Bind(p *Binder, in, _ []Fact) (Step, error) {
	p.InPlace(0, 1)
	p.InPlace(0, 0)
	return floatStep(in[0].DType,
		func() (Step, error) { return slopeOf(o.f.grad32), nil },
		func() (Step, error) { return slopeOf(o.f.grad64), nil })
}

func slopeOf[T tensor.Float](k func(p *par.Pool, dx, x, dy []T)) Step {
	return func(f *Frame, in, out []*tensor.Tensor) error {
		k(f.Pool, tensor.Data[T](out[0]), tensor.Data[T](in[0]), tensor.Data[T](in[1]))
		return nil
	}
}

// Expand spells the derivative out.
func (o fusedUnaryGrad) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	return ir.In(b.Mul(n.Input(1), o.f.slope(b, n.Input(0)))), nil
}
