package kernel

import (
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/par"
)

func TestChannelAffine(t *testing.T) {
	p := par.New(3)
	defer p.Close()
	for _, s := range [][3]int{{1, 1, 1}, {2, 3, 5}, {3, 2, 0}, {0, 3, 2}, {2, 7, 9000}} {
		n, c, l := s[0], s[1], s[2]
		x, scale, shift := make([]float64, n*c*l), make([]float64, c), make([]float64, c)
		for i := range x {
			x[i] = float64(i%17) - 8
		}
		for i := range c {
			scale[i], shift[i] = float64(i)+0.5, float64(2*i)-1
		}
		for _, withShift := range []bool{true, false} {
			b, y := shift, make([]float64, len(x))
			if !withShift {
				b = nil
			}
			ChannelAffine(p, n, c, l, y, x, scale, b)
			for i := range x {
				ch := i / l % c
				want := x[i] * scale[ch]
				if withShift {
					want += shift[ch]
				}
				if y[i] != want {
					t.Fatalf("%v, shift %v: element %d: got %g, want %g", s, withShift, i, y[i], want)
				}
			}
			again := append([]float64{}, x...)
			ChannelAffine(nil, n, c, l, again, again, scale, b)
			for i := range y {
				if again[i] != y[i] {
					t.Fatalf("%v in place: element %d: got %g, want %g", s, i, again[i], y[i])
				}
			}
		}
	}
}

func TestLRN(t *testing.T) {
	n, c, l := 2, 6, 3
	x := make([]float32, n*c*l)
	for i := range x {
		x[i] = float32(i%11)/5 - 1
	}
	for size := 1; size < 2*c+2; size++ {
		y := make([]float32, len(x))
		LRN(nil, n, c, l, y, x, size, 0.5, 0.75, 2)
		for i := range x {
			ch, s := i/l%c, 0.0
			for k := range c {
				if k >= ch-(size-1)/2 && k <= ch+size/2 {
					v := float64(x[i+(k-ch)*l])
					s += v * v
				}
			}
			want := float32(float64(x[i]) / math.Pow(2+0.5/float64(size)*s, 0.75))
			if d := math.Abs(float64(y[i] - want)); d > 1e-6 {
				t.Fatalf("size %d, element %d: got %g, want %g", size, i, y[i], want)
			}
		}
	}
}
