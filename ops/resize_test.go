package ops_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

func floats32(v ...float32) *tensor.Tensor { return tensor.FromSlice(v, len(v)) }

// TestResizeLinear compares with bilinear interpolation written as such; the
// official tests have the other modes.
func TestResizeLinear(t *testing.T) {
	x := opcheck.Random(1, -1, 1, 2, 3, 4)
	for _, out := range [][2]int{{6, 8}, {2, 3}, {5, 4}, {3, 1}} {
		want := tensor.New(tensor.Float64, 2, out[0], out[1])
		at := func(i, n, m int) (lo, hi int, part float64) {
			p := (float64(i)+0.5)*float64(n)/float64(m) - 0.5
			f := math.Floor(p)
			return min(max(int(f), 0), n-1), min(max(int(f)+1, 0), n-1), p - f
		}
		xs := tensor.Data[float64](x)
		for c := range 2 {
			for i := range out[0] {
				i0, i1, pi := at(i, 3, out[0])
				for j := range out[1] {
					j0, j1, pj := at(j, 4, out[1])
					v := func(i, j int) float64 { return xs[(c*3+i)*4+j] }
					tensor.Data[float64](want)[(c*out[0]+i)*out[1]+j] = (1-pi)*((1-pj)*v(i0, j0)+pj*v(i0, j1)) + pi*((1-pj)*v(i1, j0)+pj*v(i1, j1))
				}
			}
		}
		opcheck.Forward(t, opcheck.Case{Name: fmt.Sprint(out), Op: "Resize", Attrs: []*ir.Attr{str("mode", "linear")},
			Inputs: []*tensor.Tensor{x, nil, nil, tensor.Ints(2, out[0], out[1])}}, 1e-14, want)
	}
}

func resizeCases() []opcheck.Case {
	x := opcheck.Random(1, -1, 1, 1, 2, 4, 5)
	bigger, smaller := floats32(1, 1, 2, 1.5), floats32(1, 1, 0.6, 0.8)
	axes := ir.A("axes", ir.Ints{3, 2})
	var out []opcheck.Case
	add := func(name string, in []*tensor.Tensor, attrs ...*ir.Attr) {
		out = append(out, opcheck.Case{Name: name, Op: "Resize", Attrs: attrs, Inputs: in, Const: []int{1, 2, 3}})
	}
	for _, mode := range []string{"nearest", "linear", "cubic"} {
		for _, at := range []string{"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"} {
			add(mode+" up "+at, []*tensor.Tensor{x, nil, bigger}, str("mode", mode), str("coordinate_transformation_mode", at))
			add(mode+" down "+at, []*tensor.Tensor{x, nil, smaller}, str("mode", mode), str("coordinate_transformation_mode", at))
		}
		add(mode+" sizes", []*tensor.Tensor{x, nil, nil, tensor.Ints(1, 2, 7, 3)}, str("mode", mode))
		add(mode+" axes", []*tensor.Tensor{x, nil, nil, tensor.Ints(7, 3)}, str("mode", mode), axes)
		add(mode+" antialias", []*tensor.Tensor{x, nil, smaller}, str("mode", mode), ir.A("antialias", ir.Int(1)))
		add(mode+" exclude_outside", []*tensor.Tensor{x, nil, smaller}, str("mode", mode), ir.A("exclude_outside", ir.Int(1)))
		add(mode+" crop", []*tensor.Tensor{x, floats32(0, 0, 0.4, 0.6, 1, 1, 1.2, 1.7), nil, tensor.Ints(1, 2, 3, 3)}, str("mode", mode),
			str("coordinate_transformation_mode", "tf_crop_and_resize"), float("extrapolation_value", 10))
		add(mode+" crop axes", []*tensor.Tensor{x, floats32(0.4, 0.6, 1.2, 0.9), nil, tensor.Ints(3, 3)}, str("mode", mode), axes,
			str("coordinate_transformation_mode", "tf_crop_and_resize"))
	}
	add("unchanged", []*tensor.Tensor{x, nil, floats32(1, 1, 1, 1)})
	return out
}

func TestResizeGrad(t *testing.T) {
	for _, c := range resizeCases() {
		opcheck.Gradient(t, c)
		y, err := opcheck.Eval(c)
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		in := append([]*tensor.Tensor{opcheck.Random(3, -1, 1, y[0].Shape()...), tensor.Ints(c.Inputs[0].Shape()...)}, c.Inputs[1:]...)
		opcheck.Expansion(t, opcheck.Case{Name: c.Name + " dx", Domain: ops.Domain, Op: "ResizeGrad", Attrs: c.Attrs, Inputs: in,
			Const: []int{1, 2, 3, 4}}, 1e-6) // roi and scales of float32 meet float64 there
	}
}

func TestResizePolicy(t *testing.T) {
	for _, c := range []struct {
		policy string
		want   []int
	}{{"not_larger", []int{4, 4}}, {"not_smaller", []int{7, 7}}, {"stretch", []int{7, 4}}} {
		y := []*tensor.Tensor{opcheck.Random(1, 0, 1, 2, 2), nil, nil, tensor.Ints(7, 4)}
		got, err := opcheck.Eval(opcheck.Case{Op: "Resize", Attrs: []*ir.Attr{str("keep_aspect_ratio_policy", c.policy)}, Inputs: y})
		if err != nil || !got[0].Shape().Equal(tensor.Shape(c.want)) {
			t.Errorf("%s: got %v (%v), want shape %v", c.policy, got, err, c.want)
		}
	}
}

// TestResizeDTypes moves bytes and 16-bit floats.
func TestResizeDTypes(t *testing.T) {
	x := tensor.FromSlice([]uint8{1, 2, 3}, 3)
	opcheck.Forward(t, opcheck.Case{Name: "uint8", Op: "Resize", Inputs: []*tensor.Tensor{x, nil, floats32(2)}}, 0,
		tensor.FromSlice([]uint8{1, 1, 2, 2, 3, 3}, 6))
	half, err := floats32(1, 3).Cast(tensor.Float16)
	if err != nil {
		t.Fatal(err)
	}
	want, err := floats32(1, 1.5, 2.5, 3).Cast(tensor.Float16)
	if err != nil {
		t.Fatal(err)
	}
	opcheck.Forward(t, opcheck.Case{Name: "float16", Op: "Resize", Attrs: []*ir.Attr{str("mode", "linear")},
		Inputs: []*tensor.Tensor{half, nil, floats32(2)}}, 0, want)
}

func TestResizeErrors(t *testing.T) {
	x := opcheck.Random(1, 0, 1, 2, 2)
	for _, c := range []struct {
		want  string
		attrs []*ir.Attr
		in    []*tensor.Tensor
	}{
		{"either scales or sizes", nil, []*tensor.Tensor{x}},
		{"either scales or sizes", nil, []*tensor.Tensor{x, nil, floats32(1, 2), tensor.Ints(2, 4)}},
		{"want 2 values", nil, []*tensor.Tensor{x, nil, floats32(2)}},
		{"1 sizes for 2 axes", nil, []*tensor.Tensor{x, nil, nil, tensor.Ints(2)}},
		{"scales are", nil, []*tensor.Tensor{x, nil, floats32(1, -2)}},
		{"scales are", nil, []*tensor.Tensor{x, nil, floats32(1, float32(math.NaN()))}},
		{"sizes are", nil, []*tensor.Tensor{x, nil, nil, tensor.Ints(-1, 2)}},
		{"without roi", []*ir.Attr{str("coordinate_transformation_mode", "tf_crop_and_resize")}, []*tensor.Tensor{x, nil, floats32(1, 2)}},
		{"roi is", []*ir.Attr{str("coordinate_transformation_mode", "tf_crop_and_resize")},
			[]*tensor.Tensor{x, floats32(0, 0, 1, float32(math.Inf(1))), floats32(1, 2)}},
		{"is empty", nil, []*tensor.Tensor{tensor.New(tensor.Float64, 2, 0), nil, nil, tensor.Ints(2, 2)}},
		{`mode "round"`, []*ir.Attr{str("mode", "round")}, []*tensor.Tensor{x, nil, floats32(1, 2)}},
		{`nearest_mode "round"`, []*ir.Attr{str("nearest_mode", "round")}, []*tensor.Tensor{x, nil, floats32(1, 2)}},
		{"keep_aspect", []*ir.Attr{str("keep_aspect_ratio_policy", "round")}, []*tensor.Tensor{x, nil, floats32(1, 2)}},
		{"coordinate_transformation_mode", []*ir.Attr{str("coordinate_transformation_mode", "?")}, []*tensor.Tensor{x, nil, floats32(1, 2)}},
	} {
		_, err := opcheck.Eval(opcheck.Case{Op: "Resize", Attrs: c.attrs, Inputs: c.in, Const: []int{1, 2, 3}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: got %v, want an error with %q", c.in, err, c.want)
		}
	}
}
