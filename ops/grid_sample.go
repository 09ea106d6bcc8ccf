package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// gridSample reads images at places of a grid, coordinates from -1 to 1 with
// that of the last axis first.
//
//	x (N,C,D...), grid (N,E...,r) -> y (N,C,E...), with r axes D and E
//
// https://onnx.ai/onnx/operators/onnx__GridSample.html (since 16; more axes than
// two since 20)
type gridSample struct{ kernel.Sampling }

// sampleModes are the values of mode, with those before opset 20.
var sampleModes = map[string]int{"linear": 1, "bilinear": 1, "nearest": 0, "cubic": 3, "bicubic": 3}

func newGridSample(a *Args) (Op, error) {
	mode, padding := a.String("mode", "linear"), a.String("padding_mode", "zeros")
	degree, ok := sampleModes[mode]
	if !ok {
		return nil, fmt.Errorf("mode is %q", mode)
	}
	o := gridSample{kernel.Sampling{Degree: degree, Corners: a.Bool("align_corners", false)}}
	switch padding {
	case "zeros":
	case "border":
		o.Border = true
	case "reflection":
		o.Reflect = true
	default:
		return nil, fmt.Errorf("padding_mode is %q", padding)
	}
	return o, nil
}

func (gridSample) Infer(in []Fact) ([]Fact, error) {
	x, grid := in[0], in[1]
	if !x.Ranked || !grid.Ranked {
		return []Fact{unranked(x.DType)}, nil
	}
	r := x.Rank() - 2
	if r < 1 || grid.Rank() != x.Rank() {
		return nil, fmt.Errorf("grid %v for x %v", grid, x)
	}
	if _, err := agree("coordinates and axes", grid.Dim(-1), known(r)); err != nil {
		return nil, err
	}
	n, err := agree("batches", x.Dims[0], grid.Dims[0])
	dims := append([]ir.Dim{n, x.Dims[1]}, grid.Dims[1:r+1]...)
	return []Fact{Of(x.DType, dims...)}, err
}

func (o gridSample) Bind(p *Binder, in, out []Fact) (Step, error) {
	if _, err := commonDType(in); err != nil {
		return nil, err
	}
	return bindTyped(p, o, []typedStep{gridSampleStep[float32](o, in, out), gridSampleStep[float64](o, in, out)}, in, out)
}

func gridSampleStep[T kernel.Float](o gridSample, in, out []Fact) typedStep {
	xs, ys := in[0].MustShape(), out[0].MustShape()
	size, points := xs[2:], ys[2:].Size()
	image, result, places := xs[1:].Size(), ys[1:].Size(), points*len(size)
	return typedStep{tensor.DTypeOf[T](), func(f *Frame, in, out []*tensor.Tensor) error {
		x, grid, y := tensor.Data[T](in[0]), tensor.Data[T](in[1]), tensor.Data[T](out[0])
		if size.Size() == 0 {
			clear(y)
			return nil
		}
		for n := range xs[0] {
			kernel.GridSample(f.Pool, o.Sampling, size, xs[1], points, y[n*result:][:result], x[n*image:][:image], grid[n*places:][:places])
		}
		return nil
	}}
}
