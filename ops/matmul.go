package ops

import (
	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// matmul is Y = A B with NumPy's rules: the product of the last two
// dimensions for each index of the leading ones, which are broadcast; a 1-D A
// is a row, a 1-D B a column.
// https://onnx.ai/onnx/operators/onnx__MatMul.html
type matmul struct{}

func newMatMul(*Args) (Op, error) { return matmul{}, nil }

var plainProduct = matProduct{alpha: 1}

func (matmul) Infer(in []Fact) ([]Fact, error) {
	f, err := plainProduct.infer(in[0], in[1])
	return []Fact{f}, err
}

func (o matmul) Bind(p *Binder, in, out []Fact) (Step, error) {
	if !in[0].DType.IsInteger() {
		return plainProduct.bind(p, o, in, out)
	}
	g, err := plainProduct.plan(in[0], in[1])
	if err != nil {
		return nil, err
	}
	return bindTyped(p, o, []typedStep{
		integerProduct[int32](g), integerProduct[int64](g), integerProduct[uint32](g), integerProduct[uint64](g),
	}, in, out)
}

func integerProduct[T kernel.Integer](g *gemmPlan) typedStep {
	return typedStep{tensor.DTypeOf[T](), func(f *Frame, in, out []*tensor.Tensor) error {
		a, b, c := tensor.Data[T](in[0]), tensor.Data[T](in[1]), tensor.Data[T](out[0])
		if g.sharedB {
			kernel.MatMulInteger(f.Pool, g.m, g.n, g.k, a, b, c)
			return nil
		}
		for l, at := range g.at.OffC {
			kernel.MatMulInteger(f.Pool, g.m, g.n, g.k, a[g.at.OffA[l]:], b[g.at.OffB[l]:], c[at:])
		}
		return nil
	}}
}

// fused is ai.bonnx.FusedMatMul: op(A) op(B), no operand 1-D.
func (b *GradBuilder) fused(x, y *ir.Value, transA, transB bool) *ir.Value {
	var attrs []*ir.Attr
	if transA {
		attrs = append(attrs, ir.A("transA", ir.Int(1)))
	}
	if transB {
		attrs = append(attrs, ir.A("transB", ir.Int(1)))
	}
	return b.Composite("FusedMatMul", ir.In(x, y), 1, attrs...)[0]
}

// Grad: dA = dY B', dB = A' dY, summed over what was broadcast. Where B is
// one matrix no rank of A is needed, and all rows of A make one product.
func (matmul) Grad(b *GradBuilder) error {
	fa, fb := b.Fact(b.In(0)), b.Fact(b.In(1))
	if fb.Rank() == 2 && fa.Rank() != 1 {
		gradSharedB(b)
		return nil
	}
	x, y, dy := b.In(0), b.In(1), b.Grad(0)
	if fa.Rank() == 1 {
		x = b.Op("Unsqueeze", ir.In(x, b.Ints(0)))
		axis := -2
		if fb.Rank() == 1 {
			axis = -1
		}
		dy = b.Op("Unsqueeze", ir.In(dy, b.Ints(axis)))
	}
	if fb.Rank() == 1 {
		y = b.Op("Unsqueeze", ir.In(y, b.Ints(1)))
		dy = b.Op("Unsqueeze", ir.In(dy, b.Ints(-1)))
	}
	if b.Needs(0) {
		g := b.SumTo(b.fused(dy, y, false, true), x)
		b.Set(0, b.reshapeIf(x != b.In(0), g, b.In(0)))
	}
	if b.Needs(1) {
		g := b.SumTo(b.fused(x, dy, true, false), y)
		b.Set(1, b.reshapeIf(y != b.In(1), g, b.In(1)))
	}
	return nil
}

func (b *GradBuilder) reshapeIf(cond bool, x, like *ir.Value) *ir.Value {
	if cond {
		return b.Reshape(x, b.Shape(like))
	}
	return x
}

func gradSharedB(b *GradBuilder) {
	x, w, dy := b.In(0), b.In(1), b.Grad(0)
	if b.Needs(0) {
		b.Set(0, b.fused(dy, w, false, true))
	}
	if b.Needs(1) {
		if b.Fact(x).Rank() != 2 {
			x, dy = b.rows(x, w, 0), b.rows(dy, w, 1)
		}
		b.Set(1, b.fused(x, dy, true, false))
	}
}

// rows reshapes x to (-1, n), n being extent axis of w.
func (b *GradBuilder) rows(x, w *ir.Value, axis int) *ir.Value {
	if d := b.Fact(w).Dims[axis]; d.Known {
		return b.ReshapeTo(x, -1, int(d.Value))
	}
	n := b.Op("Shape", ir.In(w), ir.A("start", ir.Int(axis)), ir.A("end", ir.Int(axis+1)))
	return b.Reshape(x, b.Op("Concat", ir.In(b.Ints(-1), n), ir.A("axis", ir.Int(0))))
}
