// Package softcap shows how a program gives bonnx an operator of its own: here
// SoftCap, which some models put on their logits and no operator set has.
//
//	y = cap tanh(x/cap)
//
// It needs nothing of bonnx but its public packages. Use it with
//
//	model.UseOps(ops.Standard().With(softcap.Entry()))
package softcap

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// Domain is where the operator lives; a model that uses it imports the domain.
const Domain = "com.example"

// Entry is the operator's row in the table of operators.
func Entry() ops.Entry {
	return ops.Entry{Domain: Domain, Name: "SoftCap", MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: ops.Rounding, New: newSoftCap}
}

// softCap is y = cap tanh(x/cap) for x of any shape, float32.
type softCap struct{ cap float64 }

// newSoftCap reads the attributes, once.
func newSoftCap(a *ops.Args) (ops.Op, error) {
	c := softCap{a.Float("cap", 30)}
	if !(c.cap > 0) {
		return nil, fmt.Errorf("cap is %g", c.cap)
	}
	return c, nil
}

// Infer says that y is of x's type and shape.
func (softCap) Infer(in []ops.Fact) ([]ops.Fact, error) {
	if in[0].DType != tensor.Float32 {
		return nil, fmt.Errorf("input is %v; float32 is needed", in[0].DType)
	}
	return []ops.Fact{in[0].WithoutValue()}, nil
}

// Bind makes the step that runs, for given shapes. The output may take the
// input's place in memory.
func (c softCap) Bind(p *ops.Binder, _, _ []ops.Fact) (ops.Step, error) {
	p.InPlace(0, 0)
	return func(_ *ops.Frame, in, out []*tensor.Tensor) error {
		y := tensor.Data[float32](out[0])
		for i, x := range tensor.Data[float32](in[0]) {
			y[i] = float32(c.cap * math.Tanh(float64(x)/c.cap))
		}
		return nil
	}, nil
}

// Grad is dx = dy (1 - (y/cap)^2), of nodes that bonnx has.
func (c softCap) Grad(b *ops.GradBuilder) error {
	t := b.Div(b.Out(0), b.Scalar(b.Out(0), c.cap))
	b.Set(0, b.Mul(b.Grad(0), b.Sub(b.Scalar(t, 1), b.Mul(t, t))))
	return nil
}
