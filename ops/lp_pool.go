package ops

import (
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/ir"
)

// lpPool is the norm of order p of windows: that of AveragePool over |x|^p,
// times the number of a window's elements.
//
//	x (N,C,D...) -> y (N,C,D'...) = (sum over the window of |x|^p)^(1/p)
//
// https://onnx.ai/onnx/operators/onnx__LpPool.html
type lpPool struct {
	function
	p     int
	size  int
	attrs []*ir.Attr
}

func newLpPool(a *Args) (Op, error) {
	o := lpPool{p: a.Int("p", 2), size: 1}
	for _, k := range a.Ints("kernel_shape") {
		if k < 1 || k > 1<<20 || o.size > 1<<30 {
			return nil, fmt.Errorf("kernel_shape is %v", a.Ints("kernel_shape"))
		}
		o.size *= k
	}
	if o.p < 1 {
		return nil, fmt.Errorf("p is %d", o.p)
	}
	if a.Bool("ceil_mode", false) {
		return nil, fmt.Errorf("ceil_mode is not supported")
	}
	a.Skip("auto_pad", "dilations", "pads", "strides")
	o.attrs = slices.DeleteFunc(slices.Clone(a.Node.Attrs), func(at *ir.Attr) bool { return at.Name == "p" })
	o.attrs = append(o.attrs, ir.A("count_include_pad", ir.Int(1)))
	return o, nil
}

// Expand builds the body.
func (o lpPool) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x := n.Input(0)
	mean := b.Op("AveragePool", ir.In(b.power(x, o.p)), o.attrs...)
	return ir.In(b.root(b.Mul(mean, b.Scalar(x, float64(o.size))), o.p)), nil
}

// power is |x|^p.
func (b *Builder) power(x *ir.Value, p int) *ir.Value {
	if p == 2 {
		return b.Mul(x, x)
	}
	x = b.Op("Abs", ir.In(x))
	if p == 1 {
		return x
	}
	return b.Op("Pow", ir.In(x, b.Scalar(x, float64(p))))
}

// root is the p-th one of what is not negative.
func (b *Builder) root(x *ir.Value, p int) *ir.Value {
	switch p {
	case 1:
		return x
	case 2:
		return b.Op("Sqrt", ir.In(x))
	}
	return b.Op("Pow", ir.In(x, b.Scalar(x, 1/float64(p))))
}

// globalLpPool is lpPool over all of each channel.
// https://onnx.ai/onnx/operators/onnx__GlobalLpPool.html
type globalLpPool struct {
	function
	p int
}

func newGlobalLpPool(a *Args) (Op, error) {
	o := globalLpPool{p: a.Int("p", 2)}
	if o.p < 1 {
		return nil, fmt.Errorf("p is %d", o.p)
	}
	return o, nil
}

// Expand builds the body.
func (o globalLpPool) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	x := n.Input(0)
	rank := b.Fact(x).Rank()
	if rank < 3 {
		return nil, fmt.Errorf("x is %v, want an image", b.Fact(x))
	}
	var axes []int
	for a := 2; a < rank; a++ {
		axes = append(axes, a)
	}
	return ir.In(b.root(b.ReduceSum(b.power(x, o.p), true, axes...), o.p)), nil
}
