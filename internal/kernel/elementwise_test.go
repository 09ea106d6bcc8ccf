package kernel

import (
	"fmt"
	"math"
	"math/big"
	"testing"

	"github.com/bonnx/bonnx/internal/par"
)

// ulps is the distance between got and the exact value want, in units in the
// last place of float32.
func ulps(got float32, want float64) float64 {
	if math.IsNaN(want) || math.IsInf(want, 0) || math.IsInf(float64(got), 0) {
		if float64(got) == want || isNaN(got) && math.IsNaN(want) || float32(want) == got {
			return 0
		}
		return math.Inf(1)
	}
	_, e := math.Frexp(want)
	return math.Abs(float64(got)-want) / math.Ldexp(1, max(e, -125)-24)
}

var unary32 = []struct {
	name  string
	f     func(p *par.Pool, dst, x []float32)
	want  func(float64) float64
	limit float64 // ulps
}{
	{"exp", Exp[float32], math.Exp, 0.6},
	{"log", Log[float32], math.Log, 0.6},
	{"sqrt", Sqrt[float32], math.Sqrt, 0.51},
	{"tanh", Tanh[float32], math.Tanh, 0.6},
	{"sigmoid", Sigmoid[float32], func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }, 0.6},
	{"erf", Erf[float32], math.Erf, 0.6},
	{"silu", SiLU[float32], silu64, 0.6},
	{"gelu", GELU[float32], gelu, 8}, // by vectors in float32: 2 above 0
	{"gelutanh", GELUTanh[float32], geluTanh64, 0.6},
	{"softplus", Softplus[float32], softplus, 0.6},
	{"mish", Mish[float32], mish, 0.6},
	{"powhalf", toThe(0.5), func(x float64) float64 { return math.Pow(x, 0.5) }, 0.51},
	{"cube", toThe(3), func(x float64) float64 { return math.Pow(x, 3) }, 0.51},
	{"power", toThe(2.75), func(x float64) float64 { return math.Pow(x, 2.75) }, 0.6},
	{"small power", toThe(-0.125), func(x float64) float64 { return math.Pow(x, -0.125) }, 0.6},
	{"sin", Sin[float32], math.Sin, 0.6},
	{"cos", Cos[float32], math.Cos, 0.6},
	{"softsign", Softsign[float32], func(x float64) float64 { return x / (1 + math.Abs(x)) }, 1.6}, // by float32
	{"abs", Abs[float32], math.Abs, 0},
	{"sign", Sign[float32], signOf[float64], 0},
	{"floor", Floor[float32], math.Floor, 0},
	{"ceil", Ceil[float32], math.Ceil, 0},
	{"round", RoundEven[float32], math.RoundToEven, 0},
	{"elu", func(p *par.Pool, dst, x []float32) { ELU(p, dst, x, 1) }, func(x float64) float64 {
		if x < 0 {
			return math.Expm1(x)
		}
		return x
	}, 0.6},
	{"reciprocal", Reciprocal[float32], func(x float64) float64 { return 1 / x }, 0.51},
}

// toThe is the power of c.
func toThe(c float32) func(p *par.Pool, dst, x []float32) {
	return func(p *par.Pool, dst, x []float32) {
		Pow(p, NewBroadcast([]int{len(x)}, []int{len(x)}, nil), dst, x, []float32{c})
	}
}

// accuracyInputs walk over all exponents and both signs.
func accuracyInputs() []float32 {
	var x []float32
	for bits := uint64(0); bits < 1<<32; bits += 39119 {
		x = append(x, math.Float32frombits(uint32(bits)))
	}
	for v := float32(-30); v < 30; v += 1.0 / 512 {
		x = append(x, v)
	}
	for k := range 20000 { // where sines and cosines are small
		x = append(x, float32(float64(k*131)*(math.Pi/2)))
	}
	inf := float32(math.Inf(1))
	return append(x, inf, -inf, float32(math.NaN()), 88.72284, 88.7229, -87.4, -103.97, -104.1, 0.25, -0.25, 20, -110)
}

// checkUlps holds got, the values at x, to a function.
func checkUlps(t *testing.T, name string, got, x []float32, f func(float64) float64, limit float64) {
	t.Helper()
	for i, v := range x {
		want := f(float64(v))
		if math.IsInf(float64(v), -1) && math.IsNaN(want) {
			continue // x*0 forms at -Inf: NaN or 0
		}
		const least = 0x1p-126 // what is computed in float32 may be 0 below it
		if limit > 1 && math.Abs(want) < least && math.Abs(float64(got[i])) < least {
			continue
		}
		if d := ulps(got[i], want); d > limit {
			t.Errorf("%s(%v) = %v, want %v (%.3g ulp)", name, v, got[i], want, d)
			break
		}
	}
}

func TestUnary32Accuracy(t *testing.T) {
	x := accuracyInputs()
	got := make([]float32, len(x))
	for _, c := range unary32 {
		c.f(nil, got, x)
		checkUlps(t, c.name, got, x, c.want, c.limit)
	}
}

// TestNearestToBig pins exp against a computation that shares no code with it.
func TestNearestToBig(t *testing.T) {
	for _, x := range []float64{-5, -0.7, 1e-3, 0.5, 3.25, 40} {
		sum, term := big.NewFloat(1).SetPrec(300), big.NewFloat(1).SetPrec(300)
		for i := 1; i < 300; i++ {
			term.Mul(term, big.NewFloat(x))
			term.Quo(term, big.NewFloat(float64(i)))
			sum.Add(sum, term)
		}
		want, _ := sum.Float64()
		if got := expNear(x); math.Abs(got-want) > 1e-10*want {
			t.Errorf("expNear(%v) = %v, want %v", x, got, want)
		}
	}
}

func TestUnarySlopes(t *testing.T) {
	for _, c := range []struct {
		name string
		f    func(p *par.Pool, dst, x []float64)
		grad func(p *par.Pool, dx, x, dy []float64)
	}{{"gelu", GELU[float64], GELUGrad[float64]}, {"gelutanh", GELUTanh[float64], GELUTanhGrad[float64]}, {"silu", SiLU[float64], SiLUGrad[float64]}} {
		const h = 1e-5
		for x := -12.0; x < 12; x += 0.37 {
			y, dx := make([]float64, 2), make([]float64, 1)
			c.f(nil, y, []float64{x - h, x + h})
			c.grad(nil, dx, []float64{x}, []float64{3})
			if want := 3 * (y[1] - y[0]) / (2 * h); math.Abs(dx[0]-want) > 1e-8 {
				t.Errorf("%s slope at %v: got %v, want %v", c.name, x, dx[0], want)
			}
		}
		dx := make([]float32, 3)
		for i, want := range []float32{0, 1, 0.5} {
			x := []float32{-200, 200, 0}[i]
			switch c.name {
			case "gelu":
				GELUGrad(nil, dx, []float32{x, x, x}, []float32{1, 1, 1})
			case "gelutanh":
				GELUTanhGrad(nil, dx, []float32{x, x, x}, []float32{1, 1, 1})
			default:
				SiLUGrad(nil, dx, []float32{x, x, x}, []float32{1, 1, 1})
			}
			if dx[0] != want {
				t.Errorf("%s slope at %v: got %v, want %v", c.name, x, dx[0], want)
			}
		}
	}
}

// TestUnarySlopes32 holds the float32 slopes to the float64 ones.
func TestUnarySlopes32(t *testing.T) {
	one, one32 := []float64{1}, []float32{1}
	for v := float32(-30); v < 30; v += 1.0 / 64 {
		want, got := make([]float64, 1), make([]float32, 1)
		x, x32 := []float64{float64(v)}, []float32{v}
		GELUGrad(nil, want, x, one)
		GELUGrad(nil, got, x32, one32)
		checkClose(t, fmt.Sprintf("gelu slope at %v", v), got, want, 1e-7)
		GELUTanhGrad(nil, want, x, one)
		GELUTanhGrad(nil, got, x32, one32)
		checkClose(t, fmt.Sprintf("gelutanh slope at %v", v), got, want, 1e-7)
		SiLUGrad(nil, want, x, one)
		SiLUGrad(nil, got, x32, one32)
		checkClose(t, fmt.Sprintf("silu slope at %v", v), got, want, 1e-7)
	}
}

func TestUnaryValues(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	x := []float64{-inf, -2.5, -1, -0.5, 0, 0.5, 1, 1.5, 2.5, inf, nan}
	for _, c := range []struct {
		name string
		f    func(dst, x []float64)
		want []float64
	}{
		{"neg", func(d, x []float64) { Neg(nil, d, x) }, []float64{inf, 2.5, 1, 0.5, 0, -0.5, -1, -1.5, -2.5, -inf, nan}},
		{"abs", func(d, x []float64) { Abs(nil, d, x) }, []float64{inf, 2.5, 1, 0.5, 0, 0.5, 1, 1.5, 2.5, inf, nan}},
		{"sign", func(d, x []float64) { Sign(nil, d, x) }, []float64{-1, -1, -1, -1, 0, 1, 1, 1, 1, 1, nan}},
		{"relu", func(d, x []float64) { ReLU(nil, d, x) }, []float64{0, 0, 0, 0, 0, 0.5, 1, 1.5, 2.5, inf, nan}},
		{"clip", func(d, x []float64) { Clip(nil, d, x, -1, 1.25) }, []float64{-1, -1, -1, -0.5, 0, 0.5, 1, 1.25, 1.25, 1.25, nan}},
		{"scale", func(d, x []float64) { Scale(nil, d, x, 2) }, []float64{-inf, -5, -2, -1, 0, 1, 2, 3, 5, inf, nan}},
		{"leaky", func(d, x []float64) { LeakyReLU(nil, d, x, 0.5) }, []float64{-inf, -1.25, -0.5, -0.25, 0, 0.5, 1, 1.5, 2.5, inf, nan}},
		{"thresholded", func(d, x []float64) { ThresholdedReLU(nil, d, x, 1) }, []float64{0, 0, 0, 0, 0, 0, 0, 1.5, 2.5, inf, nan}},
		{"round", func(d, x []float64) { RoundEven(nil, d, x) }, []float64{-inf, -2, -1, 0, 0, 0, 1, 2, 2, inf, nan}},
		{"floor", func(d, x []float64) { Floor(nil, d, x) }, []float64{-inf, -3, -1, -1, 0, 0, 1, 1, 2, inf, nan}},
		{"ceil", func(d, x []float64) { Ceil(nil, d, x) }, []float64{-inf, -2, -1, 0, 0, 1, 1, 2, 3, inf, nan}},
		{"hardsigmoid", func(d, x []float64) { HardSigmoid(nil, d, x, 0.5, 0.5) }, []float64{0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1, nan}},
	} {
		got := make([]float64, len(x))
		c.f(got, x)
		checkSame(t, c.name, got, c.want)
	}
	em := math.Expm1(-0.5)
	for _, c := range []struct {
		name string
		f    func(dst, x []float64)
		want [2]float64 // at -0.5 and 1
	}{
		{"elu", func(d, x []float64) { ELU(nil, d, x, 2) }, [2]float64{2 * em, 1}},
		{"celu", func(d, x []float64) { CELU(nil, d, x, 2) }, [2]float64{2 * math.Expm1(-0.25), 1}},
		{"selu", func(d, x []float64) { SELU(nil, d, x, 2, 3) }, [2]float64{6 * em, 3}},
		{"hardswish", func(d, x []float64) { HardSwish(nil, d, x) }, [2]float64{-0.5 * (0.5 - 0.5/6), 0.5 + 1.0/6}},
		{"softsign", func(d, x []float64) { Softsign(nil, d, x) }, [2]float64{-0.5 / 1.5, 0.5}},
		{"mish", func(d, x []float64) { Mish(nil, d, x) }, [2]float64{-0.5 * math.Tanh(math.Log1p(math.Exp(-0.5))), math.Tanh(math.Log1p(math.E))}},
		{"rsqrt", func(d, x []float64) { Rsqrt(nil, d, x) }, [2]float64{nan, 1}},
	} {
		got := make([]float64, 2)
		c.f(got, []float64{-0.5, 1})
		checkClose(t, c.name, got, c.want[:], 1e-14)
	}
	flags := make([]bool, 4)
	IsNaN(nil, flags, []float64{1, nan, inf, 0})
	checkSame(t, "isnan", flags, []bool{false, true, false, false})
	IsInf(nil, flags, []float64{-inf, nan, inf, 0}, false, true)
	checkSame(t, "isinf", flags, []bool{false, false, true, false})
	Not(nil, flags, flags)
	checkSame(t, "not", flags, []bool{true, true, false, true})
}

// sizeOf is the product of a shape's extents.
func sizeOf(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// naiveAt is the element of a shape that output index i reads.
func naiveAt(i int, out, shape []int) int {
	off, stride := 0, 1
	for a := len(out) - 1; a >= 0; a-- {
		j := i % out[a]
		i /= out[a]
		if s := a - (len(out) - len(shape)); s >= 0 {
			if shape[s] != 1 {
				off += j * stride
			}
			stride *= shape[s]
		}
	}
	return off
}

var broadcastCases = []struct{ out, a, b []int }{
	{nil, nil, nil},
	{[]int{5}, []int{5}, []int{5}},
	{[]int{5}, nil, []int{5}},
	{[]int{5}, []int{5}, []int{1}},
	{[]int{1, 1}, []int{1}, []int{1, 1}},
	{[]int{3, 4}, []int{3, 4}, []int{4}},
	{[]int{3, 4}, []int{3, 1}, []int{3, 4}},
	{[]int{3, 4}, []int{3, 1}, []int{1, 4}},
	{[]int{3, 4}, nil, []int{1}},
	{[]int{0, 4}, []int{0, 4}, []int{4}},
	{[]int{4, 0}, []int{4, 0}, []int{4, 1}},
	{[]int{2, 3, 4, 5}, []int{2, 1, 4, 1}, []int{3, 1, 5}},
	{[]int{2, 3, 4, 5}, []int{2, 3, 4, 5}, []int{3, 1, 1}},
	{[]int{2, 3, 1, 5, 2, 2, 2, 3}, []int{2, 1, 1, 5, 1, 2, 1, 3}, []int{3, 1, 1, 2, 1, 2, 1}},
	{[]int{70, 600}, []int{70, 600}, []int{600}},
	{[]int{70000}, []int{70000}, []int{1}},
	{[]int{300, 3, 50}, []int{300, 1, 50}, []int{3, 1}},
}

func TestBroadcastBinary(t *testing.T) {
	withPools(t, func(t *testing.T, p *par.Pool) {
		for _, c := range broadcastCases {
			r := newRand()
			n := sizeOf(c.out)
			x, y := randSlice[float32](r, sizeOf(c.a)), randSlice[float32](r, sizeOf(c.b))
			for _, op := range []struct {
				name string
				f    func(p *par.Pool, b *Broadcast, dst, x, y []float32)
				want func(x, y float32) float32
			}{
				{"add", Add[float32], func(x, y float32) float32 { return x + y }},
				{"sub", Sub[float32], func(x, y float32) float32 { return x - y }},
				{"mul", Mul[float32], func(x, y float32) float32 { return x * y }},
				{"div", Div[float32], func(x, y float32) float32 { return x / y }},
				{"max", Max[float32], func(x, y float32) float32 { return max(x, y) }},
				{"min", Min[float32], func(x, y float32) float32 { return min(x, y) }},
			} {
				got, check := guarded[float32](t, n)
				op.f(p, NewBroadcast(c.out, c.a, c.b), got, x, y)
				check()
				want := make([]float32, n)
				for i := range want {
					want[i] = op.want(x[naiveAt(i, c.out, c.a)], y[naiveAt(i, c.out, c.b)])
				}
				checkSame(t, fmt.Sprintf("%s %v", op.name, c), got, want)
			}
		}
	})
}

func TestWhereExpand(t *testing.T) {
	for _, c := range broadcastCases {
		r := newRand()
		n := sizeOf(c.out)
		cond := make([]bool, sizeOf(c.b))
		for i := range cond {
			cond[i] = r.IntN(2) == 0
		}
		x, y := randSlice[float32](r, sizeOf(c.a)), randSlice[float32](r, n)
		got, check := guarded[float32](t, n)
		Where(nil, NewBroadcast(c.out, c.b, c.a, c.out), got, cond, x, y)
		check()
		want := make([]float32, n)
		for i := range want {
			want[i] = y[i]
			if cond[naiveAt(i, c.out, c.b)] {
				want[i] = x[naiveAt(i, c.out, c.a)]
			}
		}
		checkSame(t, fmt.Sprintf("where %v", c), got, want)
		Expand(nil, NewBroadcast(c.out, c.a), got, x)
		check()
		for i := range want {
			want[i] = x[naiveAt(i, c.out, c.a)]
		}
		checkSame(t, fmt.Sprintf("expand %v", c), got, want)
	}
}

func TestBinaryIntegers(t *testing.T) {
	x := []int32{7, -7, 7, -7, 5, math.MinInt32, -1, -1, 2}
	y := []int32{3, 3, -3, -3, 0, -1, 3, -4, -1}
	b := NewBroadcast([]int{9}, []int{9}, []int{9})
	got := make([]int32, 9)
	for _, c := range []struct {
		name string
		f    func(p *par.Pool, b *Broadcast, dst, x, y []int32)
		want []int32
	}{
		{"div", Div[int32], []int32{2, -2, -2, 2, 0, math.MinInt32, 0, 0, -2}},
		{"mod", Mod[int32], []int32{1, 2, -2, -1, 0, 0, 2, -1, 0}},
		{"fmod", FMod[int32], []int32{1, -1, 1, -1, 0, 0, -1, -1, 0}},
		{"pow", Pow[int32], []int32{343, -343, 0, 0, 1, 0, -1, 1, 0}},
		{"and", BitAnd[int32], []int32{3, 1, 5, -7, 0, math.MinInt32, 3, -4, 2}},
		{"or", BitOr[int32], []int32{7, -5, -1, -3, 5, -1, -1, -1, -1}},
		{"xor", BitXor[int32], []int32{4, -6, -6, 4, 5, math.MaxInt32, -4, 3, -3}},
	} {
		c.f(nil, b, got, x, y)
		checkSame(t, c.name, got, c.want)
	}
	u := make([]uint8, 2)
	Pow(nil, NewBroadcast([]int{2}, []int{2}, []int{2}), u, []uint8{3, 255}, []uint8{4, 2})
	checkSame(t, "pow uint8", u, []uint8{81, 1})
}

func TestBinaryFloats(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	x := []float64{5.5, -5.5, 5.5, nan, 1, 2, -8, -inf, math.Copysign(0, -1)}
	y := []float64{3, 3, -3, 1, nan, 10, 3, 0.5, 0.5}
	b := NewBroadcast([]int{9}, []int{9}, []int{9})
	got := make([]float64, 9)
	for _, c := range []struct {
		name string
		f    func(p *par.Pool, b *Broadcast, dst, x, y []float64)
		want []float64
	}{
		{"mod", Mod[float64], []float64{2.5, 0.5, -0.5, nan, nan, 2, 1, nan, 0}},
		{"fmod", FMod[float64], []float64{2.5, -2.5, 2.5, nan, nan, 2, -2, nan, 0}},
		{"pow", Pow[float64], []float64{166.375, -166.375, 1 / 166.375, nan, nan, 1024, -512, inf, 0}},
		{"min", Min[float64], []float64{3, -5.5, -3, nan, nan, 2, -8, -inf, 0}},
		{"max", Max[float64], []float64{5.5, 3, 5.5, nan, nan, 10, 3, 0.5, 0.5}},
	} {
		if c.name == "pow" {
			c.want[4] = 1 // 1 to any power
		}
		c.f(nil, b, got, x, y)
		checkClose(t, c.name, got, c.want, 1e-15)
	}
	for _, e := range []float64{2, 0.5, 3, -1, 1.7} {
		Pow(nil, NewBroadcast([]int{9}, []int{9}, nil), got, x, []float64{e})
		want := make([]float64, 9)
		for i, v := range x {
			want[i] = math.Pow(v, e)
		}
		checkClose(t, fmt.Sprintf("pow %v", e), got, want, 1e-15)
	}
}

func TestComparisons(t *testing.T) {
	nan := math.NaN()
	x, y := []float64{1, 2, 3, nan}, []float64{2, 2, 2, nan}
	b := NewBroadcast([]int{4}, []int{4}, []int{4})
	got := make([]bool, 4)
	for _, c := range []struct {
		name string
		f    func(p *par.Pool, b *Broadcast, dst []bool, x, y []float64)
		want []bool
	}{
		{"equal", Equal[float64], []bool{false, true, false, false}},
		{"less", Less[float64], []bool{true, false, false, false}},
		{"lessequal", LessEqual[float64], []bool{true, true, false, false}},
		{"greater", Greater[float64], []bool{false, false, true, false}},
		{"greaterequal", GreaterEqual[float64], []bool{false, true, true, false}},
	} {
		c.f(nil, b, got, x, y)
		checkSame(t, c.name, got, c.want)
	}
	p, q := []bool{true, true, false, false}, []bool{true, false, true, false}
	for _, c := range []struct {
		name string
		f    func(p *par.Pool, b *Broadcast, dst, x, y []bool)
		want []bool
	}{
		{"and", And, []bool{true, false, false, false}},
		{"or", Or, []bool{true, true, true, false}},
		{"xor", Xor, []bool{false, true, true, false}},
	} {
		c.f(nil, b, got, p, q)
		checkSame(t, c.name, got, c.want)
	}
}

func BenchmarkUnary(b *testing.B) {
	x := randSlice[float32](newRand(), 1<<14)
	y := make([]float32, len(x))
	for _, c := range unary32 {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				c.f(nil, y, x)
			}
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/float64(len(x)), "ns/elem")
		})
	}
}
