package ops_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// drawn runs an operator that draws numbers.
func drawn(t *testing.T, seed uint64, op string, attrs []*ir.Attr, in ...*tensor.Tensor) []float64 {
	t.Helper()
	g := ir.NewGraph("g")
	n := ir.NewNode("", op)
	for i := range in {
		n.SetInput(i, g.NewValue("x", nil))
	}
	n.SetOutput(0, g.NewValue("y", nil))
	n.Attrs = attrs
	o, err := ops.Standard().Parse(n, 22)
	if err != nil {
		t.Fatal(err)
	}
	out, err := ops.EvalOn(nil, rand.New(rand.NewPCG(seed, 1)), o, in, 1)
	if err != nil {
		t.Fatal(err)
	}
	v, err := out[0].Float64s()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func moments(v []float64) (mean, deviation float64) {
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for _, x := range v {
		deviation += (x - mean) * (x - mean) / float64(len(v))
	}
	return mean, math.Sqrt(deviation)
}

// TestRandomDistributions: moments are as they should be, a seed gives the same
// numbers, the session's stream others each time.
func TestRandomDistributions(t *testing.T) {
	const n = 40000
	x := tensor.New(tensor.Float32, 200, 200)
	probs := tensor.New(tensor.Float32, 200, 200)
	for i := range tensor.Data[float32](probs) {
		tensor.Data[float32](probs)[i] = 0.25
	}
	shape, seed := ints("shape", 200, 200), floatAttr("seed", 7)
	for _, c := range []struct {
		op              string
		attrs           []*ir.Attr
		in              []*tensor.Tensor
		mean, deviation float64
	}{
		{"RandomNormal", []*ir.Attr{shape, floatAttr("mean", 2), floatAttr("scale", 3)}, nil, 2, 3},
		{"RandomNormalLike", []*ir.Attr{intAttr("dtype", int64(tensor.Float64))}, []*tensor.Tensor{x}, 0, 1},
		{"RandomUniform", []*ir.Attr{shape, floatAttr("low", -1), floatAttr("high", 3)}, nil, 1, 4 / math.Sqrt(12)},
		{"RandomUniformLike", nil, []*tensor.Tensor{x}, 0.5, 1 / math.Sqrt(12)},
		{"Bernoulli", []*ir.Attr{intAttr("dtype", int64(tensor.Int32))}, []*tensor.Tensor{probs}, 0.25, math.Sqrt(0.25 * 0.75)},
	} {
		a, b := drawn(t, 1, c.op, c.attrs, c.in...), drawn(t, 2, c.op, c.attrs, c.in...)
		mean, deviation := moments(a)
		if len(a) != n || math.Abs(mean-c.mean) > 5*c.deviation/math.Sqrt(n) || math.Abs(deviation-c.deviation) > 0.02*c.deviation {
			t.Errorf("%s: %d numbers of mean %g and deviation %g, want %g and %g", c.op, len(a), mean, deviation, c.mean, c.deviation)
		}
		if same(a, b) {
			t.Errorf("%s: two streams give the same numbers", c.op)
		}
		seeded := append([]*ir.Attr{seed}, c.attrs...)
		if a, b := drawn(t, 1, c.op, seeded, c.in...), drawn(t, 2, c.op, seeded, c.in...); !same(a, b) {
			t.Errorf("%s: one seed gives other numbers", c.op)
		}
	}
}

func same(a, b []float64) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
