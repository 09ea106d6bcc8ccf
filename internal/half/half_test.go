package half_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/bonnx/bonnx/internal/half"
)

// slowF16 reads binary16 by its definition.
func slowF16(h uint16) float64 {
	e, m := int(h>>10&31), float64(h&1023)
	var v float64
	switch e {
	case 0:
		v = math.Ldexp(m, -24)
	case 31:
		if v = math.Inf(1); m != 0 {
			v = math.NaN()
		}
	default:
		v = math.Ldexp(1024+m, e-25)
	}
	if h>>15 != 0 {
		v = -v
	}
	return v
}

func same(a, b float64) bool {
	return math.IsNaN(a) && math.IsNaN(b) || math.Float64bits(a) == math.Float64bits(b)
}

func TestF16AllValues(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		f := half.F16ToF32(h)
		if want := slowF16(h); !same(float64(f), want) {
			t.Fatalf("F16ToF32(%#04x) = %v, want %v", h, f, want)
		}
		got := half.F32ToF16(f)
		want := h
		if f != f {
			want |= 0x200
		}
		if got != want {
			t.Fatalf("F32ToF16(%v) = %#04x, want %#04x", f, got, want)
		}
	}
}

// TestF16Ties goes over all neighbouring pairs: the middle goes to the even
// one, a hair off the middle to the nearer.
func TestF16Ties(t *testing.T) {
	for h := uint16(0); h < 0x7bff; h++ {
		lo, hi := slowF16(h), slowF16(h+1)
		mid := (lo + hi) / 2
		even := h + h&1
		check := func(v float64, want uint16) {
			t.Helper()
			if got := half.F64ToF16(v); got != want {
				t.Fatalf("F64ToF16(%v) = %#04x, want %#04x", v, got, want)
			}
			if f := float32(v); float64(f) == v {
				if got := half.F32ToF16(-f); got != want|0x8000 {
					t.Fatalf("F32ToF16(%v) = %#04x, want %#04x", -f, got, want|0x8000)
				}
			}
		}
		check(mid, even)
		check(math.Nextafter(mid, 0), h)
		check(math.Nextafter(mid, 1e9), h+1)
		check(float64(math.Nextafter32(float32(mid), 0)), h)
		check(float64(math.Nextafter32(float32(mid), 1e9)), h+1)
	}
	for _, c := range []struct {
		v    float64
		want uint16
	}{{65504, 0x7bff}, {65519.999, 0x7bff}, {65520, 0x7c00}, {1e300, 0x7c00}, {math.Inf(1), 0x7c00}, {1e-300, 0}, {math.Ldexp(1, -25), 0}, {math.Ldexp(1.0001, -25), 1}} {
		if got := half.F64ToF16(c.v); got != c.want {
			t.Errorf("F64ToF16(%v) = %#04x, want %#04x", c.v, got, c.want)
		}
	}
}

func TestBF16(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		f := half.BF16ToF32(h)
		want := h
		if f != f {
			want |= 0x40
		}
		if got := half.F32ToBF16(f); got != want {
			t.Fatalf("F32ToBF16(%v) = %#04x, want %#04x", f, got, want)
		}
		if f != f || math.IsInf(float64(f), 0) {
			continue
		}
		mid := math.Float32frombits(uint32(h)<<16 | 0x8000)
		if got, want := half.F32ToBF16(mid), h+h&1; got != want {
			t.Fatalf("tie after %#04x: got %#04x, want %#04x", h, got, want)
		}
		above := math.Float32frombits(uint32(h)<<16 | 0x8001)
		if got := half.F32ToBF16(above); got != h+1 {
			t.Fatalf("above the tie after %#04x: got %#04x, want %#04x", h, got, h+1)
		}
		if got, want := half.F64ToBF16(math.Nextafter(float64(mid), 0)), h; got != want {
			t.Fatalf("below the tie after %#04x: got %#04x, want %#04x", h, got, want)
		}
	}
}

var miniFormats = []struct {
	name   string
	f      half.Format
	codes  int
	max    float64
	inf    uint8 // what +Inf becomes without saturation
	nan    uint8
	hasNeg bool
}{
	{"E4M3FN", half.E4M3FN, 256, 448, 0x7f, 0x7f, true},
	{"E4M3FNUZ", half.E4M3FNUZ, 256, 240, 0x80, 0x80, false},
	{"E5M2", half.E5M2, 256, 57344, 0x7c, 0x7e, true},
	{"E5M2FNUZ", half.E5M2FNUZ, 256, 57344, 0x80, 0x80, false},
	{"E2M1", half.E2M1, 16, 6, 0x07, 0x08, true},
}

func TestMiniRoundTrip(t *testing.T) {
	for _, m := range miniFormats {
		largest := 0.0
		for i := range m.codes {
			v := half.Decode(m.f, uint8(i))
			if half.Table(m.f)[i] != v && v == v {
				t.Errorf("%s: Table[%#x] = %v, want %v", m.name, i, half.Table(m.f)[i], v)
			}
			if v != v {
				continue
			}
			if !math.IsInf(float64(v), 0) {
				largest = max(largest, float64(v))
			}
			if got := half.Encode(m.f, v, false); got != uint8(i) {
				t.Errorf("%s: Encode(%v) = %#x, want %#x", m.name, v, got, i)
			}
		}
		if largest != m.max {
			t.Errorf("%s: largest value %v, want %v", m.name, largest, m.max)
		}
	}
}

func TestMiniSpecials(t *testing.T) {
	for _, m := range miniFormats {
		top := half.Encode(m.f, float32(m.max), true)
		for _, v := range []float32{float32(math.Inf(1)), 1e6, 3e38} {
			if got := half.Encode(m.f, v, true); got != top {
				t.Errorf("%s: saturated %v = %#x, want %#x", m.name, v, got, top)
			}
			if got := half.Encode(m.f, v, false); got != m.inf {
				t.Errorf("%s: unsaturated %v = %#x, want %#x", m.name, v, got, m.inf)
			}
		}
		if got := half.Encode(m.f, float32(math.NaN()), true); got != m.nan {
			t.Errorf("%s: NaN = %#x, want %#x", m.name, got, m.nan)
		}
		negZero := half.Encode(m.f, float32(math.Copysign(0, -1)), true)
		if (negZero != 0) != m.hasNeg {
			t.Errorf("%s: -0 = %#x", m.name, negZero)
		}
	}
}

// TestMiniNearest compares Encode with a search over all codes.
func TestMiniNearest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, m := range miniFormats {
		nearest := func(v float64) uint8 {
			best, dist := 0, math.Inf(1)
			for i := range m.codes / 2 {
				d := math.Abs(float64(half.Decode(m.f, uint8(i))) - v)
				if d < dist || d == dist && i%2 == 0 {
					best, dist = i, d
				}
			}
			return uint8(best)
		}
		for i := range m.codes/2 - 1 {
			lo, hi := float64(half.Decode(m.f, uint8(i))), float64(half.Decode(m.f, uint8(i+1)))
			if hi > m.max || hi != hi {
				break
			}
			for _, v := range []float64{(lo + hi) / 2, lo + (hi-lo)*rng.Float64(), float64(math.Nextafter32(float32((lo+hi)/2), 0))} {
				if got, want := half.Encode(m.f, float32(v), true), nearest(float64(float32(v))); got != want {
					t.Errorf("%s: Encode(%v) = %#x, want %#x", m.name, v, got, want)
				}
			}
		}
	}
}

func TestE8M0(t *testing.T) {
	for i := range 255 {
		v := half.Decode(half.E8M0, uint8(i))
		for _, r := range []half.Round{half.Up, half.Down, half.Nearest} {
			if got := half.EncodeE8M0(v, true, r); got != uint8(i) {
				t.Errorf("EncodeE8M0(%v, %d) = %d, want %d", v, r, got, i)
			}
		}
	}
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, c := range []struct {
		v        float32
		saturate bool
		r        half.Round
		want     uint8
	}{
		{0, true, half.Up, 0}, {0, false, half.Up, 0xff}, {inf, true, half.Up, 0xfe}, {inf, false, half.Up, 0xff}, {nan, true, half.Up, 0xff},
		{1.1, true, half.Up, 128}, {1.1, true, half.Down, 127}, {1.1, true, half.Nearest, 127}, {1.5, true, half.Nearest, 128}, {1.49, true, half.Nearest, 127},
		{0.124, true, half.Up, 0x7c}, {3e38, true, half.Up, 0xfe}, {3e38, false, half.Up, 0xff}, {1e-44, true, half.Down, 0}, {1e-44, false, half.Down, 0xff},
	} {
		if got := half.EncodeE8M0(c.v, c.saturate, c.r); got != c.want {
			t.Errorf("EncodeE8M0(%v, %v, %d) = %#x, want %#x", c.v, c.saturate, c.r, got, c.want)
		}
	}
	if v := half.Decode(half.E8M0, 0xff); v == v {
		t.Errorf("code 0xff = %v, want NaN", v)
	}
}

// TestOddF32 checks single rounding against exact arithmetic.
func TestOddF32(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		v := math.Ldexp(rng.Float64()-0.5, rng.IntN(60)-40)
		exact := new(big.Float).SetPrec(8).SetMode(big.ToNearestEven).SetFloat64(v)
		want, _ := exact.Float32()
		if got := half.BF16ToF32(half.F64ToBF16(v)); got != want {
			t.Fatalf("F64ToBF16(%v) = %v, want %v", v, got, want)
		}
	}
}

func TestPack(t *testing.T) {
	for _, bits := range []int{2, 4} {
		for n := range 19 {
			src := make([]uint8, n)
			for i := range src {
				src[i] = uint8(i*7+3) & (1<<bits - 1)
			}
			per := 8 / bits
			b := make([]byte, (n+per-1)/per)
			half.Pack(b, src, bits)
			got := make([]uint8, n)
			half.Unpack(got, b, bits)
			signed := make([]int8, n)
			half.UnpackSigned(signed, b, bits)
			for i, want := range src {
				if got[i] != want || half.Get(b, bits, i) != want {
					t.Fatalf("%d bits, element %d of %d: got %d and %d, want %d", bits, i, n, got[i], half.Get(b, bits, i), want)
				}
				w := int8(want)
				if want >= 1<<(bits-1) {
					w -= 1 << bits
				}
				if signed[i] != w {
					t.Fatalf("%d bits, signed element %d: got %d, want %d", bits, i, signed[i], w)
				}
			}
			if n > 0 {
				half.Put(b, bits, n-1, 0xff)
				if got := half.Get(b, bits, n-1); got != 1<<bits-1 {
					t.Fatalf("after Put: %d", got)
				}
				if n > 1 && half.Get(b, bits, n-2) != src[n-2] {
					t.Fatalf("Put changed its neighbour")
				}
			}
		}
	}
}

func TestBulk(t *testing.T) {
	src := []float32{0, 1, -2.5, 65504, 1e-7, 1e9}
	h, b := make([]uint16, len(src)), make([]uint16, len(src))
	f, g := make([]float32, len(src)), make([]float32, len(src))
	half.EncodeF16(h, src)
	half.DecodeF16(f, h)
	half.EncodeBF16(b, src)
	half.DecodeBF16(g, b)
	for i, v := range src {
		if want := half.F16ToF32(half.F32ToF16(v)); f[i] != want {
			t.Errorf("f16 %d: got %v, want %v", i, f[i], want)
		}
		if want := half.BF16ToF32(half.F32ToBF16(v)); g[i] != want {
			t.Errorf("bf16 %d: got %v, want %v", i, g[i], want)
		}
	}
}
