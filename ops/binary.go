package ops

import (
	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// binary is an elementwise function of two inputs under NumPy's broadcasting.
// https://onnx.ai/onnx/repo-docs/Broadcasting.html
type binary struct{ row *binaryRow }

// A binaryRow is the function: a kernel per dtype, and its derivatives.
type binaryRow struct {
	name   string
	strict Strictness
	kinds  []binaryKind
	// dim is the arithmetic on extents that the function is for integers, 0
	// where it has none.
	dim byte
	// grads are the gradients of the two inputs, still of the output's shape;
	// nil where the function has none.
	grads [2]func(b *GradBuilder) *ir.Value
}

// A binaryKind is a kernel for one dtype.
type binaryKind struct {
	dtype tensor.DType
	// bind makes a step that computes out[0] from in[i] and in[j].
	bind func(bc *kernel.Broadcast, i, j int) Step
	// fold makes a step that puts in[j] into out[0].
	fold func(bc *kernel.Broadcast, j int) Step
}

type binaryKernel[T any] func(p *par.Pool, b *kernel.Broadcast, dst, x, y []T)

func binaryOf[T kernel.Numeric](k binaryKernel[T]) binaryKind {
	return binaryKind{
		dtype: tensor.DTypeOf[T](),
		bind: func(bc *kernel.Broadcast, i, j int) Step {
			return func(f *Frame, in, out []*tensor.Tensor) error {
				k(f.Pool, bc, tensor.Data[T](out[0]), tensor.Data[T](in[i]), tensor.Data[T](in[j]))
				return nil
			}
		},
		fold: func(bc *kernel.Broadcast, j int) Step {
			return func(f *Frame, in, out []*tensor.Tensor) error {
				y := tensor.Data[T](out[0])
				k(f.Pool, bc, y, y, tensor.Data[T](in[j]))
				return nil
			}
		},
	}
}

func (r *binaryRow) entry() Entry {
	return Entry{Name: r.name, MinIn: 2, MaxIn: 2, MaxOut: 1, Strict: r.strict,
		New: func(*Args) (Op, error) { return binary{r}, nil }}
}

func kindFor(kinds []binaryKind, d tensor.DType) *binaryKind {
	for i := range kinds {
		if kinds[i].dtype == d {
			return &kinds[i]
		}
	}
	return nil
}

func (o binary) Infer(in []Fact) ([]Fact, error) {
	d, err := commonDType(in)
	if err != nil {
		return nil, err
	}
	if o.row.dim != 0 && d == tensor.Int64 {
		if f, ok := o.extents(in[0], in[1]); ok {
			return []Fact{f}, nil
		}
	}
	out, err := broadcastFact(d, in)
	return []Fact{out}, err
}

// extents follows the computation of shapes: what the function makes of
// tensors of extents.
func (o binary) extents(x, y Fact) (Fact, bool) {
	a, ok := shapeElems(x)
	b, ok2 := shapeElems(y)
	if !ok || !ok2 {
		return Fact{}, false
	}
	n := max(len(a), len(b))
	if len(a) == 0 || len(b) == 0 {
		n = 0
	}
	if len(a) != n && len(a) != 1 || len(b) != n && len(b) != 1 {
		return Fact{}, false
	}
	out := make([]ir.Dim, n)
	for i := range out {
		out[i] = dimOp(o.row.dim, a[i%len(a)], b[i%len(b)])
	}
	return extentsFact(max(x.Rank(), y.Rank()), out), true
}

// shapeElems are the elements of a small integer tensor of rank 0 or 1 of
// which something is known.
func shapeElems(f Fact) ([]ir.Dim, bool) {
	if r := f.Rank(); r < 0 || r > 1 || f.Elems == nil && f.Const == nil {
		return nil, false
	}
	if f.Rank() == 1 && (!f.Dims[0].Known || f.Dims[0].Value > maxElems) {
		return nil, false
	}
	return f.Extents()
}

func (o binary) Bind(p *Binder, in, out []Fact) (Step, error) {
	kind := kindFor(o.row.kinds, in[0].DType)
	if kind == nil {
		if isNarrow(in[0].DType) && kindFor(o.row.kinds, tensor.Float32) != nil {
			return viaFloat32(p, o, in, out)
		}
		return nil, errDType(in[0].DType)
	}
	x, withX, err := stretchConstant(p, in, out[0], 0)
	if err != nil {
		return nil, err
	}
	y, withY, err := stretchConstant(p, in, out[0], 1)
	if err != nil {
		return nil, err
	}
	bc, err := planBroadcast(out[0].MustShape(), x.MustShape(), y.MustShape())
	if err != nil {
		return nil, err
	}
	inPlaceIfSame(p, in, out[0], 0, 1)
	return withX(withY(kind.bind(bc, 0, 1))), nil
}

func (o binary) Grad(b *GradBuilder) error {
	for i, g := range o.row.grads {
		if g != nil && b.Needs(i) {
			b.SetSum(i, g(b))
		}
	}
	return nil
}

// binaryTable lists the functions of two inputs, each as in
// https://onnx.ai/onnx/operators/onnx__NAME.html.
func binaryTable() []Entry {
	dy := func(b *GradBuilder) *ir.Value { return b.Grad(0) }
	type grads = [2]func(b *GradBuilder) *ir.Value
	rows := []*binaryRow{
		{"Add", Rounding, addKinds(), '+', grads{dy, dy}},
		{"Sub", Rounding, subKinds(), '-', grads{dy, func(b *GradBuilder) *ir.Value { return b.Neg(b.Grad(0)) }}},
		{"Mul", Rounding, mulKinds(), '*', grads{
			func(b *GradBuilder) *ir.Value { return b.Mul(b.Grad(0), b.In(1)) },
			func(b *GradBuilder) *ir.Value { return b.Mul(b.Grad(0), b.In(0)) },
		}},
		{"Div", Rounding, divKinds(), '/', grads{
			func(b *GradBuilder) *ir.Value { return b.Div(b.Grad(0), b.In(1)) },
			func(b *GradBuilder) *ir.Value { return b.Neg(b.Div(b.Mul(b.Grad(0), b.Out(0)), b.In(1))) },
		}},
		{"BitwiseAnd", Exact, bitAndKinds(), 0, grads{}},
		{"BitwiseOr", Exact, bitOrKinds(), 0, grads{}},
		{"BitwiseXor", Exact, bitXorKinds(), 0, grads{}},
	}
	entries := make([]Entry, len(rows))
	for i, r := range rows {
		entries[i] = r.entry()
	}
	return entries
}

func addKinds() []binaryKind {
	return []binaryKind{
		binaryOf(kernel.Add[float32]), binaryOf(kernel.Add[float64]), binaryOf(kernel.Add[int64]), binaryOf(kernel.Add[int32]),
		binaryOf(kernel.Add[int16]), binaryOf(kernel.Add[int8]), binaryOf(kernel.Add[uint64]), binaryOf(kernel.Add[uint32]),
		binaryOf(kernel.Add[uint16]), binaryOf(kernel.Add[uint8]),
	}
}

func subKinds() []binaryKind {
	return []binaryKind{
		binaryOf(kernel.Sub[float32]), binaryOf(kernel.Sub[float64]), binaryOf(kernel.Sub[int64]), binaryOf(kernel.Sub[int32]),
		binaryOf(kernel.Sub[int16]), binaryOf(kernel.Sub[int8]), binaryOf(kernel.Sub[uint64]), binaryOf(kernel.Sub[uint32]),
		binaryOf(kernel.Sub[uint16]), binaryOf(kernel.Sub[uint8]),
	}
}

func mulKinds() []binaryKind {
	return []binaryKind{
		binaryOf(kernel.Mul[float32]), binaryOf(kernel.Mul[float64]), binaryOf(kernel.Mul[int64]), binaryOf(kernel.Mul[int32]),
		binaryOf(kernel.Mul[int16]), binaryOf(kernel.Mul[int8]), binaryOf(kernel.Mul[uint64]), binaryOf(kernel.Mul[uint32]),
		binaryOf(kernel.Mul[uint16]), binaryOf(kernel.Mul[uint8]),
	}
}

func divKinds() []binaryKind {
	return []binaryKind{
		binaryOf(kernel.Div[float32]), binaryOf(kernel.Div[float64]), binaryOf(kernel.Div[int64]), binaryOf(kernel.Div[int32]),
		binaryOf(kernel.Div[int16]), binaryOf(kernel.Div[int8]), binaryOf(kernel.Div[uint64]), binaryOf(kernel.Div[uint32]),
		binaryOf(kernel.Div[uint16]), binaryOf(kernel.Div[uint8]),
	}
}

func bitAndKinds() []binaryKind {
	return []binaryKind{
		binaryOf(kernel.BitAnd[int64]), binaryOf(kernel.BitAnd[int32]), binaryOf(kernel.BitAnd[int16]), binaryOf(kernel.BitAnd[int8]),
		binaryOf(kernel.BitAnd[uint64]), binaryOf(kernel.BitAnd[uint32]), binaryOf(kernel.BitAnd[uint16]), binaryOf(kernel.BitAnd[uint8]),
	}
}

func bitOrKinds() []binaryKind {
	return []binaryKind{
		binaryOf(kernel.BitOr[int64]), binaryOf(kernel.BitOr[int32]), binaryOf(kernel.BitOr[int16]), binaryOf(kernel.BitOr[int8]),
		binaryOf(kernel.BitOr[uint64]), binaryOf(kernel.BitOr[uint32]), binaryOf(kernel.BitOr[uint16]), binaryOf(kernel.BitOr[uint8]),
	}
}

func bitXorKinds() []binaryKind {
	return []binaryKind{
		binaryOf(kernel.BitXor[int64]), binaryOf(kernel.BitXor[int32]), binaryOf(kernel.BitXor[int16]), binaryOf(kernel.BitXor[int8]),
		binaryOf(kernel.BitXor[uint64]), binaryOf(kernel.BitXor[uint32]), binaryOf(kernel.BitXor[uint16]), binaryOf(kernel.BitXor[uint8]),
	}
}
