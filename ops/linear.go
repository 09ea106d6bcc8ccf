package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// linear is ai.bonnx.Linear: a product by a matrix and what follows it, done
// while the product's elements are cached:
//
//	x (..., k), W (k, n) or, transB, (n, k) [, bias (n)] [, residual (..., n)] -> y (..., n)
//	y = activation(x W + bias + residual), activation one of Gelu, GeluTanh, SiLU, Relu, Tanh, Sigmoid, or none
//
// It is put in when a graph is readied to run, gradients included: it has none
// of its own.
type linear struct {
	transB bool
	act    *finishing
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

var finishings = map[string]*finishing{
	"Gelu":     {geluErf.f32, geluErf.f64, geluErf.expand},
	"GeluTanh": {geluTanh.f32, geluTanh.f64, geluTanh.expand},
	"SiLU":     {silu.f32, silu.f64, silu.expand},
	"Relu":     {kernel.ReLU[float32], kernel.ReLU[float64], standardUnary("Relu")},
	"Tanh":     {kernel.Tanh[float32], kernel.Tanh[float64], standardUnary("Tanh")},
	"Sigmoid":  {kernel.Sigmoid[float32], kernel.Sigmoid[float64], standardUnary("Sigmoid")},
}

func newLinear(a *Args) (Op, error) {
	o := linear{transB: a.Bool("transB", false)}
	if name := a.String("activation", ""); name != "" {
		if o.act = finishings[name]; o.act == nil {
			return nil, fmt.Errorf("activation is %q, which a product cannot end in", name)
		}
	}
	return o, nil
}

// Inputs of a Linear that may be left out.
const linearBias, linearResidual = 2, 3

func (o linear) Infer(in []Fact) ([]Fact, error) {
	if in[1].Ranked && in[1].Rank() != 2 {
		return nil, fmt.Errorf("weight %v: %w", in[1], errRank)
	}
	out, err := fusedMatMul{transB: o.transB, alpha: 1}.Infer(in[:2])
	if err != nil {
		return nil, err
	}
	y := out[0]
	for _, extra := range []struct {
		name string
		f    Fact
		rank int
	}{{"bias", at(in, linearBias), 1}, {"residual", at(in, linearResidual), y.Rank()}} {
		switch f := extra.f; {
		case f.Absent() || !f.Ranked || !y.Ranked:
		case f.DType != y.DType || f.Rank() != extra.rank:
			return nil, fmt.Errorf("%s %v to a product %v", extra.name, f, y)
		default:
			for i := range f.Rank() {
				if _, err := agree("extents", f.Dims[i], y.Dims[y.Rank()-f.Rank()+i]); err != nil {
					return nil, fmt.Errorf("%s %v to a product %v: %w", extra.name, f, y, err)
				}
			}
		}
	}
	return []Fact{y}, nil
}

func (o linear) Bind(p *Binder, in, _ []Fact) (Step, error) {
	g, err := matProduct{transB: o.transB, alpha: 1}.plan(in[0], in[1])
	if err != nil {
		return nil, err
	}
	act := finishing{}
	if o.act != nil {
		act = *o.act
	}
	return floatStep(in[0].DType,
		func() (Step, error) { return bindMatrix(p, g, in[1], ending(g, act.f32)) },
		func() (Step, error) { return bindMatrix(p, g, in[1], ending(g, act.f64)) })
}

// ending adds bias and residual, where there are any, and applies act.
func ending[T tensor.Float](g *gemmPlan, act func(p *par.Pool, dst, x []T)) finisher[T] {
	return func(in []*tensor.Tensor) kernel.Finish[T] {
		f := kernel.Finish[T]{Act: act, LDA: g.n}
		if bias := arg(in, linearBias); bias != nil {
			f.Bias = tensor.Data[T](bias)
		}
		if residual := arg(in, linearResidual); residual != nil {
			f.Add = tensor.Data[T](residual)
		}
		return f
	}
}

// Expand spells out the product and what follows.
func (o linear) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	y := fusedMatMul{transB: o.transB, alpha: 1}.build(b, n.Input(0), n.Input(1))
	for _, i := range []int{linearBias, linearResidual} {
		if v := n.Input(i); v != nil {
			y = b.Add(y, v)
		}
	}
	if o.act != nil {
		y = o.act.expand(b, y)
	}
	return ir.In(y), nil
}
