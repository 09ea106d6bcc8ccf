package ops

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// inferPool is the shape of a pooled x (N,C,D...).
func (o window) inferPool(x Fact) (Fact, error) {
	rank, err := spatialRank(x)
	if err != nil || rank < 0 {
		return unranked(x.DType), err
	}
	ker := make([]ir.Dim, rank)
	if len(o.kernel) != rank {
		return Fact{}, errors.New("kernel_shape does not have a value for each spatial dimension")
	}
	for i := range ker {
		ker[i] = known(o.kernel[i])
	}
	out, err := o.outDims(x.Dims[2:], ker)
	if err != nil {
		return Fact{}, err
	}
	return Of(x.DType, append([]ir.Dim{x.Dims[0], x.Dims[1]}, out...)...), nil
}

// maxPool is the greatest element under each place of a window.
//
//	x (N,C,D...) -> y (N,C,O...) [, index (N,C,O...) of y's elements in x]
//
// https://onnx.ai/onnx/operators/onnx__MaxPool.html
type maxPool struct {
	window
	columnMajor bool // index counts the spatial dimensions first to last
}

func newMaxPool(a *Args) (Op, error) {
	w, err := newWindow(a)
	return maxPool{w, a.Bool("storage_order", false)}, err
}

func (o maxPool) Infer(in []Fact) ([]Fact, error) {
	y, err := o.inferPool(in[0])
	if err != nil {
		return nil, err
	}
	index := y
	index.DType = tensor.Int64
	return []Fact{y, index}, nil
}

func (o maxPool) Bind(p *Binder, in, out []Fact) (Step, error) {
	return bindTyped(p, o, []typedStep{
		maxPoolStep(o, in, out, float32(math.Inf(-1))), maxPoolStep(o, in, out, math.Inf(-1)),
		maxPoolStep[int8](o, in, out, math.MinInt8), maxPoolStep[uint8](o, in, out, 0),
	}, in, out)
}

func maxPoolStep[T kernel.Numeric](o maxPool, in, out []Fact, low T) typedStep {
	x, y := in[0].MustShape(), out[0].MustShape()
	planes, nd := x[0]*x[1], o.place(x[2:], o.kernel, y[2:])
	pool := func(f *Frame, y []T, index []int64, x []T) { kernel.MaxPoolND(f.Pool, planes, nd, y, index, x, low) }
	if len(x) <= 4 {
		w := flat(nd)
		pool = func(f *Frame, y []T, index []int64, x []T) { kernel.MaxPool(f.Pool, planes, &w, y, index, x, low) }
	}
	return typedStep{tensor.DTypeOf[T](), func(f *Frame, in, out []*tensor.Tensor) error {
		index := dataOf[int64](out, 1)
		pool(f, tensor.Data[T](out[0]), index, tensor.Data[T](in[0]))
		if o.columnMajor {
			firstToLast(index, x[2:])
		}
		return nil
	}}
}

// firstToLast renumbers positions in row-major planes as if the first
// dimension of a plane were its innermost.
func firstToLast(index []int64, plane tensor.Shape) {
	size := plane.Size()
	for i, v := range index {
		if v < 0 {
			continue
		}
		rest, at := int(v)%size, 0
		for d := len(plane) - 1; d >= 0; d-- {
			stride := plane[:d].Size()
			at += rest % plane[d] * stride
			rest /= plane[d]
		}
		index[i] = v - v%int64(size) + int64(at)
	}
}

// Grad sends dy to where the elements came from.
func (o maxPool) Grad(b *GradBuilder) error {
	if o.columnMajor {
		return errors.New("a gradient needs storage_order 0")
	}
	b.Set(0, b.Composite("MaxPoolGrad", ir.In(b.Grad(0), b.Keep(1), b.Shape(b.In(0))), 1)[0])
	return nil
}

// maxPoolGrad is ai.bonnx.MaxPoolGrad: dx is 0 but for dx[index[i]] += dy[i],
// dx seen as a vector.
//
//	dy (N,C,O...), index (N,C,O...), shape of x -> dx (N,C,D...)
type maxPoolGrad struct{}

func newMaxPoolGrad(*Args) (Op, error) { return maxPoolGrad{}, nil }

func (maxPoolGrad) Infer(in []Fact) ([]Fact, error) {
	if d := in[1].DType; d != tensor.Int64 && d != tensor.Undefined {
		return nil, fmt.Errorf("index is %v", in[1])
	}
	return []Fact{shapedFact(in[0].DType, in[2])}, nil
}

func (maxPoolGrad) Bind(_ *Binder, in, out []Fact) (Step, error) {
	if !in[0].MustShape().Equal(in[1].MustShape()) {
		return nil, errors.New("gradient and index differ in shape")
	}
	return floatStep(in[0].DType,
		func() (Step, error) { return maxPoolGradStep[float32](in, out), nil },
		func() (Step, error) { return maxPoolGradStep[float64](in, out), nil })
}

func maxPoolGradStep[T kernel.Float](in, out []Fact) Step {
	w := kernel.Window{H: 1, W: out[0].MustShape().Size(), OH: 1, OW: in[0].MustShape().Size()}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		index := tensor.Data[int64](in[1])
		for _, v := range index {
			if v >= int64(w.W) {
				return errors.New("index beyond the end")
			}
		}
		kernel.MaxPoolGrad(f.Pool, 1, &w, tensor.Data[T](out[0]), tensor.Data[T](in[0]), index)
		return nil
	}
}

// Expand scatters into zeros.
func (maxPoolGrad) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	dy, index, shape := n.Input(0), n.Input(1), n.Input(2)
	size := b.Op("ReduceProd", ir.In(shape), ir.A("keepdims", ir.Int(1)))
	zeros := b.Op("Expand", ir.In(b.Scalar(dy, 0), size))
	dx := b.Op("ScatterElements", ir.In(zeros, b.ReshapeTo(index, -1), b.ReshapeTo(dy, -1)),
		ir.A("axis", ir.Int(0)), ir.A("reduction", ir.String("add")))
	return ir.In(b.Reshape(dx, shape)), nil
}

// averagePool is the mean under each place of a window, of elements alone or,
// with count_include_pad, of elements and padding.
// https://onnx.ai/onnx/operators/onnx__AveragePool.html
type averagePool struct {
	window
	includePad bool
}

// averagePoolGrad is ai.bonnx.AveragePoolGrad:
//
//	dy (N,C,O...), shape of x -> dx (N,C,D...)
type averagePoolGrad struct{ of averagePool }

func parseAveragePool(a *Args) (averagePool, error) {
	w, err := newWindow(a)
	return averagePool{w, a.Bool("count_include_pad", false)}, err
}

func newAveragePool(a *Args) (Op, error) { return parseAveragePool(a) }

func newAveragePoolGrad(a *Args) (Op, error) {
	o, err := parseAveragePool(a)
	return averagePoolGrad{o}, err
}

func (o averagePool) Infer(in []Fact) ([]Fact, error) {
	y, err := o.inferPool(in[0])
	return []Fact{y}, err
}

func (o averagePool) Bind(p *Binder, in, out []Fact) (Step, error) {
	if isNarrow(in[0].DType) {
		return viaFloat32(p, o, in, out)
	}
	return floatStep(in[0].DType,
		func() (Step, error) { return averageStep[float32](o, in[0], out[0]), nil },
		func() (Step, error) { return averageStep[float64](o, in[0], out[0]), nil })
}

func averageStep[T kernel.Float](o averagePool, xf, yf Fact) Step {
	x, y := xf.MustShape(), yf.MustShape()
	planes, nd := x[0]*x[1], o.place(x[2:], o.kernel, y[2:])
	if len(x) > 4 {
		return func(f *Frame, in, out []*tensor.Tensor) error {
			kernel.AveragePoolND(f.Pool, planes, nd, tensor.Data[T](out[0]), tensor.Data[T](in[0]), o.includePad)
			return nil
		}
	}
	w := flat(nd)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		kernel.AveragePool(f.Pool, planes, &w, tensor.Data[T](out[0]), tensor.Data[T](in[0]), o.includePad)
		return nil
	}
}

func (o averagePool) Grad(b *GradBuilder) error {
	attrs := o.attrs()
	if o.includePad {
		attrs = append(attrs, ir.A("count_include_pad", ir.Int(1)))
	}
	b.Set(0, b.Composite("AveragePoolGrad", ir.In(b.Grad(0), b.Shape(b.In(0))), 1, attrs...)[0])
	return nil
}

func (o averagePoolGrad) Infer(in []Fact) ([]Fact, error) {
	return []Fact{shapedFact(in[0].DType, in[1])}, nil
}

func (o averagePoolGrad) Bind(_ *Binder, in, out []Fact) (Step, error) {
	y, err := o.of.inferPool(out[0])
	if err != nil {
		return nil, err
	}
	if !sameDims(y.Dims, in[0].Dims) {
		return nil, errors.New("gradient does not have the shape of what the pooling gives")
	}
	return floatStep(in[0].DType,
		func() (Step, error) { return averageGradStep[float32](o.of, out[0], in[0]), nil },
		func() (Step, error) { return averageGradStep[float64](o.of, out[0], in[0]), nil })
}

func averageGradStep[T kernel.Float](o averagePool, xf, yf Fact) Step {
	x, y := xf.MustShape(), yf.MustShape()
	planes, nd := x[0]*x[1], o.place(x[2:], o.kernel, y[2:])
	if len(x) > 4 {
		return func(f *Frame, in, out []*tensor.Tensor) error {
			kernel.AveragePoolNDGrad(f.Pool, planes, nd, tensor.Data[T](out[0]), tensor.Data[T](in[0]), o.includePad)
			return nil
		}
	}
	w := flat(nd)
	return func(f *Frame, in, out []*tensor.Tensor) error {
		kernel.AveragePoolGrad(f.Pool, planes, &w, tensor.Data[T](out[0]), tensor.Data[T](in[0]), o.includePad)
		return nil
	}
}

// Expand divides dy by the number of elements under each place and spreads it
// with a transposed convolution whose window is ones.
func (o averagePoolGrad) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	dy, shape := n.Input(0), n.Input(1)
	x := shapedFact(b.Fact(dy).DType, b.Fact(shape))
	rank := len(o.of.kernel)
	ones := b.Op("Expand", ir.In(b.Scalar(dy, 1), b.Ints(append([]int{1, 1}, o.of.kernel...)...)))
	c, _, err := conv{o.of.window, 1}.settled(x, b.Fact(ones))
	if err != nil {
		return nil, err
	}
	c.ceil = false
	planes := b.Reshape(dy, b.Join(b.Ints(-1, 1), b.Op("Shape", ir.In(dy), ir.A("start", ir.Int(2)))))
	if o.of.includePad && !o.of.ceil {
		size := 1.0
		for _, k := range o.of.kernel {
			size *= float64(k)
		}
		planes = b.Mul(planes, b.Scalar(dy, 1/size))
	} else {
		planes = b.Mul(planes, o.weights(b, n, c, ones))
	}
	extra := make([]int, rank)
	c.pads = slices.Clone(c.pads)
	for i := range extra {
		extra[i] = c.stride(i) - 1
		c.pads[i+rank] = 0 // what is too much is cropped; places dropped with ceil_mode leave little
	}
	attrs := c.attrs()
	dx := b.Op("ConvTranspose", ir.In(planes, ones), append(attrs, ir.A("output_padding", ints64(extra)))...)
	return ir.In(b.Reshape(b.cropTo(dx, shape, rank), shape)), nil
}

// weights are what each element under a place counts: one by the number of
// elements that a convolution of a plane of ones with ones tells. Where padding
// counts too, that is less by what the pool itself makes of the plane.
func (o averagePoolGrad) weights(b *Builder, n *ir.Node, c conv, ones *ir.Value) *ir.Value {
	dy, shape := n.Input(0), n.Input(1)
	rank := len(o.of.kernel)
	spatial := b.Op("Slice", ir.In(shape, b.Ints(2), b.Ints(rank+2), b.Ints(0)))
	plane := b.Op("Expand", ir.In(b.Scalar(dy, 1), b.Join(b.Ints(1, 1), spatial)))
	if o.of.ceil {
		c.pads = slices.Clone(c.pads)
		for i := range rank { // room for the place that rounding up adds
			c.pads[i+rank] += c.stride(i) - 1
		}
	}
	count := b.Op("Conv", ir.In(plane, ones), c.attrs()...)
	if !o.of.ceil {
		return b.Op("Reciprocal", ir.In(count))
	}
	count = b.cropTo(count, b.Shape(dy), rank)
	if !o.of.includePad {
		return b.Op("Reciprocal", ir.In(count))
	}
	return b.Div(b.Op("AveragePool", ir.In(plane), n.Attrs...), count)
}
