package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// convTranspose is the transpose of conv: what the gradient of a convolution
// for its input computes.
//
//	x (N,C,D...), w (C,M/group,K...), bias (M) optional -> y (N,M,O...)
//	O = stride*(D-1) + output_padding + dilation*(K-1)+1 - pads
//
// https://onnx.ai/onnx/operators/onnx__ConvTranspose.html
type convTranspose struct {
	conv
	extra, shape []int // output_padding, output_shape
}

func newConvTranspose(a *Args) (Op, error) {
	c, err := parseConv(a)
	o := convTranspose{c, a.Ints("output_padding"), a.Ints("output_shape")}
	for _, v := range append(append([]int{}, o.extra...), o.shape...) {
		if v < 0 && err == nil {
			err = fmt.Errorf("output_padding or output_shape is negative")
		}
	}
	return o, err
}

// full is the extent before padding is taken off.
func (o convTranspose) full(i, in, k int) int {
	return o.stride(i)*(in-1) + orDefault(o.extra, i, 0) + o.dilation(i)*(k-1) + 1
}

// place is the extent along axis i and the padding taken off before it.
func (o convTranspose) place(i, rank, in, k int) (out, before int) {
	full := o.full(i, in, k)
	switch {
	case o.shape != nil:
		out = o.shape[i]
	case o.same():
		out = in * o.stride(i)
	default:
		before, after := o.padding(i, rank, 0, 0)
		return max(0, full-before-after), before
	}
	total := max(0, full-out)
	if o.auto == "SAME_UPPER" {
		return out, total / 2
	}
	return out, total - total/2
}

func (o convTranspose) outDim(i, rank int, in, k ir.Dim) ir.Dim {
	switch {
	case o.shape != nil:
		return known(o.shape[i])
	case o.same():
		return dimOp('*', in, known(o.stride(i)))
	case !k.Known:
		return unknown
	case in.Known:
		out, _ := o.place(i, rank, int(in.Value), int(k.Value))
		return known(out)
	}
	before, after := o.padding(i, rank, 0, 0)
	grow := o.full(i, 1, int(k.Value)) - o.stride(i) - before - after
	d := dimOp('*', in, known(o.stride(i)))
	if grow >= 0 {
		return dimOp('+', d, known(grow))
	}
	return dimOp('-', d, known(-grow))
}

func (o convTranspose) Infer(in []Fact) ([]Fact, error) {
	d, err := commonDType(in)
	if err != nil {
		return nil, err
	}
	x, w := in[0], in[1]
	rank, err := spatialRank(x, w)
	if err != nil || rank < 0 {
		return []Fact{unranked(d)}, err
	}
	if err := o.check(rank); err != nil {
		return nil, err
	}
	if o.extra != nil && len(o.extra) != rank || o.shape != nil && len(o.shape) != rank {
		return nil, fmt.Errorf("output_padding or output_shape is not of %d values", rank)
	}
	if c, wc := x.Dim(1), w.Dim(0); c.Known && wc.Known && c.Value != wc.Value || wc.Known && wc.Value%int64(o.group) != 0 {
		return nil, fmt.Errorf("%v channels for weights of %v in %d groups", c, wc, o.group)
	}
	ker, err := o.kernelDims(w, rank)
	if err != nil {
		return nil, err
	}
	dims := []ir.Dim{x.Dim(0), dimOp('*', w.Dim(1), known(o.group))}
	for i := range rank {
		spatial := unknown
		if x.Ranked {
			spatial = x.Dims[i+2]
		}
		dims = append(dims, o.outDim(i, rank, spatial, ker[i]))
	}
	if b := at(in, 2); b.Ranked && (b.Rank() != 1 || b.Dims[0].Known && dims[1].Known && b.Dims[0].Value != dims[1].Value) {
		return nil, fmt.Errorf("bias of shape %s for %v channels", dimsString(b.Dims), dims[1])
	}
	return []Fact{Of(d, dims...)}, nil
}

func (o convTranspose) Bind(p *Binder, in, out []Fact) (Step, error) {
	if isNarrow(in[0].DType) {
		return viaFloat32(p, o, in, out)
	}
	return floatStep(in[0].DType,
		func() (Step, error) { return bindConvTranspose[float32](p, o, in, out) },
		func() (Step, error) { return bindConvTranspose[float64](p, o, in, out) })
}

// bindConvTranspose runs the gradient of the convolution that takes y to x.
func bindConvTranspose[T kernel.Float](p *Binder, o convTranspose, in, out []Fact) (Step, error) {
	x, w, y := in[0].MustShape(), in[1].MustShape(), out[0].MustShape()
	rank := len(x) - 2
	nd := &kernel.WindowND{In: y[2:], Kernel: w[2:], Out: x[2:], After: make([]int, rank)}
	for i := range rank {
		_, before := o.place(i, rank, x[i+2], w[i+2])
		nd.Before = append(nd.Before, before)
		nd.Stride, nd.Dilation = append(nd.Stride, o.stride(i)), append(nd.Dilation, o.dilation(i))
		if x[i+2] != y[i+2] {
			nd.After[i] = 1 // a window of 1 does not leave planes as they are
		}
	}
	c := &kernel.Conv{N: x[0], C: y[1], M: x[1], Groups: o.group}
	run := func(f *Frame, y, x, w []T) { kernel.ConvNDGradX(f.Pool, nd, c.N, c.C, c.M, c.Groups, y, x, w) }
	if rank <= 2 {
		c.Window = flat(nd)
		s := scratchOf[T](p, kernel.ConvScratch[T](c))
		run = func(f *Frame, y, x, w []T) { kernel.Conv2DGradX(f.Pool, c, y, x, w, ScratchOf[T](f, s)) }
	}
	bias, err := channelBias[T](in, out)
	if err != nil {
		return nil, err
	}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		run(f, tensor.Data[T](out[0]), tensor.Data[T](in[0]), tensor.Data[T](in[1]))
		if bias != nil {
			return bias(f, in, out)
		}
		return nil
	}, nil
}

// channelBias adds in[2] (M), where given, to the channels of out[0].
func channelBias[T kernel.Float](in, out []Fact) (Step, error) {
	if at(in, 2).Absent() {
		return nil, nil
	}
	y := out[0].MustShape()
	col := tensor.Shape{y[1]}
	for range y[2:] {
		col = append(col, 1)
	}
	bc, err := planBroadcast(y, y, col)
	if err != nil {
		return nil, err
	}
	return binaryOf(kernel.Add[T]).fold(bc, 2), nil
}

// Grad: dX is the convolution of dY, dW the weight gradient of that
// convolution.
func (o convTranspose) Grad(b *GradBuilder) error {
	x, w, dy := b.In(0), b.In(1), b.Grad(0)
	c, err := o.transposed(b.Fact(x), b.Fact(w))
	if err != nil {
		return err
	}
	if b.Needs(0) {
		b.Set(0, b.Op("Conv", ir.In(dy, w), c.attrs()...))
	}
	if b.Needs(1) {
		b.Set(1, b.Composite("ConvGradWeight", ir.In(x, dy, b.Shape(w)), 1, c.attrs()...)[0])
	}
	return b.gradChannelBias(2, dy, x, w)
}

var errNoInverse = errors.New("no convolution leads back from such an output_padding or output_shape")

// transposed is the convolution that takes y back to x, its padding explicit.
func (o convTranspose) transposed(x, w Fact) (conv, error) {
	for i, extra := range o.extra {
		if extra >= o.stride(i) {
			return conv{}, errNoInverse
		}
	}
	if o.shape == nil && !o.same() {
		return o.conv, nil
	}
	rank, err := spatialRank(x, w)
	if err != nil || rank < 0 {
		return conv{}, fmt.Errorf("the gradient needs the rank of %v or %v", x, w)
	}
	ker, err := o.kernelDims(w, rank)
	if err != nil {
		return conv{}, err
	}
	pads := make([]int, 2*rank)
	for i, k := range ker {
		in := known(1) // what auto_pad takes off does not depend on the extent
		if o.shape != nil {
			in = x.Dim(i + 2)
		}
		if !in.Known || !k.Known {
			return conv{}, fmt.Errorf("the gradient needs the extents of %v and %v", x, w)
		}
		full := o.full(i, int(in.Value), int(k.Value))
		out, before := o.place(i, rank, int(in.Value), int(k.Value))
		pads[i], pads[i+rank] = before, max(0, full-out)-before
		if out-full >= o.stride(i) {
			return conv{}, errNoInverse
		}
	}
	c := o.conv
	c.pads, c.auto = pads, "NOTSET"
	return c, nil
}
