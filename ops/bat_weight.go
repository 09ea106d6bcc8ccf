package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// batWeight is ai.bonnx.BatWeight, the weight that Bat makes (Kang and Yin,
// arXiv 2409.15371, first versions): W_ji being the block of r by r with rows
// from j*r and columns from i*r,
//
//	W (in, out), B (out/r, r, r) -> W' (in, out)
//	W'_ji = W_ji + transposed(B_i) (W_ji + I)
type batWeight struct{}

// batWeightGrad is ai.bonnx.BatWeightGrad, its gradient for B:
//
//	W (in, out), dW' (in, out), B (out/r, r, r), of which only the shape counts -> dB
//	dB_i = sum_j (W_ji + I) transposed(dW'_ji)
type batWeightGrad struct{}

// batWeightGradW is ai.bonnx.BatWeightGradW, its gradient for W:
//
//	dW' (in, out), B (out/r, r, r) -> dW (in, out)
//	dW_ji = dW'_ji + B_i dW'_ji
type batWeightGradW struct{}

func newBatWeight(*Args) (Op, error)      { return batWeight{}, nil }
func newBatWeightGrad(*Args) (Op, error)  { return batWeightGrad{}, nil }
func newBatWeightGradW(*Args) (Op, error) { return batWeightGradW{}, nil }

// checkBat wants blocks that fit a weight.
func checkBat(w, b Fact) error {
	if err := sameFloats([]string{"weight", "blocks"}, []Fact{w, b}); err != nil {
		return err
	}
	if w.Ranked && w.Rank() != 2 || b.Ranked && b.Rank() != 3 {
		return fmt.Errorf("weight %v, blocks %v: %w", w, b, errRank)
	}
	n, r, r2, in, out := b.Dim(0), b.Dim(1), b.Dim(2), w.Dim(0), w.Dim(1)
	if _, err := agree("a block's extents", r, r2); err != nil {
		return fmt.Errorf("blocks %v: %w", b, err)
	}
	fits := !r.Known || r.Value > 0
	if fits && r.Known {
		fits = !(in.Known && in.Value%r.Value != 0) && !(out.Known && out.Value%r.Value != 0) &&
			!(out.Known && n.Known && out.Value != n.Value*r.Value)
	}
	if !fits {
		return fmt.Errorf("weight %v does not fall into blocks %v", w, b)
	}
	return nil
}

func (batWeight) Infer(in []Fact) ([]Fact, error) {
	return []Fact{in[0].WithoutValue()}, checkBat(in[0], in[1])
}

func (batWeight) Bind(p *Binder, in, _ []Fact) (Step, error) {
	return bindBat(p, in[0], in[1], batKernels{
		kernel.BatApply[float32], kernel.BatApply[float64]}, 0, 1)
}

// batKernel computes dst from two operands.
type batKernel[T tensor.Float] = func(p *par.Pool, plan *kernel.Bat, dst, x, y, scratch []T)

type batKernels struct {
	f32 batKernel[float32]
	f64 batKernel[float64]
}

// bindBat makes a step of a kernel that takes inputs i and j. The weight, where it
// is a constant, is input 0.
func bindBat(p *Binder, w, b Fact, k batKernels, i, j int) (Step, error) {
	ws := w.MustShape()
	plan := kernel.NewBat(ws[0], ws[1], b.MustShape()[1])
	step, err := floatStep(w.DType,
		func() (Step, error) { return batStep(p, plan, k.f32, i, j), nil },
		func() (Step, error) { return batStep(p, plan, k.f64, i, j), nil })
	if err != nil {
		return nil, err
	}
	return p.widened(0, w, step)
}

func batStep[T tensor.Float](p *Binder, plan *kernel.Bat, k batKernel[T], i, j int) Step {
	slot := scratchOf[T](p, kernel.BatScratch[T](plan))
	return func(f *Frame, in, out []*tensor.Tensor) error {
		k(f.Pool, plan, tensor.Data[T](out[0]), tensor.Data[T](in[i]), tensor.Data[T](in[j]), ScratchOf[T](f, slot))
		return nil
	}
}

// Grad is BatWeightGrad for the blocks, BatWeightGradW for the weight.
func (batWeight) Grad(b *GradBuilder) error {
	if b.Needs(0) {
		b.Set(0, b.Composite("BatWeightGradW", ir.In(b.Grad(0), b.In(1)), 1)[0])
	}
	if b.Needs(1) {
		b.Set(1, b.Composite("BatWeightGrad", ir.In(b.In(0), b.Grad(0), b.In(1)), 1)[0])
	}
	return nil
}

// Expand multiplies the blocks of W, as a stack, by those of B.
func (batWeight) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	w, blocks := n.Input(0), n.Input(1)
	stack := b.blocksOf(w, blocks)
	delta := b.MatMul(b.Transpose(blocks, 0, 2, 1), b.Add(stack, b.identityLike(blocks)))
	return ir.In(b.fromBlocks(b.Add(stack, delta), w)), nil
}

// blocksOf cuts w (in, out) into (in/r, out/r, r, r).
func (b *Builder) blocksOf(w, blocks *ir.Value) *ir.Value {
	r := b.Extent(blocks, -1)
	four := b.Reshape(w, b.Join(b.Ints(-1), r, b.Extent(blocks, -3), r))
	return b.Transpose(four, 0, 2, 1, 3)
}

// fromBlocks is the inverse of blocksOf.
func (b *Builder) fromBlocks(stack, like *ir.Value) *ir.Value {
	return b.Reshape(b.Transpose(stack, 0, 2, 1, 3), b.Shape(like))
}

// identityLike is the identity matrix of a block's size.
func (b *Builder) identityLike(blocks *ir.Value) *ir.Value {
	count := b.Count(b.Extent(blocks, -1))
	return b.Cast(b.Op("Equal", ir.In(b.Unsqueeze(count, 1), count)), b.Fact(blocks).DType)
}

func (batWeightGrad) Infer(in []Fact) ([]Fact, error) {
	if err := sameFloats([]string{"weight", "dW"}, in[:2]); err != nil {
		return nil, err
	}
	return []Fact{in[2].WithoutValue()}, checkBat(in[0], in[2])
}

func (batWeightGrad) Bind(p *Binder, in, _ []Fact) (Step, error) {
	return bindBat(p, in[0], in[2], batKernels{kernel.BatGrad[float32], kernel.BatGrad[float64]}, 0, 1)
}

// Expand sums the products of the blocks' stacks over j.
func (batWeightGrad) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	w, dw, blocks := n.Input(0), n.Input(1), n.Input(2)
	left := b.Add(b.blocksOf(w, blocks), b.identityLike(blocks))
	right := b.Transpose(b.blocksOf(dw, blocks), 0, 1, 3, 2)
	return ir.In(b.ReduceSum(b.MatMul(left, right), false, 0)), nil
}

func (batWeightGradW) Infer(in []Fact) ([]Fact, error) {
	return []Fact{in[0].WithoutValue()}, checkBat(in[0], in[1])
}

func (batWeightGradW) Bind(p *Binder, in, _ []Fact) (Step, error) {
	return bindBat(p, in[0], in[1], batKernels{kernel.BatGradWeight[float32], kernel.BatGradWeight[float64]}, 0, 1)
}

// Expand multiplies the blocks of dW, as a stack, by those of B.
func (batWeightGradW) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	dw, blocks := n.Input(0), n.Input(1)
	stack := b.blocksOf(dw, blocks)
	return ir.In(b.fromBlocks(b.Add(stack, b.MatMul(blocks, stack)), dw)), nil
}
