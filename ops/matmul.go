package ops

import (
	"fmt"

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

// Grad: dA = dY B', dB = A' dY, summed over what was broadcast. Where B is
// one matrix no rank of A is needed, and all rows of A make one product.
func (matmul) Grad(b *GradBuilder) error {
	ra, rb := b.Fact(b.In(0)).Rank(), b.Fact(b.In(1)).Rank()
	switch {
	case rb == 2 && ra != 1:
		gradSharedB(b)
		return nil
	case ra < 0 || rb < 0:
		return fmt.Errorf("the gradient needs the ranks of %v and %v", b.Fact(b.In(0)), b.Fact(b.In(1)))
	}
	x, y, dy := b.In(0), b.In(1), b.Grad(0)
	if rb == 1 {
		y, dy = b.Unsqueeze(y, 1), b.Unsqueeze(dy, -1)
	}
	if ra == 1 {
		x, dy = b.Unsqueeze(x, 0), b.Unsqueeze(dy, -2)
	}
	if b.Needs(0) {
		b.Set(0, b.shapedAs(b.SumTo(b.FusedMatMul(dy, y, false, true), x), x, b.In(0)))
	}
	if b.Needs(1) {
		b.Set(1, b.shapedAs(b.SumTo(b.FusedMatMul(x, dy, true, false), y), y, b.In(1)))
	}
	return nil
}

// shapedAs reshapes g, of the shape of x, to that of the operand x was made of.
func (b *GradBuilder) shapedAs(g, x, operand *ir.Value) *ir.Value {
	if x == operand {
		return g
	}
	return b.Reshape(g, b.Shape(operand))
}

// gradSharedB is for a matrix B and an A of any rank but 1, or of no rank.
func gradSharedB(b *GradBuilder) {
	x, w, dy := b.In(0), b.In(1), b.Grad(0)
	switch {
	case !b.Needs(0):
	case b.Fact(x).Ranked:
		b.Set(0, b.FusedMatMul(dy, w, false, true))
	default: // a vector too
		b.Set(0, b.Reshape(b.FusedMatMul(b.rowsOf(dy, w, 1), w, false, true), b.Shape(x)))
	}
	if b.Needs(1) {
		b.Set(1, b.FusedMatMul(b.rowsOf(x, w, 0), b.rowsOf(dy, w, 1), true, false))
	}
}

// rowsOf is x as a matrix whose columns are as many as extent axis of w: the
// extent of x itself may not be known where that of a weight is.
func (b *GradBuilder) rowsOf(x, w *ir.Value, axis int) *ir.Value {
	if b.Fact(x).Rank() == 2 {
		return x
	}
	return b.Reshape(x, b.Join(b.Ints(-1), b.Extent(w, axis)))
}
