package kernel

import (
	"fmt"
	"math"
	"testing"

	"github.com/bonnx/bonnx/internal/par"
)

// attentionCase is sizes, whether each operand has its rows before its heads,
// and a mask.
type attentionCase struct {
	b, h, g, s, t, d, e int
	rowsFirst           bool
	mask                func(i, j int) float64 // nil for none
}

func causalMask(i, j int) float64 { return float64(max(j-i, 0)) * -1e9 }

// minimum is a mask of the least number, on columns of padding.
func paddedMask(i, j int) float64 {
	if j < 3 || j > i+2 {
		return -3.4028234663852886e38
	}
	return 0
}

func slopes(i, j int) float64 { return -0.1 * float64(j) }

func blind(i, j int) float64 {
	if i == 1 {
		return -3.4028234663852886e38
	}
	return causalMask(i, j)
}

var attentionCases = []attentionCase{
	{1, 1, 1, 1, 1, 1, 1, false, nil},
	{2, 3, 3, 5, 7, 4, 6, false, nil},
	{1, 4, 2, 60, 60, 8, 8, true, causalMask},
	{2, 2, 1, 33, 300, 16, 20, true, paddedMask},
	{1, 2, 2, 100, 280, 9, 33, false, slopes},
	{1, 1, 1, 130, 130, 5, 3, false, blind},
	{1, 2, 2, 3, 0, 5, 3, false, nil},
	{3, 6, 3, 75, 75, 12, 12, true, causalMask},
}

func headsOf(rowsFirst bool, heads, rows, width int) Heads {
	if rowsFirst {
		return Heads{heads * rows * width, width, heads * width}
	}
	return Heads{heads * rows * width, rows * width, width}
}

func (c attentionCase) sizes() Attention {
	return Attention{Batch: c.b, Heads: c.h, Groups: c.g, Rows: c.s, Cols: c.t, Depth: c.d, Width: c.e, Scale: 0.7,
		Q: headsOf(c.rowsFirst, c.h, c.s, c.d), K: headsOf(c.rowsFirst, c.g, c.t, c.d),
		V: headsOf(false, c.g, c.t, c.e), Y: headsOf(c.rowsFirst, c.h, c.s, c.e), Bias: Heads{0, 0, 1}}
}

// probabilities are those of one row, by the definition.
func (c attentionCase) probabilities(a Attention, q, k []float64, b, h, i int) []float64 {
	p := make([]float64, c.t)
	top, sum := math.Inf(-1), 0.0
	for j := range p {
		for d := range c.d {
			p[j] += q[a.Q.at(b, h)+i*a.Q.Row+d] * k[a.K.at(b, h*c.g/c.h)+j*a.K.Row+d]
		}
		p[j] *= a.Scale
		if c.mask != nil {
			p[j] += c.mask(i, j)
		}
		top = max(top, p[j])
	}
	for j := range p {
		p[j] = math.Exp(p[j] - top)
		sum += p[j]
	}
	for j := range p {
		p[j] /= sum
	}
	return p
}

func (c attentionCase) reference(a Attention, q, k, v, dy []float64) (y, dq, dk, dv []float64) {
	y, dq, dk, dv = make([]float64, len(dy)), make([]float64, len(q)), make([]float64, len(k)), make([]float64, len(v))
	for u := range c.b * c.h * c.s {
		b, h, i := u/(c.h*c.s), u/c.s%c.h, u%c.s
		g := h * c.g / c.h
		p := c.probabilities(a, q, k, b, h, i)
		at, aq := a.Y.at(b, h)+i*a.Y.Row, a.Q.at(b, h)+i*a.Q.Row
		dp, mean := make([]float64, c.t), 0.0
		for j := range p {
			av := a.V.at(b, g) + j*a.V.Row
			for e := range c.e {
				y[at+e] += p[j] * v[av+e]
				dv[av+e] += p[j] * dy[at+e]
				dp[j] += dy[at+e] * v[av+e]
			}
			mean += p[j] * dp[j]
		}
		for j := range p {
			ds, ak := p[j]*(dp[j]-mean)*a.Scale, a.K.at(b, g)+j*a.K.Row
			for d := range c.d {
				dq[aq+d] += ds * k[ak+d]
				dk[ak+d] += ds * q[aq+d]
			}
		}
	}
	return y, dq, dk, dv
}

func testAttention[T Float](t *testing.T, c attentionCase) {
	a, r := c.sizes(), newRand()
	q, k := randSlice[T](r, c.b*c.h*c.s*c.d), randSlice[T](r, c.b*c.g*c.t*c.d)
	v, dy := randSlice[T](r, c.b*c.g*c.t*c.e), randSlice[T](r, c.b*c.h*c.s*c.e)
	wy, wq, wk, wv := c.reference(a, wide(q), wide(k), wide(v), wide(dy))
	var first []T
	withPools(t, func(t *testing.T, p *par.Pool) {
		var bias []T
		var spans []Span
		if c.mask != nil {
			bias, spans = make([]T, c.s*c.t), make([]Span, c.s)
			for i := range bias {
				bias[i] = T(c.mask(i/c.t, i%c.t))
			}
			AttentionSpans(p, c.t, bias, spans)
		}
		y, done := guarded[T](t, len(dy))
		scratch, used := guarded[T](t, AttendScratch[T](a))
		Attend(p, a, y, q, k, v, bias, spans, scratch)
		done()
		used()
		checkClose(t, "y", y, wy, tolOf[T]())
		dq, doneQ := guarded[T](t, len(q))
		dk, doneK := guarded[T](t, len(k))
		dv, doneV := guarded[T](t, len(v))
		scratch, used = guarded[T](t, AttendGradScratch[T](a))
		AttendGrad(p, a, dq, dk, dv, dy, q, k, v, bias, spans, scratch)
		for _, f := range []func(){doneQ, doneK, doneV, used} {
			f()
		}
		checkClose(t, "dq", dq, wq, tolOf[T]())
		checkClose(t, "dk", dk, wk, tolOf[T]())
		checkClose(t, "dv", dv, wv, tolOf[T]())
		all := append(append(append(append([]T{}, y...), dq...), dk...), dv...)
		if first == nil {
			first = all
		}
		checkSame(t, "with other threads", all, first)
		AttendGrad(p, a, nil, nil, dv, dy, q, k, v, bias, spans, scratch)
		checkSame(t, "dv alone", dv, first[len(y)+len(dq)+len(dk):])
	})
}

func TestAttention(t *testing.T) {
	for i, c := range attentionCases {
		t.Run(fmt.Sprintf("case=%d/float32", i), func(t *testing.T) { testAttention[float32](t, c) })
		t.Run(fmt.Sprintf("case=%d/float64", i), func(t *testing.T) { testAttention[float64](t, c) })
	}
}

func TestAttentionSpans(t *testing.T) {
	inf, nan, least := math.Inf(-1), math.NaN(), -3.4028234663852886e38
	rows := [][]float64{{0, 0, inf, inf}, {0, 0, 0, 0}, {-1, 0, 0, -1e9}, {inf, inf, inf, inf}, {least, least, least, least},
		{0, -1e9, 0, least}, {0, nan, inf, inf}, {-1e9, -1e9, -1e9, -1e9}, {-1e9, -1e9, -2e9, inf}, {0, -1e4, -1e4, -1e4}}
	want := []Span{{2, 2}, {4, 4}, {0, 3}, {0, 4}, {0, 4}, {1, 3}, {1, 4}, {0, 4}, {0, 2}, {1, 4}}
	for i, r := range rows {
		if got := spanOf(r); got != want[i] {
			t.Errorf("span of %v is %v, want %v", r, got, want[i])
		}
	}
}

func BenchmarkAttention(b *testing.B) {
	for _, c := range []attentionCase{{4, 8, 8, 256, 256, 64, 64, true, causalMask}, {8, 8, 4, 128, 128, 8, 8, true, causalMask}} {
		a, r := c.sizes(), newRand()
		q, k := randSlice[float32](r, c.b*c.h*c.s*c.d), randSlice[float32](r, c.b*c.g*c.t*c.d)
		v, dy := randSlice[float32](r, c.b*c.g*c.t*c.e), randSlice[float32](r, c.b*c.h*c.s*c.e)
		bias, spans := make([]float32, c.s*c.t), make([]Span, c.s)
		for i := range bias {
			bias[i] = float32(c.mask(i/c.t, i%c.t))
		}
		AttentionSpans(nil, c.t, bias, spans)
		y, dq, dk, dv := make([]float32, len(dy)), make([]float32, len(q)), make([]float32, len(k)), make([]float32, len(v))
		scratch := make([]float32, max(AttendScratch[float32](a), AttendGradScratch[float32](a)))
		b.Run(fmt.Sprintf("forward/D=%d", c.d), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Attend(nil, a, y, q, k, v, bias, spans, scratch)
			}
		})
		b.Run(fmt.Sprintf("backward/D=%d", c.d), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				AttendGrad(nil, a, dq, dk, dv, dy, q, k, v, bias, spans, scratch)
			}
		})
	}
}
