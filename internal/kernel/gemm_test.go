package kernel

import (
	"fmt"
	"testing"

	"github.com/bonnx/bonnx/internal/cpu"
	"github.com/bonnx/bonnx/internal/par"
)

type gemmCase struct {
	m, n, k        int
	transA, transB bool
	pad            int // extra leading dimension
	alpha          float64
	acc            bool
}

func gemmCases() []gemmCase {
	var cs []gemmCase
	sizes := []int{1, 2, 3, 4, 5, 7, 8, 9, 17}
	i := 0
	for _, m := range sizes {
		for _, n := range sizes {
			for _, k := range []int{0, 1, 2, 3, 4, 6, 13} {
				i++
				cs = append(cs, gemmCase{m, n, k, i&1 != 0, i&2 != 0, i % 3, []float64{1, -0.5}[i%2], i&4 != 0})
			}
		}
	}
	for trans := range 4 {
		a, b := trans&1 != 0, trans&2 != 0
		cs = append(cs,
			gemmCase{65, 259, 300, a, b, 1, 1, false}, gemmCase{67, 33, 513, a, b, 0, 2, true},
			gemmCase{1, 600, 300, a, b, 3, 1, false}, gemmCase{3, 70, 520, a, b, 0, 0.25, true},
			gemmCase{1030, 5, 9, a, b, 0, 1, false}, gemmCase{4, 2060, 7, a, b, 0, 1, false})
	}
	return cs
}

func (c gemmCase) String() string {
	return fmt.Sprintf("m%d,n%d,k%d,%v,%v,pad%d,alpha%g,acc%v", c.m, c.n, c.k, c.transA, c.transB, c.pad, c.alpha, c.acc)
}

// gemmInput is the operands of a case and the product in float64.
type gemmInput[T Float] struct {
	a, b, c0      []T
	lda, ldb, ldc int
	want          []float64
}

func stored(rows, cols, pad int, trans bool) (size, ld int) {
	if trans {
		rows, cols = cols, rows
	}
	return rows * (cols + pad), cols + pad
}

func at[T any](x []T, ld, i, j int, trans bool) T {
	if trans {
		i, j = j, i
	}
	return x[i*ld+j]
}

func newGemmInput[T Float](c gemmCase) gemmInput[T] {
	r := newRand()
	var in gemmInput[T]
	var na, nb, nc int
	na, in.lda = stored(c.m, c.k, c.pad, c.transA)
	nb, in.ldb = stored(c.k, c.n, c.pad, c.transB)
	nc, in.ldc = stored(c.m, c.n, c.pad, false)
	in.a, in.b, in.c0 = randSlice[T](r, na), randSlice[T](r, nb), randSlice[T](r, nc)
	in.want = wide(in.c0)
	for i := range c.m {
		for j := range c.n {
			var s float64
			for p := range c.k {
				s += float64(at(in.a, in.lda, i, p, c.transA)) * float64(at(in.b, in.ldb, p, j, c.transB))
			}
			s *= c.alpha
			if c.acc {
				s += float64(in.c0[i*in.ldc+j])
			}
			in.want[i*in.ldc+j] = s
		}
	}
	return in
}

func testGemmRow[T Float](t *testing.T, row *gemmRow[T]) {
	withPools(t, func(t *testing.T, p *par.Pool) {
		for _, c := range gemmCases() {
			in := newGemmInput[T](c)
			run := func(g gemm[T]) []T {
				out, check := guarded[T](t, len(in.c0))
				copy(out, in.c0)
				scratch, checkScratch := guarded[T](t, gemmScratch(row, c.m, c.n, c.k))
				g.p, g.row, g.m, g.n, g.k, g.alpha, g.acc = p, row, c.m, c.n, c.k, T(c.alpha), c.acc
				g.a, g.c, g.ldc = matrix[T]{data: in.a, ld: in.lda, trans: c.transA}, out, in.ldc
				g.run(scratch)
				check()
				checkScratch()
				return out
			}
			b := matrix[T]{data: in.b, ld: in.ldb, trans: c.transB}
			got := run(gemm[T]{b: b})
			checkClose(t, c.String(), got, in.want, 4*tolOf[T]())

			packed, check := guarded[T](t, c.k*roundUp(c.n, row.nr))
			packAll(p, row, &b, c.n, c.k, packed)
			check()
			if c.k > 0 {
				checkSame(t, "packed "+c.String(), run(gemm[T]{packed: packed}), got)
			}
		}
	})
}

// TestGemmRows tests every row of the table that this CPU supports.
func TestGemmRows(t *testing.T) {
	for i := range rows32 {
		if rows32[i].supported(cpu.Detect()) {
			t.Run("float32/"+rows32[i].name, func(t *testing.T) { testGemmRow(t, &rows32[i]) })
		}
	}
	for i := range rows64 {
		if rows64[i].supported(cpu.Detect()) {
			t.Run("float64/"+rows64[i].name, func(t *testing.T) { testGemmRow(t, &rows64[i]) })
		}
	}
}

func TestChooseEndsInPortable(t *testing.T) {
	s := choose(cpu.Features{})
	if s.f32.name != "portable" || s.f64.name != "portable" {
		t.Errorf("without features: %s, %s; want portable", s.f32.name, s.f64.name)
	}
	if Chosen() == "" || len(Features()) == 0 {
		t.Errorf("Chosen %q, Features %q", Chosen(), Features())
	}
}

// TestGemmRowsIndependent: an element depends on its row, column and k alone,
// whatever the size of C and the number of threads.
func TestGemmRowsIndependent(t *testing.T) {
	const m, n, k = 70, 300, 600
	r := newRand()
	a, b := randSlice[float32](r, m*k), randSlice[float32](r, k*n)
	whole := make([]float32, m*n)
	Gemm(nil, false, false, m, n, k, 1, a, k, b, n, false, whole, n, make([]float32, GemmScratch[float32](m, n, k)))
	withPools(t, func(t *testing.T, p *par.Pool) {
		for _, c := range []struct{ i, rows, j, cols int }{{0, m, 0, n}, {7, 1, 0, n}, {8, 2, 3, 11}, {20, 5, 100, 1}, {0, 3, 64, 200}} {
			got := make([]float32, c.rows*c.cols)
			Gemm(p, false, false, c.rows, c.cols, k, 1, a[c.i*k:], k, b[c.j:], n, false, got, c.cols,
				make([]float32, GemmScratch[float32](c.rows, c.cols, k)))
			for i := range c.rows {
				checkSame(t, fmt.Sprintf("%+v row %d", c, i), got[i*c.cols:][:c.cols], whole[(c.i+i)*n+c.j:][:c.cols])
			}
		}
	})
}

// TestGemmKeepsRows: a product of so many columns that A stays packed for the
// next of them is what products of fewer columns are.
func TestGemmKeepsRows(t *testing.T) {
	const m, n, k = blockM, 1100, 600
	if g := (&gemm[float32]{row: chosenRow[float32](), m: m, n: n, k: k}); !g.keepsRows() {
		t.Fatal("A is packed anew")
	}
	r := newRand()
	a, b := randSlice[float32](r, m*k), randSlice[float32](r, k*n)
	packed := make([]float32, PackedSize[float32](n, k))
	PackB(nil, false, n, k, b, n, packed)
	want := make([]float32, m*n)
	for j := 0; j < n; j += n / 2 {
		Gemm(nil, false, false, m, n/2, k, 1, a, k, b[j:], n, false, want[j:], n, make([]float32, GemmScratch[float32](m, n/2, k)))
	}
	for form, right := range []Right[float32]{{Data: b, LD: n}, {Packed: packed}} {
		got := make([]float32, m*n)
		scratch, check := guarded[float32](t, GemmScratch[float32](m, n, k))
		GemmFinished(nil, false, m, n, k, 1, a, k, right, Finish[float32]{}, false, got, n, scratch)
		check()
		checkSame(t, fmt.Sprint("form ", form), got, want)
	}
}

// testGemmTiled holds a product with a block added to B to one with the sum,
// and to one of a B in panels.
func testGemmTiled[T Float](t *testing.T, row *gemmRow[T]) {
	for _, trans := range []bool{false, true} {
		for _, c := range []struct{ m, in, out, r int }{{1, 37, 45, 8}, {6, 37, 45, 8}, {40, 37, 45, 8}, {5, 64, 96, 16},
			{5, 96, 64, 32}, {7, 300, 70, 7}, {4, 1100, 43, 48}, {4, 43, 1100, 6}, {3, 33, 290, 40}, {2, 3, 3, 1}, {30, 64, 64, 64}, {4, 20, 31, 100}} {
			rnd := newRand()
			n, k := c.out, c.in
			if trans {
				n, k = c.in, c.out
			}
			ldd := c.out + 5
			x, w, d := randSlice[T](rnd, c.m*k), randSlice[T](rnd, c.in*c.out), randSlice[T](rnd, c.r*ldd)
			scratch, checkScratch := guarded[T](t, gemmScratch(row, c.m, n, k))
			g := gemm[T]{row: row, m: c.m, n: n, k: k, alpha: 1, ldc: n, a: matrix[T]{data: x, ld: k}}
			got, check := guarded[T](t, c.m*n)
			g.c, g.b = got, matrix[T]{data: w, ld: c.out, trans: trans, tile: d, r: c.r, ldt: ldd}
			g.run(scratch)
			check()
			checkScratch()
			packed := make([]T, c.in*roundUp(c.out, row.nr))
			packAll(nil, row, &matrix[T]{data: w, ld: c.out}, c.out, c.in, packed)
			fromPanels, check := guarded[T](t, c.m*n)
			g.c, g.b = fromPanels, matrix[T]{data: packed, trans: trans, tile: d, r: c.r, ldt: ldd, rows: c.in, width: roundUp(c.out, row.nr)}
			g.run(scratch)
			check()
			checkScratch()
			checkSame(t, fmt.Sprintf("%+v trans%v from panels", c, trans), fromPanels, got)
			for i := range c.in {
				for j := range c.out {
					w[i*c.out+j] += d[i%c.r*ldd+j]
				}
			}
			want := make([]T, c.m*n)
			g.c, g.b = want, matrix[T]{data: w, ld: c.out, trans: trans}
			g.run(scratch)
			checkSame(t, fmt.Sprintf("%+v trans%v", c, trans), got, want)
		}
	}
}

// TestGemmTiled tests every row that this CPU supports.
func TestGemmTiled(t *testing.T) {
	for i := range rows32 {
		if rows32[i].supported(cpu.Detect()) {
			t.Run("float32/"+rows32[i].name, func(t *testing.T) { testGemmTiled(t, &rows32[i]) })
		}
	}
	for i := range rows64 {
		if rows64[i].supported(cpu.Detect()) {
			t.Run("float64/"+rows64[i].name, func(t *testing.T) { testGemmTiled(t, &rows64[i]) })
		}
	}
}

// TestGemmRowsAlike: in every row of the table an element is the same whatever
// computed it: a tile, one row of it, or its columns alone.
func TestGemmRowsAlike(t *testing.T) {
	const m, n, k = 29, 83, 300
	for i := range rows32 {
		row := &rows32[i]
		if !row.supported(cpu.Detect()) {
			continue
		}
		r := newRand()
		a, b := randSlice[float32](r, m*k), randSlice[float32](r, k*n)
		turned := make([]float32, n*k)
		for p := range k {
			for j := range n {
				turned[j*k+p] = b[p*n+j]
			}
		}
		product := func(i0, rows, j0, cols int, trans bool) []float32 {
			c := make([]float32, rows*cols)
			g := gemm[float32]{row: row, m: rows, n: cols, k: k, alpha: 0.75, c: c, ldc: cols}
			g.a = matrix[float32]{data: a[i0*k:], ld: k}
			g.b = matrix[float32]{data: b[j0:], ld: n}
			if trans {
				g.b = matrix[float32]{data: turned[j0*k:], ld: k, trans: true}
			}
			g.run(make([]float32, gemmScratch(row, rows, cols, k)))
			return c
		}
		whole := product(0, m, 0, n, false)
		for _, trans := range []bool{false, true} {
			for rows := 1; rows <= 15; rows++ {
				for _, cols := range []int{1, 5, 8, 16, 17, 24, 33, 70} {
					got := product(3, rows, 7, cols, trans)
					for i := range rows {
						checkSame(t, fmt.Sprintf("%s %dx%d trans%v", row.name, rows, cols, trans),
							got[i*cols:][:cols], whole[(3+i)*n+7:][:cols])
					}
				}
			}
		}
	}
}

func TestGemmBatch(t *testing.T) {
	withPools(t, func(t *testing.T, p *par.Pool) {
		for _, c := range []struct{ batch, m, n, k int }{{1, 3, 4, 5}, {7, 9, 6, 5}, {40, 17, 16, 8}, {3, 200, 180, 150}, {5, 1, 20, 30}} {
			r := newRand()
			a := randSlice[float32](r, c.batch*c.m*c.k)
			b := randSlice[float32](r, c.k*c.n) // shared by all products
			got, check := guarded[float32](t, c.batch*c.m*c.n)
			at := Batch{Strided(c.batch, c.m*c.k), Strided(c.batch, 0), Strided(c.batch, c.m*c.n)}
			GemmBatch(p, at, false, false, c.m, c.n, c.k, 2, a, c.k, b, c.n, false, got, c.n,
				make([]float32, GemmBatchScratch[float32](c.batch, c.m, c.n, c.k)))
			check()
			want := make([]float32, len(got))
			Gemm(nil, false, false, c.batch*c.m, c.n, c.k, 2, a, c.k, b, c.n, false, want, c.n,
				make([]float32, GemmScratch[float32](c.batch*c.m, c.n, c.k)))
			checkSame(t, fmt.Sprintf("%+v", c), got, want)
		}
	})
}

func benchGemm(b *testing.B, threads, size int) {
	p := par.New(threads)
	defer p.Close()
	r := newRand()
	x, y := randSlice[float32](r, size*size), randSlice[float32](r, size*size)
	z := make([]float32, size*size)
	scratch := make([]float32, GemmScratch[float32](size, size, size))
	for b.Loop() {
		Gemm(p, false, false, size, size, size, 1, x, size, y, size, false, z, size, scratch)
	}
	flops := 2 * float64(size) * float64(size) * float64(size) * float64(b.N)
	b.ReportMetric(flops/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

func BenchmarkGemm(b *testing.B) {
	for _, threads := range []int{1, 2} {
		for _, size := range []int{64, 256, 512, 1024} {
			b.Run(fmt.Sprintf("threads=%d/size=%d", threads, size), func(b *testing.B) { benchGemm(b, threads, size) })
		}
	}
}

func BenchmarkGemmOneRow(b *testing.B) {
	const n, k = 1024, 1024
	r := newRand()
	x, y := randSlice[float32](r, k), randSlice[float32](r, n*k)
	z, scratch := make([]float32, n), make([]float32, GemmScratch[float32](1, n, k))
	for _, trans := range []bool{false, true} {
		b.Run(fmt.Sprintf("transB=%v", trans), func(b *testing.B) {
			for b.Loop() {
				Gemm(nil, false, trans, 1, n, k, 1, x, k, y, n, false, z, n, scratch)
			}
			b.ReportMetric(2*n*k*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
}
