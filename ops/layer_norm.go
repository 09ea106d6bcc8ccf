package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// layerNorm normalises over the dimensions from axis on (Ba and others, arXiv
// 1607.06450): with mean and inv = 1/sqrt(variance+epsilon) of these elements,
//
//	x (..., C...), scale and bias broadcast to (C...) -> y = (x-mean)*inv*scale + bias
//	[, mean (..., 1...), inv (..., 1...)]
//
// mean and inv are float32 for 16-bit x, else of x's dtype.
// https://onnx.ai/onnx/operators/onnx__LayerNormalization.html
type layerNorm struct {
	axis int
	eps  float64
}

// layerNormGrad is ai.bonnx.LayerNormalizationGrad, the gradient for x: with
// g = dy*scale, xh = (x-mean)*inv and means over the dimensions from axis on,
//
//	dy, x, scale (optional), mean, inv -> dx = inv*(g - mean(g) - xh*mean(g*xh))
type layerNormGrad struct{ axis int }

func newLayerNorm(a *Args) (Op, error) {
	a.Skip("stash_type") // sums are kept in float64 whatever it says
	return layerNorm{a.Int("axis", -1), a.Float("epsilon", 1e-5)}, nil
}

func newLayerNormGrad(a *Args) (Op, error) {
	if a.Node.Input(3) == nil || a.Node.Input(4) == nil {
		return nil, errors.New("mean or inverse deviation is left out")
	}
	return layerNormGrad{a.Int("axis", -1)}, nil
}

func (o layerNorm) Infer(in []Fact) ([]Fact, error) {
	if _, err := commonDType(in); err != nil {
		return nil, err
	}
	x := in[0]
	stat := Fact{DType: x.DType, Ranked: x.Ranked}
	if isNarrow(x.DType) {
		stat.DType = tensor.Float32
	}
	if !x.Ranked {
		return []Fact{x.WithoutValue(), stat, stat}, nil
	}
	axis, err := axisOf(x, o.axis)
	if err != nil {
		return nil, err
	}
	for i, f := range in[1:] {
		if f.Absent() || !f.Ranked {
			continue
		}
		if _, ok := BroadcastDims(x.Dims[axis:], f.Dims); !ok || f.Rank() > x.Rank()-axis {
			return nil, fmt.Errorf("%s of shape %v does not broadcast to %v", [2]string{"scale", "bias"}[i], dimsString(f.Dims), dimsString(x.Dims[axis:]))
		}
	}
	stat.Dims = append([]ir.Dim{}, x.Dims...)
	for i := axis; i < len(stat.Dims); i++ {
		stat.Dims[i] = known(1)
	}
	return []Fact{x.WithoutValue(), stat, stat}, nil
}

// rowsFrom sees a concrete shape as rows of the dimensions from axis on.
func rowsFrom(f Fact, axis int) (rows, n int, err error) {
	axis, err = axisOf(f, axis)
	if err != nil {
		return 0, 0, err
	}
	s := f.MustShape()
	return s[:axis].Size(), s[axis:].Size(), nil
}

func (o layerNorm) Bind(p *Binder, in, out []Fact) (Step, error) {
	if isNarrow(in[0].DType) {
		return viaFloat32(p, o, in, out)
	}
	return floatStep(in[0].DType,
		func() (Step, error) { return bindLayerNorm[float32](p, o, in, out) },
		func() (Step, error) { return bindLayerNorm[float64](p, o, in, out) })
}

func bindLayerNorm[T kernel.Float](p *Binder, o layerNorm, in, out []Fact) (Step, error) {
	rows, n, err := rowsFrom(in[0], o.axis)
	if err != nil {
		return nil, err
	}
	p.InPlace(0, 0)
	whole := in[1].MustShape().Size() == n && (at(in, 2).Absent() || in[2].MustShape().Size() == n)
	var after []Step
	if !whole {
		if after, err = scaleAfter[T](in, out); err != nil {
			return nil, err
		}
	}
	return func(f *Frame, in, out []*tensor.Tensor) error {
		var scale, bias []T
		if whole {
			scale, bias = dataOf[T](in, 1), dataOf[T](in, 2)
		}
		kernel.LayerNorm(f.Pool, rows, n, tensor.Data[T](out[0]), tensor.Data[T](in[0]), scale, bias,
			dataOf[T](out, 1), dataOf[T](out, 2), o.eps)
		for _, s := range after {
			if err := s(f, in, out); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// scaleAfter multiplies the output by in[1] and adds in[2], where these are
// broadcast within a row.
func scaleAfter[T kernel.Float](in, out []Fact) ([]Step, error) {
	var steps []Step
	for i, k := range []binaryKernel[T]{kernel.Mul[T], kernel.Add[T]} {
		if at(in, i+1).Absent() {
			continue
		}
		bc, err := planBroadcast(out[0].MustShape(), out[0].MustShape(), in[i+1].MustShape())
		if err != nil {
			return nil, err
		}
		steps = append(steps, binaryOf(k).fold(bc, i+1))
	}
	return steps, nil
}

// dataOf is the data of tensor i of a list, nil where it is left out.
func dataOf[T tensor.Elem](list []*tensor.Tensor, i int) []T {
	if t := arg(list, i); t != nil {
		return tensor.Data[T](t)
	}
	return nil
}

// Grad keeps mean and inv from the forward pass. A gradient may come in through
// any of the outputs.
func (o layerNorm) Grad(b *GradBuilder) error {
	dy, x, scale := b.Grad(0), b.In(0), b.In(1)
	if b.Needs(2) && dy != nil {
		b.SetSum(2, dy)
	}
	if !b.Needs(0) && !b.Needs(1) {
		return nil
	}
	mean, inv := b.Keep(1), b.Keep(2)
	if b.Needs(1) && dy != nil {
		b.SetSum(1, b.Mul(dy, b.Mul(b.Sub(x, mean), inv)))
	}
	if !b.Needs(0) {
		return nil
	}
	var dx *ir.Value
	if dy != nil {
		dx = b.Composite("LayerNormalizationGrad", ir.In(dy, x, scale, mean, inv), 1, ir.A("axis", ir.Int(o.axis)))[0]
	}
	if b.Grad(1) != nil || b.Grad(2) != nil {
		side, err := o.statisticsGrad(b, x, mean, inv)
		if err != nil {
			return err
		}
		dx = b.addBias(dx, side)
	}
	b.Set(0, dx)
	return nil
}

// statisticsGrad is what the gradients of the mean and of inv add to x's:
// (dmean - dinv*inv^3*(x-mean)) / n.
func (o layerNorm) statisticsGrad(b *GradBuilder, x, mean, inv *ir.Value) (*ir.Value, error) {
	axes, err := b.axesFrom(o.axis, x)
	if err != nil {
		return nil, err
	}
	var sum *ir.Value
	if dinv := b.Grad(2); dinv != nil {
		cube := b.Mul(b.Mul(inv, inv), inv)
		sum = b.Neg(b.Mul(b.Mul(dinv, cube), b.Sub(x, mean)))
	}
	if dmean := b.Grad(1); dmean != nil {
		sum = b.addBias(sum, b.ExpandLike(dmean, x))
	}
	n := b.Extent(x, axes[0])
	for _, a := range axes[1:] {
		n = b.Mul(n, b.Extent(x, a))
	}
	return b.Div(sum, b.Cast(n, b.Fact(x).DType)), nil
}

func (o layerNormGrad) Infer(in []Fact) ([]Fact, error) {
	if _, err := commonDType(in); err != nil {
		return nil, err
	}
	return []Fact{in[1].WithoutValue()}, nil
}

func (o layerNormGrad) Bind(p *Binder, in, out []Fact) (Step, error) {
	return floatStep(in[0].DType,
		func() (Step, error) { return bindLayerNormGrad[float32](p, o.axis, in) },
		func() (Step, error) { return bindLayerNormGrad[float64](p, o.axis, in) })
}

func bindLayerNormGrad[T kernel.Float](p *Binder, axis int, in []Fact) (Step, error) {
	rows, n, err := rowsFrom(in[1], axis)
	if err != nil {
		return nil, err
	}
	if !in[0].MustShape().Equal(in[1].MustShape()) || in[3].MustShape().Size() != rows || in[4].MustShape().Size() != rows {
		return nil, errDataShape
	}
	if in[2].Absent() || in[2].MustShape().Size() == n {
		return func(f *Frame, in, out []*tensor.Tensor) error {
			kernel.LayerNormGrad(f.Pool, rows, n, tensor.Data[T](out[0]), nil, nil, tensor.Data[T](in[1]), dataOf[T](in, 2),
				tensor.Data[T](in[3]), tensor.Data[T](in[4]), tensor.Data[T](in[0]))
			return nil
		}, nil
	}
	shape := in[1].MustShape() // scale is broadcast within a row: g = dy*scale first
	bc, err := planBroadcast(shape, shape, in[2].MustShape())
	if err != nil {
		return nil, err
	}
	s := scratchOf[T](p, shape.Size())
	return func(f *Frame, in, out []*tensor.Tensor) error {
		g := ScratchOf[T](f, s)[:rows*n]
		kernel.Mul(f.Pool, bc, g, tensor.Data[T](in[0]), tensor.Data[T](in[2]))
		kernel.LayerNormGrad(f.Pool, rows, n, tensor.Data[T](out[0]), nil, nil, tensor.Data[T](in[1]), nil,
			tensor.Data[T](in[3]), tensor.Data[T](in[4]), g)
		return nil
	}, nil
}

// Expand spells the equation out; a positive axis needs the rank.
func (o layerNormGrad) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	g, x, scale, mean, inv := n.Input(0), n.Input(1), n.Input(2), n.Input(3), n.Input(4)
	axes, err := b.axesFrom(o.axis, x)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", n, err)
	}
	if scale != nil {
		g = b.Mul(g, scale)
	}
	xh := b.Mul(b.Sub(x, mean), inv)
	return ir.In(b.Mul(inv, b.Sub(b.Sub(g, b.meanOver(g, axes)), b.Mul(xh, b.meanOver(b.Mul(g, xh), axes))))), nil
}
