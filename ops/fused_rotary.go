package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// fusedRotary is ai.bonnx.Rotary, rotary position embedding (Su et al., arXiv
// 2104.09864) by given tables:
//
//	x (B,H,S,D), cos, sin (..., D/2) -> y of x's shape
//	y0 = x0*c0 - x1*s0, y1 = x1*c1 + x0*s1
//
// x0 and x1 are the halves of each vector, or with interleaved its even and odd
// elements; c0 = c1 and s0 = s1, but with wide, cos and sin (..., D) are taken
// apart as x is. Their leading extents are those of x or 1. With rows_first x
// and y are (B,S,H,D), but cos and sin as before.
type fusedRotary struct{ interleaved, rowsFirst, wide bool }

// fusedRotaryGrad is ai.bonnx.RotaryGrad, the gradient for x:
//
//	dy (B,H,S,D), cos, sin -> dx0 = dy0*c0 + dy1*s1, dx1 = dy1*c1 - dy0*s0
type fusedRotaryGrad struct{ of fusedRotary }

func rotaryOf(a *Args) fusedRotary {
	return fusedRotary{a.Bool("interleaved", false), a.Bool("rows_first", false), a.Bool("wide", false)}
}

func newFusedRotary(a *Args) (Op, error)     { return rotaryOf(a), nil }
func newFusedRotaryGrad(a *Args) (Op, error) { return fusedRotaryGrad{rotaryOf(a)}, nil }

func (o fusedRotary) attrs() []*ir.Attr {
	var attrs []*ir.Attr
	for _, f := range []struct {
		name string
		set  bool
	}{{"interleaved", o.interleaved}, {"rows_first", o.rowsFirst}, {"wide", o.wide}} {
		if f.set {
			attrs = append(attrs, ir.A(f.name, ir.Int(1)))
		}
	}
	return attrs
}

func (o fusedRotary) Infer(in []Fact) ([]Fact, error) {
	if err := sameFloats([]string{"x", "cos", "sin"}, in); err != nil {
		return nil, err
	}
	x := in[0]
	if x.Ranked && x.Rank() != 4 {
		return nil, fmt.Errorf("x %v: %w", x, errRank)
	}
	d, per := x.Dim(-1), int64(2)
	if o.wide {
		per = 1
	}
	for _, t := range in[1:] {
		if w := t.Dim(-1); t.Rank() == 0 || d.Known && w.Known && per*w.Value != d.Value {
			return nil, fmt.Errorf("a table %v for x %v", t, x)
		}
	}
	if d.Known && d.Value%2 != 0 {
		return nil, fmt.Errorf("x %v has no pairs", x)
	}
	return []Fact{x.WithoutValue()}, nil
}

// sizes checks the tables against x.
func (o fusedRotary) sizes(x, cos, sin Fact) (kernel.Rotary, error) {
	s, t := x.MustShape(), cos.MustShape()
	r := kernel.Rotary{A: s[0], B: s[1], C: s[2], Depth: s[3], Interleaved: o.interleaved}
	if len(t) < 1 || len(t) > 4 || !t.Equal(sin.MustShape()) {
		return r, fmt.Errorf("tables %v and %v for x %v", cos, sin, x)
	}
	r.Wide = t[len(t)-1]
	full := tensor.Shape{1, 1, 1, 1}
	copy(full[4-len(t):], t)
	to := []*int{&r.At.Row, &r.At.Head, &r.At.Batch}
	want := []int{s[2], s[1], s[0]}
	if o.rowsFirst {
		to[0], to[1], want[0], want[1] = to[1], to[0], want[1], want[0]
	}
	step := 1
	for i, n := range []int{full[2], full[1], full[0]} {
		switch {
		case n == want[i]:
			*to[i] = step
		case n != 1:
			return r, fmt.Errorf("the table %v does not broadcast to x %v", cos, x)
		}
		step *= n
	}
	return r, nil
}

func (o fusedRotary) Bind(p *Binder, in, _ []Fact) (Step, error) { return o.bind(p, in, false) }

func (o fusedRotary) bind(p *Binder, in []Fact, back bool) (Step, error) {
	r, err := o.sizes(in[0], in[1], in[2])
	if err != nil {
		return nil, err
	}
	p.InPlace(0, 0)
	return floatStep(in[0].DType,
		func() (Step, error) { return rotaryStep[float32](r, back), nil },
		func() (Step, error) { return rotaryStep[float64](r, back), nil })
}

func rotaryStep[T tensor.Float](r kernel.Rotary, back bool) Step {
	return func(f *Frame, in, out []*tensor.Tensor) error {
		kernel.Rotate(f.Pool, r, tensor.Data[T](out[0]), tensor.Data[T](in[0]), tensor.Data[T](in[1]), tensor.Data[T](in[2]), back)
		return nil
	}
}

// Grad spells the gradients of the tables out, which few models train.
func (o fusedRotary) Grad(b *GradBuilder) error {
	x, cos, dy := b.In(0), b.In(1), b.Grad(0)
	if b.Needs(0) {
		b.Set(0, b.Composite("RotaryGrad", ir.In(dy, cos, b.In(2)), 1, o.attrs()...)[0])
	}
	if !b.Needs(1) && !b.Needs(2) {
		return nil
	}
	x, dy = o.byHead(b.Builder, x), o.byHead(b.Builder, dy)
	x0, x1 := o.apart(b.Builder, x)
	dy0, dy1 := o.apart(b.Builder, dy)
	join := func(p, q *ir.Value) *ir.Value {
		if o.wide {
			return o.join(b.Builder, p, q, x)
		}
		return b.Add(p, q)
	}
	if b.Needs(1) {
		b.SetSum(1, join(b.Mul(dy0, x0), b.Mul(dy1, x1)))
	}
	if b.Needs(2) {
		b.SetSum(2, join(b.Neg(b.Mul(dy0, x1)), b.Mul(dy1, x0)))
	}
	return nil
}

// byHead is a vector with heads before rows, from or to the order it has.
func (o fusedRotary) byHead(b *Builder, v *ir.Value) *ir.Value {
	if o.rowsFirst {
		return b.Transpose(v, 0, 2, 1, 3)
	}
	return v
}

// apart are the two parts of the pairs of x.
func (o fusedRotary) apart(b *Builder, x *ir.Value) (x0, x1 *ir.Value) {
	if o.interleaved {
		return b.slice(x, -1, 0, lastElement, 2), b.slice(x, -1, 1, lastElement, 2)
	}
	h := b.Node("", "Split", ir.In(x), 2, ir.A("axis", ir.Int(-1)), ir.A("num_outputs", ir.Int(2)))
	return h[0], h[1]
}

// join puts parts together like x.
func (o fusedRotary) join(b *Builder, x0, x1, like *ir.Value) *ir.Value {
	if !o.interleaved {
		return b.Op("Concat", ir.In(x0, x1), ir.A("axis", ir.Int(-1)))
	}
	pairs := b.Op("Concat", ir.In(b.Unsqueeze(x0, -1), b.Unsqueeze(x1, -1)), ir.A("axis", ir.Int(-1)))
	return b.ReshapeLike(pairs, like)
}

// tables are the parts of a table; the table itself twice where it has one
// element a pair.
func (o fusedRotary) tables(b *Builder, t *ir.Value) (t0, t1 *ir.Value) {
	if !o.wide {
		return t, t
	}
	return o.apart(b, t)
}

// Expand spells the equation out.
func (o fusedRotary) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	return o.expand(b, n, false)
}

func (o fusedRotary) expand(b *Builder, n *ir.Node, back bool) ([]*ir.Value, error) {
	c0, c1 := o.tables(b, n.Input(1))
	s0, s1 := o.tables(b, n.Input(2))
	x := o.byHead(b, n.Input(0))
	x0, x1 := o.apart(b, x)
	var y *ir.Value
	if back {
		y = o.join(b, b.Add(b.Mul(x0, c0), b.Mul(x1, s1)), b.Sub(b.Mul(x1, c1), b.Mul(x0, s0)), x)
	} else {
		y = o.join(b, b.Sub(b.Mul(x0, c0), b.Mul(x1, s0)), b.Add(b.Mul(x1, c1), b.Mul(x0, s1)), x)
	}
	return ir.In(o.byHead(b, y)), nil
}

func (o fusedRotaryGrad) Infer(in []Fact) ([]Fact, error) { return o.of.Infer(in) }

func (o fusedRotaryGrad) Bind(p *Binder, in, _ []Fact) (Step, error) { return o.of.bind(p, in, true) }

// Expand spells the equation out.
func (o fusedRotaryGrad) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	return o.of.expand(b, n, true)
}
