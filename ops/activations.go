package ops

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
)

// The elementwise functions with attributes: each New makes a row of unary
// whose kernels and derivative know them.

// activationTable lists them, as in https://onnx.ai/onnx/operators/onnx__NAME.html.
func activationTable() []Entry {
	row := func(name string, strict Strictness, make func(a *Args) (*unaryRow, error)) Entry {
		return Entry{Name: name, MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: strict, New: func(a *Args) (Op, error) {
			r, err := make(a)
			return unary{r}, err
		}}
	}
	return []Entry{
		row("LeakyRelu", Rounding, newLeakyRelu), row("ThresholdedRelu", Exact, newThresholdedRelu),
		row("Elu", Rounding, newElu), row("Celu", Rounding, newCelu), row("Selu", Rounding, newSelu),
		row("HardSigmoid", Rounding, newHardSigmoid), row("Swish", Rounding, newSwish),
		row("Gelu", Rounding, newGelu), row("Shrink", Rounding, newShrink),
	}
}

// with1 and with2 fix the parameters of a kernel.
func with1[T kernel.Float](k func(p *par.Pool, dst, x []T, a T), a float64) typedStep {
	return unaryStep(func(p *par.Pool, dst, x []T) { k(p, dst, x, T(a)) })
}

func with2[T kernel.Float](k func(p *par.Pool, dst, x []T, a, b T), a, b float64) typedStep {
	return unaryStep(func(p *par.Pool, dst, x []T) { k(p, dst, x, T(a), T(b)) })
}

// whereNegative chooses by x < 0.
func (b *GradBuilder) whereNegative(x, neg, pos *ir.Value) *ir.Value {
	return b.f("Where", b.f("Less", x, b.c(0)), neg, pos)
}

// LeakyRelu: x, below zero alpha*x.
func newLeakyRelu(a *Args) (*unaryRow, error) {
	alpha := a.Float("alpha", 0.01)
	return &unaryRow{
		steps: []typedStep{with1(kernel.LeakyReLU[float32], alpha), with1(kernel.LeakyReLU[float64], alpha)},
		grad: func(b *GradBuilder, x, _, dy *ir.Value) *ir.Value {
			return b.whereNegative(x, b.Mul(dy, b.c(alpha)), dy)
		},
	}, nil
}

// ThresholdedRelu: x where x > alpha, else 0.
func newThresholdedRelu(a *Args) (*unaryRow, error) {
	alpha := a.Float("alpha", 1)
	return &unaryRow{
		steps: []typedStep{with1(kernel.ThresholdedReLU[float32], alpha), with1(kernel.ThresholdedReLU[float64], alpha)},
		grad: func(b *GradBuilder, x, _, dy *ir.Value) *ir.Value {
			return b.f("Where", b.f("Greater", x, b.c(alpha)), dy, b.c(0))
		},
	}, nil
}

// Elu: x, below zero alpha*(e^x-1). There its derivative is y+alpha.
func newElu(a *Args) (*unaryRow, error) {
	alpha := a.Float("alpha", 1)
	return &unaryRow{
		steps: []typedStep{with1(kernel.ELU[float32], alpha), with1(kernel.ELU[float64], alpha)},
		grad: func(b *GradBuilder, x, y, dy *ir.Value) *ir.Value {
			return b.whereNegative(x, b.Mul(dy, b.Add(y, b.c(alpha))), dy)
		},
	}, nil
}

// Celu: x, below zero alpha*(e^(x/alpha)-1). There its derivative is y/alpha+1.
func newCelu(a *Args) (*unaryRow, error) {
	alpha := a.Float("alpha", 1)
	if alpha == 0 {
		return nil, fmt.Errorf("alpha is 0")
	}
	return &unaryRow{
		steps: []typedStep{with1(kernel.CELU[float32], alpha), with1(kernel.CELU[float64], alpha)},
		grad: func(b *GradBuilder, x, y, dy *ir.Value) *ir.Value {
			return b.whereNegative(x, b.Mul(dy, b.Add(b.Mul(y, b.c(1/alpha)), b.c(1))), dy)
		},
	}, nil
}

// Selu: gamma*x, below zero gamma*alpha*(e^x-1). There its derivative is
// y+gamma*alpha.
func newSelu(a *Args) (*unaryRow, error) {
	alpha := a.Float("alpha", 1.67326319217681884765625)
	gamma := a.Float("gamma", 1.05070102214813232421875)
	return &unaryRow{
		steps: []typedStep{with2(kernel.SELU[float32], alpha, gamma), with2(kernel.SELU[float64], alpha, gamma)},
		grad: func(b *GradBuilder, x, y, dy *ir.Value) *ir.Value {
			return b.whereNegative(x, b.Mul(dy, b.Add(y, b.c(alpha*gamma))), b.Mul(dy, b.c(gamma)))
		},
	}, nil
}

// HardSigmoid: min(max(alpha*x+beta, 0), 1).
func newHardSigmoid(a *Args) (*unaryRow, error) {
	alpha, beta := a.Float("alpha", 0.2), a.Float("beta", 0.5)
	return &unaryRow{
		steps: []typedStep{with2(kernel.HardSigmoid[float32], alpha, beta), with2(kernel.HardSigmoid[float64], alpha, beta)},
		grad: func(b *GradBuilder, _, y, dy *ir.Value) *ir.Value {
			inside := b.f("And", b.f("Greater", y, b.c(0)), b.f("Less", y, b.c(1)))
			return b.f("Where", inside, b.Mul(dy, b.c(alpha)), b.c(0))
		},
	}, nil
}

// Swish: x*sigmoid(alpha*x) (since 24). With s the sigmoid its derivative is
// s + alpha*y*(1-s).
func newSwish(a *Args) (*unaryRow, error) {
	alpha := a.Float("alpha", 1)
	return &unaryRow{
		steps: []typedStep{unaryStep(swish[float32](alpha)), unaryStep(swish[float64](alpha))},
		grad: func(b *GradBuilder, x, y, dy *ir.Value) *ir.Value {
			if alpha == 1 {
				return b.Composite("SiLUGrad", ir.In(x, dy), 1)[0]
			}
			s := b.f("Sigmoid", b.Mul(x, b.c(alpha)))
			return b.Mul(dy, b.Add(s, b.Mul(b.Mul(y, b.c(alpha)), b.Sub(b.c(1), s))))
		},
	}, nil
}

func swish[T kernel.Float](alpha float64) func(p *par.Pool, dst, x []T) {
	if alpha == 1 {
		return kernel.SiLU[T]
	}
	f := func(x T) T { return T(float64(x) / (1 + math.Exp(-alpha*float64(x)))) }
	return func(p *par.Pool, dst, x []T) { kernel.Map(p, dst, x, f) }
}

// Gelu: x*Phi(x), or its approximation with tanh (since 20).
func newGelu(a *Args) (*unaryRow, error) {
	switch mode := a.String("approximate", "none"); mode {
	case "none":
		return &unaryRow{steps: []typedStep{unaryStep(kernel.GELU[float32]), unaryStep(kernel.GELU[float64])}, grad: gradGelu}, nil
	case "tanh":
		return &unaryRow{steps: []typedStep{unaryStep(kernel.GELUTanh[float32]), unaryStep(kernel.GELUTanh[float64])}, grad: gradGeluTanh}, nil
	default:
		return nil, fmt.Errorf("approximate is %q", mode)
	}
}

// gradGelu and gradGeluTanh use the composite ai.bonnx.GeluGrad.
func gradGelu(b *GradBuilder, x, _, dy *ir.Value) *ir.Value {
	return b.Composite("GeluGrad", ir.In(x, dy), 1)[0]
}

func gradGeluTanh(b *GradBuilder, x, _, dy *ir.Value) *ir.Value {
	return b.Composite("GeluGrad", ir.In(x, dy), 1, ir.A("approximate", ir.String("tanh")))[0]
}

// Shrink: x+bias below -lambd, x-bias above lambd, 0 between.
func newShrink(a *Args) (*unaryRow, error) {
	lambd, bias := a.Float("lambd", 0.5), a.Float("bias", 0)
	return &unaryRow{
		steps: []typedStep{unaryStep(shrink[float32](lambd, bias)), unaryStep(shrink[float64](lambd, bias))},
		grad: func(b *GradBuilder, x, _, dy *ir.Value) *ir.Value {
			return b.f("Where", b.f("Greater", b.f("Abs", x), b.c(lambd)), dy, b.c(0))
		},
	}, nil
}

func shrink[T kernel.Float](lambd, bias float64) func(p *par.Pool, dst, x []T) {
	f := func(x T) T {
		switch {
		case x < -T(lambd):
			return x + T(bias)
		case x > T(lambd):
			return x - T(bias)
		}
		return 0
	}
	return func(p *par.Pool, dst, x []T) { kernel.Map(p, dst, x, f) }
}
