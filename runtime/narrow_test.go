package runtime_test

import (
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// narrowModel is y = x W by a W of n x n that make makes of few bits.
func narrowModel(n int, make func(b *built) *ir.Value) *ir.Model {
	b := build()
	x := b.input("x", tensor.Float32, ir.Symbol("rows"), ir.Fixed(int64(n)))
	b.out("y", b.Op("MatMul", ir.In(x, make(b))), tensor.Float32)
	return b.m
}

// Many weights of few bits stay as they are stored: what a program holds of
// them is a part of their floats, and its products are the same.
func TestNarrowStaysNarrow(t *testing.T) {
	filled := func(d tensor.DType, shape ...int) *tensor.Tensor {
		x := tensor.New(d, shape...)
		for i := range x.Bytes() {
			x.Bytes()[i] = byte(i * 7)
		}
		return x
	}
	constant := func(b *built, name string, t *tensor.Tensor) *ir.Value {
		return b.m.Graph.AddInitializer(name, ir.Dense(t))
	}
	const n8, n16 = 2944, 2048
	half, err := testutil.Random(1, n16, n16).Cast(tensor.Float16)
	if err != nil {
		t.Fatal(err)
	}
	int8s, scales := filled(tensor.Int8, n8, n8), testutil.Random(2, n8)
	for _, c := range []struct {
		name string
		n    int
		make func(b *built) *ir.Value
	}{
		{"int8", n8, func(b *built) *ir.Value {
			return b.Op("DequantizeLinear", ir.In(constant(b, "q", int8s), constant(b, "scale", scales)), ir.A("axis", ir.Int(1)))
		}},
		{"float16", n16, func(b *built) *ir.Value {
			return b.Op("Cast", ir.In(constant(b, "h", half)), ir.A("to", ir.Int(1)))
		}},
	} {
		m := narrowModel(c.n, c.make)
		f := feed{"x": testutil.Random(3, 5, c.n)}
		want := nodeByNode(t, m, f)
		before := heap()
		s := session(t, compile(t, m, runtime.Options{Threads: 2}))
		got := run(t, s, f)
		if kept, floats := heap()-before, 4*c.n*c.n; kept > floats/8 {
			t.Errorf("%s: %d bytes are held after the first run; the weight as floats has %d", c.name, kept, floats)
		}
		if err := testutil.Compare(got[0], want[0], 1e-5, 1e-6); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// A weight of 4 bits with more elements than folding makes of fewer is a
// constant none the less, a head of many words above all, and beside float16.
func TestNarrowHead(t *testing.T) {
	for _, d := range []tensor.DType{tensor.Float32, tensor.Float16} {
		t.Run(d.String(), func(t *testing.T) { testNarrowHead(t, d) })
	}
}

func testNarrowHead(t *testing.T, d tensor.DType) {
	const k, n, block = 4096, 16640, 32
	as := func(x *tensor.Tensor, d tensor.DType) *tensor.Tensor {
		y, err := x.Cast(d)
		if err != nil {
			t.Fatal(err)
		}
		return y
	}
	q, scales := tensor.New(tensor.Uint8, n, k/block, block/2), as(testutil.Random(1, n*k/block), d)
	for i := range q.Bytes() {
		q.Bytes()[i] = byte(i * 7)
	}
	b := build()
	b.m.SetOpset("com.microsoft", 1)
	x := b.input("x", d, ir.Symbol("rows"), ir.Fixed(k))
	y := b.Node("com.microsoft", "MatMulNBits", ir.In(x, b.m.Graph.AddInitializer("q", ir.Dense(q)), b.m.Graph.AddInitializer("s", ir.Dense(scales))), 1,
		ir.A("K", ir.Int(k)), ir.A("N", ir.Int(n)), ir.A("bits", ir.Int(4)), ir.A("block_size", ir.Int(block)))
	b.out("y", y[0], d)
	f := feed{"x": as(testutil.Random(3, 1, k), d)}
	before := heap()
	s := session(t, compile(t, b.m, runtime.Options{Threads: 2}))
	got := tensor.Data[float32](as(run(t, s, f)[0], tensor.Float32))
	held := n * k / 8
	if d == tensor.Float16 { // floats of the scales too
		held *= 2
	}
	if kept := heap() - before; kept > held {
		t.Errorf("%d bytes are held after the first run of %d weights of 4 bits", kept, n*k)
	}
	fed, scale := tensor.Data[float32](as(f["x"], tensor.Float32)), tensor.Data[float32](as(scales, tensor.Float32))
	for _, j := range []int{0, 1, n / 2, n - 1} {
		var want, size float64
		for i, v := range fed {
			w := float32(q.Bytes()[(j*k+i)/2]>>(i%2*4)&15) - 8
			term := float64(v) * float64(w*scale[(j*k+i)/block])
			want, size = want+term, size+math.Abs(term)
		}
		within := 1e-6 * size
		if d == tensor.Float16 { // the sum is rounded
			within += math.Abs(want) / (1 << 11)
		}
		if math.Abs(float64(got[j])-want) > within {
			t.Errorf("column %d is %v, want %v", j, got[j], want)
		}
	}
}
