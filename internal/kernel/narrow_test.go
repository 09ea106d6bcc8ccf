package kernel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/bonnx/bonnx/internal/cpu"
	"github.com/bonnx/bonnx/internal/half"
	"github.com/bonnx/bonnx/internal/par"
)

// narrowCase is a layout of a Narrow: zeros are none, one, or one for each scale.
type narrowCase struct {
	rows, cols, down, across int
	zeros                    int
}

// newNarrow is a random Narrow, its rows some bytes apart, and its stored
// elements by the definition.
func newNarrow(rnd *rand.Rand, f Format, c narrowCase) (*Narrow, []float32) {
	w := &Narrow{Format: f, Rows: c.rows, Cols: c.cols, Down: c.down, Across: c.across, Stride: (c.cols*f.Bits()+7)/8 + 3}
	w.Data = make([]byte, c.rows*w.Stride)
	for i := range w.Data {
		w.Data[i] = byte(rnd.Uint32())
	}
	across := (c.cols + c.across - 1) / c.across
	if f < NarrowFloat16 {
		n := (c.rows + c.down - 1) / c.down * across
		w.Scales = randSlice[float32](rnd, n)
		w.Zeros = randSlice[float32](rnd, []int{0, 1, n}[c.zeros])
	}
	want := make([]float32, c.rows*c.cols)
	for i := range want {
		q := storedNumber(w, i/c.cols, i%c.cols)
		if want[i] = q; w.Scales == nil {
			continue
		}
		s := i/c.cols/c.down*across + i%c.cols/c.across
		zero := float32(0)
		if len(w.Zeros) > 0 {
			zero = w.Zeros[min(s, len(w.Zeros)-1)]
		}
		want[i] = float32(q-zero) * w.Scales[s]
	}
	return w, want
}

// storedNumber is the number stored as (i,j).
func storedNumber(w *Narrow, i, j int) float32 {
	bits, line := w.Format.Bits(), w.Data[i*w.Stride:]
	q := int(line[j*bits/8]) >> (j * bits % 8) & (1<<min(bits, 8) - 1)
	switch w.Format {
	case NarrowInt4, NarrowInt8:
		return float32(q - q>>(bits-1)<<bits)
	case NarrowFloat16:
		return half.F16ToF32(uint16(q | int(line[2*j+1])<<8))
	case NarrowBFloat16:
		return math.Float32frombits(uint32(q|int(line[2*j+1])<<8) << 16)
	}
	return float32(q)
}

var formats = []Format{NarrowUint2, NarrowUint4, NarrowInt4, NarrowUint8, NarrowInt8, NarrowFloat16, NarrowBFloat16}

// layouts are blocks along and across, scales for rows, columns and all.
func layouts(rows, cols int) []narrowCase {
	return []narrowCase{{rows, cols, 1, 32, 2}, {rows, cols, 1, 16, 0}, {rows, cols, 1, 4, 1}, {rows, cols, 1, 128, 2},
		{rows, cols, 1, cols, 2}, {rows, cols, rows, 1, 2}, {rows, cols, 16, 1, 0}, {rows, cols, 5, 1, 1}, {rows, cols, rows, cols, 1}}
}

// withWidenings runs f with each set of functions that this CPU supports.
func withWidenings(t *testing.T, f func(t *testing.T)) {
	was, panels := widenChosen, panelsChosen
	defer func() { widenChosen, panelsChosen = was, panels }()
	for _, name := range []string{"generic", "avx2", "avx512", "neon"} {
		can := cpu.Detect().Limit(name)
		widenChosen, panelsChosen = chooseWidenings(can), platformPanels(can)
		t.Run(name, f)
	}
}

// TestNarrowLines reads parts of rows of every format and layout.
func TestNarrowLines(t *testing.T) {
	withWidenings(t, func(t *testing.T) {
		for _, f := range formats {
			for _, c := range layouts(7, 301) {
				w, want := newNarrow(newRand(), f, c)
				for j := 0; j < c.cols; j += 4 {
					for _, n := range []int{1, 3, 16, 31, 32, 33, 70, 301} {
						n = min(n, c.cols-j)
						got, check := guarded[float32](t, n)
						w.lines(got, 0, 1, n, 3, j)
						check()
						checkSame(t, fmt.Sprintf("format %d, %+v from %d", f, c, j), got, want[3*c.cols+j:][:n])
					}
				}
			}
		}
	})
}

// TestWidenHalves makes floats of all numbers of 16 bits.
func TestWidenHalves(t *testing.T) {
	const n = 1 << 16
	src := make([]byte, 2*n)
	for i := range n {
		src[2*i], src[2*i+1] = byte(i), byte(i>>8)
	}
	withWidenings(t, func(t *testing.T) {
		for _, f := range []Format{NarrowFloat16, NarrowBFloat16} {
			got, want := make([]float32, n), make([]float32, n)
			widenChosen[f](got, src, n, noScale, noZero)
			widenPortable[f](want, src, n, noScale, noZero)
			checkSame(t, fmt.Sprintf("format %d", f), got, want)
			for i := range n { // zeros have signs
				if math.Signbit(float64(got[i])) != (i>>15 != 0) {
					t.Fatalf("format %d: %#x is %v", f, i, got[i])
				}
			}
		}
	})
}

// testGemmNarrow holds products with a Narrow to those with its floats.
func testGemmNarrow(t *testing.T, row *gemmRow[float32], p *par.Pool, f Format, c narrowCase, m, r int) {
	rnd := newRand()
	w, dense := newNarrow(rnd, f, c)
	for i, v := range dense { // floats of any bits are no weights
		if v != v || math.Abs(float64(v)) > 1e4 {
			dense[i] = 0
			clear(w.Data[i/c.cols*w.Stride+i%c.cols*2:][:2])
		}
	}
	for trans := range 4 {
		w.Trans = trans&1 != 0
		in, out := w.Size()
		transB := trans&2 != 0
		n, k := w.products(transB)
		ldd := out + 3
		x, d := randSlice[float32](rnd, m*k), randSlice[float32](rnd, r*ldd)
		if r == 0 {
			d = nil
		}
		full := make([]float32, in*out)
		for i := range in {
			for j := range out {
				full[i*out+j] = at(dense, c.cols, i, j, w.Trans)
				if d != nil {
					full[i*out+j] += d[i%r*ldd+j]
				}
			}
		}
		want := randSlice[float32](rnd, m*n)
		got, check := guarded[float32](t, m*n)
		copy(got, want)
		scratch, checkScratch := guarded[float32](t, narrowScratch(row, w, m, n, k, r))
		g := narrowGemm(p, transB, m, x, k, w, got, n)
		g.row, g.alpha, g.acc = row, 0.5, true
		g.run(addBlock(&g, d, r, ldd, scratch))
		check()
		checkScratch()
		plain := gemm[float32]{p: p, row: row, m: m, n: n, k: k, alpha: 0.5, acc: true, c: want, ldc: n, a: g.a}
		plain.b = matrix[float32]{data: full, ld: out, trans: transB}
		plain.run(make([]float32, gemmScratch(row, m, n, k)))
		checkSame(t, fmt.Sprintf("format %d, %+v, m %d, r %d, trans %v %v", f, c, m, r, w.Trans, transB), got, want)
	}
}

func TestGemmNarrow(t *testing.T) {
	for i := range rows32 {
		row := &rows32[i]
		if !row.supported(cpu.Detect()) {
			continue
		}
		t.Run(row.name, func(t *testing.T) {
			withPools(t, func(t *testing.T, p *par.Pool) {
				for _, f := range formats {
					for _, c := range []narrowCase{{70, 96, 1, 32, 2}, {37, 45, 1, 16, 0}, {33, 1100, 1, 128, 1}, {1100, 50, 1100, 1, 2}, {300, 270, 16, 1, 0}, {5, 3, 5, 3, 1},
						{112, 192, 1, 64, 2}, {64, 128, 1, 128, 0}, {48, 576, 48, 576, 1}, {40, 70, 40, 1, 1}} {
						testGemmNarrow(t, row, p, f, c, 5, 0)
						testGemmNarrow(t, row, p, f, c, 1, 3)
						testGemmNarrow(t, row, p, f, c, 30, min(48, c.rows, c.cols))
					}
				}
				testGemmNarrow(t, row, p, NarrowInt4, narrowCase{300, 270, 1, 32, 2}, lateM+1, 40)
			})
		})
	}
}

// TestGemmNarrowAllocates: a steady step must not.
func TestGemmNarrowAllocates(t *testing.T) {
	w, _ := newNarrow(newRand(), NarrowUint4, narrowCase{96, 128, 1, 32, 2})
	w.Trans = true
	a, d, c := make([]float32, 4*128), make([]float32, 8*96), make([]float32, 4*128)
	scratch := make([]float32, GemmNarrowScratch(w, false, 4, 8))
	p := par.New(2)
	defer p.Close()
	if n := testing.AllocsPerRun(50, func() { GemmNarrow(p, false, 4, 1, a, 128, w, d, 8, 96, Finish[float32]{}, false, c, 96, scratch) }); n > 0 {
		t.Errorf("%v allocations a product, want none", n)
	}
}

// BenchmarkGemmNarrow is products of some rows with a weight (out, in) of 4 bits,
// and with packed floats.
func BenchmarkGemmNarrow(b *testing.B) {
	for _, size := range [][2]int{{896, 4864}, {4864, 896}, {896, 896}} {
		k, n := size[0], size[1]
		for _, m := range []int{1, 16, 64, 256} {
			x, y := make([]float32, m*k), make([]float32, m*n)
			rate := func(b *testing.B, multiply func(p *par.Pool)) {
				p := par.New(0)
				defer p.Close()
				for b.Loop() {
					multiply(p)
				}
				b.ReportMetric(float64(2*m*n*k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			}
			for _, f := range []Format{NarrowUint2, NarrowUint4, NarrowInt8, NarrowFloat16} {
				b.Run(fmt.Sprintf("%dx%d,m%d,format%d", k, n, m, f), func(b *testing.B) {
					w, _ := newNarrow(newRand(), f, narrowCase{n, k, 1, 32, 1})
					scratch := make([]float32, GemmNarrowScratch(w, true, m, 0))
					rate(b, func(p *par.Pool) {
						GemmNarrow(p, true, m, 1, x, k, w, nil, 0, 0, Finish[float32]{}, false, y, n, scratch)
					})
				})
				b.Run(fmt.Sprintf("%dx%d,m%d,format%d,back", k, n, m, f), func(b *testing.B) {
					w, _ := newNarrow(newRand(), f, narrowCase{k, n, 1, 32, 1})
					scratch := make([]float32, GemmNarrowScratch(w, false, m, 0))
					rate(b, func(p *par.Pool) {
						GemmNarrow(p, false, m, 1, x, k, w, nil, 0, 0, Finish[float32]{}, false, y, n, scratch)
					})
				})
			}
			b.Run(fmt.Sprintf("%dx%d,m%d,packed", k, n, m), func(b *testing.B) {
				packed := make([]float32, PackedSize[float32](n, k))
				scratch := make([]float32, GemmScratch[float32](m, n, k))
				rate(b, func(p *par.Pool) {
					GemmFinished(p, false, m, n, k, 1, x, k, Right[float32]{Packed: packed}, Finish[float32]{}, false, y, n, scratch)
				})
			})
		}
	}
}
