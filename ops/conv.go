package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// conv is the convolution (cross-correlation) over the dimensions after batch
// and channel, in groups of channels:
//
//	x (N,C,D...), w (M,C/group,K...), bias (M) optional -> y (N,M,O...)
//
// https://onnx.ai/onnx/operators/onnx__Conv.html
type conv struct {
	window
	group int
}

func newConv(a *Args) (Op, error) { return parseConv(a) }

func parseConv(a *Args) (conv, error) {
	w, err := newWindow(a)
	o := conv{w, a.Int("group", 1)}
	if err == nil && o.group < 1 {
		err = fmt.Errorf("group is %d", o.group)
	}
	return o, err
}

// attrs are the attributes for another node of the same window.
func (o conv) attrs() []*ir.Attr {
	at := o.window.attrs()
	if o.group != 1 {
		at = append(at, ir.A("group", ir.Int(o.group)))
	}
	return at
}

// spatialRank is how many dimensions lie after batch and channel.
func spatialRank(facts ...Fact) (int, error) {
	rank := -1
	for _, f := range facts {
		switch {
		case !f.Ranked:
		case f.Rank() < 3:
			return 0, fmt.Errorf("%v has no spatial dimensions", f)
		case rank >= 0 && rank != f.Rank()-2:
			return 0, fmt.Errorf("ranks differ: %v", shapesOf(facts))
		default:
			rank = f.Rank() - 2
		}
	}
	if rank > 8 {
		return 0, fmt.Errorf("%d spatial dimensions; at most 8", rank)
	}
	return rank, nil
}

// kernelDims are the kernel's extents as the weights or the attribute tell.
func (o window) kernelDims(w Fact, rank int) ([]ir.Dim, error) {
	dims := make([]ir.Dim, rank)
	for i := range dims {
		if w.Ranked {
			dims[i] = w.Dims[i+2]
		}
		if len(o.kernel) != rank {
			continue
		}
		var err error
		if dims[i], err = agree("kernel_shape", dims[i], known(o.kernel[i])); err != nil {
			return nil, err
		}
	}
	for _, d := range dims {
		if d.Known && d.Value < 1 {
			return nil, fmt.Errorf("weights of shape %s", dimsString(w.Dims))
		}
	}
	return dims, nil
}

func (o conv) Infer(in []Fact) ([]Fact, error) {
	d, err := commonDType(in)
	if err != nil {
		return nil, err
	}
	x, w := in[0], in[1]
	rank, err := spatialRank(x, w)
	if err != nil || rank < 0 {
		return []Fact{unranked(d)}, err
	}
	if err := o.checkChannels(x.Dim(1), w, at(in, 2)); err != nil {
		return nil, err
	}
	spatial := make([]ir.Dim, rank)
	if x.Ranked {
		copy(spatial, x.Dims[2:])
	}
	ker, err := o.kernelDims(w, rank)
	if err != nil {
		return nil, err
	}
	out, err := o.outDims(spatial, ker)
	if err != nil {
		return nil, err
	}
	return []Fact{Of(d, append([]ir.Dim{x.Dim(0), w.Dim(0)}, out...)...)}, nil
}

// checkChannels refuses channel counts that do not fit the groups.
func (o conv) checkChannels(c ir.Dim, w, bias Fact) error {
	m, cg := w.Dim(0), w.Dim(1)
	if c.Known && cg.Known && c.Value != cg.Value*int64(o.group) {
		return fmt.Errorf("%d channels for weights of %d in %d groups", c.Value, cg.Value, o.group)
	}
	if m.Known && m.Value%int64(o.group) != 0 {
		return fmt.Errorf("%d filters in %d groups", m.Value, o.group)
	}
	if bias.Ranked && (bias.Rank() != 1 || bias.Dims[0].Known && m.Known && bias.Dims[0].Value != m.Value) {
		return fmt.Errorf("bias of shape %s for %v filters", dimsString(bias.Dims), m)
	}
	return nil
}

// planes is the kernel's view of concrete shapes x, w, y with one or two
// spatial dimensions.
func (o conv) planes(x, w, y tensor.Shape) *kernel.Conv {
	return &kernel.Conv{Window: flat(o.place(x[2:], w[2:], y[2:])), N: x[0], C: x[1], M: w[0], Groups: o.group}
}

func (o conv) Bind(p *Binder, in, out []Fact) (Step, error) {
	if isNarrow(in[0].DType) {
		return viaFloat32(p, o, in, out)
	}
	return floatStep(in[0].DType,
		func() (Step, error) { return bindConv[float32](p, o, in, out), nil },
		func() (Step, error) { return bindConv[float64](p, o, in, out), nil })
}

func bindConv[T kernel.Float](p *Binder, o conv, in, out []Fact) Step {
	x, w, y := in[0].MustShape(), in[1].MustShape(), out[0].MustShape()
	if len(x) > 4 {
		nd := o.place(x[2:], w[2:], y[2:])
		return func(f *Frame, in, out []*tensor.Tensor) error {
			kernel.ConvND(f.Pool, nd, x[0], x[1], w[0], o.group, tensor.Data[T](out[0]), tensor.Data[T](in[0]), tensor.Data[T](in[1]), dataOf[T](in, 2))
			return nil
		}
	}
	c := o.planes(x, w, y)
	s := scratchOf[T](p, kernel.ConvScratch[T](c))
	return func(f *Frame, in, out []*tensor.Tensor) error {
		kernel.Conv2D(f.Pool, c, tensor.Data[T](out[0]), tensor.Data[T](in[0]), tensor.Data[T](in[1]), dataOf[T](in, 2), ScratchOf[T](f, s))
		return nil
	}
}

// Grad uses the composites ConvGradInput and ConvGradWeight; they take the
// shapes of what they give, not the values.
func (o conv) Grad(b *GradBuilder) error {
	x, w, dy := b.In(0), b.In(1), b.Grad(0)
	if b.Needs(0) {
		b.Set(0, b.Composite("ConvGradInput", ir.In(dy, w, b.Shape(x)), 1, o.attrs()...)[0])
	}
	if b.Needs(1) {
		b.Set(1, b.Composite("ConvGradWeight", ir.In(dy, x, b.Shape(w)), 1, o.attrs()...)[0])
	}
	return b.gradChannelBias(2, dy, x, w)
}

// gradChannelBias sums dy (N,M,...) over all but channels, for a bias at
// input i. The rank is that of any of the facts.
func (b *GradBuilder) gradChannelBias(i int, dy *ir.Value, like ...*ir.Value) error {
	if !b.Needs(i) {
		return nil
	}
	rank := b.Fact(dy).Rank()
	for _, v := range like {
		rank = max(rank, b.Fact(v).Rank())
	}
	if rank < 0 {
		return fmt.Errorf("the gradient of the bias needs a rank")
	}
	axes := []int{0}
	for a := 2; a < rank; a++ {
		axes = append(axes, a)
	}
	b.Set(i, b.ReduceSum(dy, false, axes...))
	return nil
}
