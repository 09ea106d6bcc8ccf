package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
)

// linear is ai.bonnx.Linear, a product by a matrix and what it ends in:
//
//	x (..., k), W (k, n) or, transB, (n, k) [, bias (n)] [, residual (..., n)] -> y (..., n)
//	y = activation(x W + bias + residual)
type linear struct {
	transB bool
	ending
}

func newLinear(a *Args) (Op, error) {
	e, err := newEnding(a, 2)
	return linear{a.Bool("transB", false), e}, err
}

func (o linear) Infer(in []Fact) ([]Fact, error) {
	if in[1].Ranked && in[1].Rank() != 2 {
		return nil, fmt.Errorf("weight %v: %w", in[1], errRank)
	}
	out, err := fusedMatMul{transB: o.transB, alpha: 1}.Infer(in[:2])
	if err != nil {
		return nil, err
	}
	return out, o.check(in, out[0])
}

func (o linear) Bind(p *Binder, in, _ []Fact) (Step, error) {
	g, err := matProduct{transB: o.transB, alpha: 1}.plan(in[0], in[1])
	if err != nil {
		return nil, err
	}
	return floatStep(in[0].DType,
		func() (Step, error) { return bindMatrix(p, g, in[1], o.f32(g.n)) },
		func() (Step, error) { return bindMatrix(p, g, in[1], o.f64(g.n)) })
}

// Expand spells out the product and what follows.
func (o linear) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	y := fusedMatMul{transB: o.transB, alpha: 1}.build(b, n.Input(0), n.Input(1))
	return ir.In(o.expand(b, n, y)), nil
}
