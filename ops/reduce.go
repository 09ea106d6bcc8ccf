package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// reduce is y = f over axes of x, in any number and order; the axes are an
// optional second input. keepdims leaves them with extent 1. No axes are all
// axes, or none with noop_with_empty_axes: f is then of single elements.
// https://onnx.ai/onnx/operators/onnx__ReduceSum.html (axes as input: 13, the others 18)
type reduce struct {
	row  *reduceRow
	keep bool
	noop bool
}

type reduceRow struct {
	name   string
	strict Strictness
	kinds  []reduceKind
	// wide says that integers are computed in float64.
	wide bool
	// grad is dx, in any shape that broadcasts to x's.
	grad func(r reduceGrad) *ir.Value
}

// A reduceKind is a kernel for one dtype over the middle axis.
type reduceKind struct {
	dtype tensor.DType
	bind  func(p *Binder, l *reduceLayout) Step
}

func reduceOf[T tensor.Elem](k func(p *par.Pool, outer, n, inner int, dst, x []T)) reduceKind {
	return reduceKind{tensor.DTypeOf[T](), func(p *Binder, l *reduceLayout) Step {
		if l.perm == nil {
			return func(f *Frame, in, out []*tensor.Tensor) error {
				k(f.Pool, l.outer, l.n, l.inner, tensor.Data[T](out[0]), tensor.Data[T](in[0]))
				return nil
			}
		}
		s := p.Scratch(tensor.DTypeOf[T]().Size(l.outer * l.n))
		return func(f *Frame, in, out []*tensor.Tensor) error {
			x := ScratchOf[T](f, s)
			kernel.Transpose(f.Pool, l.perm, x, tensor.Data[T](in[0]))
			k(f.Pool, l.outer, l.n, 1, tensor.Data[T](out[0]), x)
			return nil
		}
	}}
}

func (r *reduceRow) entry() Entry {
	return Entry{Name: r.name, MinIn: 1, MaxIn: 2, MaxOut: 1, Strict: r.strict, New: func(a *Args) (Op, error) {
		return reduce{r, a.Bool("keepdims", true), a.Bool("noop_with_empty_axes", false)}, nil
	}}
}

// axes are the constant axes as a mask over rank dimensions; ok is false where
// they are not known.
func (o reduce) axes(in []Fact, rank int) (mask []bool, ok bool, err error) {
	mask = make([]bool, rank)
	var axes []int
	if len(in) > 1 && !in[1].Absent() {
		if axes, ok = in[1].Ints(); !ok {
			if in[1].Rank() != 1 || !in[1].Dims[0].Known || in[1].Dims[0].Value != 0 {
				return nil, false, nil
			}
		}
	}
	if len(axes) == 0 && !o.noop {
		for i := range mask {
			mask[i] = true
		}
	}
	for _, a := range axes {
		if a < -rank || a >= rank {
			return nil, false, fmt.Errorf("axis %d of %v", a, in[0])
		}
		if a < 0 {
			a += rank
		}
		mask[a] = true
	}
	return mask, true, nil
}

func (o reduce) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	out := Fact{DType: x.DType}
	if !x.Ranked {
		if !o.keep && (len(in) < 2 || in[1].Absent()) && !o.noop {
			out.Ranked = true // a scalar
		}
		return []Fact{out}, nil
	}
	mask, ok, err := o.axes(in, x.Rank())
	if err != nil {
		return nil, err
	}
	if !ok {
		if o.keep {
			out.Ranked, out.Dims = true, make([]ir.Dim, x.Rank())
		} else if n := in[1].Dim(0); n.Known && n.Value > 0 && int(n.Value) <= x.Rank() {
			out.Ranked, out.Dims = true, make([]ir.Dim, x.Rank()-int(n.Value))
		}
		return []Fact{out}, nil
	}
	out.Ranked = true
	for i, d := range x.Dims {
		switch {
		case !mask[i]:
			out.Dims = append(out.Dims, d)
		case o.keep:
			out.Dims = append(out.Dims, known(1))
		}
	}
	if e, ok := shapeElems(x); ok && o.row.name == "ReduceProd" && x.Rank() == 1 && mask[0] && x.DType == tensor.Int64 {
		return []Fact{extentsFact(out.Rank(), []ir.Dim{product(e)})}, nil
	}
	return []Fact{out}, nil
}

// A reduceLayout is a reduction as one over the middle axis of (outer, n,
// inner); where the reduced axes are not neighbours perm brings them to the
// end first.
type reduceLayout struct {
	outer, n, inner int
	perm            *kernel.Transposition
}

func newReduceLayout(shape tensor.Shape, mask []bool) *reduceLayout {
	l := &reduceLayout{outer: 1, n: 1, inner: 1}
	var kept, reduced []int
	runs := 0
	for i, d := range shape {
		if !mask[i] {
			kept = append(kept, i)
			if len(reduced) == 0 {
				l.outer *= d
			} else {
				l.inner *= d
			}
			continue
		}
		if i == 0 || !mask[i-1] {
			runs++
		}
		reduced = append(reduced, i)
		l.n *= d
	}
	if runs > 1 {
		l.perm = kernel.NewTransposition(shape, append(kept, reduced...))
		l.outer, l.inner = l.outer*l.inner, 1
	}
	return l
}

func (o reduce) Bind(p *Binder, in, out []Fact) (Step, error) {
	shape := in[0].MustShape()
	if len(shape) > 16 {
		return nil, fmt.Errorf("reduction of %d dimensions; at most 16", len(shape))
	}
	mask, ok, err := o.axes(in, len(shape))
	if err != nil {
		return nil, err
	}
	if !ok {
		return late(o), nil
	}
	step, err := boundReduce{o.row, newReduceLayout(shape, mask)}.Bind(p, in[:1], out)
	if err != nil {
		return nil, err
	}
	return func(f *Frame, in, out []*tensor.Tensor) error { return step(f, in[:1], out) }, nil
}

// boundReduce is a reduction whose axes are settled.
type boundReduce struct {
	row    *reduceRow
	layout *reduceLayout
}

func (o boundReduce) Infer(in []Fact) ([]Fact, error) { return nil, ErrDataDependent }

func (o boundReduce) Bind(p *Binder, in, out []Fact) (Step, error) {
	d := in[0].DType
	for _, k := range o.row.kinds {
		if k.dtype == d {
			return k.bind(p, o.layout), nil
		}
	}
	switch {
	case isNarrow(d):
		return viaFloat32(p, o, in, out)
	case d.IsInteger() && o.row.wide:
		return viaWide(p, o, tensor.Float64, tensor.DType.IsInteger, in, out)
	}
	return nil, errDType(d)
}

// Grad asks the row and broadcasts to x.
func (o reduce) Grad(b *GradBuilder) error {
	if b.Needs(0) && o.row.grad != nil {
		r := reduceGrad{GradBuilder: b, o: o}
		r.x, r.dy = b.In(0), r.kept(b.Grad(0))
		b.Set(0, b.ExpandLike(o.row.grad(r), r.x))
	}
	return nil
}

// reduceGrad is what the gradient of a reduction is made from.
type reduceGrad struct {
	*GradBuilder
	o  reduce
	x  *ir.Value
	dy *ir.Value // with the reduced axes kept
}

// kept is v, of the result's shape, with the reduced axes kept.
func (r reduceGrad) kept(v *ir.Value) *ir.Value {
	axes := r.In(1)
	if r.o.keep || axes == nil {
		return v // a scalar where all axes went
	}
	if n, ok := r.Fact(axes).Ints(); ok && len(n) == 0 {
		return v
	}
	return r.Op("Unsqueeze", ir.In(v, axes))
}

// y is the result with the reduced axes kept.
func (r reduceGrad) y() *ir.Value { return r.kept(r.Out(0)) }

// sum reduces v, of x's shape, to y's.
func (r reduceGrad) sum(v *ir.Value) *ir.Value {
	noop := ir.Int(0)
	if r.o.noop {
		noop = 1
	}
	return r.Op("ReduceSum", ir.In(v, r.In(1)), ir.A("keepdims", ir.Int(1)), ir.A("noop_with_empty_axes", noop))
}
