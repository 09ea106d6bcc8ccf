package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// bone is ai.bonnx.Bone, a linear layer with a Bone (MiSS) block (Kang and Yin,
// arXiv 2409.15371):
//
//	x (..., in), W (in, out) or, transB, (out, in), D (r, out) [, bias (out)] [, residual (..., out)]
//	-> y (..., out) [, S (rows, r)]
//	y = activation(x W + S D + bias + residual), S[i,l] = sum of x[i,k] over k mod r == l
//	  = activation(x W' + bias + residual) with W'[k,j] = W[k,j] + D[k mod r,j]
//
// S, over all leading axes of x, is what the gradient of D needs of x.
type bone struct {
	transB bool
	ending
}

func newBone(a *Args) (Op, error) {
	e, err := newEnding(a, 3)
	return bone{a.Bool("transB", false), e}, err
}

func (o bone) attrs() []*ir.Attr {
	if !o.transB {
		return nil
	}
	return []*ir.Attr{ir.A("transB", ir.Int(1))}
}

// weights checks W and D, and returns in, out and r.
func (o bone) weights(w, d Fact) (in, out, r ir.Dim, err error) {
	if w.Ranked && w.Rank() != 2 || d.Ranked && d.Rank() != 2 {
		return in, out, r, fmt.Errorf("weight %v, block %v: %w", w, d, errRank)
	}
	in, out = lastTwo(w, o.transB)
	r = d.Dim(0)
	if out, err = agree("columns", out, d.Dim(1)); err != nil {
		return in, out, r, fmt.Errorf("weight %v, block %v: %w", w, d, err)
	}
	if in.Known && r.Known && (r.Value > in.Value || r.Value < 1) {
		return in, out, r, fmt.Errorf("weight %v, block %v: the block has %d rows, want 1 to %d", w, d, r.Value, in.Value)
	}
	return in, out, r, nil
}

func (o bone) Infer(in []Fact) ([]Fact, error) {
	if err := sameFloats([]string{"x", "weight", "block"}, in[:3]); err != nil {
		return nil, err
	}
	x := in[0]
	cols, out, r, err := o.weights(in[1], in[2])
	if err != nil {
		return nil, err
	}
	if x.Ranked && x.Rank() == 0 {
		return nil, fmt.Errorf("x %v: %w", x, errRank)
	}
	if _, err := agree("inner extents", x.Dim(-1), cols); err != nil {
		return nil, fmt.Errorf("x %v by weight %v: %w", x, in[1], err)
	}
	y := withLast(x, out)
	return []Fact{y, Of(x.DType, rowsOf(x), r)}, o.check(in, y)
}

// withLast is a fact like f with another last extent.
func withLast(f Fact, d ir.Dim) Fact {
	g := Fact{DType: f.DType, Ranked: f.Ranked}
	if f.Ranked {
		g.Dims = append(append([]ir.Dim{}, f.Dims[:f.Rank()-1]...), d)
	}
	return g
}

// boneSizes are the sizes of a layer and how it is computed.
type boneSizes struct {
	rows, in, out, r int
	tiled            bool           // by adding D to W while packing, else as a second product
	narrow           *kernel.Narrow // W where it is stored in few bits
}

// What packing an element of a weight costs, in multiply-adds of a product: in
// place of a weight that was packed once, or beside packing it anyway.
const (
	boneRepack = 10
	boneTile   = 4
)

// newBoneSizes chooses by cost: a second product costs rows*r*out, adding the
// block to the weight in*out.
func newBoneSizes(p *Binder, x, w, d Fact, transB bool) (boneSizes, error) {
	xs, ws, ds := x.MustShape(), w.MustShape(), d.MustShape()
	s := boneSizes{in: ws[0], out: ws[1], r: ds[0], rows: xs[:len(xs)-1].Size()}
	if transB {
		s.in, s.out = s.out, s.in
	}
	cost := boneTile
	if w.Const != nil {
		var err error
		switch s.narrow, err = p.narrow(w.Const); {
		case err != nil:
			return s, err
		case s.narrow == nil || w.DType != tensor.Float32:
			s.narrow, cost = nil, boneRepack
		case transB:
			s.narrow = s.narrow.Turned()
		}
	}
	s.tiled = s.rows*s.r > cost*s.in && (!transB || w.Const != nil)
	return s, nil
}

// Partial: S alone is a sum.
func (bone) Partial() {}

func (o bone) Bind(p *Binder, in, out []Fact) (Step, error) {
	s, err := newBoneSizes(p, in[0], in[1], in[2], o.transB)
	if err != nil {
		return nil, err
	}
	if out[0].Absent() {
		return floatStep(in[0].DType,
			func() (Step, error) { return foldStep[float32](s), nil },
			func() (Step, error) { return foldStep[float64](s), nil })
	}
	return floatStep(in[0].DType,
		func() (Step, error) { return bindBone(p, s, in, o.transB, o.f32(s.out)) },
		func() (Step, error) { return bindBone(p, s, in, o.transB, o.f64(s.out)) })
}

func foldStep[T tensor.Float](s boneSizes) Step {
	return func(f *Frame, in, out []*tensor.Tensor) error {
		kernel.Fold(f.Pool, s.rows, s.in, s.r, tensor.Data[T](out[1]), tensor.Data[T](in[0]))
		return nil
	}
}

func bindBone[T tensor.Float](p *Binder, s boneSizes, in []Fact, transB bool, finish finisher[T]) (Step, error) {
	w, err := bindBoneWeight[T](p, s, in[1], transB)
	if err != nil {
		return nil, err
	}
	slot := scratchOf[T](p, max(w.scratch(false), kernel.GemmScratch[T](s.rows, s.out, s.r)))
	var sums Slot
	if !s.tiled {
		sums = scratchOf[T](p, s.rows*s.r)
	}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		x, d, y := tensor.Data[T](in[0]), tensor.Data[T](in[2]), tensor.Data[T](out[0])
		scratch, folded := ScratchOf[T](f, slot), ScratchOf[T](f, sums)
		wanted := len(out) > 1 && out[1] != nil
		if wanted {
			folded = tensor.Data[T](out[1])
		}
		if wanted || !s.tiled {
			kernel.Fold(f.Pool, s.rows, s.in, s.r, folded, x)
		}
		if s.tiled {
			w.product(f, false, x, in[1], d, finish(in), false, y, scratch)
			return nil
		}
		w.product(f, false, x, in[1], nil, kernel.Finish[T]{}, false, y, scratch)
		kernel.GemmFinished(f.Pool, false, s.rows, s.out, s.r, 1, folded, s.r, kernel.Right[T]{Data: d, LD: s.out},
			finish(in), true, y, s.out, scratch)
		return nil
	}, nil
}

// boneWeight is how a layer reads its weight. A constant is packed once, as
// the forward pass wants it, and copied from there by the backward pass: a
// second form would take as much memory again. One of few bits stays as it is.
type boneWeight[T tensor.Float] struct {
	boneSizes
	transB bool
	packed []T
}

func bindBoneWeight[T tensor.Float](p *Binder, s boneSizes, w Fact, transB bool) (*boneWeight[T], error) {
	if s.narrow != nil {
		p.Unread(1)
		return &boneWeight[T]{s, transB, nil}, nil
	}
	ld := s.out
	if transB {
		ld = s.in
	}
	packed, err := packConstant[T](p, w, transB, s.out, s.in, ld)
	if err != nil {
		return nil, err
	}
	if packed != nil {
		p.Unread(1)
	}
	return &boneWeight[T]{s, transB, packed}, nil
}

// scratch is how many elements product needs.
func (w *boneWeight[T]) scratch(back bool) int {
	n, k := w.out, w.in
	if back {
		n, k = k, n
	}
	if w.narrow != nil {
		return kernel.GemmNarrowScratch(w.narrow, back, w.rows, w.r)
	}
	return kernel.GemmScratch[T](w.rows, n, k)
}

// product is y = x W' or, back, y = x transposed(W'), with W' = W where d is
// nil, plus y where accumulate, and then finished. t is W where it is not a
// constant; it must not be transB where d is not nil.
func (w *boneWeight[T]) product(f *Frame, back bool, x []T, t *tensor.Tensor, d []T, finish kernel.Finish[T], accumulate bool, y, scratch []T) {
	n, k := w.out, w.in
	if back {
		n, k = k, n
	}
	if w.narrow != nil {
		fin, _ := any(finish).(kernel.Finish[float32])
		kernel.GemmNarrow(f.Pool, back, w.rows, 1, as32(x), k, w.narrow, as32(d), w.r, w.out, fin, accumulate, as32(y), n, as32(scratch))
		return
	}
	b := kernel.Right[T]{LD: w.out, Trans: w.transB != back, Packed: w.packed, Turned: back, Block: d, R: w.r, LDB: w.out}
	if w.transB {
		b.LD = w.in
	}
	if w.packed == nil {
		b.Data = tensor.Data[T](t)
	}
	kernel.GemmFinished(f.Pool, false, w.rows, n, k, 1, x, k, b, finish, accumulate, y, n, scratch)
}

// Grad: dD = S' dy, dx by BoneGradX, dW = x' dy. x is kept only where W wants
// a gradient.
func (o bone) Grad(b *GradBuilder) error {
	if b.Grad(1) != nil {
		return errors.New("the second output of Bone has no gradient of its own")
	}
	if o.act.expand != nil || b.In(o.bias) != nil || b.In(o.residual) != nil {
		return errors.New("a Bone has no gradient with what it ends in")
	}
	x, w, d, dy := b.In(0), b.In(1), b.In(2), b.Grad(0)
	if b.Needs(0) {
		b.Set(0, b.Composite("BoneGradX", ir.In(dy, w, d), 1, o.attrs()...)[0])
	}
	if b.Needs(1) {
		l, r := b.Rows(x), b.Rows(dy)
		if o.transB {
			l, r = r, l
		}
		b.Set(1, b.FusedMatMul(l, r, true, false))
	}
	if b.Needs(2) {
		b.Set(2, b.FusedMatMul(b.Keep(1), b.Rows(dy), true, false))
	}
	return nil
}

// Expand adds the rows of D to W, and multiplies once. S comes of blocks of r
// columns added up where r divides in, else of a matrix of zeros and ones.
func (o bone) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x, w, d := n.Input(0), n.Input(1), n.Input(2)
	in, r := b.boneExtents(w, d, o.transB)
	idx := b.ModRange(in, r)
	y := o.expand(b, n, b.MatMul(x, b.boneWeight(w, d, idx, o.transB)))
	if n.Output(1) == nil {
		return ir.In(y, nil), nil
	}
	ins, ok := b.Fact(in).Ints()
	rs, ok2 := b.Fact(r).Ints()
	if ok && ok2 && ins[0]%rs[0] == 0 {
		return ir.In(y, b.ReduceSum(b.ReshapeTo(x, -1, ins[0]/rs[0], rs[0]), false, 1)), nil
	}
	fold := b.Op("Equal", ir.In(b.Unsqueeze(idx, 1), b.Count(r)))
	return ir.In(y, b.MatMul(b.Rows(x), b.Cast(fold, b.Fact(x).DType))), nil
}

// boneExtents are in and r as int64 vectors of one element.
func (b *Builder) boneExtents(w, d *ir.Value, transB bool) (in, r *ir.Value) {
	axis := -2
	if transB {
		axis = -1
	}
	return b.Extent(w, axis), b.Extent(d, -2)
}

// boneWeight is W', always as (in, out).
func (b *Builder) boneWeight(w, d, idx *ir.Value, transB bool) *ir.Value {
	if transB {
		w = b.Transpose(w, 1, 0)
	}
	return b.Add(w, b.Op("Gather", ir.In(d, idx), ir.A("axis", ir.Int(0))))
}
