package ops

import (
	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Weights that a file stores in few bits stay as they are stored: products make
// floats of them while they pack them. What an operator makes of such a weight is
// not computed for that, but read through.

// A Derived constant is what an operator makes of constants.
type Derived interface {
	ir.Data
	// Derivation is the operator and what is known of its inputs.
	Derivation() (Op, []Fact)
}

// A narrower is an operator whose result, a matrix made of constants, may be
// read from the numbers that it is made of.
type narrower interface {
	// narrow is how the constant c, what the operator makes of in, is stored; nil
	// where it has to be computed.
	narrow(p *Binder, c Derived, in []Fact) (*kernel.Narrow, error)
}

// narrow is how the float32 values of a constant matrix are stored in fewer
// bits; nil where they are not, or where the program keeps floats.
func (b *Binder) narrow(c ir.Data) (*kernel.Narrow, error) {
	if c == nil || !b.Cache.narrow() || len(c.Shape()) != 2 || c.Shape().Size() == 0 {
		return nil, nil
	}
	if d, ok := origin(c).(Recast); ok && d.To == tensor.Float32 {
		return b.narrow(d.Data)
	}
	if d, ok := c.(Derived); ok {
		op, in := d.Derivation()
		if n, ok := op.(narrower); ok {
			return n.narrow(b, d, in)
		}
	}
	f, ok := narrowFloats[c.DType()]
	if !ok {
		return nil, nil
	}
	return b.stored(c, func() (*kernel.Narrow, error) {
		t, err := origin(c).Tensor()
		if err != nil {
			return nil, err
		}
		return storedRows(f, t), nil
	})
}

// bindNarrow is the step of a product by a constant that is stored in few bits,
// nil where it is not.
func bindNarrow(p *Binder, g *gemmPlan, b Fact, finish finisher[float32]) (Step, error) {
	if g.transA || b.DType != tensor.Float32 {
		return nil, nil
	}
	w, err := p.narrow(b.Const)
	if w == nil || err != nil {
		return nil, err
	}
	p.Unread(1)
	s := scratchOf[float32](p, kernel.GemmNarrowScratch(w, g.transB, g.m, 0))
	return func(f *Frame, in, out []*tensor.Tensor) error {
		kernel.GemmNarrow(f.Pool, g.transB, g.m, float32(g.alpha), tensor.Data[float32](in[0]), g.lda, w,
			nil, 0, 0, finish(in), g.accumulate, tensor.Data[float32](out[0]), g.n, ScratchOf[float32](f, s))
		return nil
	}, nil
}

// widened is a step that reads the matrix f, its input i, as floats: where it is
// a constant of few bits they are made in scratch memory before each run.
func (b *Binder) widened(i int, f Fact, step Step) (Step, error) {
	w, err := b.narrow(f.Const)
	if w == nil || err != nil || f.DType != tensor.Float32 {
		return step, err
	}
	b.Unread(i)
	shape := f.MustShape()
	n := shape.Size()
	whole, stored := scratchOf[float32](b, n), Slot{}
	turn := kernel.NewTransposition([]int{w.Rows, w.Cols}, []int{1, 0})
	if w.Trans {
		stored = scratchOf[float32](b, n)
	}
	id := b.State(func() any { return &widenedInput{head: tensor.Header(tensor.Float32)} })
	return func(fr *Frame, in, out []*tensor.Tensor) error {
		s, dst := fr.State(id).(*widenedInput), ScratchOf[float32](fr, whole)
		if w.Trans {
			w.Widen(fr.Pool, ScratchOf[float32](fr, stored))
			kernel.Transpose(fr.Pool, turn, dst, ScratchOf[float32](fr, stored))
		} else {
			w.Widen(fr.Pool, dst)
		}
		s.head.Reset(shape, fr.Scratch(whole))
		s.in = append(s.in[:0], in...)
		s.in[i] = s.head
		return step(fr, s.in, out)
	}, nil
}

// widenedInput is a session's floats of a constant of few bits.
type widenedInput struct {
	head *tensor.Tensor
	in   []*tensor.Tensor
}

// as32 is a slice of float32 that generic code holds.
func as32[T tensor.Float](x []T) []float32 {
	y, _ := any(x).([]float32)
	return y
}

// narrowFloats are the float types that products widen.
var narrowFloats = map[tensor.DType]kernel.Format{tensor.Float16: kernel.NarrowFloat16, tensor.BFloat16: kernel.NarrowBFloat16}

// stored is what make finds of the constant c, once for all plans.
func (b *Binder) stored(c ir.Data, make func() (*kernel.Narrow, error)) (*kernel.Narrow, error) {
	v, err := b.Cache.get(packKey{c, "narrow"}, func() (any, error) { return make() })
	if err != nil {
		return nil, err
	}
	return v.(*kernel.Narrow), nil
}

// storedRows is a matrix of numbers without scales; rows must end with a byte.
func storedRows(f kernel.Format, t *tensor.Tensor) *kernel.Narrow {
	rows, cols := t.Shape()[0], t.Shape()[1]
	return &kernel.Narrow{Format: f, Rows: rows, Cols: cols, Data: t.Bytes(), Stride: cols * f.Bits() / 8}
}

// narrow reads 16-bit floats as they are.
func (o cast) narrow(p *Binder, _ Derived, in []Fact) (*kernel.Narrow, error) {
	if _, ok := narrowFloats[in[0].DType]; !ok || o.to != tensor.Float32 {
		return nil, nil
	}
	return p.narrow(in[0].Const)
}

// narrow reads a matrix the other way.
func (o transpose) narrow(p *Binder, _ Derived, in []Fact) (*kernel.Narrow, error) {
	w, err := p.narrow(in[0].Const)
	if w == nil || err != nil || o.order(2)[0] == 0 {
		return w, err
	}
	return w.Turned(), nil
}

// narrowIntegers are the integer types that products widen.
var narrowIntegers = map[tensor.DType]kernel.Format{tensor.Uint4: kernel.NarrowUint4, tensor.Int4: kernel.NarrowInt4,
	tensor.Uint8: kernel.NarrowUint8, tensor.Int8: kernel.NarrowInt8, tensor.Uint2: kernel.NarrowUint2}

// narrow reads the integers, where rows of them end with bytes and blocks along
// rows are not odd.
func (o dequantizeLinear) narrow(p *Binder, c Derived, in []Fact) (*kernel.Narrow, error) {
	f, ok := narrowIntegers[in[0].DType]
	s := c.Shape()
	if !ok || c.DType() != tensor.Float32 || s[1]*f.Bits()%8 != 0 {
		return nil, nil
	}
	layout, err := o.layout(in[0], in[1])
	if err != nil {
		return nil, err
	}
	down, across := scaleArea(layout, s)
	if across != 1 && across != s[1] && across%4 != 0 {
		return nil, nil
	}
	return p.stored(c, func() (*kernel.Narrow, error) {
		t, err := origin(in[0].Const).Tensor()
		if err != nil {
			return nil, err
		}
		w := storedRows(f, t)
		w.Down, w.Across = down, across
		if w.Scales, err = constantFloats(in[1]); err == nil {
			w.Zeros, err = constantFloats(at(in, 2))
		}
		return w, err
	})
}

// scaleArea is how many rows and columns of a matrix share a scale.
func scaleArea(l kernel.Scales, s tensor.Shape) (down, across int) {
	switch {
	case l.Extent == 1 && l.Block == 0 && l.Outer == 1: // one for all
		return s[0], s[1]
	case l.Inner == 1 && l.Outer == s[0]: // along rows
		if l.Block > 0 {
			return 1, l.Block
		}
		return s[0], 1
	case l.Block > 0:
		return l.Block, 1
	}
	return 1, s[1]
}

// constantFloats are the values of a constant as float32, nil where it is left
// out.
func constantFloats(f Fact) ([]float32, error) {
	if f.Absent() {
		return nil, nil
	}
	t, err := origin(f.Const).Tensor()
	if err != nil {
		return nil, err
	}
	if t, err = t.Cast(tensor.Float32); err != nil {
		return nil, err
	}
	return tensor.Data[float32](t), nil
}
