package ops

import (
	"errors"
	"fmt"
	"math"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// resize samples x anew along axes, each output by itself along each axis:
// the nearest element, or a linear or cubic interpolation.
//
//	x, roi (2*axes) optional, scales (axes) or sizes (axes) -> y
//
// https://onnx.ai/onnx/operators/onnx__Resize.html
type resize struct {
	axes           []int // nil: all
	policy         string
	coordinate     func(a resizeAxis, i float64) float64
	round          func(x float64) float64 // of mode nearest, else nil
	curve          resizeCurve
	antialias      bool
	excludeOutside bool
	crop           bool // values outside of the region are extrapolated
	extrapolation  float64
}

func newResize(a *Args) (Op, error) { return parseResize(a) }

func parseResize(a *Args) (resize, error) {
	o := resize{
		axes: a.Ints("axes"), policy: a.String("keep_aspect_ratio_policy", "stretch"),
		antialias: a.Bool("antialias", false), excludeOutside: a.Bool("exclude_outside", false),
		extrapolation: a.Float("extrapolation_value", 0),
	}
	coordinates := a.String("coordinate_transformation_mode", "half_pixel")
	o.coordinate, o.crop = resizeCoordinates()[coordinates], coordinates == "tf_crop_and_resize"
	if o.coordinate == nil {
		return o, fmt.Errorf("coordinate_transformation_mode %q", coordinates)
	}
	if !resizePolicies[o.policy] {
		return o, fmt.Errorf("keep_aspect_ratio_policy %q", o.policy)
	}
	nearest := a.String("nearest_mode", "round_prefer_floor")
	cubic := a.Float("cubic_coeff_a", -0.75)
	switch mode := a.String("mode", "nearest"); mode {
	case "nearest":
		if o.round = resizeRoundings()[nearest]; o.round == nil {
			return o, fmt.Errorf("nearest_mode %q", nearest)
		}
	case "linear":
		o.curve = linearCurve()
	case "cubic":
		o.curve = cubicCurve(cubic)
	default:
		return o, fmt.Errorf("mode %q", mode)
	}
	return o, nil
}

var resizePolicies = map[string]bool{"stretch": true, "not_larger": true, "not_smaller": true}

// resizeArgs are the inputs beside x, as far as they are known.
type resizeArgs struct {
	axes   []int     // those that are named, made positive
	sizes  []ir.Dim  // nil where scales are given
	scales []float64 // nil where sizes are given, or not constant
	region []float64 // starts then ends; nil where not constant
}

// given reports an input that is there and not empty, which is how older
// opsets leave it out.
func given(f Fact) bool { return !f.Absent() && !(f.Rank() == 1 && f.Dims[0] == known(0)) }

var errResizeArgs = errors.New("want either scales or sizes")

// args reads roi, scales and sizes for an x of a rank.
func (o resize) args(rank int, roi, scales, sizes Fact) (resizeArgs, error) {
	r := resizeArgs{}
	if o.axes == nil {
		for a := range rank {
			r.axes = append(r.axes, a)
		}
	} else {
		var err error
		if r.axes, err = axesIn(o.axes, rank); err != nil {
			return r, err
		}
	}
	var err error
	switch {
	case given(sizes) == given(scales):
		return r, errResizeArgs
	case given(scales):
		if r.scales, err = floatsOf("scales", scales, len(r.axes)); err != nil {
			return r, err
		}
		for _, s := range r.scales {
			if !(s > 0) || math.IsInf(s, 0) {
				return r, fmt.Errorf("scales are %v", r.scales)
			}
		}
	default:
		dims, ok := sizes.Extents()
		if !ok {
			dims = make([]ir.Dim, len(r.axes))
		}
		if len(dims) != len(r.axes) {
			return r, fmt.Errorf("%d sizes for %d axes", len(dims), len(r.axes))
		}
		for _, d := range dims {
			if d.Known && d.Value < 0 {
				return r, fmt.Errorf("sizes are %s", dimsString(dims))
			}
		}
		r.sizes = dims
	}
	if o.crop {
		if !given(roi) {
			return r, errors.New("tf_crop_and_resize without roi")
		}
		if r.region, err = floatsOf("roi", roi, 2*len(r.axes)); err != nil {
			return r, err
		}
		for _, v := range r.region {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return r, fmt.Errorf("roi is %v", r.region)
			}
		}
	}
	return r, nil
}

// floatsOf are the n values of a constant vector, nil where it is not constant.
func floatsOf(what string, f Fact, n int) ([]float64, error) {
	if f.Ranked && (f.Rank() != 1 || f.Dims[0].Known && f.Dims[0].Value != int64(n)) {
		return nil, fmt.Errorf("%s are %v, want %d values", what, f, n)
	}
	t := f.Value()
	if t == nil {
		return nil, nil
	}
	return t.Float64s()
}

func (o resize) Infer(in []Fact) ([]Fact, error) {
	x := in[0]
	if !x.Ranked {
		return []Fact{unranked(x.DType)}, nil
	}
	r, err := o.args(len(x.Dims), at(in, 1), at(in, 2), at(in, 3))
	if err != nil {
		return nil, err
	}
	dims := append([]ir.Dim{}, x.Dims...)
	uniform, ok := o.uniform(x, r)
	for i, a := range r.axes {
		switch {
		case r.sizes != nil && o.policy == "stretch":
			dims[a] = r.sizes[i]
		case r.sizes != nil && ok:
			dims[a] = known(int(math.Floor(uniform*float64(x.Dims[a].Value) + 0.5)))
		case r.sizes != nil || r.scales == nil:
			dims[a] = unknown
		default:
			dims[a] = scaledDim(x.Dims[a], r.scales[i])
		}
	}
	return []Fact{Of(x.DType, dims...)}, nil
}

// scaledDim rounds down, in float32 as scales are.
func scaledDim(d ir.Dim, scale float64) ir.Dim {
	switch {
	case d.Known:
		n := float32(d.Value) * float32(scale)
		if n > 1<<40 {
			return known(1 << 40) // more than any tensor has, as whoever allocates it finds
		}
		return known(int(n))
	case scale == math.Floor(scale) && scale < 1<<20:
		return dimOp('*', d, known(int(scale)))
	}
	return unknown
}

// uniform is the one scale of all axes that a policy chooses.
func (o resize) uniform(x Fact, r resizeArgs) (scale float64, ok bool) {
	if r.sizes == nil || o.policy == "stretch" {
		return 0, false
	}
	for i, a := range r.axes {
		if !r.sizes[i].Known || !x.Dims[a].Known || x.Dims[a].Value == 0 {
			return 0, false
		}
		s := float64(r.sizes[i].Value) / float64(x.Dims[a].Value)
		if i == 0 || o.policy == "not_larger" && s < scale || o.policy == "not_smaller" && s > scale {
			scale = s
		}
	}
	return scale, true
}

// plan says what happens along each axis of a concrete x to y.
func (o resize) plan(x, y Fact, r resizeArgs) ([]resizeAxis, error) {
	xs, ys := x.MustShape(), y.MustShape()
	out := make([]resizeAxis, len(xs))
	for i := range out {
		out[i] = resizeAxis{in: xs[i], out: ys[i], scale: 1, end: 1}
	}
	uniform, ok := o.uniform(x, r)
	for i, a := range r.axes {
		switch {
		case xs[a] == 0 && ys[a] > 0:
			return nil, fmt.Errorf("axis %d is empty", a)
		case r.scales != nil:
			out[a].scale = r.scales[i]
		case ok:
			out[a].scale = uniform
		default:
			out[a].scale = float64(ys[a]) / float64(xs[a])
		}
		if r.region != nil {
			out[a].start, out[a].end = r.region[i], r.region[i+len(r.axes)]
		}
	}
	return out, nil
}

func (o resize) Bind(p *Binder, in, out []Fact) (Step, error) {
	if !isConst(in, 1, 2, 3) {
		return late(o), nil
	}
	r, err := o.args(in[0].Rank(), at(in, 1), at(in, 2), at(in, 3))
	if err != nil {
		return nil, err
	}
	axes, err := o.plan(in[0], out[0], r)
	if err != nil {
		return nil, err
	}
	if in[0].MustShape().Size() == 0 || out[0].MustShape().Size() == 0 {
		return nothingToDo, nil
	}
	stages := o.stages(in[0].MustShape(), axes)
	if o.round != nil && !o.outside(axes) {
		return bindGathers(p, in[0].DType, stages)
	}
	if isNarrow(in[0].DType) {
		return viaFloat32(p, o, in, out)
	}
	fill := o.fills(out[0].MustShape(), axes)
	return floatStep(in[0].DType,
		func() (Step, error) { return bindResamples[float32](p, stages, fill, o.extrapolation), nil },
		func() (Step, error) { return bindResamples[float64](p, stages, fill, o.extrapolation), nil })
}

// outside reports whether any output is extrapolated.
func (o resize) outside(axes []resizeAxis) bool { return len(o.fills(nil, axes)) > 0 }

// Grad is ai.bonnx.ResizeGrad, the transposed resampling.
func (o resize) Grad(b *GradBuilder) error {
	in := append(ir.In(b.Grad(0), b.Shape(b.In(0))), b.Node.Inputs()[1:]...)
	b.Set(0, b.Composite("ResizeGrad", in, 1, b.Node.Attrs...)[0])
	return nil
}

// resizeGrad is ai.bonnx.ResizeGrad:
//
//	dy, shape of x, roi, scales, sizes, with the attributes of Resize -> dx
type resizeGrad struct{ of resize }

func newResizeGrad(a *Args) (Op, error) {
	o, err := parseResize(a)
	return resizeGrad{o}, err
}

func (o resizeGrad) Infer(in []Fact) ([]Fact, error) {
	if err := needFloat("dy", in[0]); err != nil {
		return nil, err
	}
	return []Fact{shapedFact(in[0].DType, in[1])}, nil
}

func (o resizeGrad) Bind(p *Binder, in, out []Fact) (Step, error) {
	if !isConst(in, 2, 3, 4) {
		return late(o), nil
	}
	r, err := o.of.args(out[0].Rank(), at(in, 2), at(in, 3), at(in, 4))
	if err != nil {
		return nil, err
	}
	want, err := o.of.Infer([]Fact{out[0], at(in, 2), at(in, 3), at(in, 4)})
	if err != nil {
		return nil, err
	}
	if !sameDims(want[0].Dims, in[0].Dims) {
		return nil, fmt.Errorf("a gradient of shape %s for %s", dimsString(in[0].Dims), dimsString(want[0].Dims))
	}
	axes, err := o.of.plan(out[0], in[0], r)
	if err != nil {
		return nil, err
	}
	if in[0].MustShape().Size() == 0 || out[0].MustShape().Size() == 0 {
		return nothingToDo, nil
	}
	stages := transposedStages(o.of.stages(out[0].MustShape(), axes))
	return floatStep(in[0].DType,
		func() (Step, error) { return bindResamples[float32](p, stages, nil, 0), nil },
		func() (Step, error) { return bindResamples[float64](p, stages, nil, 0), nil })
}

// Expand multiplies with the matrix of each axis, which is what Resize makes
// of the identity matrix.
func (o resizeGrad) Expand(b *Builder, n *ir.Node) ([]*ir.Value, error) {
	v, shape := n.Input(0), n.Input(1)
	rank := b.Fact(v).Rank()
	if rank < 0 {
		if dims, ok := b.Fact(shape).Extents(); ok {
			rank = len(dims)
		}
	}
	if rank < 0 || rank > 25 || o.of.policy != "stretch" {
		return nil, fmt.Errorf("%v: needs a known rank and keep_aspect_ratio_policy stretch", n)
	}
	r, err := o.of.args(rank, b.Fact(n.Input(2)), b.Fact(n.Input(3)), b.Fact(n.Input(4)))
	if err != nil {
		return nil, err
	}
	pick := func(v *ir.Value, idx ...int) *ir.Value { return b.Op("Gather", ir.In(v, b.Ints(idx...))) }
	for i, a := range r.axes {
		if r.scales != nil && r.scales[i] == 1 && !o.of.crop {
			continue
		}
		var roi, scales, sizes *ir.Value
		extent := pick(shape, a)
		if r.sizes == nil {
			ones := b.Const("c", tensor.FromSlice([]float32{1, 1}, 2))
			one := b.Const("c", tensor.FromSlice([]float32{1}, 1))
			scales = b.Op("Concat", ir.In(ones, pick(n.Input(3), i), one), ir.A("axis", ir.Int(0)))
		} else {
			sizes = b.Join(b.Ints(1, 1), pick(n.Input(4), i), extent)
		}
		if o.of.crop {
			zeros := b.Cast(b.Const("c", tensor.FromSlice([]float32{0, 0, 0, 1, 1, 1}, 6)), b.Fact(n.Input(2)).DType)
			roi = b.Op("Concat", ir.In(pick(zeros, 0, 0), pick(n.Input(2), i), pick(zeros, 0, 3, 3), pick(n.Input(2), i+len(r.axes)), pick(zeros, 3)), ir.A("axis", ir.Int(0)))
		}
		count := b.Count(extent)
		eye := b.Cast(b.Op("Equal", ir.In(b.Unsqueeze(count, 0), b.Unsqueeze(count, 1))), b.Fact(v).DType)
		matrix := b.Op("Resize", ir.In(b.Unsqueeze(eye, 0, 1), roi, scales, sizes), o.attrsOfOneAxis(n)...)
		v = b.Op("Einsum", ir.In(v, b.Op("Squeeze", ir.In(matrix, b.Ints(0, 1)))), ir.A("equation", ir.String(contraction(rank, a))))
	}
	return ir.In(v), nil
}

// attrsOfOneAxis are those of Resize for a matrix whose first axis is resized.
func (o resizeGrad) attrsOfOneAxis(n *ir.Node) []*ir.Attr {
	var out []*ir.Attr
	for _, a := range n.Attrs {
		if a.Name != "axes" && a.Name != "extrapolation_value" && a.Name != "keep_aspect_ratio_policy" {
			out = append(out, a)
		}
	}
	return out
}

// contraction is the equation for axis a of a tensor with the rows of a
// matrix, whose columns take their place: "abc,bz->azc".
func contraction(rank, a int) string {
	letters := make([]byte, rank)
	for i := range letters {
		letters[i] = 'a' + byte(i)
	}
	from := string(letters)
	letters[a] = 'z'
	return from + "," + from[a:a+1] + "z->" + string(letters)
}
