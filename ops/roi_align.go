package ops

import (
	"fmt"
	"math"

	"github.com/bonnx/bonnx/internal/kernel"
	"github.com/bonnx/bonnx/internal/par"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// roiAlign samples regions of images onto a grid (He et al., arXiv 1703.06870):
//
//	x (N,C,H,W), regions (R,4) as x1 y1 x2 y2, image (R) of each region
//	-> y (R,C,height,width)
//
// An element of y is the mean, or the greatest, of samples inside its part of
// the region, each interpolated between four elements of x.
// https://onnx.ai/onnx/operators/onnx__RoiAlign.html
type roiAlign struct {
	height, width int
	ratio         int // samples along an axis of a part; 0 means one for each element of x
	scale         float64
	offset        float64 // of an element's centre
	atLeastOne    bool    // regions are at least one element wide
	max           bool
}

func newRoiAlign(a *Args) (Op, error) {
	o := roiAlign{height: a.Int("output_height", 1), width: a.Int("output_width", 1), ratio: a.Int("sampling_ratio", 0), scale: a.Float("spatial_scale", 1)}
	switch mode := a.String("mode", "avg"); mode {
	case "avg":
	case "max":
		o.max = true
	default:
		return nil, fmt.Errorf("mode is %q", mode)
	}
	switch mode := a.String("coordinate_transformation_mode", "half_pixel"); mode {
	case "half_pixel":
		o.offset = 0.5
	case "output_half_pixel":
		o.atLeastOne = true
	default:
		return nil, fmt.Errorf("coordinate_transformation_mode is %q", mode)
	}
	if o.height < 1 || o.width < 1 || o.height > 1<<30 || o.width > 1<<30 || o.ratio < 0 || o.ratio > 1<<15 {
		return nil, fmt.Errorf("output %d by %d, sampling_ratio %d", o.height, o.width, o.ratio)
	}
	return o, nil
}

func (o roiAlign) Infer(in []Fact) ([]Fact, error) {
	for i, rank := range []int{4, 2, 1} {
		if in[i].Ranked && in[i].Rank() != rank {
			return nil, fmt.Errorf("input %d is %v, want rank %d", i, in[i], rank)
		}
	}
	if d := in[1].Dim(1); d.Known && d.Value != 4 {
		return nil, fmt.Errorf("regions are %v", in[1])
	}
	if d := in[2].DType; d != tensor.Int64 && d != tensor.Undefined {
		return nil, fmt.Errorf("images are %v", in[2])
	}
	n, err := agree("regions and images", in[1].Dim(0), in[2].Dim(0))
	if err != nil {
		return nil, err
	}
	return []Fact{Of(in[0].DType, n, in[0].Dim(1), known(o.height), known(o.width))}, nil
}

func (o roiAlign) Bind(p *Binder, in, out []Fact) (Step, error) {
	if _, err := commonDType(in[:2]); err != nil {
		return nil, err
	}
	return bindTyped(p, o, []typedStep{roiAlignStep[float32](o, in), roiAlignStep[float64](o, in)}, in, out)
}

// maxSamples bounds how many samples one part of a region may take.
const maxSamples = 1 << 16

func roiAlignStep[T kernel.Float](o roiAlign, in []Fact) typedStep {
	s := in[0].MustShape()
	return typedStep{tensor.DTypeOf[T](), func(f *Frame, in, out []*tensor.Tensor) error {
		x, regions, y := tensor.Data[T](in[0]), tensor.Data[T](in[1]), tensor.Data[T](out[0])
		images := tensor.Data[int64](in[2])
		for r, image := range images {
			if image < 0 || image >= int64(s[0]) {
				return fmt.Errorf("image %d of %d", image, s[0])
			}
			g, err := o.grid([4]float64{float64(regions[4*r]), float64(regions[4*r+1]), float64(regions[4*r+2]), float64(regions[4*r+3])})
			if err != nil {
				return err
			}
			part := o.height * o.width
			par.Do(f.Pool, s[1], 1, &roiTask[T]{o, g, y[r*s[1]*part:], x[int(image)*s[1]*s[2]*s[3]:], s[2], s[3]})
		}
		return nil
	}}
}

// roiTask fills the parts of one region from the planes of an image.
type roiTask[T kernel.Float] struct {
	o    roiAlign
	g    roiGrid
	y, x []T
	h, w int
}

func (t *roiTask[T]) Run(lo, hi int) {
	part, plane := t.o.height*t.o.width, t.h*t.w
	for c := lo; c < hi; c++ {
		roiPlane(t.o, t.g, t.y[c*part:][:part], t.x[c*plane:][:plane], t.h, t.w)
	}
}

// roiGrid is where a region's parts lie and how many samples they take.
type roiGrid struct {
	x, y, w, h float64 // of the first part
	nx, ny     int
}

func (o roiAlign) grid(r [4]float64) (roiGrid, error) {
	x, y := r[0]*o.scale-o.offset, r[1]*o.scale-o.offset
	w, h := r[2]*o.scale-o.offset-x, r[3]*o.scale-o.offset-y
	if o.atLeastOne {
		w, h = max(w, 1), max(h, 1)
	}
	g := roiGrid{x, y, w / float64(o.width), h / float64(o.height), o.ratio, o.ratio}
	if o.ratio == 0 {
		nx, ny := math.Ceil(g.w), math.Ceil(g.h)
		if !(nx*ny <= maxSamples) || !(max(nx, ny) <= maxSamples) {
			return g, fmt.Errorf("region %v takes more than %d samples a part", r, maxSamples)
		}
		g.nx, g.ny = max(0, int(nx)), max(0, int(ny))
	}
	return g, nil
}

// roiPlane fills the parts of one region from one plane of an image.
func roiPlane[T kernel.Float](o roiAlign, g roiGrid, y, x []T, h, w int) {
	for i := range y {
		py, px := float64(i/o.width), float64(i%o.width)
		sum, most := 0.0, math.Inf(-1)
		for iy := range g.ny {
			at := g.y + py*g.h + (float64(iy)+0.5)*g.h/float64(g.ny)
			for ix := range g.nx {
				v := bilinear(x, h, w, at, g.x+px*g.w+(float64(ix)+0.5)*g.w/float64(g.nx))
				sum += v[0] + v[1] + v[2] + v[3]
				most = max(most, v[0], v[1], v[2], v[3])
			}
		}
		switch {
		case g.nx*g.ny == 0:
			y[i] = 0
		case o.max:
			y[i] = T(most)
		default:
			y[i] = T(sum / float64(g.nx*g.ny))
		}
	}
}

// bilinear is the four terms whose sum interpolates a plane at a place; zeros
// more than one element outside.
func bilinear[T kernel.Float](x []T, h, w int, y, at float64) (v [4]float64) {
	if !(y >= -1 && y <= float64(h) && at >= -1 && at <= float64(w)) || h == 0 || w == 0 {
		return v
	}
	y0, y1, fy := between(y, h)
	x0, x1, fx := between(at, w)
	v[0] = (1 - fy) * (1 - fx) * float64(x[y0*w+x0])
	v[1] = (1 - fy) * fx * float64(x[y0*w+x1])
	v[2] = fy * (1 - fx) * float64(x[y1*w+x0])
	v[3] = fy * fx * float64(x[y1*w+x1])
	return v
}

// between are the elements around a place on an axis of n, and how far it is
// from the first to the second.
func between(at float64, n int) (lo, hi int, f float64) {
	at = max(at, 0)
	lo = int(at)
	if lo >= n-1 {
		return n - 1, n - 1, 0
	}
	return lo, lo + 1, at - float64(lo)
}

// liftRoiAlign: before 16 a place was that of an element's corner.
func liftRoiAlign(_ *site, n *ir.Node) error {
	n.SetAttr("coordinate_transformation_mode", ir.String("output_half_pixel"))
	return nil
}
