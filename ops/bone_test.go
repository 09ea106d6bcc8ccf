package ops_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// boneShapes are layers of few and of many rows, so that both ways of
// computing one are tested.
var boneShapes = []struct {
	name       string
	x          []int
	in, out, r int
	transB     int
	constW     bool
}{
	{"one row", []int{6}, 6, 4, 3, 0, true},
	{"few rows", []int{2, 6}, 6, 4, 3, 0, true},
	{"r does not divide", []int{2, 2, 5}, 5, 3, 2, 0, true},
	{"r is in", []int{3, 4}, 4, 3, 4, 0, true},
	{"many rows", []int{40, 5}, 5, 3, 4, 0, true},
	{"many rows, r 1", []int{2, 70, 4}, 4, 3, 1, 0, true},
	{"trained weight, few rows", []int{3, 6}, 6, 4, 2, 0, false},
	{"trained weight, many rows", []int{50, 6}, 6, 4, 4, 0, false},
	{"transB, few rows", []int{3, 6}, 6, 4, 2, 1, true},
	{"transB, many rows", []int{60, 5}, 5, 4, 3, 1, true},
	{"transB, trained weight", []int{60, 5}, 5, 4, 3, 1, false},
}

func boneCase(i int) opcheck.Case {
	s := boneShapes[i]
	w := []int{s.in, s.out}
	if s.transB == 1 {
		w = []int{s.out, s.in}
	}
	c := opcheck.Case{Name: s.name, Domain: ops.Domain, Op: "Bone", GradOf: []int{0},
		Attrs: []*ir.Attr{ir.A("transB", ir.Int(s.transB))},
		Inputs: []*tensor.Tensor{opcheck.Random(1, -1, 1, s.x...), opcheck.Random(2, -1, 1, w...),
			opcheck.Random(3, -1, 1, s.r, s.out)}}
	if s.constW {
		c.Const = []int{1}
	}
	return c
}

func TestBone(t *testing.T) {
	for i := range boneShapes {
		c := boneCase(i)
		opcheck.Gradient(t, c)
		opcheck.Forward(t, c, 1e-12, naiveBone(c))
		c.Outputs = 2
		opcheck.Expansion(t, c, 1e-12)
	}
}

// naiveBone is x W' by the definition.
func naiveBone(c opcheck.Case) *tensor.Tensor {
	x, w, d := c.Inputs[0], c.Inputs[1], c.Inputs[2]
	transB := c.Attrs[0].Value.(ir.Int) == 1
	shape := append(tensor.Shape{}, x.Shape()...)
	in, out, r := shape[len(shape)-1], d.Shape()[1], d.Shape()[0]
	shape[len(shape)-1] = out
	y := tensor.New(tensor.Float64, shape...)
	xs, ws, ds, ys := tensor.Data[float64](x), tensor.Data[float64](w), tensor.Data[float64](d), tensor.Data[float64](y)
	for i := range len(xs) / in {
		for j := range out {
			for k := range in {
				v := ws[(k*out+j)%len(ws)]
				if transB {
					v = ws[j*in+k]
				}
				ys[i*out+j] += xs[i*in+k] * (v + ds[k%r*out+j])
			}
		}
	}
	return y
}

func TestBoneGradXExpands(t *testing.T) {
	for i := range boneShapes {
		c := boneCase(i)
		c.Op = "BoneGradX"
		c.Inputs[0] = opcheck.Random(4, -1, 1, withLast(boneShapes[i].x, boneShapes[i].out)...)
		opcheck.Expansion(t, c, 1e-12)
	}
}

// TestBoneEnding compares layers and gradients that end in more with the nodes
// that they stand for, in each way of computing them.
func TestBoneEnding(t *testing.T) {
	for i, s := range boneShapes {
		for k, act := range []string{"", "Gelu", "SiLU", "Tanh"} {
			for extra := range 4 {
				c := boneCase(i)
				c.Name, c.Outputs = fmt.Sprintf("%s %s %d", s.name, act, extra), 1+k%2
				if act != "" {
					c.Attrs = append(c.Attrs, ir.A("activation", ir.String(act)))
				}
				c.Inputs = append(c.Inputs, nil, nil)
				if extra&1 != 0 {
					c.Inputs[3] = random(4, s.out)
				}
				if extra&2 != 0 {
					c.Inputs[4] = random(5, withLast(s.x, s.out)...)
				}
				opcheck.Expansion(t, c, 1e-12)
			}
		}
		c := boneCase(i)
		c.Op, c.Inputs[0] = "BoneGradX", random(6, withLast(s.x, s.out)...)
		c.Inputs = append(c.Inputs, random(7, s.x...))
		opcheck.Expansion(t, c, 1e-12)
	}
}

// What a product ends in is put in behind the gradients: there are none of it.
func TestBoneEndingHasNoGradient(t *testing.T) {
	c := boneCase(0)
	c.Inputs = append(c.Inputs, random(4, boneShapes[0].out))
	if _, _, _, err := c.GradientModel(); err == nil || !strings.Contains(err.Error(), "no gradient with what it ends in") {
		t.Errorf("got %v", err)
	}
}

func withLast(shape []int, n int) []int { return append(append([]int{}, shape[:len(shape)-1]...), n) }

// A block of zeros changes no bit of the base layer's result.
func TestBoneOfZeros(t *testing.T) {
	for _, rows := range []int{1, 7, 300} {
		x, w := float32s(1, rows, 32), float32s(2, 32, 24)
		base := opcheck.Case{Name: "base", Domain: ops.Domain, Op: "FusedMatMul", Inputs: []*tensor.Tensor{x, w}, Const: []int{1}}
		want, err := opcheck.Eval(base)
		if err != nil {
			t.Fatal(err)
		}
		c := opcheck.Case{Name: fmt.Sprint(rows, " rows"), Domain: ops.Domain, Op: "Bone",
			Inputs: []*tensor.Tensor{x, w, tensor.New(tensor.Float32, 8, 24)}, Const: []int{1}}
		opcheck.Forward(t, c, 0, want[0])
	}
}

func float32s(seed uint64, shape ...int) *tensor.Tensor {
	t := tensor.New(tensor.Float32, shape...)
	for i, v := range tensor.Data[float64](opcheck.Random(seed, -1, 1, shape...)) {
		tensor.Data[float32](t)[i] = float32(v)
	}
	return t
}

func TestBatWeight(t *testing.T) {
	w := tensor.FromSlice([]float64{1, 2}, 2, 1)
	c := opcheck.Case{Name: "by hand", Domain: ops.Domain, Op: "BatWeight",
		Inputs: []*tensor.Tensor{w, tensor.FromSlice([]float64{3}, 1, 1, 1)}}
	opcheck.Forward(t, c, 0, tensor.FromSlice([]float64{1 + 3*2, 2 + 3*3}, 2, 1))
	for i, s := range []struct{ in, out, r int }{{4, 6, 2}, {6, 4, 1}, {4, 4, 4}, {6, 3, 3}} {
		w, b := opcheck.Random(uint64(i), -1, 1, s.in, s.out), opcheck.Random(uint64(i+9), -1, 1, s.out/s.r, s.r, s.r)
		dw := opcheck.Random(uint64(i+20), -1, 1, s.in, s.out)
		c.Name, c.Inputs = fmt.Sprint(s), []*tensor.Tensor{w, b}
		opcheck.Gradient(t, c)
		opcheck.Expansion(t, c, 1e-12)
		opcheck.Expansion(t, opcheck.Case{Name: "gradient", Domain: ops.Domain, Op: "BatWeightGrad",
			Inputs: []*tensor.Tensor{w, dw, b}}, 1e-12)
		opcheck.Expansion(t, opcheck.Case{Name: "gradient of W", Domain: ops.Domain, Op: "BatWeightGradW",
			Inputs: []*tensor.Tensor{dw, b}}, 1e-12)
	}
}

func TestBoneRefuses(t *testing.T) {
	for _, c := range []opcheck.Case{
		{Name: "r above in", Op: "Bone", Inputs: []*tensor.Tensor{float32s(1, 2, 3), float32s(1, 3, 4), float32s(1, 5, 4)}},
		{Name: "columns", Op: "Bone", Inputs: []*tensor.Tensor{float32s(1, 2, 3), float32s(1, 3, 4), float32s(1, 2, 3)}},
		{Name: "bias", Op: "Bone", Inputs: []*tensor.Tensor{float32s(1, 2, 3), float32s(1, 3, 4), float32s(1, 2, 4), float32s(1, 3)}},
		{Name: "residual", Op: "Bone", Inputs: []*tensor.Tensor{float32s(1, 2, 3), float32s(1, 3, 4), float32s(1, 2, 4), nil, float32s(1, 1, 4)}},
		{Name: "other gradients", Op: "BoneGradX", Inputs: []*tensor.Tensor{float32s(1, 2, 4), float32s(1, 3, 4), float32s(1, 2, 4), float32s(1, 2, 4)}},
		{Name: "bat rank", Op: "BatWeight", Inputs: []*tensor.Tensor{float32s(1, 4, 6), float32s(1, 2, 4, 4)}},
	} {
		c.Domain = ops.Domain
		if _, err := opcheck.Eval(c); err == nil {
			t.Errorf("%s: no error", c.Name)
		}
	}
}
