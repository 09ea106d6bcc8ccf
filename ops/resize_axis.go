package ops

import (
	"math"

	"github.com/bonnx/bonnx/internal/kernel"
)

// resizeAxis is what Resize does along one axis: out elements made of in,
// scale times as dense; start and end bound the region of interest, as
// fractions.
type resizeAxis struct {
	in, out           int
	scale, start, end float64
}

// resizeCoordinates are the coordinate_transformation_modes: where in the
// input output i lies.
func resizeCoordinates() map[string]func(a resizeAxis, i float64) float64 {
	halfPixel := func(a resizeAxis, i float64) float64 { return (i+0.5)/a.scale - 0.5 }
	return map[string]func(a resizeAxis, i float64) float64{
		"half_pixel": halfPixel,
		"half_pixel_symmetric": func(a resizeAxis, i float64) float64 {
			adjust := float64(a.out) / (a.scale * float64(a.in))
			return float64(a.in)/2*(1-adjust) + halfPixel(a, i)
		},
		"pytorch_half_pixel": func(a resizeAxis, i float64) float64 {
			if a.out == 1 {
				return 0
			}
			return halfPixel(a, i)
		},
		"align_corners": func(a resizeAxis, i float64) float64 {
			width := a.scale * float64(a.in)
			if width == 1 {
				return 0
			}
			return i * float64(a.in-1) / (width - 1)
		},
		"asymmetric": func(a resizeAxis, i float64) float64 { return i / a.scale },
		"tf_crop_and_resize": func(a resizeAxis, i float64) float64 {
			last := float64(a.in - 1)
			if a.out == 1 {
				return (a.start + a.end) / 2 * last
			}
			return a.start*last + i*(a.end-a.start)*last/float64(a.out-1)
		},
	}
}

// resizeRoundings are the nearest_modes.
func resizeRoundings() map[string]func(x float64) float64 {
	return map[string]func(x float64) float64{
		"round_prefer_floor": func(x float64) float64 { return math.Ceil(x - 0.5) },
		"round_prefer_ceil":  func(x float64) float64 { return math.Floor(x + 0.5) },
		"floor":              math.Floor,
		"ceil":               math.Ceil,
	}
}

// A resizeCurve is how much an element counts by its distance, which is below
// reach.
type resizeCurve struct {
	reach float64
	at    func(d float64) float64
}

// linearCurve is the tent; cubicCurve is Keys's cubic convolution with the
// coefficient a.
func linearCurve() resizeCurve {
	return resizeCurve{1, func(d float64) float64 { return max(0, 1-math.Abs(d)) }}
}

func cubicCurve(a float64) resizeCurve {
	return resizeCurve{2, func(d float64) float64 {
		switch d = math.Abs(d); {
		case d <= 1:
			return ((a+2)*d-(a+3))*d*d + 1
		case d < 2:
			return ((a*d-5*a)*d+8*a)*d - 4*a
		}
		return 0
	}}
}

// taps is the sparse matrix of an axis. Rows that lie outside of the input
// have none where the values there are extrapolated.
func (o resize) taps(a resizeAxis) *kernel.Resampling {
	r := &kernel.Resampling{In: a.in, Out: a.out, Start: make([]int, a.out+1), Pairs: true}
	for i := range a.out {
		x := o.coordinate(a, float64(i))
		switch {
		case o.extrapolated(a, x):
		case o.round != nil:
			r.At, r.Weight = append(r.At, clampIndex(o.round(x), a.in)), append(r.Weight, 1)
		default:
			o.weigh(r, a, x)
		}
		r.Start[i+1] = len(r.At)
		r.Pairs = r.Pairs && len(r.At) == 2*(i+1)
	}
	return r
}

func (o resize) extrapolated(a resizeAxis, x float64) bool {
	return o.crop && (x < 0 || x > float64(a.in-1))
}

// clampIndex is the element nearest to place x.
func clampIndex(x float64, n int) int { return int(min(max(x, 0), float64(n-1))) }

// weigh adds the taps of place x: elements beyond the ends are those at the
// ends, or are left out and the rest is weighed up.
func (o resize) weigh(r *kernel.Resampling, a resizeAxis, x float64) {
	scale := 1.0
	if o.antialias {
		scale = min(a.scale, 1)
	}
	first, from := len(r.At), math.Floor(x)+math.Floor(-o.curve.reach/scale)+1
	total := 0.0
	for at := from; at < x+o.curve.reach/scale; at++ {
		w := o.curve.at((at - x) * scale)
		if w == 0 || o.excludeOutside && (at < 0 || at > float64(a.in-1)) {
			continue
		}
		r.At, r.Weight = append(r.At, clampIndex(at, a.in)), append(r.Weight, w)
		total += w
	}
	if (o.antialias || o.excludeOutside) && total != 0 {
		for k := first; k < len(r.At); k++ {
			r.Weight[k] /= total
		}
	}
}
