package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// fusedMatMul is ai.bonnx.FusedMatMul: the product of stacks of matrices, each
// perhaps read transposed, their leading axes broadcast together.
//
//	A (..., m, k) or, transA, (..., k, m); B (..., k, n) or, transB, (..., n, k)
//	Y (..., m, n) = op(A) op(B)
type fusedMatMul struct{ transA, transB bool }

func newFusedMatMul(a *Args) (Op, error) {
	return fusedMatMul{a.Bool("transA", false), a.Bool("transB", false)}, nil
}

// Infer needs the ranks of both for a ranked result.
func (o fusedMatMul) Infer(in []Fact) ([]Fact, error) {
	if err := sameFloats([]string{"A", "B"}, in); err != nil {
		return nil, err
	}
	a, b := in[0], in[1]
	for _, f := range in {
		if f.Ranked && f.Rank() < 2 {
			return nil, fmt.Errorf("%v has no matrix: %w", f, errRank)
		}
	}
	m, k1 := lastTwo(a, o.transA)
	k2, n := lastTwo(b, o.transB)
	if _, err := agree("inner extents", k1, k2); err != nil {
		return nil, fmt.Errorf("%v by %v: %w", a, b, err)
	}
	if !a.Ranked || !b.Ranked {
		return []Fact{{DType: a.DType}}, nil
	}
	batch, ok := BroadcastDims(a.Dims[:a.Rank()-2], b.Dims[:b.Rank()-2])
	if !ok {
		return nil, fmt.Errorf("%v by %v: leading extents do not broadcast", a, b)
	}
	return []Fact{Of(a.DType, append(batch, m, n)...)}, nil
}

// lastTwo are the extents of a matrix as it is read, unknown without a rank.
func lastTwo(f Fact, trans bool) (rows, cols ir.Dim) {
	if trans {
		return f.Dim(-1), f.Dim(-2)
	}
	return f.Dim(-2), f.Dim(-1)
}

func (o fusedMatMul) Bind(p *Binder, in, out []Fact) (Step, error) {
	return floatStep(in[0].DType,
		func() (Step, error) { return bindMatMul[float32](p, in, out, o.transA, o.transB) },
		func() (Step, error) { return bindMatMul[float64](p, in, out, o.transA, o.transB) })
}

// bindMatMul makes the step of a batched product. A stack of A against one B
// is one tall product; a constant B of it is packed once.
func bindMatMul[T tensor.Float](p *Binder, in, out []Fact, transA, transB bool) (Step, error) {
	as, bs, ys := in[0].MustShape(), in[1].MustShape(), out[0].MustShape()
	g := product2D{transA: transA, transB: transB}
	g.m, g.n, g.k = ys[len(ys)-2], ys[len(ys)-1], as[len(as)-1]
	if transA {
		g.k = as[len(as)-2]
	}
	g.lda, g.ldb = as[len(as)-1], bs[len(bs)-1]
	batchB := bs[:len(bs)-2].Size()
	batchY := ys[:len(ys)-2].Size()
	if batchY == 1 {
		return bindGemm[T](p, in[1], g)
	}
	if batchB == 1 && !transA && as[:len(as)-2].Size() == batchY {
		g.m *= batchY
		return bindGemm[T](p, in[1], g)
	}
	at := kernel.Batch{
		OffA: broadcastOffsets(as[:len(as)-2], ys[:len(ys)-2], g.m*g.k),
		OffB: broadcastOffsets(bs[:len(bs)-2], ys[:len(ys)-2], g.n*g.k),
		OffC: kernel.Strided(batchY, g.m*g.n),
	}
	slot := scratchOf[T](p, kernel.GemmBatchScratch[T](batchY, g.m, g.n, g.k))
	return func(f *Frame, in, out []*tensor.Tensor) error {
		kernel.GemmBatch(f.Pool, at, g.transA, g.transB, g.m, g.n, g.k, 1, tensor.Data[T](in[0]), g.lda,
			tensor.Data[T](in[1]), g.ldb, false, tensor.Data[T](out[0]), g.n, ScratchOf[T](f, slot))
		return nil
	}, nil
}

// product2D are the sizes of one matrix product.
type product2D struct {
	transA, transB bool
	m, n, k        int
	lda, ldb       int
}

// bindGemm makes the step of one product of in[0] by in[1] to out[0].
func bindGemm[T tensor.Float](p *Binder, b Fact, g product2D) (Step, error) {
	slot := scratchOf[T](p, kernel.GemmScratch[T](g.m, g.n, g.k))
	packed, err := packConstant[T](p, b, g.transB, g.n, g.k, g.ldb)
	if err != nil {
		return nil, err
	}
	if packed != nil {
		return func(f *Frame, in, out []*tensor.Tensor) error {
			kernel.GemmPacked(f.Pool, g.transA, g.m, g.n, g.k, 1, tensor.Data[T](in[0]), g.lda, packed,
				false, tensor.Data[T](out[0]), g.n, ScratchOf[T](f, slot))
			return nil
		}, nil
	}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		kernel.Gemm(f.Pool, g.transA, g.transB, g.m, g.n, g.k, 1, tensor.Data[T](in[0]), g.lda,
			tensor.Data[T](in[1]), g.ldb, false, tensor.Data[T](out[0]), g.n, ScratchOf[T](f, slot))
		return nil
	}, nil
}

// packConstant is op(B) packed once for all plans, nil where B is not constant.
func packConstant[T tensor.Float](p *Binder, b Fact, trans bool, n, k, ldb int) ([]T, error) {
	if b.Const == nil || n*k == 0 {
		return nil, nil
	}
	tag := "gemm"
	if trans {
		tag = "gemm transposed"
	}
	v, err := p.Packed(b.Const, tag, func(t *tensor.Tensor) any {
		dst := make([]T, kernel.PackedSize[T](n, k))
		kernel.PackB(nil, trans, n, k, tensor.Data[T](t), ldb, dst)
		return dst
	})
	if err != nil {
		return nil, err
	}
	return v.([]T), nil
}

// scratchOf asks for scratch of n elements of T.
func scratchOf[T tensor.Float](p *Binder, n int) Slot {
	return p.Scratch(tensor.DTypeOf[T]().Size(n))
}

// broadcastOffsets are the offsets, in matrices of the given size, of the
// stack shape as it is repeated to the stack out.
func broadcastOffsets(shape, out tensor.Shape, size int) []int {
	strides := shape.Strides()
	off := make([]int, out.Size())
	for i := range off {
		rest := i
		for a := len(out) - 1; a >= 0; a-- {
			k := rest % out[a]
			rest /= out[a]
			if j := a - len(out) + len(shape); j >= 0 && shape[j] != 1 {
				off[i] += k * strides[j] * size
			}
		}
	}
	return off
}

// FusedMatMul adds op(x) op(y), stacks of matrices.
func (b *Builder) FusedMatMul(x, y *ir.Value, transX, transY bool) *ir.Value {
	var attrs []*ir.Attr
	if transX {
		attrs = append(attrs, ir.A("transA", ir.Int(1)))
	}
	if transY {
		attrs = append(attrs, ir.A("transB", ir.Int(1)))
	}
	return b.Composite("FusedMatMul", ir.In(x, y), 1, attrs...)[0]
}

// Grad: dA = dY op(B)', dB = op(A)' dY, each transposed where it was read so,
// and summed over the axes it was repeated along.
func (o fusedMatMul) Grad(b *GradBuilder) error {
	x, y, dy := b.In(0), b.In(1), b.Grad(0)
	if b.Needs(0) {
		g := (*ir.Value)(nil)
		if o.transA {
			g = b.FusedMatMul(y, dy, o.transB, true)
		} else {
			g = b.FusedMatMul(dy, y, false, !o.transB)
		}
		if b.Fact(y).Rank() == 2 {
			b.Set(0, g)
		} else {
			b.SetSum(0, g)
		}
	}
	if !b.Needs(1) {
		return nil
	}
	if b.Fact(y).Rank() == 2 && !o.transA { // one product over all rows
		x, dy = b.Rows(x), b.Rows(dy)
	}
	if o.transB {
		b.SetSum(1, b.FusedMatMul(dy, x, true, o.transA))
	} else {
		b.SetSum(1, b.FusedMatMul(x, dy, !o.transA, false))
	}
	return nil
}

// Expand is MatMul of what Transpose makes.
func (o fusedMatMul) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x, y := n.Input(0), n.Input(1)
	if o.transA {
		x = b.SwapLast(x)
	}
	if o.transB {
		y = b.SwapLast(y)
	}
	return ir.In(b.MatMul(x, y)), nil
}
