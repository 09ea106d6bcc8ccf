package ops

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// derived is what an operator makes of constants, computed when it is read.
type derived struct {
	op Op
	in []Fact
	f  Fact
}

func derive(t *testing.T, op Op, in ...Fact) Fact {
	t.Helper()
	out, err := op.Infer(in)
	if err != nil {
		t.Fatal(err)
	}
	return ConstantData(&derived{op, in, out[0]})
}

func (d *derived) DType() tensor.DType      { return d.f.DType }
func (d *derived) Shape() tensor.Shape      { return d.f.MustShape() }
func (d *derived) Derivation() (Op, []Fact) { return d.op, d.in }
func (d *derived) Tensor() (*tensor.Tensor, error) {
	args := make([]*tensor.Tensor, len(d.in))
	for i, f := range d.in {
		args[i] = f.Value()
	}
	outs, err := Eval(d.op, args, 1)
	if err != nil {
		return nil, err
	}
	return outs[0], nil
}

// someInts is a random constant of an integer type of 8 bits or fewer.
func someInts(t *testing.T, d tensor.DType, shape ...int) Fact {
	t.Helper()
	rnd := rand.New(rand.NewPCG(3, 4))
	x := tensor.New(d, shape...)
	for i := range x.Bytes() {
		x.Bytes()[i] = byte(rnd.Uint32())
	}
	return Constant(x)
}

func someFloats(t *testing.T, d tensor.DType, shape ...int) Fact {
	t.Helper()
	rnd := rand.New(rand.NewPCG(5, 6))
	x := tensor.New(tensor.Float32, shape...)
	for i := range tensor.Data[float32](x) {
		tensor.Data[float32](x)[i] = float32(rnd.NormFloat64())
	}
	y, err := x.Cast(d)
	if err != nil {
		t.Fatal(err)
	}
	return Constant(y)
}

// narrowWeights are constants (64,96) that products can read as they are stored,
// and with "not " before the name, some that they cannot.
func narrowWeights(t *testing.T) map[string]Fact {
	const in, out = 64, 96
	f32, f16 := tensor.Float32, tensor.Float16
	ints := func(d tensor.DType, shape ...int) Fact { return someInts(t, d, shape...) }
	floats := func(d tensor.DType, shape ...int) Fact { return someFloats(t, d, shape...) }
	turn := transpose{[]int{1, 0}}
	linear := func(axis, block int, in ...Fact) Fact {
		return derive(t, dequantizeLinear{steps: steps{axis, block}}, in...)
	}
	bits := func(bits, block int, more ...Fact) Fact {
		n := nBits{k: in, n: out, bits: bits, block: block}
		facts := append([]Fact{ints(tensor.Uint8, out, n.blocks(), block*bits/8)}, more...)
		return derive(t, turn, derive(t, dequantizeNBits{n}, facts...))
	}
	return map[string]Fact{
		"4 bits":               bits(4, 32, floats(f32, out*2)),
		"4 bits, a rest":       bits(4, 48, floats(f32, out*2), ints(tensor.Uint8, out)),
		"4 bits, float zeros":  bits(4, 16, floats(f32, out, 4), floats(f32, out, 4)),
		"2 bits":               bits(2, 16, floats(f32, out, 4), ints(tensor.Uint8, out, 1)),
		"8 bits":               bits(8, 64, floats(f32, out), ints(tensor.Uint8, out, 1)),
		"int8, columns":        linear(1, 0, ints(tensor.Int8, in, out), floats(f32, out), ints(tensor.Int8, out)),
		"uint8, rows":          linear(0, 0, ints(tensor.Uint8, in, out), floats(f32, in)),
		"int8, one scale":      linear(1, 0, ints(tensor.Int8, in, out), floats(f32)),
		"int4, blocks of rows": linear(0, 16, ints(tensor.Int4, in, out), floats(f32, in/16, out), ints(tensor.Int4, in/16, out)),
		"uint4, turned":        derive(t, turn, linear(1, 32, ints(tensor.Uint4, out, in), floats(f32, out, in/32))),
		"float16":              derive(t, cast{to: f32}, floats(f16, in, out)),
		"bfloat16, turned":     derive(t, turn, derive(t, cast{to: f32}, floats(tensor.BFloat16, out, in))),
		"float16 seen wider":   ConstantData(Recast{floats(f16, in, out).Const, f32}),

		"not float32":     floats(f32, in, out),
		"not int16":       linear(0, 0, someFloatsAs(t, tensor.Int16, in, out), floats(f32, in)),
		"not odd blocks":  linear(1, 6, ints(tensor.Int8, in, out), floats(f32, in, out/6)),
		"not half scales": derive(t, cast{to: f32}, derive(t, cast{to: f16}, linear(0, 0, ints(tensor.Int8, in, out), floats(f32, in)))),
	}
}

func someFloatsAs(t *testing.T, d tensor.DType, shape ...int) Fact {
	t.Helper()
	x, err := someFloats(t, tensor.Float32, shape...).Value().Cast(d)
	if err != nil {
		t.Fatal(err)
	}
	return Constant(x)
}

// TestNarrowProducts: products by weights as they are stored are those by their
// floats, bit for bit, forward and backward, and so are layers with a Bone.
func TestNarrowProducts(t *testing.T) {
	const in, out, r = 64, 96, 8
	cases := []struct {
		name string
		op   Op
		back bool
	}{
		{"MatMul", matmul{}, false}, {"FusedMatMul", fusedMatMul{alpha: 0.5, transB: true}, true},
		{"Bone", bone{ending: ending{residual: 3}}, false}, {"BoneGradX", boneGradX{}, true},
		{"Linear", linear{ending: ending{residual: 3, act: finishings["SiLU"]}}, false},
		{"a Bat", batWeight{}, false}, {"a Bat's gradient", batWeightGrad{}, false},
	}
	blocks := someFloats(t, tensor.Float32, out/r, r, r)
	for name, w := range narrowWeights(t) {
		for _, c := range cases {
			for _, rows := range []int{1, 40, 200} {
				facts, args := []Fact{Concrete(tensor.Float32, rows, in), w}, []*tensor.Tensor{nil, nil}
				if facts[0] = someFloats(t, tensor.Float32, rows, in); c.back {
					facts[0] = someFloats(t, tensor.Float32, rows, out)
				}
				args[0], facts[0] = facts[0].Value(), facts[0].WithoutValue()
				weight, residual := 1, someFloats(t, tensor.Float32, rows, out)
				if c.back {
					residual = someFloats(t, tensor.Float32, rows, in)
				}
				switch d := someFloats(t, tensor.Float32, r, out); c.op.(type) {
				case bone, boneGradX:
					facts, args = append(facts, d.WithoutValue(), residual.WithoutValue()), append(args, d.Value(), residual.Value())
				case linear:
					facts, args = append(facts, Fact{}, residual.WithoutValue()), append(args, nil, residual.Value())
				case batWeight:
					weight, facts, args = 0, []Fact{w, blocks.WithoutValue()}, []*tensor.Tensor{nil, blocks.Value()}
				case batWeightGrad:
					dw := someFloats(t, tensor.Float32, in, out)
					weight, facts, args = 0, []Fact{w, dw.WithoutValue(), blocks.WithoutValue()}, []*tensor.Tensor{nil, dw.Value(), blocks.Value()}
				}
				got, narrow := narrowRun(t, c.op, true, facts, args)
				if want := !strings.HasPrefix(name, "not "); narrow != want {
					t.Errorf("%s of %s: read as it is stored is %v, want %v", c.name, name, narrow, want)
				}
				if !narrow {
					continue
				}
				if args[weight] = w.Value(); args[weight] == nil {
					t.Fatal("weight cannot be read")
				}
				if facts[weight] = w.WithoutValue(); c.back { // that by a constant adds the block as it is copied
					facts[weight] = Constant(args[weight])
				}
				if want, _ := narrowRun(t, c.op, false, facts, args); !slices.Equal(got, want) {
					t.Errorf("%s of %s, %d rows: the product differs from that by floats", c.name, name, rows)
				}
			}
		}
	}
}

// narrowRun runs op, and reports whether it reads its weight as it is stored.
func narrowRun(t *testing.T, op Op, narrow bool, in []Fact, args []*tensor.Tensor) ([]float32, bool) {
	t.Helper()
	var states []func() any
	cache := &Cache{Narrow: narrow}
	p := NewBinder(cache, &states)
	out, err := op.Infer(in)
	if err != nil {
		t.Fatal(err)
	}
	out = out[:1]
	step, err := op.Bind(p, in, out)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for k := range cache.m {
		found = found || k.tag == "narrow"
	}
	if found != narrow {
		return nil, found
	}
	y := tensor.New(tensor.Float32, out[0].MustShape()...)
	f, outs := NewFrame(nil, nil, p.ScratchSize(), states), []*tensor.Tensor{y}
	run := func() {
		if err := step(f, args, outs); err != nil {
			t.Fatal(err)
		}
	}
	if run(); narrow {
		if n := testing.AllocsPerRun(3, run); n > 0 {
			t.Errorf("%T: %v allocations a step, want none", op, n)
		}
	}
	return tensor.Data[float32](y), found
}

// TestRecastTensor: what is seen in another type is read so.
func TestRecastTensor(t *testing.T) {
	c := Recast{ir.Dense(tensor.FromSlice([]float32{1.5, -2}, 2)), tensor.Float16}
	x, err := c.Tensor()
	if err != nil || x.DType() != c.DType() || c.DType() != tensor.Float16 {
		t.Fatalf("%v, %v; want float16", x, err)
	}
}
