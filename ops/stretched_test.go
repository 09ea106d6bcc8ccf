package ops

import (
	"testing"

	"github.com/bonnx/bonnx/tensor"
)

func TestStretched(t *testing.T) {
	for _, c := range []struct {
		s, out, want tensor.Shape // want nil: left alone
	}{
		{tensor.Shape{1, 128, 1, 4}, tensor.Shape{8, 128, 8, 4}, tensor.Shape{1, 128, 8, 4}},
		{tensor.Shape{128, 1, 4}, tensor.Shape{8, 128, 8, 4}, tensor.Shape{1, 128, 8, 4}},
		{tensor.Shape{128, 4}, tensor.Shape{8, 8, 128, 4}, nil},          // lines are long
		{tensor.Shape{1, 128, 1, 64}, tensor.Shape{8, 128, 8, 64}, nil},  // so are these
		{tensor.Shape{1, 128, 1, 1}, tensor.Shape{8, 128, 8, 4}, nil},    // a number a line
		{tensor.Shape{1, 4096, 1, 4}, tensor.Shape{1, 4096, 32, 4}, nil}, // too large
		{tensor.Shape{}, tensor.Shape{8, 128}, nil},                      // a scalar
		{tensor.Shape{3, 1, 2}, tensor.Shape{3, 5, 2}, tensor.Shape{3, 5, 2}},
	} {
		got, worth := stretched(c.s, c.out)
		if worth != (c.want != nil) || worth && !got.Equal(c.want) {
			t.Errorf("%v to %v: %v, %v; want %v", c.s, c.out, got, worth, c.want)
		}
	}
}

// TestStretchedConstant: a step computes the same whether or not an input is a
// constant that is repeated when the plan is made.
func TestStretchedConstant(t *testing.T) {
	x, c := tensor.New(tensor.Float32, 2, 3, 5, 4), tensor.New(tensor.Float32, 3, 1, 4)
	for _, v := range []*tensor.Tensor{x, c} {
		for i := range tensor.Data[float32](v) {
			tensor.Data[float32](v)[i] = float32(i%17) + 0.5
		}
	}
	for _, name := range []string{"Add", "Sub", "Mul", "Div"} {
		for swap := range 2 {
			in := []*tensor.Tensor{x, c}
			facts := []Fact{Concrete(tensor.Float32, 2, 3, 5, 4), Constant(c)}
			if swap == 1 {
				in[0], in[1] = in[1], in[0]
				facts[0], facts[1] = facts[1], facts[0]
			}
			got := runBinary(t, name, facts, in)
			want := runBinary(t, name, []Fact{Concrete(tensor.Float32, in[0].Shape()...), Concrete(tensor.Float32, in[1].Shape()...)}, in)
			for i, v := range tensor.Data[float32](want) {
				if g := tensor.Data[float32](got)[i]; g != v {
					t.Fatalf("%s, constant %d: element %d is %v, want %v", name, 1-swap, i, g, v)
				}
			}
		}
	}
}

// runBinary plans an operator of two inputs for the facts and runs it.
func runBinary(t *testing.T, name string, facts []Fact, in []*tensor.Tensor) *tensor.Tensor {
	t.Helper()
	for _, e := range binaryTable() {
		if e.Name != name {
			continue
		}
		op, err := e.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		out := tensor.New(tensor.Float32, 2, 3, 5, 4)
		var states []func() any
		p := NewBinder(&Cache{}, &states)
		step, err := op.Bind(p, facts, []Fact{Concrete(tensor.Float32, out.Shape()...)})
		if err != nil {
			t.Fatal(err)
		}
		if err := step(NewFrame(nil, nil, p.ScratchSize(), states), in, []*tensor.Tensor{out}); err != nil {
			t.Fatal(err)
		}
		if constant := facts[0].Const != nil || facts[1].Const != nil; constant != (len(states) > 0) {
			t.Errorf("%s: a constant %v, but %d states: stretched?", name, constant, len(states))
		}
		return out
	}
	t.Fatalf("no operator %s", name)
	return nil
}
