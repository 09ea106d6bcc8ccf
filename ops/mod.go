package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
)

// newMod is the remainder of a division: with y's sign, or with fmod = 1 with
// x's. https://onnx.ai/onnx/operators/onnx__Mod.html
func newMod(a *Args) (Op, error) {
	kinds := modKinds()
	if a.Bool("fmod", false) {
		kinds = fmodKinds()
	}
	return binary{&binaryRow{name: "Mod", kinds: kinds, grads: [2]func(b *GradBuilder) *ir.Value{
		func(b *GradBuilder) *ir.Value { return b.Grad(0) },
		// x = q*y + out with q a whole number.
		func(b *GradBuilder) *ir.Value {
			return b.Mul(b.Grad(0), b.Div(b.Sub(b.Out(0), b.In(0)), b.In(1)))
		},
	}}}, nil
}

func modKinds() []binaryKind {
	return []binaryKind{
		binaryOf(kernel.Mod[float32]), binaryOf(kernel.Mod[float64]), binaryOf(kernel.Mod[int64]), binaryOf(kernel.Mod[int32]),
		binaryOf(kernel.Mod[int16]), binaryOf(kernel.Mod[int8]), binaryOf(kernel.Mod[uint64]), binaryOf(kernel.Mod[uint32]),
		binaryOf(kernel.Mod[uint16]), binaryOf(kernel.Mod[uint8]),
	}
}

func fmodKinds() []binaryKind {
	return []binaryKind{
		binaryOf(kernel.FMod[float32]), binaryOf(kernel.FMod[float64]), binaryOf(kernel.FMod[int64]), binaryOf(kernel.FMod[int32]),
		binaryOf(kernel.FMod[int16]), binaryOf(kernel.FMod[int8]), binaryOf(kernel.FMod[uint64]), binaryOf(kernel.FMod[uint32]),
		binaryOf(kernel.FMod[uint16]), binaryOf(kernel.FMod[uint8]),
	}
}

// newBitShift shifts unsigned integers left or right by y bits.
// https://onnx.ai/onnx/operators/onnx__BitShift.html
func newBitShift(a *Args) (Op, error) {
	row := &binaryRow{name: "BitShift"}
	switch d := a.String("direction", ""); d {
	case "LEFT":
		row.kinds = []binaryKind{shiftLeft[uint8](), shiftLeft[uint16](), shiftLeft[uint32](), shiftLeft[uint64]()}
	case "RIGHT":
		row.kinds = []binaryKind{shiftRight[uint8](), shiftRight[uint16](), shiftRight[uint32](), shiftRight[uint64]()}
	default:
		return nil, fmt.Errorf("direction is %q", d)
	}
	return binary{row}, nil
}

type unsigned interface {
	uint8 | uint16 | uint32 | uint64
}

func shiftLeft[T unsigned]() binaryKind {
	f := func(x, y T) T { return x << y }
	return binaryOf(func(p *par.Pool, b *kernel.Broadcast, dst, x, y []T) { kernel.Binary(p, b, dst, x, y, f) })
}

func shiftRight[T unsigned]() binaryKind {
	f := func(x, y T) T { return x >> y }
	return binaryOf(func(p *par.Pool, b *kernel.Broadcast, dst, x, y []T) { kernel.Binary(p, b, dst, x, y, f) })
}

// newBitwiseNot flips all bits.
// https://onnx.ai/onnx/operators/onnx__BitwiseNot.html
func newBitwiseNot(*Args) (Op, error) {
	return unary{&unaryRow{name: "BitwiseNot", steps: []typedStep{
		flip[int8](), flip[int16](), flip[int32](), flip[int64](),
		flip[uint8](), flip[uint16](), flip[uint32](), flip[uint64](),
	}}}, nil
}

func flip[T kernel.Integer]() typedStep {
	f := func(x T) T { return ^x }
	return unaryStep(func(p *par.Pool, dst, x []T) { kernel.Map(p, dst, x, f) })
}

// newPRelu is x, below zero slope*x; slope is broadcast to x.
// https://onnx.ai/onnx/operators/onnx__PRelu.html
func newPRelu(*Args) (Op, error) {
	return binary{&binaryRow{
		name: "PRelu", kinds: []binaryKind{
			binaryOf(kernel.PReLU[float32]), binaryOf(kernel.PReLU[float64]), binaryOf(kernel.PReLU[int32]),
			binaryOf(kernel.PReLU[int64]), binaryOf(kernel.PReLU[uint32]), binaryOf(kernel.PReLU[uint64]),
		},
		grads: [2]func(b *GradBuilder) *ir.Value{
			func(b *GradBuilder) *ir.Value {
				return b.whereNegative(b.In(0), b.Mul(b.Grad(0), b.In(1)), b.Grad(0))
			},
			func(b *GradBuilder) *ir.Value {
				return b.whereNegative(b.In(0), b.Mul(b.Grad(0), b.In(0)), b.c(0))
			},
		},
	}}, nil
}
