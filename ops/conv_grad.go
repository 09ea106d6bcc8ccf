package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// convGradInput is ai.bonnx.ConvGradInput, the gradient of Conv for x:
//
//	dy (N,M,O...), w (M,C/group,K...), shape of x -> dx (N,C,D...)
type convGradInput struct{ of conv }

// convGradWeight is ai.bonnx.ConvGradWeight, the gradient of Conv for w:
//
//	dy (N,M,O...), x (N,C,D...), shape of w -> dw (M,C/group,K...)
type convGradWeight struct{ of conv }

func newConvGradInput(a *Args) (Op, error) {
	c, err := parseConv(a)
	return convGradInput{c}, err
}

func newConvGradWeight(a *Args) (Op, error) {
	c, err := parseConv(a)
	return convGradWeight{c}, err
}

// shapedFact is of dtype d and the shape that a tensor of extents holds.
func shapedFact(d tensor.DType, shape Fact) Fact {
	if dims, ok := shape.Extents(); ok {
		return Of(d, dims...)
	}
	return unranked(d)
}

// inferShaped is for gradients whose result has the shape in in[2].
func inferShaped(in []Fact) ([]Fact, error) {
	if _, err := commonDType(in[:2]); err != nil {
		return nil, err
	}
	f := shapedFact(in[0].DType, in[2])
	if _, err := spatialRank(in[0], f); err != nil {
		return nil, err
	}
	return []Fact{f}, nil
}

func (o convGradInput) Infer(in []Fact) ([]Fact, error) { return inferShaped(in) }

func (o convGradWeight) Infer(in []Fact) ([]Fact, error) { return inferShaped(in) }

// checked compares the shapes of a convolution with what it would give.
func (o conv) checked(x, w, y Fact) error {
	f, err := o.Infer([]Fact{x, w})
	if err == nil && !sameDims(f[0].Dims, y.Dims) {
		err = fmt.Errorf("a convolution of %v with %v gives %v, not %v", x, w, f[0], y)
	}
	return err
}

func (o convGradInput) Bind(p *Binder, in, out []Fact) (Step, error) {
	if err := o.of.checked(out[0], in[1], in[0]); err != nil {
		return nil, err
	}
	x, w, y := out[0].MustShape(), in[1].MustShape(), in[0].MustShape()
	return floatStep(in[0].DType,
		func() (Step, error) { return bindConvGrad(p, o.of, x, w, y, kernel.Conv2DGradX[float32], gradXND), nil },
		func() (Step, error) { return bindConvGrad(p, o.of, x, w, y, kernel.Conv2DGradX[float64], gradXND), nil })
}

func (o convGradWeight) Bind(p *Binder, in, out []Fact) (Step, error) {
	if err := o.of.checked(in[1], out[0], in[0]); err != nil {
		return nil, err
	}
	x, w, y := in[1].MustShape(), out[0].MustShape(), in[0].MustShape()
	return floatStep(in[0].DType,
		func() (Step, error) { return bindConvGrad(p, o.of, x, w, y, gradW[float32], gradWND), nil },
		func() (Step, error) { return bindConvGrad(p, o.of, x, w, y, gradW[float64], gradWND), nil })
}

// gradW takes dy before x, as the operator does.
func gradW[T kernel.Float](p *par.Pool, c *kernel.Conv, dw, dy, x, scratch []T) {
	kernel.Conv2DGradW(p, c, dw, x, dy, scratch)
}

func gradXND[T kernel.Float](p *par.Pool, w *kernel.WindowND, c *kernel.Conv, dx, dy, weights []T) {
	kernel.ConvNDGradX(p, w, c.N, c.C, c.M, c.Groups, dx, dy, weights)
}

func gradWND[T kernel.Float](p *par.Pool, w *kernel.WindowND, c *kernel.Conv, dw, dy, x []T) {
	kernel.ConvNDGradW(p, w, c.N, c.C, c.M, c.Groups, dw, x, dy)
}

// bindConvGrad picks the kernel of planes, or that of more dimensions, for a
// convolution of x and w to y.
func bindConvGrad[T kernel.Float](p *Binder, o conv, x, w, y tensor.Shape,
	planes func(p *par.Pool, c *kernel.Conv, dst, a, b, scratch []T),
	volumes func(p *par.Pool, w *kernel.WindowND, c *kernel.Conv, dst, a, b []T)) Step {
	if len(x) > 4 {
		nd, c := o.place(x[2:], w[2:], y[2:]), &kernel.Conv{N: x[0], C: x[1], M: w[0], Groups: o.group}
		return func(f *Frame, in, out []*tensor.Tensor) error {
			volumes(f.Pool, nd, c, tensor.Data[T](out[0]), tensor.Data[T](in[0]), tensor.Data[T](in[1]))
			return nil
		}
	}
	c := o.planes(x, w, y)
	s := scratchOf[T](p, kernel.ConvScratch[T](c))
	return func(f *Frame, in, out []*tensor.Tensor) error {
		planes(f.Pool, c, tensor.Data[T](out[0]), tensor.Data[T](in[0]), tensor.Data[T](in[1]), ScratchOf[T](f, s))
		return nil
	}
}

// settled is the convolution with explicit padding and the kernel's extents,
// from the facts of x's and w's shapes.
func (o conv) settled(x, w Fact) (conv, int, error) {
	rank, err := spatialRank(x, w)
	if err != nil || rank < 0 {
		return o, 0, fmt.Errorf("needs the rank of %v or %v", x, w)
	}
	ker := make([]int, rank)
	dims, err := o.kernelDims(w, rank)
	if err != nil {
		return o, 0, err
	}
	for i, d := range dims {
		if ker[i] = int(d.Value); !d.Known {
			return o, 0, fmt.Errorf("needs the extents of the kernel %v", w)
		}
	}
	spatial := make([]ir.Dim, rank)
	if x.Ranked {
		copy(spatial, x.Dims[2:])
	}
	o.window, err = o.explicit(spatial, ker)
	o.kernel = ker
	return o, rank, err
}

// cropTo cuts the spatial dimensions of v down to those in shape.
func (b *Builder) cropTo(v, shape *ir.Value, rank int) *ir.Value {
	zeros, axes := make([]int, rank), make([]int, rank)
	for i := range axes {
		axes[i] = i + 2
	}
	ends := b.Op("Slice", ir.In(shape, b.Ints(2), b.Ints(rank+2), b.Ints(0)))
	return b.Op("Slice", ir.In(v, b.Ints(zeros...), ends, b.Ints(axes...)))
}

// Expand is a transposed convolution. What a stride skipped at the end is
// padded in full and then cut to x's extents.
func (o convGradInput) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	dy, w, shape := n.Input(0), n.Input(1), n.Input(2)
	x := shapedFact(b.Fact(dy).DType, b.Fact(shape))
	c, rank, err := o.of.settled(x, b.Fact(w))
	if err != nil {
		return nil, fmt.Errorf("%v: %w", n, err)
	}
	attrs, extra, crop := c.attrs(), make([]int, rank), false
	for i := range extra {
		extra[i] = c.stride(i) - 1
		crop = crop || extra[i] > 0
	}
	if !crop {
		return ir.In(b.Op("ConvTranspose", ir.In(dy, w), attrs...)), nil
	}
	full := b.Op("ConvTranspose", ir.In(dy, w), append(attrs, ir.A("output_padding", ints64(extra)))...)
	return ir.In(b.cropTo(full, shape, rank)), nil
}

// Expand is a convolution of x with dy, batch and channels having changed
// places, strides and dilations too; one for each group.
func (o convGradWeight) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	dy, x, shape := n.Input(0), n.Input(1), n.Input(2)
	w := shapedFact(b.Fact(dy).DType, b.Fact(shape))
	c, rank, err := o.of.settled(b.Fact(x), w)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", n, err)
	}
	if c.group > 1 && (!w.Dim(0).Known || !w.Dim(1).Known) {
		return nil, fmt.Errorf("%v: needs the channels of %v", n, w)
	}
	swap := []int{1, 0}
	for i := range rank {
		swap = append(swap, i+2)
	}
	attrs := []*ir.Attr{ir.A("pads", ints64(c.pads))}
	if c.dilations != nil {
		attrs = append(attrs, ir.A("strides", ints64(c.dilations)))
	}
	if c.strides != nil {
		attrs = append(attrs, ir.A("dilations", ints64(c.strides)))
	}
	parts := make([]*ir.Value, c.group)
	for g := range parts {
		xs, dys := x, dy
		if c.group > 1 {
			xs = b.channels(x, g*int(w.Dims[1].Value), int(w.Dims[1].Value))
			m := int(w.Dims[0].Value) / c.group
			dys = b.channels(dy, g*m, m)
		}
		full := b.Op("Conv", ir.In(b.Transpose(xs, swap...), b.Transpose(dys, swap...)), attrs...)
		parts[g] = b.Transpose(b.cropTo(full, shape, rank), swap...)
	}
	if len(parts) == 1 {
		return parts, nil
	}
	return ir.In(b.Op("Concat", parts, ir.A("axis", ir.Int(0)))), nil
}

// channels are n channels of x from the first on.
func (b *Builder) channels(x *ir.Value, first, n int) *ir.Value {
	return b.Op("Slice", ir.In(x, b.Ints(first), b.Ints(first+n), b.Ints(1)))
}
