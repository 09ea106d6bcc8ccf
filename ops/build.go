package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Builder adds canonical nodes to a graph under analysis and knows the facts
// of all that is in it. Its first error sticks (Err).
type Builder struct {
	*ir.Builder
	Analysis *Analysis
}

// NewBuilder builds at the end of g, or wherever b.Before is set to.
func NewBuilder(a *Analysis, g *ir.Graph, names *ir.Names) *Builder {
	b := &Builder{ir.NewBuilder(g, names), a}
	b.OnNode = a.Node
	return b
}

// Fact is what is known of a value.
func (b *Builder) Fact(v *ir.Value) Fact { return b.Analysis.Fact(v) }

// Scalar is a constant of rank 0 with the dtype of like.
func (b *Builder) Scalar(like *ir.Value, x float64) *ir.Value {
	t, err := tensor.Scalar(x).Cast(b.Fact(like).DType)
	if err != nil {
		b.Fail(fmt.Errorf("a constant like %q, which is %v", like.Name, b.Fact(like).DType))
		t = tensor.Scalar(float32(x))
	}
	return b.Const("c", t)
}

// Composite adds a node of the domain ai.bonnx.
func (b *Builder) Composite(op string, in []*ir.Value, outputs int, attrs ...*ir.Attr) []*ir.Value {
	return b.Node(Domain, op, in, outputs, attrs...)
}

// Add, Sub, Mul and Div are the elementwise operators with broadcasting.
func (b *Builder) Add(x, y *ir.Value) *ir.Value { return b.Op("Add", ir.In(x, y)) }

// Sub is x-y.
func (b *Builder) Sub(x, y *ir.Value) *ir.Value { return b.Op("Sub", ir.In(x, y)) }

// Mul is x*y.
func (b *Builder) Mul(x, y *ir.Value) *ir.Value { return b.Op("Mul", ir.In(x, y)) }

// Div is x/y.
func (b *Builder) Div(x, y *ir.Value) *ir.Value { return b.Op("Div", ir.In(x, y)) }

// Neg is -x.
func (b *Builder) Neg(x *ir.Value) *ir.Value { return b.Op("Neg", ir.In(x)) }

// MatMul is the batched product.
func (b *Builder) MatMul(x, y *ir.Value) *ir.Value { return b.Op("MatMul", ir.In(x, y)) }

// Transpose permutes dimensions.
func (b *Builder) Transpose(x *ir.Value, perm ...int) *ir.Value {
	return b.Op("Transpose", ir.In(x), ir.A("perm", ints64(perm)))
}

// Shape is x's shape as an int64 vector: a constant where it is known.
func (b *Builder) Shape(x *ir.Value) *ir.Value {
	if s, ok := b.Fact(x).Shape(); ok {
		return b.Ints(s...)
	}
	return b.Op("Shape", ir.In(x))
}

// Reshape gives x the shape of an int64 vector.
func (b *Builder) Reshape(x, shape *ir.Value) *ir.Value { return b.Op("Reshape", ir.In(x, shape)) }

// ReshapeTo gives x a shape that may have one -1.
func (b *Builder) ReshapeTo(x *ir.Value, shape ...int) *ir.Value {
	return b.Reshape(x, b.Ints(shape...))
}

// ReshapeLike gives x the shape of like.
func (b *Builder) ReshapeLike(x, like *ir.Value) *ir.Value {
	fx, fl := b.Fact(x), b.Fact(like)
	if fx.Ranked && fl.Ranked && sameDims(fx.Dims, fl.Dims) {
		return x
	}
	return b.reshapeExact(x, b.Shape(like))
}

// reshapeExact is Reshape where an extent 0 of the shape means 0.
func (b *Builder) reshapeExact(x, shape *ir.Value) *ir.Value {
	return b.Op("Reshape", ir.In(x, shape), ir.A("allowzero", ir.Int(1)))
}

// ExpandLike broadcasts x to the shape of like.
func (b *Builder) ExpandLike(x, like *ir.Value) *ir.Value {
	fx, fl := b.Fact(x), b.Fact(like)
	if fx.Ranked && fl.Ranked && sameDims(fx.Dims, fl.Dims) {
		return x
	}
	return b.Op("Expand", ir.In(x, b.Shape(like)))
}

// ReduceSum sums over axes.
func (b *Builder) ReduceSum(x *ir.Value, keep bool, axes ...int) *ir.Value {
	k := ir.Int(0)
	if keep {
		k = 1
	}
	return b.Op("ReduceSum", ir.In(x, b.Ints(axes...)), ir.A("keepdims", k))
}

// Cast converts to a dtype; x itself where it has it.
func (b *Builder) Cast(x *ir.Value, d tensor.DType) *ir.Value {
	if b.Fact(x).DType == d {
		return x
	}
	return b.Op("Cast", ir.In(x), ir.A("to", ir.Int(d)))
}

func ints64(v []int) ir.Ints {
	out := make(ir.Ints, len(v))
	for i, x := range v {
		out[i] = int64(x)
	}
	return out
}

func sameDims(a, b []ir.Dim) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !SameDim(a[i], b[i]) {
			return false
		}
	}
	return true
}

// SumTo sums v, whose shape like's was broadcast to, back to like's shape: the
// one place where the gradient of broadcasting is written. Where the extents
// do not tell which axes were stretched, the composite ai.bonnx.SumTo compares
// shapes when they are known.
func (b *Builder) SumTo(v, like *ir.Value) *ir.Value {
	fv, fl := b.Fact(v), b.Fact(like)
	if !fv.Ranked || !fl.Ranked {
		return b.Composite("SumTo", ir.In(v, b.Op("Shape", ir.In(like))), 1)[0]
	}
	extra := len(fv.Dims) - len(fl.Dims)
	var keep, drop []int
	for i := range fv.Dims {
		if i < extra {
			drop = append(drop, i)
			continue
		}
		d, l := fv.Dims[i], fl.Dims[i-extra]
		switch {
		case SameDim(d, l):
		case isOne(l):
			keep = append(keep, i)
		case l.Known: // not 1, so d is the same
		default:
			return b.Composite("SumTo", ir.In(v, b.Op("Shape", ir.In(like))), 1)[0]
		}
	}
	if len(keep) > 0 {
		v = b.ReduceSum(v, true, keep...)
	}
	if len(drop) > 0 {
		v = b.ReduceSum(v, false, drop...)
	}
	return v
}
