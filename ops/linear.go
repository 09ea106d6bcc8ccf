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

// optional is input i, absent where it is left out.
func optional(in []Fact, i int) Fact {
	if i < len(in) {
		return in[i]
	}
	return Fact{}
}

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
	}{{"bias", optional(in, linearBias), 1}, {"residual", optional(in, linearResidual), y.Rank()}} {
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
		func() (Step, error) {
			if step, err := bindNarrowLinear(p, g, in[1], act.f32); step != nil || err != nil {
				return step, err
			}
			return bindLinear(p, g, in[1], act.f32)
		},
		func() (Step, error) { return bindLinear(p, g, in[1], act.f64) })
}

func bindLinear[T tensor.Float](p *Binder, g *gemmPlan, w Fact, act func(p *par.Pool, dst, x []T)) (Step, error) {
	slot := scratchOf[T](p, kernel.GemmScratch[T](g.m, g.n, g.k))
	packed := packedTurned[T](p, w, g)
	turned := packed != nil
	if !turned {
		var err error
		if packed, err = packConstant[T](p, w, g.transB, g.n, g.k, g.ldb); err != nil {
			return nil, err
		}
	}
	if packed != nil {
		p.Unread(1)
	}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		finish := finishOf(g, act, in)
		var b []T
		if packed == nil {
			b = tensor.Data[T](in[1])
		}
		kernel.GemmFinished(f.Pool, g.transB, g.m, g.n, g.k, tensor.Data[T](in[0]), g.lda, b, g.ldb, packed, turned,
			finish, tensor.Data[T](out[0]), g.n, ScratchOf[T](f, slot))
		return nil
	}, nil
}

// finishOf is what follows a product of the inputs.
func finishOf[T tensor.Float](g *gemmPlan, act func(p *par.Pool, dst, x []T), in []*tensor.Tensor) kernel.Finish[T] {
	finish := kernel.Finish[T]{Act: act, LDA: g.n}
	if len(in) > linearBias && in[linearBias] != nil {
		finish.Bias = tensor.Data[T](in[linearBias])
	}
	if len(in) > linearResidual && in[linearResidual] != nil {
		finish.Add = tensor.Data[T](in[linearResidual])
	}
	return finish
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
