package ops

import (
	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// softmax is y = e^x / sum e^x along an axis, or its logarithm.
// https://onnx.ai/onnx/operators/onnx__Softmax.html (along one axis since 13)
type softmax struct {
	axis int
	row  *softmaxRow
}

// softmaxGrad is ai.bonnx.SoftmaxGrad and LogSoftmaxGrad, the gradient from
// the result y:
//
//	Softmax:    dx = y * (dy - sum_axis(dy*y))
//	LogSoftmax: dx = dy - e^y * sum_axis(dy)
type softmaxGrad struct{ of softmax }

type softmaxRow struct {
	name     string
	forward  []axisKind
	backward []axisKind
	expand   func(b *Builder, y, dy *ir.Value, sum func(*ir.Value) *ir.Value) *ir.Value
}

// An axisKind is a kernel along an axis for one dtype.
type axisKind struct {
	dtype tensor.DType
	step  func(outer, n, inner int) Step
}

func axisKernel[T kernel.Float](k func(p *par.Pool, outer, n, inner int, y, x []T)) axisKind {
	return axisKind{tensor.DTypeOf[T](), func(outer, n, inner int) Step {
		return func(f *Frame, in, out []*tensor.Tensor) error {
			k(f.Pool, outer, n, inner, tensor.Data[T](out[0]), tensor.Data[T](in[0]))
			return nil
		}
	}}
}

func axisKernel2[T kernel.Float](k func(p *par.Pool, outer, n, inner int, dx, y, dy []T)) axisKind {
	return axisKind{tensor.DTypeOf[T](), func(outer, n, inner int) Step {
		return func(f *Frame, in, out []*tensor.Tensor) error {
			k(f.Pool, outer, n, inner, tensor.Data[T](out[0]), tensor.Data[T](in[0]), tensor.Data[T](in[1]))
			return nil
		}
	}}
}

func softmaxRows() (plain, log *softmaxRow) {
	plain = &softmaxRow{
		name:     "Softmax",
		forward:  []axisKind{axisKernel(kernel.Softmax[float32]), axisKernel(kernel.Softmax[float64])},
		backward: []axisKind{axisKernel2(kernel.SoftmaxGrad[float32]), axisKernel2(kernel.SoftmaxGrad[float64])},
		expand: func(b *Builder, y, dy *ir.Value, sum func(*ir.Value) *ir.Value) *ir.Value {
			return b.Mul(y, b.Sub(dy, sum(b.Mul(dy, y))))
		},
	}
	log = &softmaxRow{
		name:     "LogSoftmax",
		forward:  []axisKind{axisKernel(kernel.LogSoftmax[float32]), axisKernel(kernel.LogSoftmax[float64])},
		backward: []axisKind{axisKernel2(kernel.LogSoftmaxGrad[float32]), axisKernel2(kernel.LogSoftmaxGrad[float64])},
		expand: func(b *Builder, y, dy *ir.Value, sum func(*ir.Value) *ir.Value) *ir.Value {
			return b.Sub(dy, b.Mul(b.Op("Exp", ir.In(y)), sum(dy)))
		},
	}
	return plain, log
}

// softmaxTable lists the operators, softmaxGradTable their gradients.
func softmaxTable() []Entry {
	plain, log := softmaxRows()
	entry := func(r *softmaxRow) Entry {
		return Entry{Name: r.name, MinIn: 1, MaxIn: 1, MaxOut: 1, Strict: Accurate,
			New: func(a *Args) (Op, error) { return softmax{a.Int("axis", -1), r}, nil }}
	}
	return []Entry{entry(plain), entry(log)}
}

func softmaxGradTable() []Entry {
	plain, log := softmaxRows()
	entry := func(r *softmaxRow) Entry {
		return Entry{Domain: Domain, Name: r.name + "Grad", MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: Accurate,
			New: func(a *Args) (Op, error) { return softmaxGrad{softmax{a.Int("axis", -1), r}}, nil }}
	}
	return []Entry{entry(plain), entry(log)}
}

func (o softmax) Infer(in []Fact) ([]Fact, error) {
	if in[0].Ranked {
		if _, err := axisOf(in[0], o.axis); err != nil {
			return nil, err
		}
	}
	return []Fact{in[0].WithoutValue()}, nil
}

func (o softmax) Bind(p *Binder, in, out []Fact) (Step, error) {
	p.InPlace(0, 0)
	return o.bind(p, o, o.row.forward, in, out)
}

func (o softmax) bind(p *Binder, op Op, kinds []axisKind, in, out []Fact) (Step, error) {
	outer, n, inner, err := aroundAxis(in[0], o.axis)
	if err != nil {
		return nil, err
	}
	for _, k := range kinds {
		if k.dtype == in[0].DType {
			return k.step(outer, n, inner), nil
		}
	}
	if isNarrow(in[0].DType) {
		return viaFloat32(p, op, in, out)
	}
	return nil, errDType(in[0].DType)
}

func (o softmax) Grad(b *GradBuilder) error {
	b.Set(0, b.Composite(o.row.name+"Grad", ir.In(b.Out(0), b.Grad(0)), 1, ir.A("axis", ir.Int(o.axis)))[0])
	return nil
}

func (o softmaxGrad) Infer(in []Fact) ([]Fact, error) {
	if _, err := commonDType(in); err != nil {
		return nil, err
	}
	return o.of.Infer(in)
}

func (o softmaxGrad) Bind(p *Binder, in, out []Fact) (Step, error) {
	if !in[0].MustShape().Equal(in[1].MustShape()) {
		return nil, errDataShape
	}
	p.InPlace(0, 1)
	return o.of.bind(p, o, o.of.row.backward, in, out)
}

// Expand spells the equation out.
func (o softmaxGrad) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	sum := func(v *ir.Value) *ir.Value { return b.ReduceSum(v, true, o.of.axis) }
	return ir.In(o.of.row.expand(b, n.Input(0), n.Input(1), sum)), nil
}

// hardmax is 1 at the first greatest element along an axis, 0 elsewhere.
// https://onnx.ai/onnx/operators/onnx__Hardmax.html
type hardmax struct{ axis int }

func newHardmax(a *Args) (Op, error) { return hardmax{a.Int("axis", -1)}, nil }

func (o hardmax) Infer(in []Fact) ([]Fact, error) { return softmax{axis: o.axis}.Infer(in) }

func (o hardmax) Bind(p *Binder, in, out []Fact) (Step, error) {
	outer, n, inner, err := aroundAxis(in[0], o.axis)
	if err != nil {
		return nil, err
	}
	s := p.Scratch(8 * outer * inner)
	return bindTyped(p, o, []typedStep{hardmaxStep[float32](s, outer, n, inner), hardmaxStep[float64](s, outer, n, inner)}, in, out)
}

func hardmaxStep[T kernel.Float](s Slot, outer, n, inner int) typedStep {
	return typedStep{tensor.DTypeOf[T](), func(f *Frame, in, out []*tensor.Tensor) error {
		y := tensor.Data[T](out[0])
		clear(y)
		if len(y) == 0 {
			return nil
		}
		at := ScratchOf[int64](f, s)
		kernel.ArgMax(f.Pool, outer, n, inner, at, tensor.Data[T](in[0]), false)
		for i, k := range at[:outer*inner] {
			y[(i/inner*n+int(k))*inner+i%inner] = 1
		}
		return nil
	}}
}
