package ops_test

import (
	"math/rand/v2"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

func TestDropoutIdle(t *testing.T) {
	x, all := count(2, 2), bools([]int{2, 2}, true, true, true, true)
	for _, c := range []moveCase{
		{name: "no mode", in: tensors{x}, outputs: 2, want: tensors{x, all}},
		{name: "mode false", in: tensors{x, f64(nil, 0.9), bools(nil, false)}, outputs: 2, want: tensors{x, all}, fed: []int{2}},
		{name: "ratio 0", in: tensors{x, f64(nil, 0), bools(nil, true)}, outputs: 2, want: tensors{x, all}},
	} {
		c.op, c.noGrad = "Dropout", true
		c.check(t)
		opcheck.Gradient(t, opcheck.Case{Name: c.name, Op: "Dropout", Inputs: c.in, Diff: []int{0}})
	}
}

func TestDropoutTrains(t *testing.T) {
	op, err := parseOp("Dropout", nil, 3)
	if err != nil {
		t.Fatal(err)
	}
	x := tensor.New(tensor.Float32, 10000)
	for i := range tensor.Data[float32](x) {
		tensor.Data[float32](x)[i] = 1
	}
	in := tensors{x, tensor.Scalar(float32(0.25)), bools(nil, true)}
	out, err := ops.EvalOn(nil, rand.New(rand.NewPCG(1, 2)), op, in, 2)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for i, y := range tensor.Data[float32](out[0]) {
		want := float32(0)
		if tensor.Data[bool](out[1])[i] {
			kept++
			want = 1 / float32(0.75)
		}
		if y != want {
			t.Fatalf("element %d: got %g, want %g", i, y, want)
		}
	}
	if kept < 7300 || kept > 7700 {
		t.Errorf("kept %d of 10000, want about 7500", kept)
	}
	in[1] = tensor.Scalar(float32(1))
	if _, err := ops.EvalOn(nil, rand.New(rand.NewPCG(1, 2)), op, in, 2); err == nil {
		t.Error("a ratio of 1: no error")
	}
}
