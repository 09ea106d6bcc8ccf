package ops

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// What the composite operators of domain ai.bonnx share.

// floatStep makes a step for the element type d, float32 or float64.
func floatStep(d tensor.DType, f32, f64 func() (Step, error)) (Step, error) {
	switch d {
	case tensor.Float32:
		return f32()
	case tensor.Float64:
		return f64()
	}
	return nil, fmt.Errorf("no kernel for %v", d)
}

// needFloat is an error where f is known not to be float32 or float64.
func needFloat(what string, f Fact) error {
	if f.DType == tensor.Float32 || f.DType == tensor.Float64 {
		return nil
	}
	return fmt.Errorf("%s is %v, want float32 or float64", what, f)
}

// sameFloats wants facts of one float type, named what in order.
func sameFloats(what []string, in []Fact) error {
	for i, f := range in {
		if err := needFloat(what[i], f); err != nil {
			return err
		}
		if f.DType != in[0].DType {
			return fmt.Errorf("%s is %v beside a %v %s", what[i], f.DType, in[0].DType, what[0])
		}
	}
	return nil
}

var errRank = errors.New("rank does not fit")

// agree is one of two extents that must be equal, the one that is known.
func agree(what string, a, b ir.Dim) (ir.Dim, error) {
	if a.Known && b.Known && a.Value != b.Value {
		return a, fmt.Errorf("%s: %v and %v differ", what, a, b)
	}
	if a.Known || !b.Known && a.Sym != "" {
		return a, nil
	}
	return b, nil
}

// rowsOf is the product of all extents but the last, unknown without a rank.
func rowsOf(f Fact) ir.Dim {
	if !f.Ranked || len(f.Dims) == 0 {
		return unknown
	}
	return product(f.Dims[:len(f.Dims)-1])
}

// decimal is the shortest decimal number that reads as the float32 f: what
// was meant by an attribute of 0.999.
func decimal(f float64) float64 {
	d, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', -1, 32), 64)
	if err != nil {
		return f
	}
	return d
}

// Extent is extent axis of x (counted from the end where negative) as an
// int64 vector of one element: a constant where it is known.
func (b *Builder) Extent(x *ir.Value, axis int) *ir.Value {
	if d := b.Fact(x).Dim(axis); b.Fact(x).Ranked && d.Known {
		return b.Ints(int(d.Value))
	}
	attrs := []*ir.Attr{ir.A("start", ir.Int(axis))}
	if axis != -1 {
		attrs = append(attrs, ir.A("end", ir.Int(axis+1)))
	}
	return b.Op("Shape", ir.In(x), attrs...)
}

// Join makes an int64 vector of vectors: a constant where all are.
func (b *Builder) Join(parts ...*ir.Value) *ir.Value {
	var all []int
	for _, p := range parts {
		ints, ok := b.Fact(p).Ints()
		if !ok {
			return b.Op("Concat", parts, ir.A("axis", ir.Int(0)))
		}
		all = append(all, ints...)
	}
	return b.Ints(all...)
}

// Rows is x as a matrix, its last axis kept; x itself where it is one. It
// needs no rank.
func (b *Builder) Rows(x *ir.Value) *ir.Value {
	if b.Fact(x).Rank() == 2 {
		return x
	}
	return b.Reshape(x, b.Join(b.Ints(-1), b.Extent(x, -1)))
}

// SwapLast transposes the last two axes. It needs no rank.
func (b *Builder) SwapLast(x *ir.Value) *ir.Value {
	f := b.Fact(x)
	if !f.Ranked {
		rows, cols := b.Extent(x, -2), b.Extent(x, -1)
		flat := b.Reshape(x, b.Join(b.Ints(-1), rows, cols))
		batch := b.Op("Shape", ir.In(x), ir.A("end", ir.Int(-2)))
		return b.Reshape(b.Transpose(flat, 0, 2, 1), b.Join(batch, cols, rows))
	}
	perm := make([]int, f.Rank())
	for i := range perm {
		perm[i] = i
	}
	if n := len(perm); n >= 2 {
		perm[n-1], perm[n-2] = n-2, n-1
	}
	return b.Transpose(x, perm...)
}

// ModRange is the int64 vector k mod r for k < n, n and r being int64 vectors
// of one element: a constant where both are.
func (b *Builder) ModRange(n, r *ir.Value) *ir.Value {
	ns, ok := b.Fact(n).Ints()
	rs, ok2 := b.Fact(r).Ints()
	if ok && ok2 && len(ns) == 1 && len(rs) == 1 && rs[0] > 0 {
		idx := make([]int, ns[0])
		for k := range idx {
			idx[k] = k % rs[0]
		}
		return b.Ints(idx...)
	}
	return b.Op("Mod", ir.In(b.Count(n), r))
}

// Count is the int64 vector 0, 1, ... below n, a vector of one element.
func (b *Builder) Count(n *ir.Value) *ir.Value {
	scalar := b.Const("scalar_shape", tensor.New(tensor.Int64, 0))
	zero, one := b.Const("c", tensor.Scalar(int64(0))), b.Const("c", tensor.Scalar(int64(1)))
	return b.Op("Range", ir.In(zero, b.Reshape(n, scalar), one))
}

// Unsqueeze adds axes of extent 1.
func (b *Builder) Unsqueeze(x *ir.Value, axes ...int) *ir.Value {
	return b.Op("Unsqueeze", ir.In(x, b.Ints(axes...)))
}

// Keep is output i of the node being differentiated, which is made to produce
// it where it did not.
func (b *GradBuilder) Keep(i int) *ir.Value {
	if v := b.Node.Output(i); v != nil {
		return v
	}
	v := b.Graph.NewValue(b.Names().Fresh(b.Node.Name+"_kept"), nil)
	b.Node.SetOutput(i, v)
	if err := b.Analysis.Node(b.Node); err != nil {
		b.Fail(err)
	}
	return v
}
