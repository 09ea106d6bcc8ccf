package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/tensor"
)

// logic is an elementwise function of two booleans with broadcasting: And, Or,
// Xor. https://onnx.ai/onnx/operators/onnx__And.html and beside
type logic struct {
	run func(p *par.Pool, b *kernel.Broadcast, dst, x, y []bool)
}

func newLogic(run func(p *par.Pool, b *kernel.Broadcast, dst, x, y []bool)) func(*Args) (Op, error) {
	return func(*Args) (Op, error) { return logic{run}, nil }
}

func (logic) Infer(in []Fact) ([]Fact, error) {
	if err := needBool(in); err != nil {
		return nil, err
	}
	f, err := broadcastFact(tensor.Bool, in)
	return []Fact{f}, err
}

func needBool(in []Fact) error {
	for i, f := range in {
		if f.DType != tensor.Bool && !f.Absent() {
			return fmt.Errorf("input %d is %v, want bool", i, f)
		}
	}
	return nil
}

func (o logic) Bind(p *Binder, in, out []Fact) (Step, error) {
	bc, err := planBroadcast(out[0].MustShape(), in[0].MustShape(), in[1].MustShape())
	if err != nil {
		return nil, err
	}
	inPlaceIfSame(p, in, out[0], 0, 1)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		o.run(f.Pool, bc, tensor.Data[bool](out[0]), tensor.Data[bool](in[0]), tensor.Data[bool](in[1]))
		return nil
	}, nil
}

// not is !x. https://onnx.ai/onnx/operators/onnx__Not.html
type not struct{}

func newNot(*Args) (Op, error) { return not{}, nil }

func (not) Infer(in []Fact) ([]Fact, error) {
	f := in[0].WithoutValue()
	return []Fact{f}, needBool(in)
}

func (not) Bind(p *Binder, _, _ []Fact) (Step, error) {
	p.InPlace(0, 0)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		kernel.Not(f.Pool, tensor.Data[bool](out[0]), tensor.Data[bool](in[0]))
		return nil
	}, nil
}

// isNaN says which elements are not a number.
// https://onnx.ai/onnx/operators/onnx__IsNaN.html
type isNaN struct{}

func newIsNaN(*Args) (Op, error) { return isNaN{}, nil }

func (isNaN) Infer(in []Fact) ([]Fact, error) { return []Fact{asBool(in[0])}, nil }

func asBool(f Fact) Fact {
	f = f.WithoutValue()
	f.DType = tensor.Bool
	return f
}

func (o isNaN) Bind(p *Binder, in, out []Fact) (Step, error) {
	return bindTyped(p, o, []typedStep{testStep(kernel.IsNaN[float32]), testStep(kernel.IsNaN[float64])}, in, out)
}

func testStep[T kernel.Float](k func(p *par.Pool, dst []bool, x []T)) typedStep {
	return typedStep{tensor.DTypeOf[T](), func(f *Frame, in, out []*tensor.Tensor) error {
		k(f.Pool, tensor.Data[bool](out[0]), tensor.Data[T](in[0]))
		return nil
	}}
}

// isInf says which elements are infinite, of the signs asked for.
// https://onnx.ai/onnx/operators/onnx__IsInf.html
type isInf struct{ negative, positive bool }

func newIsInf(a *Args) (Op, error) {
	return isInf{a.Bool("detect_negative", true), a.Bool("detect_positive", true)}, nil
}

func (isInf) Infer(in []Fact) ([]Fact, error) { return []Fact{asBool(in[0])}, nil }

func (o isInf) Bind(p *Binder, in, out []Fact) (Step, error) {
	return bindTyped(p, o, []typedStep{
		testStep(func(p *par.Pool, dst []bool, x []float32) { kernel.IsInf(p, dst, x, o.negative, o.positive) }),
		testStep(func(p *par.Pool, dst []bool, x []float64) { kernel.IsInf(p, dst, x, o.negative, o.positive) }),
	}, in, out)
}
