package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// An ending is what an operator does with a product P (..., n) while its
// elements are cached:
//
//	y = activation(P + bias + residual), bias (n), residual (..., n)
//	activation one of Gelu, GeluTanh, SiLU, Relu, Tanh, Sigmoid, or none
//
// It is put in when a graph is readied to run, gradients included: operators
// have no gradient with it.
type ending struct {
	bias, residual int // the inputs that they are, which may be left out; 0 for none
	act            finishing
}

// finishing is an activation that a product can end in.
type finishing struct {
	f32    func(p *par.Pool, dst, x []float32)
	f64    func(p *par.Pool, dst, x []float64)
	expand func(b *Builder, x *ir.Value) *ir.Value
}

// standardUnary writes a standard operator of one input.
func standardUnary(op string) func(b *Builder, x *ir.Value) *ir.Value {
	return func(b *Builder, x *ir.Value) *ir.Value { return b.Op(op, ir.In(x)) }
}

var finishings = map[string]finishing{
	"Gelu":     {geluErf.f32, geluErf.f64, geluErf.expand},
	"GeluTanh": {geluTanh.f32, geluTanh.f64, geluTanh.expand},
	"SiLU":     {silu.f32, silu.f64, silu.expand},
	"Relu":     {kernel.ReLU[float32], kernel.ReLU[float64], standardUnary("Relu")},
	"Tanh":     {kernel.Tanh[float32], kernel.Tanh[float64], standardUnary("Tanh")},
	"Sigmoid":  {kernel.Sigmoid[float32], kernel.Sigmoid[float64], standardUnary("Sigmoid")},
}

// newEnding is an ending whose bias is input first, and residual the next.
func newEnding(a *Args, first int) (ending, error) {
	e := ending{bias: first, residual: first + 1}
	if name := a.String("activation", ""); name != "" {
		var ok bool
		if e.act, ok = finishings[name]; !ok {
			return e, fmt.Errorf("activation is %q, which a product cannot end in", name)
		}
	}
	return e, nil
}

// check holds bias and residual to the product y.
func (e ending) check(in []Fact, y Fact) error {
	for _, extra := range []struct {
		name     string
		at, rank int
	}{{"bias", e.bias, 1}, {"residual", e.residual, y.Rank()}} {
		switch f := at(in, extra.at); {
		case extra.at == 0 || f.Absent() || !f.Ranked || !y.Ranked:
		case f.DType != y.DType || f.Rank() != extra.rank:
			return fmt.Errorf("%s %v to a product %v", extra.name, f, y)
		default:
			for i := range f.Rank() {
				if _, err := agree("extents", f.Dims[i], y.Dims[y.Rank()-f.Rank()+i]); err != nil {
					return fmt.Errorf("%s %v to a product %v: %w", extra.name, f, y, err)
				}
			}
		}
	}
	return nil
}

// A finisher is what follows a product of the inputs.
type finisher[T kernel.Float] = func(in []*tensor.Tensor) kernel.Finish[T]

func unfinished[T kernel.Float]([]*tensor.Tensor) kernel.Finish[T] { return kernel.Finish[T]{} }

func (e ending) f32(n int) finisher[float32] { return finisherOf(e, n, e.act.f32) }
func (e ending) f64(n int) finisher[float64] { return finisherOf(e, n, e.act.f64) }

// finisherOf is e behind a product of n columns, with act the activation.
func finisherOf[T tensor.Float](e ending, n int, act func(p *par.Pool, dst, x []T)) finisher[T] {
	return func(in []*tensor.Tensor) kernel.Finish[T] {
		f := kernel.Finish[T]{Act: act, LDA: n}
		if bias := arg(in, e.bias); e.bias > 0 && bias != nil {
			f.Bias = tensor.Data[T](bias)
		}
		if residual := arg(in, e.residual); e.residual > 0 && residual != nil {
			f.Add = tensor.Data[T](residual)
		}
		return f
	}
}

// expand spells out what n does with the product y.
func (e ending) expand(b *Builder, n *ir.Node, y *ir.Value) *ir.Value {
	for _, i := range []int{e.bias, e.residual} {
		if v := n.Input(i); i > 0 && v != nil {
			y = b.Add(y, v)
		}
	}
	if e.act.expand != nil {
		y = e.act.expand(b, y)
	}
	return y
}
