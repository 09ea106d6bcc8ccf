package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
)

// fusedMatMul is ai.bonnx.FusedMatMul: the product of stacks of matrices, each
// perhaps read transposed, their leading axes broadcast together, times alpha.
//
//	A (..., m, k) or, transA, (..., k, m); B (..., k, n) or, transB, (..., n, k)
//	Y (..., m, n) = alpha op(A) op(B)
type fusedMatMul struct {
	transA, transB bool
	alpha          float64
}

func newFusedMatMul(a *Args) (Op, error) {
	return fusedMatMul{a.Bool("transA", false), a.Bool("transB", false), a.Float("alpha", 1)}, nil
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
	return matProduct(o).bind(p, o, in, out)
}

// FusedMatMul adds op(x) op(y), stacks of matrices.
func (b *Builder) FusedMatMul(x, y *ir.Value, transX, transY bool) *ir.Value {
	return fusedMatMul{transX, transY, 1}.build(b, x, y)
}

// build adds the product that o describes.
func (o fusedMatMul) build(b *Builder, x, y *ir.Value) *ir.Value {
	var attrs []*ir.Attr
	if o.transA {
		attrs = append(attrs, ir.A("transA", ir.Int(1)))
	}
	if o.transB {
		attrs = append(attrs, ir.A("transB", ir.Int(1)))
	}
	if o.alpha != 1 {
		attrs = append(attrs, ir.A("alpha", ir.Float(o.alpha)))
	}
	return b.Composite("FusedMatMul", ir.In(x, y), 1, attrs...)[0]
}

// Grad: dA = alpha dY op(B)', dB = alpha op(A)' dY, each transposed where it was read so,
// and summed over the axes it was repeated along.
func (o fusedMatMul) Grad(b *GradBuilder) error {
	x, y, dy := b.In(0), b.In(1), b.Grad(0)
	if b.Needs(0) {
		g := (*ir.Value)(nil)
		if o.transA {
			g = fusedMatMul{o.transB, true, o.alpha}.build(b.Builder, y, dy)
		} else {
			g = fusedMatMul{false, !o.transB, o.alpha}.build(b.Builder, dy, y)
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
		b.SetSum(1, fusedMatMul{true, o.transA, o.alpha}.build(b.Builder, dy, x))
	} else {
		b.SetSum(1, fusedMatMul{!o.transA, false, o.alpha}.build(b.Builder, x, dy))
	}
	return nil
}

// Expand is MatMul of what Transpose makes, and a Mul.
func (o fusedMatMul) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x, y := n.Input(0), n.Input(1)
	if o.transA {
		x = b.SwapLast(x)
	}
	if o.transB {
		y = b.SwapLast(y)
	}
	p := b.MatMul(x, y)
	if o.alpha != 1 {
		p = b.Mul(p, b.Scalar(p, o.alpha))
	}
	return ir.In(p), nil
}
