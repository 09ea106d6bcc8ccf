package ops

import (
	"math"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
)

// unary is an elementwise function of one input, y[i] = f(x[i]).
type unary struct{ row *unaryRow }

// A unaryRow is the function: a kernel per dtype, and its derivative.
type unaryRow struct {
	name   string
	strict Strictness
	steps  []typedStep
	// grad is dx from x, y and dy; nil where the derivative is zero.
	grad func(b *GradBuilder, x, y, dy *ir.Value) *ir.Value
}

// entry is the row of the table of operators.
func (r *unaryRow) entry() Entry {
	return Entry{Name: r.name, MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: r.strict,
		New: func(*Args) (Op, error) { return unary{r}, nil }}
}

func (o unary) Infer(in []Fact) ([]Fact, error) { return []Fact{in[0].WithoutValue()}, nil }

func (o unary) Bind(p *Binder, in, out []Fact) (Step, error) {
	p.InPlace(0, 0)
	return bindTyped(p, o, o.row.steps, in, out)
}

func (o unary) Grad(b *GradBuilder) error {
	if o.row.grad != nil {
		b.Set(0, o.row.grad(b, b.In(0), b.Out(0), b.Grad(0)))
	}
	return nil
}

// unaryTable lists the functions without parameters, each as in
// https://onnx.ai/onnx/operators/onnx__NAME.html.
func unaryTable() []Entry {
	rows := []*unaryRow{
		{"Abs", Exact, absSteps(), func(b *GradBuilder, x, _, dy *ir.Value) *ir.Value { return b.Mul(dy, b.f("Sign", x)) }},
		{"Neg", Exact, negSteps(), func(b *GradBuilder, _, _, dy *ir.Value) *ir.Value { return b.Neg(dy) }},
		{"Sign", Exact, signSteps(), nil},
		{"Floor", Exact, []typedStep{unaryStep(kernel.Floor[float32]), unaryStep(kernel.Floor[float64])}, nil},
		{"Ceil", Exact, []typedStep{unaryStep(kernel.Ceil[float32]), unaryStep(kernel.Ceil[float64])}, nil},
		{"Round", Exact, []typedStep{unaryStep(kernel.RoundEven[float32]), unaryStep(kernel.RoundEven[float64])}, nil},
		{"Exp", Rounding, []typedStep{unaryStep(kernel.Exp[float32]), unaryStep(kernel.Exp[float64])}, gradExp},
		{"Log", Rounding, []typedStep{unaryStep(kernel.Log[float32]), unaryStep(kernel.Log[float64])}, gradLog},
		{"Sqrt", Rounding, []typedStep{unaryStep(kernel.Sqrt[float32]), unaryStep(kernel.Sqrt[float64])}, gradSqrt},
		{"Reciprocal", Rounding, []typedStep{unaryStep(kernel.Reciprocal[float32]), unaryStep(kernel.Reciprocal[float64])}, gradReciprocal},
		{"Erf", Rounding, []typedStep{unaryStep(kernel.Erf[float32]), unaryStep(kernel.Erf[float64])}, gradErf},
		{"Tanh", Rounding, []typedStep{unaryStep(kernel.Tanh[float32]), unaryStep(kernel.Tanh[float64])}, gradTanh},
		{"Sigmoid", Rounding, []typedStep{unaryStep(kernel.Sigmoid[float32]), unaryStep(kernel.Sigmoid[float64])}, gradSigmoid},
		{"Relu", Exact, reluSteps(), gradRelu},
		{"Softplus", Rounding, []typedStep{unaryStep(kernel.Softplus[float32]), unaryStep(kernel.Softplus[float64])}, gradSoftplus},
		{"Softsign", Rounding, []typedStep{unaryStep(kernel.Softsign[float32]), unaryStep(kernel.Softsign[float64])}, gradSoftsign},
		{"Sin", Rounding, []typedStep{unaryStep(kernel.Sin[float32]), unaryStep(kernel.Sin[float64])}, gradSin},
		{"Cos", Rounding, []typedStep{unaryStep(kernel.Cos[float32]), unaryStep(kernel.Cos[float64])}, gradCos},
		{"Tan", Rounding, []typedStep{unaryStep(kernel.Tan[float32]), unaryStep(kernel.Tan[float64])}, gradTan},
		{"Asin", Rounding, []typedStep{unaryStep(kernel.Asin[float32]), unaryStep(kernel.Asin[float64])}, gradAsin},
		{"Acos", Rounding, []typedStep{unaryStep(kernel.Acos[float32]), unaryStep(kernel.Acos[float64])}, gradAcos},
		{"Atan", Rounding, []typedStep{unaryStep(kernel.Atan[float32]), unaryStep(kernel.Atan[float64])}, gradAtan},
		{"Sinh", Rounding, []typedStep{unaryStep(kernel.Sinh[float32]), unaryStep(kernel.Sinh[float64])}, gradSinh},
		{"Cosh", Rounding, []typedStep{unaryStep(kernel.Cosh[float32]), unaryStep(kernel.Cosh[float64])}, gradCosh},
		{"Asinh", Rounding, []typedStep{unaryStep(kernel.Asinh[float32]), unaryStep(kernel.Asinh[float64])}, gradAsinh},
		{"Acosh", Rounding, []typedStep{unaryStep(kernel.Acosh[float32]), unaryStep(kernel.Acosh[float64])}, gradAcosh},
		{"Atanh", Rounding, []typedStep{unaryStep(kernel.Atanh[float32]), unaryStep(kernel.Atanh[float64])}, gradAtanh},
		{"Mish", Rounding, []typedStep{unaryStep(kernel.Mish[float32]), unaryStep(kernel.Mish[float64])}, gradMish},
		{"HardSwish", Rounding, []typedStep{unaryStep(kernel.HardSwish[float32]), unaryStep(kernel.HardSwish[float64])}, gradHardSwish},
	}
	entries := make([]Entry, len(rows))
	for i, r := range rows {
		entries[i] = r.entry()
	}
	return entries
}

// absSteps and the like list all types that arithmetic is defined for.
func absSteps() []typedStep {
	return []typedStep{
		unaryStep(kernel.Abs[float32]), unaryStep(kernel.Abs[float64]),
		unaryStep(kernel.Abs[int8]), unaryStep(kernel.Abs[int16]), unaryStep(kernel.Abs[int32]), unaryStep(kernel.Abs[int64]),
		unaryStep(kernel.Abs[uint8]), unaryStep(kernel.Abs[uint16]), unaryStep(kernel.Abs[uint32]), unaryStep(kernel.Abs[uint64]),
	}
}

func negSteps() []typedStep {
	return []typedStep{
		unaryStep(kernel.Neg[float32]), unaryStep(kernel.Neg[float64]),
		unaryStep(kernel.Neg[int8]), unaryStep(kernel.Neg[int16]), unaryStep(kernel.Neg[int32]), unaryStep(kernel.Neg[int64]),
	}
}

func signSteps() []typedStep {
	return []typedStep{
		unaryStep(kernel.Sign[float32]), unaryStep(kernel.Sign[float64]),
		unaryStep(kernel.Sign[int8]), unaryStep(kernel.Sign[int16]), unaryStep(kernel.Sign[int32]), unaryStep(kernel.Sign[int64]),
		unaryStep(kernel.Sign[uint8]), unaryStep(kernel.Sign[uint16]), unaryStep(kernel.Sign[uint32]), unaryStep(kernel.Sign[uint64]),
	}
}

func reluSteps() []typedStep {
	return []typedStep{
		unaryStep(kernel.ReLU[float32]), unaryStep(kernel.ReLU[float64]),
		unaryStep(kernel.ReLU[int8]), unaryStep(kernel.ReLU[int16]), unaryStep(kernel.ReLU[int32]), unaryStep(kernel.ReLU[int64]),
	}
}

// f applies a standard operator without attributes; c is a constant of the
// dtype of the gradient.
func (b *GradBuilder) f(op string, x ...*ir.Value) *ir.Value { return b.Op(op, x) }

func (b *GradBuilder) c(x float64) *ir.Value { return b.Scalar(b.Grad(0), x) }

// oneMinusSquare is 1-x*x, onePlusSquare 1+x*x.
func (b *GradBuilder) oneMinusSquare(x *ir.Value) *ir.Value { return b.Sub(b.c(1), b.Mul(x, x)) }
func (b *GradBuilder) onePlusSquare(x *ir.Value) *ir.Value  { return b.Add(b.c(1), b.Mul(x, x)) }

func gradExp(b *GradBuilder, _, y, dy *ir.Value) *ir.Value { return b.Mul(dy, y) }
func gradLog(b *GradBuilder, x, _, dy *ir.Value) *ir.Value { return b.Div(dy, x) }

func gradSqrt(b *GradBuilder, _, y, dy *ir.Value) *ir.Value {
	return b.Div(b.Mul(dy, b.c(0.5)), y)
}

func gradReciprocal(b *GradBuilder, _, y, dy *ir.Value) *ir.Value {
	return b.Neg(b.Mul(dy, b.Mul(y, y)))
}

func gradErf(b *GradBuilder, x, _, dy *ir.Value) *ir.Value {
	return b.Mul(dy, b.Mul(b.c(2/math.Sqrt(math.Pi)), b.f("Exp", b.Neg(b.Mul(x, x)))))
}

func gradTanh(b *GradBuilder, _, y, dy *ir.Value) *ir.Value { return b.Mul(dy, b.oneMinusSquare(y)) }

func gradSigmoid(b *GradBuilder, _, y, dy *ir.Value) *ir.Value {
	return b.Mul(dy, b.Mul(y, b.Sub(b.c(1), y)))
}

func gradRelu(b *GradBuilder, x, _, dy *ir.Value) *ir.Value {
	return b.f("Where", b.f("Greater", x, b.c(0)), dy, b.c(0))
}

func gradSoftplus(b *GradBuilder, x, _, dy *ir.Value) *ir.Value { return b.Mul(dy, b.f("Sigmoid", x)) }

func gradSoftsign(b *GradBuilder, x, _, dy *ir.Value) *ir.Value {
	d := b.Add(b.c(1), b.f("Abs", x))
	return b.Div(dy, b.Mul(d, d))
}

func gradSin(b *GradBuilder, x, _, dy *ir.Value) *ir.Value { return b.Mul(dy, b.f("Cos", x)) }
func gradCos(b *GradBuilder, x, _, dy *ir.Value) *ir.Value { return b.Neg(b.Mul(dy, b.f("Sin", x))) }
func gradTan(b *GradBuilder, _, y, dy *ir.Value) *ir.Value { return b.Mul(dy, b.onePlusSquare(y)) }

func gradAsin(b *GradBuilder, x, _, dy *ir.Value) *ir.Value {
	return b.Div(dy, b.f("Sqrt", b.oneMinusSquare(x)))
}

func gradAcos(b *GradBuilder, x, y, dy *ir.Value) *ir.Value { return b.Neg(gradAsin(b, x, y, dy)) }
func gradAtan(b *GradBuilder, x, _, dy *ir.Value) *ir.Value { return b.Div(dy, b.onePlusSquare(x)) }
func gradSinh(b *GradBuilder, x, _, dy *ir.Value) *ir.Value { return b.Mul(dy, b.f("Cosh", x)) }
func gradCosh(b *GradBuilder, x, _, dy *ir.Value) *ir.Value { return b.Mul(dy, b.f("Sinh", x)) }

func gradAsinh(b *GradBuilder, x, _, dy *ir.Value) *ir.Value {
	return b.Div(dy, b.f("Sqrt", b.onePlusSquare(x)))
}

func gradAcosh(b *GradBuilder, x, _, dy *ir.Value) *ir.Value {
	return b.Div(dy, b.f("Sqrt", b.Sub(b.Mul(x, x), b.c(1))))
}

func gradAtanh(b *GradBuilder, x, _, dy *ir.Value) *ir.Value { return b.Div(dy, b.oneMinusSquare(x)) }

// gradMish: with t = tanh(softplus(x)), dx = dy*(t + x*(1-t*t)*sigmoid(x)).
func gradMish(b *GradBuilder, x, _, dy *ir.Value) *ir.Value {
	t := b.f("Tanh", b.f("Softplus", x))
	return b.Mul(dy, b.Add(t, b.Mul(x, b.Mul(b.oneMinusSquare(t), b.f("Sigmoid", x)))))
}

// gradHardSwish: 0 below -3, dy above 3, dy*(x/3+1/2) between.
func gradHardSwish(b *GradBuilder, x, _, dy *ir.Value) *ir.Value {
	mid := b.Mul(dy, b.Add(b.Mul(x, b.c(1.0/3)), b.c(0.5)))
	upper := b.f("Where", b.f("Less", x, b.c(3)), mid, dy)
	return b.f("Where", b.f("Greater", x, b.c(-3)), upper, b.c(0))
}
