package tensor_test

import (
	"math"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/tensor"
)

// numeric are all types that casts convert between.
func numeric() []tensor.DType {
	var out []tensor.DType
	for d := tensor.Float32; d <= tensor.Int2; d++ {
		if d != tensor.String && !d.IsComplex() {
			out = append(out, d)
		}
	}
	return out
}

// TestCastEveryPair sends 0, 1 (exact in every type) through every pair of
// types, at lengths around the chunk and packing boundaries.
func TestCastEveryPair(t *testing.T) {
	for _, n := range []int{0, 1, 3, 8, 511, 512, 1025} {
		src := make([]float32, n)
		for i := range src {
			src[i] = float32((i + 1) % 2)
			if i%3 == 0 {
				src[i] = 1
			}
		}
		base := tensor.FromSlice(src, n)
		for _, a := range numeric() {
			for _, b := range numeric() {
				if a == tensor.Int2 || b == tensor.Int2 || a == tensor.Float8E8M0 || b == tensor.Float8E8M0 {
					continue // 0 is no E8M0 value; they have tests of their own
				}
				x, err := base.Cast(a)
				if err != nil {
					t.Fatal(err)
				}
				y, err := x.Cast(b)
				if err != nil {
					t.Fatalf("%v to %v: %v", a, b, err)
				}
				back, err := y.Cast(tensor.Float32)
				if err != nil {
					t.Fatal(err)
				}
				if y.DType() != b || !back.Equal(base) {
					t.Errorf("float32 -> %v -> %v -> float32 of %d elements changes values", a, b, n)
				}
			}
		}
	}
}

func TestCastValues(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	f := func(v ...float64) *tensor.Tensor { return tensor.FromSlice(v, len(v)) }
	for _, c := range []struct {
		name string
		in   *tensor.Tensor
		to   tensor.DType
		want []float64
	}{
		{"truncation", f(1.9, -1.9, 0.5), tensor.Int32, []float64{1, -1, 0}},
		{"int8 wraps", f(128, 300, -129), tensor.Int8, []float64{-128, 44, 127}},
		{"int4 wraps", f(-9, 8, 15), tensor.Int4, []float64{7, -8, -1}},
		{"int2 wraps", f(-3, 2, 3), tensor.Int2, []float64{1, -2, -1}},
		{"uint2", f(3, 4, 1), tensor.Uint2, []float64{3, 0, 1}},
		{"out of int64", f(nan, 1e30), tensor.Int64, []float64{math.MinInt64, math.MinInt64}},
		{"uint64", f(1 << 63), tensor.Uint64, []float64{1 << 63}},
		{"bool", f(0, -0.1, nan), tensor.Bool, []float64{0, 1, 1}},
		{"float16 once", f(1 + 1.0/2048 + 1e-12), tensor.Float16, []float64{1 + 1.0/1024}},
		{"e4m3fn saturates", f(1e6, -inf, nan), tensor.Float8E4M3FN, []float64{448, -448, nan}},
		{"fnuz has no -0", f(math.Copysign(0, -1), -1e-7), tensor.Float8E4M3FNUZ, []float64{0, 0}},
		{"e2m1", f(0.48, 0.25, 1.05, -3.5, -8, inf), tensor.Float4E2M1, []float64{0.5, 0, 1, -4, -6, 6}},
		{"e8m0 rounds up", f(0.124, 1.1, 2), tensor.Float8E8M0, []float64{0.125, 2, 2}},
		{"uint64 to float", tensor.FromSlice([]uint64{math.MaxUint64}, 1), tensor.Float32, []float64{1 << 64}},
		{"int64 rounds once", tensor.FromSlice([]int64{1<<60 + 1<<36 + 1}, 1), tensor.Float32, []float64{1<<60 + 1<<37}},
		{"strings", tensor.FromStrings([]string{"3.5", " -inf", "NaN", "1e3", "+INF"}, 5), tensor.Float32, []float64{3.5, -inf, nan, 1000, inf}},
		{"string to int", tensor.FromStrings([]string{"9007199254740993", "100.5"}, 2), tensor.Int64, []float64{9007199254740992, 100}},
	} {
		out, err := c.in.Cast(c.to)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		got, err := out.Float64s()
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range c.want {
			if got[i] != w && !(w != w && got[i] != got[i]) {
				t.Errorf("%s: element %d: got %v, want %v", c.name, i, got[i], w)
			}
		}
	}
}

func TestCastWithOptions(t *testing.T) {
	in := tensor.FromSlice([]float32{1e6}, 1)
	out, err := in.CastWith(tensor.Float8E5M2, tensor.CastOptions{NoSaturate: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := out.Bytes()[0]; got != 0x7c {
		t.Errorf("unsaturated 1e6 = %#x, want infinity 0x7c", got)
	}
	out, err = tensor.FromSlice([]float32{1.9}, 1).CastWith(tensor.Float8E8M0, tensor.CastOptions{Round: tensor.RoundDown})
	if err != nil {
		t.Fatal(err)
	}
	if got := out.Bytes()[0]; got != 127 {
		t.Errorf("1.9 rounded down = %d, want 127", got)
	}
}

func TestCastToString(t *testing.T) {
	for _, c := range []struct {
		in   *tensor.Tensor
		want []string
	}{
		{tensor.FromSlice([]float32{0.1, 314.5, 1e-7, float32(math.Inf(-1)), float32(math.NaN())}, 5), []string{"0.1", "314.5", "1e-07", "-INF", "NaN"}},
		{tensor.FromSlice([]int8{-5}, 1), []string{"-5"}},
		{tensor.FromSlice([]uint64{math.MaxUint64}, 1), []string{"18446744073709551615"}},
		{tensor.FromSlice([]bool{true, false}, 2), []string{"1", "0"}},
	} {
		out, err := c.in.Cast(tensor.String)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := strings.Join(out.Strings(), " "), strings.Join(c.want, " "); got != want {
			t.Errorf("%v: got %q, want %q", c.in, got, want)
		}
	}
}

func TestCastErrors(t *testing.T) {
	for _, c := range []struct {
		in *tensor.Tensor
		to tensor.DType
	}{
		{tensor.FromStrings([]string{"cat"}, 1), tensor.Float32},
		{tensor.FromSlice([]complex64{1}, 1), tensor.Float32},
		{tensor.FromSlice([]float32{1}, 1), tensor.Complex64},
		{tensor.FromSlice([]float32{1}, 1), tensor.Undefined},
	} {
		if out, err := c.in.Cast(c.to); err == nil {
			t.Errorf("cast of %v to %v: got %v, want an error", c.in, c.to, out)
		}
	}
}

func TestReaders(t *testing.T) {
	if _, err := tensor.FromStrings([]string{"1"}, 1).Float64s(); err == nil {
		t.Error("Float64s of strings: want an error")
	}
	if _, err := tensor.FromSlice([]float32{1}, 1).Int64s(); err == nil {
		t.Error("Int64s of floats: want an error")
	}
	if _, err := tensor.FromSlice([]uint64{1 << 63}, 1).Int64s(); err == nil {
		t.Error("Int64s of 2^63: want an error")
	}
	got, err := tensor.FromSlice([]int32{3, -1}, 2).IntSlice()
	if err != nil || got[0] != 3 || got[1] != -1 {
		t.Errorf("IntSlice: got %v, %v", got, err)
	}
	f, err := tensor.FromSlice([]float64{0.5}, 1).Float32s()
	if err != nil || f[0] != 0.5 {
		t.Errorf("Float32s: got %v, %v", f, err)
	}
}

// TestTransposeEveryType compares with an element-wise loop over indices.
func TestTransposeEveryType(t *testing.T) {
	shape, perms := []int{2, 3, 1, 5}, [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 0, 2, 3}, {0, 1, 3, 2}, {2, 3, 0, 1}, {1, 3, 0, 2}}
	base := testutil.RandomInts(1, 0, 2, shape...)
	for _, d := range append(numeric(), tensor.String) {
		x, err := base.Cast(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range perms {
			y, err := x.Transpose(p...)
			if err != nil {
				t.Fatal(err)
			}
			want, err := slowTranspose(base, p).Cast(d)
			if err != nil {
				t.Fatal(err)
			}
			if !y.Equal(want) {
				t.Errorf("%v transposed by %v is wrong", d, p)
			}
		}
	}
	big := testutil.Random(2, 70, 45)
	y, _ := big.Transpose()
	z, _ := y.Transpose(1, 0)
	if y.Equal(big) || !z.Equal(big) {
		t.Error("70x45 transposed twice is not itself")
	}
	for _, p := range [][]int{{0}, {0, 0}, {0, 2}, {-1, 0}} {
		if _, err := big.Transpose(p...); err == nil {
			t.Errorf("permutation %v: want an error", p)
		}
	}
}

func slowTranspose(x *tensor.Tensor, perm []int) *tensor.Tensor {
	shape := make([]int, len(perm))
	for i, p := range perm {
		shape[i] = x.Shape()[p]
	}
	out := tensor.New(x.DType(), shape...)
	in, o := x.Shape().Strides(), tensor.Shape(shape).Strides()
	for i := range out.Size() {
		at := 0
		for k := range shape {
			at += i / o[k] % shape[k] * in[perm[k]]
		}
		tensor.Data[int64](out)[i] = tensor.Data[int64](x)[at]
	}
	return out
}

func TestRows(t *testing.T) {
	x := testutil.Random(3, 4, 2)
	r := x.Rows(1, 3)
	if !r.Shape().Equal(tensor.Shape{2, 2}) || tensor.Data[float32](r)[0] != tensor.Data[float32](x)[2] {
		t.Errorf("rows 1 to 3: %v", r)
	}
	tensor.Data[float32](r)[0] = 9
	if tensor.Data[float32](x)[2] != 9 {
		t.Error("Rows copies")
	}
}

func TestDequantize(t *testing.T) {
	q := tensor.FromSlice([]int8{0, 1, 2, 3, 4, 5, 6, 7}, 2, 4)
	s := func(shape []int, v ...float32) *tensor.Tensor { return tensor.FromSlice(v, shape...) }
	z := func(shape []int, v ...int8) *tensor.Tensor { return tensor.FromSlice(v, shape...) }
	for _, c := range []struct {
		name        string
		scale, zero *tensor.Tensor
		axis, block int
		want        []float32
	}{
		{"tensor", tensor.Scalar[float32](2), nil, 1, 0, []float32{0, 2, 4, 6, 8, 10, 12, 14}},
		{"tensor, zero point", tensor.Scalar[float32](2), tensor.Scalar[int8](1), 1, 0, []float32{-2, 0, 2, 4, 6, 8, 10, 12}},
		{"axis 0", s([]int{2}, 1, 10), nil, 0, 0, []float32{0, 1, 2, 3, 40, 50, 60, 70}},
		{"axis 1", s([]int{4}, 1, 2, 3, 4), z([]int{4}, 0, 1, 0, 1), -1, 0, []float32{0, 0, 6, 8, 4, 8, 18, 24}},
		{"blocks along 1", s([]int{2, 2}, 1, 2, 3, 4), nil, 1, 2, []float32{0, 1, 4, 6, 12, 15, 24, 28}},
		{"blocks along 1, tail", s([]int{2, 2}, 1, 2, 3, 4), nil, 1, 3, []float32{0, 1, 2, 6, 12, 15, 18, 28}},
		{"blocks along 0", s([]int{1, 4}, 1, 2, 3, 4), z([]int{1, 4}, 1, 0, 0, 0), 0, 2, []float32{-1, 2, 6, 12, 3, 10, 18, 28}},
	} {
		got, err := tensor.Dequantize(q, c.scale, c.zero, c.axis, c.block)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if want := tensor.FromSlice(c.want, 2, 4); !got.Equal(want) {
			t.Errorf("%s: got %v, want %v", c.name, tensor.Data[float32](got), c.want)
		}
	}
	for _, c := range []struct {
		scale, zero *tensor.Tensor
		axis, block int
	}{
		{s([]int{3}, 1, 1, 1), nil, 1, 0}, {s([]int{4}, 1, 1, 1, 1), z([]int{1}, 0), 1, 0}, {s([]int{2, 3}, 1, 1, 1, 1, 1, 1), nil, 1, 2},
		{s([]int{4}, 1, 1, 1, 1), nil, 5, 0}, {tensor.FromSlice([]int8{1}), nil, 0, 0},
	} {
		if out, err := tensor.Dequantize(q, c.scale, c.zero, c.axis, c.block); err == nil {
			t.Errorf("scale %v zero %v axis %d block %d: got %v, want an error", c.scale, c.zero, c.axis, c.block, out)
		}
	}
}

func TestCodes(t *testing.T) {
	for _, d := range numeric() {
		x, err := testutil.RandomInts(uint64(d), 0, 2, 3, 5).Cast(d)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x.Codes()
		if err != nil {
			t.Fatal(err)
		}
		y, err := tensor.FromCodes(d, c)
		if err != nil || !y.Equal(x) {
			t.Errorf("%v: got %v, %v back", d, y, err)
		}
	}
	if c, err := tensor.New(tensor.String, 1).Codes(); err == nil {
		t.Errorf("codes of strings: got %v, want an error", c)
	}
	if x, err := tensor.FromCodes(tensor.Int4, tensor.Ints(1)); err == nil {
		t.Errorf("int4 of int64 codes: got %v, want an error", x)
	}
}
