package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/hugepage"
	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// A matProduct is alpha*op(A)*op(B) with NumPy's broadcasting of the leading
// dimensions: what MatMul, Gemm and ai.bonnx.FusedMatMul have in common.
type matProduct struct {
	transA, transB bool // of the last two dimensions
	alpha          float64
}

// infer gives the product's fact. 1-D operands are a row on the left and a
// column on the right whose dimension of 1 is dropped from the result.
func (o matProduct) infer(a, b Fact) (Fact, error) {
	d, err := commonDType([]Fact{a, b})
	if err != nil {
		return Fact{}, err
	}
	if !a.Ranked || !b.Ranked {
		return o.inferUnranked(d, a, b)
	}
	da, db, row, col, err := matrixDims(a, b)
	if err != nil {
		return Fact{}, err
	}
	m, ka := lastTwo(Of(d, da...), o.transA && !row)
	kb, n := lastTwo(Of(d, db...), o.transB && !col)
	if ka.Known && kb.Known && ka.Value != kb.Value {
		return Fact{}, fmt.Errorf("shapes %v do not multiply: %v is not %v", shapesOf([]Fact{a, b}), ka, kb)
	}
	batch, ok := BroadcastDims(da[:len(da)-2], db[:len(db)-2])
	if !ok {
		return Fact{}, fmt.Errorf("leading dimensions do not broadcast: %v", shapesOf([]Fact{a, b}))
	}
	dims := append([]ir.Dim{}, batch...)
	if !row {
		dims = append(dims, m)
	}
	if !col {
		dims = append(dims, n)
	}
	return Of(d, dims...), nil
}

// inferUnranked refuses only what is certainly wrong.
func (o matProduct) inferUnranked(d tensor.DType, a, b Fact) (Fact, error) {
	if a.Rank() == 0 || b.Rank() == 0 {
		return Fact{}, fmt.Errorf("operands are %v and %v; a scalar has no rows", a, b)
	}
	return Fact{DType: d}, nil
}

// matrixDims are the operands' dims as matrices; row and col say that A or B
// is 1-D.
func matrixDims(a, b Fact) (da, db []ir.Dim, row, col bool, err error) {
	if a.Rank() == 0 || b.Rank() == 0 {
		return nil, nil, false, false, fmt.Errorf("operands are %v and %v; a scalar has no rows", a, b)
	}
	da, db = a.Dims, b.Dims
	if row = len(da) == 1; row {
		da = []ir.Dim{known(1), da[0]}
	}
	if col = len(db) == 1; col {
		db = []ir.Dim{db[0], known(1)}
	}
	return da, db, row, col, nil
}

// A gemmPlan is a product of concrete shapes: len(at.OffC) products of size
// m, n, k.
type gemmPlan struct {
	matProduct
	m, n, k    int
	lda, ldb   int
	at         kernel.Batch
	sharedB    bool // one matrix B for all: a single product
	accumulate bool // C is added to
}

// plan works out sizes and offsets of concrete operands.
func (o matProduct) plan(a, b Fact) (*gemmPlan, error) {
	fa, fb, row, col, err := matrixDims(a, b)
	if err != nil {
		return nil, err
	}
	da, db := Of(a.DType, fa...).MustShape(), Of(b.DType, fb...).MustShape()
	g := &gemmPlan{matProduct: o}
	g.transA, g.transB = o.transA && !row, o.transB && !col
	ra, rb := len(da), len(db)
	g.lda, g.ldb = da[ra-1], db[rb-1]
	g.m, g.k = da[ra-2], da[ra-1]
	if g.transA {
		g.m, g.k = g.k, g.m
	}
	g.n = db[rb-1]
	if g.transB {
		g.n = db[rb-2]
	}
	batchA, batchB := da[:ra-2], db[:rb-2]
	if batchB.Size() == 1 && len(batchB) <= len(batchA) && !g.transA {
		g.sharedB = true // rows of all of A are rows of one matrix
		g.m *= batchA.Size()
		return g, nil
	}
	batch, err := tensor.Broadcast(batchA, batchB)
	if err != nil {
		return nil, err
	}
	if batch.Size() == 1 {
		g.sharedB = true
		return g, nil
	}
	g.at.OffA = batchOffsets(batch, batchA, g.m*g.k)
	g.at.OffB = batchOffsets(batch, batchB, g.k*g.n)
	g.at.OffC = kernel.Strided(batch.Size(), g.m*g.n)
	return g, nil
}

// batchOffsets are the offsets, in elements, of the matrices that a batch of
// shape from gives to each product of the broadcast batch.
func batchOffsets(batch, from tensor.Shape, size int) []int {
	out := make([]int, batch.Size())
	strides := from.Strides()
	extra := len(batch) - len(from)
	for i := range out {
		rest, at := i, 0
		for d := len(batch) - 1; d >= extra; d-- {
			index := rest % batch[d]
			rest /= batch[d]
			if from[d-extra] != 1 {
				at += index * strides[d-extra]
			}
		}
		out[i] = at * size
	}
	return out
}

// bindProduct makes the step that multiplies in[0] and in[1] into out[0]. A
// constant B is packed once.
func bindProduct[T kernel.Float](p *Binder, g *gemmPlan, b Fact) (Step, error) {
	if !g.sharedB {
		s := scratchOf[T](p, kernel.GemmBatchScratch[T](len(g.at.OffC), g.m, g.n, g.k))
		return func(f *Frame, in, out []*tensor.Tensor) error {
			kernel.GemmBatch(f.Pool, g.at, g.transA, g.transB, g.m, g.n, g.k, T(g.alpha), tensor.Data[T](in[0]), g.lda,
				tensor.Data[T](in[1]), g.ldb, g.accumulate, tensor.Data[T](out[0]), g.n, ScratchOf[T](f, s))
			return nil
		}, nil
	}
	return bindMatrix(p, g, b, unfinished[T])
}

// bindMatrix makes the step of a product by the one matrix b, in whichever form
// that is read.
func bindMatrix[T kernel.Float](p *Binder, g *gemmPlan, b Fact, finish finisher[T]) (Step, error) {
	if f, ok := any(finish).(finisher[float32]); ok {
		if step, err := bindNarrow(p, g, b, f); step != nil || err != nil {
			return step, err
		}
	}
	s := scratchOf[T](p, kernel.GemmScratch[T](g.m, g.n, g.k))
	packed := packedTurned[T](p, b, g)
	turned := packed != nil
	if !turned {
		var err error
		if packed, err = packConstant[T](p, b, g.transB, g.n, g.k, g.ldb); err != nil {
			return nil, err
		}
	}
	if packed != nil {
		p.Unread(1)
	}
	right := kernel.Right[T]{LD: g.ldb, Trans: g.transB, Packed: packed, Turned: turned}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		b := right
		if packed == nil {
			b.Data = tensor.Data[T](in[1])
		}
		kernel.GemmFinished(f.Pool, g.transA, g.m, g.n, g.k, T(g.alpha), tensor.Data[T](in[0]), g.lda, b,
			finish(in), g.accumulate, tensor.Data[T](out[0]), g.n, ScratchOf[T](f, s))
		return nil
	}, nil
}

// packConstant is op(B) packed once for all plans, nil where B is not constant.
func packConstant[T tensor.Float](p *Binder, b Fact, trans bool, n, k, ldb int) ([]T, error) {
	if b.Const == nil || n*k == 0 {
		return nil, nil
	}
	v, err := p.Packed(b.Const, packTag(trans, n, k), func(t *tensor.Tensor) any {
		dst := make([]T, kernel.PackedSize[T](n, k))
		kernel.PackB(nil, trans, n, k, tensor.Data[T](t), ldb, dst)
		hugepage.Advise(dst)
		return dst
	})
	if err != nil {
		return nil, err
	}
	return v.([]T), nil
}

func packTag(trans bool, n, k int) string { return fmt.Sprintf("gemm %v %d %d", trans, n, k) }

// repackRows is from how many rows on a product copies what was packed for the
// transpose, which costs it some 3 percent, for half of the memory.
const repackRows = 256

// packedTurned is the transpose of op(B) where it has been packed, as the
// forward pass does with what the backward pass wants turned; else nil.
func packedTurned[T tensor.Float](p *Binder, b Fact, g *gemmPlan) []T {
	if b.Const == nil || g.transA || g.m < repackRows {
		return nil
	}
	turned, _ := p.packedBefore(b.Const, packTag(!g.transB, g.k, g.n)).([]T)
	return turned
}

// scratchOf asks for scratch of n elements of T.
func scratchOf[T tensor.Float](p *Binder, n int) Slot {
	return p.Scratch(tensor.DTypeOf[T]().Size(n))
}

// bind makes the step for any float dtype.
func (o matProduct) bind(p *Binder, op Op, in, out []Fact) (Step, error) {
	g, err := o.plan(in[0], in[1])
	if err != nil {
		return nil, err
	}
	return bindPlan(p, op, g, in, out)
}

func bindPlan(p *Binder, op Op, g *gemmPlan, in, out []Fact) (Step, error) {
	switch d := in[0].DType; {
	case d == tensor.Float32:
		return bindProduct[float32](p, g, in[1])
	case d == tensor.Float64:
		return bindProduct[float64](p, g, in[1])
	case isNarrow(d):
		return viaFloat32(p, op, in, out)
	default:
		return nil, errDType(d)
	}
}
