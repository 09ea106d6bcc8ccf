package kernel

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/bonnx/bonnx/internal/cpu"
)

// eachVectorRow runs f for every row of the vector table that this CPU
// supports.
func eachVectorRow(t *testing.T, f func(t *testing.T, row *vecRow[float32])) {
	for i := range vectors32 {
		if vectors32[i].supported(cpu.Detect()) {
			t.Run(vectors32[i].name, func(t *testing.T) { f(t, &vectors32[i]) })
		}
	}
}

// A vecCase is one loop of the table on vectors of n elements, of which some
// are written; x, y and z hold n normal numbers each and NaNs after them.
type vecCase struct {
	name  string
	tol   float64 // 0: equal bit for bit
	write func(r *vecRow[float32], n int, d []float32, x, y, z []float32)
}

var vecCases = []vecCase{
	{"exp", 1e-7, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.exp(d, x) }},
	{"sigmoid", 1e-7, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.sigmoid(d, x) }},
	{"tanh", 1e-7, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.tanh(d, x) }},
	{"erf", 1e-7, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.erf(d, x) }},
	{"silu", 1e-7, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.silu(d, x) }},
	{"gelu", 1e-7, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.gelu(d, x) }},
	{"geluTanh", 1e-7, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.geluTanh(d, x) }},
	{"relu", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.relu(d, x) }},
	{"abs", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.abs(d, x) }},
	{"sign", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.sign(d, x) }},
	{"floor", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.floor(d, x) }},
	{"ceil", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.ceil(d, x) }},
	{"round", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.round(d, x) }},
	{"hardSwish", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.hardSwish(d, x) }},
	{"sqrt", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.abs(d, x); r.sqrt(d, d) }},
	{"powHalf", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.abs(d, x); r.powHalf(d, d) }},
	{"cube", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.cube(d, x) }},
	{"leaky", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.leaky(d, x, 0.3) }},
	{"clip", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.clip(d, x, -0.4, 0.7) }},
	{"hardSigmoid", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.hardSigmoid(d, x, 0.3, 0.6) }},
	{"softsign", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.softsign(d, x) }},
	{"affine", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.affine(d, x, 0.3, 0.6) }},
	{"quantize", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.quantize(d, x, 0.3, 2, -1, 5) }},
	{"shifted", 1e-7, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.shifted(d, x, 0.3) }},
	{"centred", 1e-7, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.centred(d, x, 0.3, 1.7, -0.4) }},
	{"power", 1e-7, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.abs(d, x); r.power(d, d, -1.7) }},
	{"sin", 1e-7, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.sin(d, x) }},
	{"cos", 1e-7, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.cos(d, x) }},
	{"top", 0, func(r *vecRow[float32], n int, d, x, _, _ []float32) { ofSome(r.top, n, d, x) }},
	{"bottom", 0, func(r *vecRow[float32], n int, d, x, _, _ []float32) { ofSome(r.bottom, n, d, x) }},
	{"maxLine", 0, func(r *vecRow[float32], _ int, d, x, y, _ []float32) { copy(d, x); r.maxLine(d, y) }},
	{"expLess", 2e-6, func(r *vecRow[float32], _ int, d, x, y, _ []float32) { r.max.vv(d, x, y); r.expLess(d, x, d) }},
	{"mulLine", 0, func(r *vecRow[float32], _ int, d, x, y, _ []float32) { copy(d, x); r.mulLine(d, y) }},
	{"log", 1e-7, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.abs(d, x); r.log(d, d) }},
	{"softplus", 1e-7, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.softplus(d, x) }},
	{"mish", 1e-7, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.mish(d, x) }},
	{"elu", 1e-7, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.elu(d, x, 1.1, 0.7, 1.3) }},
	{"siluGrad", 2e-7, func(r *vecRow[float32], _ int, d, x, y, _ []float32) { r.siluGrad(d, x, y) }},
	{"geluGrad", 2e-7, func(r *vecRow[float32], _ int, d, x, y, _ []float32) { r.geluGrad(d, x, y) }},
	{"geluTanhGrad", 2e-7, func(r *vecRow[float32], _ int, d, x, y, _ []float32) { r.geluTanhGrad(d, x, y) }},
	{"addScaled", 0, func(r *vecRow[float32], _ int, d, x, y, _ []float32) { copy(d, x); r.addScaled(d, y, -1.3) }},
	{"sum", 1e-12, func(r *vecRow[float32], n int, d, x, _, _ []float32) { fill(d, float32(r.sum(x[:n]))) }},
	{"dot", 1e-12, func(r *vecRow[float32], n int, d, x, y, _ []float32) { fill(d, float32(r.dot(x[:n], y))) }},
	{"around", 1e-12, func(r *vecRow[float32], n int, d, x, _, _ []float32) { fill(d, float32(r.around(x[:n], 0.3))) }},
	{"sumLine", 1e-7, func(r *vecRow[float32], n int, d, x, y, _ []float32) { lineOf(r.sumLine, n, d, x, y) }},
	{"squareLine", 1e-7, func(r *vecRow[float32], n int, d, x, y, _ []float32) { lineOf(r.squareLine, n, d, x, y) }},
	{"normParam dg", 2e-7, func(r *vecRow[float32], n int, d, x, y, z []float32) { paramsOf(r, n, d, nil, x, y, z) }},
	{"normParam db", 2e-7, func(r *vecRow[float32], n int, d, x, y, z []float32) { paramsOf(r, n, nil, d, x, y, z) }},
	{"expScaled", 2e-6, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { r.expScaled(d, x, 4, 2, 0.25) }},
	{"turnHalves", 0, func(r *vecRow[float32], n int, d, x, y, z []float32) {
		clear(d)
		h := n / 2
		r.turnHalves(d[:h], d[h:2*h], x[:h], x[h:2*h], y[:h], y[h:2*h], z[:h], z[h:2*h])
		r.turnHalves(d[:h], d[h:2*h], d[:h], d[h:2*h], y[:h], y[h:2*h], z[:h], z[h:2*h])
	}},
	{"turnPairs", 0, func(r *vecRow[float32], n int, d, x, y, z []float32) {
		clear(d)
		pairs := n / 6
		r.turnPairs(3, pairs, d, x, y, z, pairs, false)
		r.turnPairs(3, pairs, d, d, y, z, 0, true)
	}},
	{"adamW w", 1e-6, func(r *vecRow[float32], n int, d, x, y, z []float32) {
		m, v := slices.Clone(y), slices.Clone(y)
		r.relu(v, y)
		copy(d, x)
		r.adamW(d, m, v, z, adamWStep{0.01, 1.2, 0.99, 0.9, 0.999, 1e-8})
	}},
	{"adamW m", 1e-7, func(r *vecRow[float32], n int, d, x, y, z []float32) {
		w, v := slices.Clone(x), make([]float32, n)
		copy(d, y)
		r.adamW(w[:n], d, v, z, adamWStep{0.01, 1.2, 0.99, 0.9, 0.999, 1e-8})
	}},
	{"adamW v", 1e-7, func(r *vecRow[float32], n int, d, x, y, z []float32) {
		w, m := slices.Clone(x), slices.Clone(y)
		r.relu(d, y)
		r.adamW(w[:n], m, d, z, adamWStep{0.01, 1.2, 0.99, 0.9, 0.999, 1e-8})
	}},
}

// ofSome is a number of n > 0 elements.
func ofSome(f func(x []float32) float64, n int, d, x []float32) {
	if n > 0 {
		fill(d, float32(f(x[:n])))
	}
}

// lineOf is acc = x, then a line y added.
func lineOf(line func(acc []float64, x []float32), n int, d, x, y []float32) {
	acc := wide(x[:n])
	line(acc, y)
	for i, v := range acc {
		d[i] = float32(v)
	}
}

// paramsOf is dg or db of the rows (x,y) and (z,x).
func paramsOf(r *vecRow[float32], n int, dg, db, x, y, z []float32) {
	g, b := make([]float64, n), make([]float64, n)
	r.normParam(g, b, x, y, 0.3, 1.7)
	r.normParam(g, b, z, x, -0.2, 0.6)
	for i := range n {
		put(dg, i, g[i])
		put(db, i, b[i])
	}
}

// binaryCases are the loops with two operands in all their forms.
func binaryCases() []vecCase {
	var cs []vecCase
	for i, name := range []string{"add", "sub", "mul", "div", "max", "min", "prelu"} {
		of := func(r *vecRow[float32]) fast[float32] {
			return []fast[float32]{r.add, r.sub, r.mul, r.div, r.max, r.min, r.prelu}[i]
		}
		cs = append(cs,
			vecCase{name + " vv", 0, func(r *vecRow[float32], _ int, d, x, y, _ []float32) { of(r).vv(d, x, y) }},
			vecCase{name + " vs", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { of(r).vs(d, x, 1.7) }},
			vecCase{name + " sv", 0, func(r *vecRow[float32], _ int, d, x, _, _ []float32) { of(r).sv(d, 1.7, x) }},
			vecCase{name + " rows", 0, func(r *vecRow[float32], n int, d, x, y, _ []float32) {
				clear(d)
				rowsOf(of(r), 3, n/3, d, x, y, n/3, 0)
				rowsOf(of(r), 2, n/6, d, x[n/2:], y, n/6+1, n/6)
			}},
			vecCase{name + " in place", 0, func(r *vecRow[float32], _ int, d, x, y, _ []float32) {
				copy(d, x)
				of(r).vv(d, d, y)
			}})
	}
	return cs
}

// rowsOf is rows of a fast, by vv where it has none.
func rowsOf(f fast[float32], rows, n int, d, x, y []float32, stepX, stepY int) {
	if n == 0 {
		return
	}
	if f.rows != nil {
		f.rows(rows, n, d, x, y, stepX, stepY)
		return
	}
	for i := range rows {
		f.vv(d[i*n:][:n], x[i*stepX:], y[i*stepY:])
	}
}

// afterNaN is n normal numbers, followed by NaNs in the same array.
func afterNaN(seed, n int) []float32 {
	r := newRand()
	for range seed {
		r.Uint64()
	}
	x := randSlice[float32](r, n+80)
	fill(x[n:], float32(math.NaN()))
	return x
}

// TestVectors holds every row to the portable one, for all lengths of a tail.
func TestVectors(t *testing.T) {
	portable := portableVectors[float32]()
	eachVectorRow(t, func(t *testing.T, row *vecRow[float32]) {
		for _, c := range append(binaryCases(), vecCases...) {
			for n := range 140 {
				x, y, z := afterNaN(1, n), afterNaN(2, n), afterNaN(3, n)
				got, check := guarded[float32](t, n)
				want := make([]float32, n)
				c.write(row, n, got, x, y, z)
				c.write(&portable, n, want, x, y, z)
				check()
				what := fmt.Sprintf("%s, n=%d", c.name, n)
				if c.tol == 0 {
					checkSame(t, what, got, want)
				} else {
					checkClose(t, what, got, wide(want), max(c.tol, 2e-7))
				}
			}
		}
	})
}

// TestVectorRows holds the loops over rows to the portable ones.
func TestVectorRows(t *testing.T) {
	portable := portableVectors[float32]()
	eachVectorRow(t, func(t *testing.T, row *vecRow[float32]) {
		for n := 1; n < 70; n++ {
			for _, rows := range []int{1, 3} {
				testVectorRows(t, row, &portable, rows, n)
			}
		}
	})
}

func testVectorRows(t *testing.T, row, portable *vecRow[float32], rows, n int) {
	x, dy := afterNaN(1, rows*n), afterNaN(2, rows*n)
	gamma, beta := afterNaN(3, n), afterNaN(4, n)
	low := slices.Clone(x) // zeros beside it would show
	for i := range low {
		low[i] -= 200
	}
	type result struct {
		name string
		tol  float64
		n    int
		f    func(r *vecRow[float32], d []float32)
	}
	stats := func(r *vecRow[float32]) (mean, inv []float32) {
		mean, inv = make([]float32, rows), make([]float32, rows)
		r.layerNorm(rows, n, make([]float32, rows*n), x, gamma, beta, mean, inv, 1e-5)
		return mean, inv
	}
	all := rows * n
	for _, c := range []result{
		{"softmax", 3e-7, all, func(r *vecRow[float32], d []float32) { r.softmax(rows, n, d, x) }},
		{"softmax far down", 3e-7, all, func(r *vecRow[float32], d []float32) { r.softmax(rows, n, d, low) }},
		{"softmax in place", 3e-7, all, func(r *vecRow[float32], d []float32) { copy(d, x); r.softmax(rows, n, d, d) }},
		{"softmaxGrad", 1e-6, all, func(r *vecRow[float32], d []float32) { r.softmaxGrad(rows, n, d, gammaRows(x, all), dy) }},
		{"rmsNorm", 3e-7, all, func(r *vecRow[float32], d []float32) { r.rmsNorm(rows, n, d, x, gamma, nil, 1e-5) }},
		{"invrms", 3e-7, rows, func(r *vecRow[float32], d []float32) {
			r.rmsNorm(rows, n, make([]float32, all), x, gamma, d, 1e-5)
		}},
		{"layerNorm", 1e-6, all, func(r *vecRow[float32], d []float32) { r.layerNorm(rows, n, d, x, gamma, beta, nil, nil, 1e-5) }},
		{"mean", 3e-7, rows, func(r *vecRow[float32], d []float32) {
			r.layerNorm(rows, n, make([]float32, all), x, gamma, beta, d, nil, 1e-5)
		}},
		{"invstd", 3e-7, rows, func(r *vecRow[float32], d []float32) {
			r.layerNorm(rows, n, make([]float32, all), x, gamma, beta, nil, d, 1e-5)
		}},
		{"rmsNormGrad", 3e-7, all, func(r *vecRow[float32], d []float32) {
			_, inv := stats(portable)
			r.rmsNormGrad(rows, n, d, x, gamma, inv, dy)
		}},
		{"layerNormGrad", 3e-7, all, func(r *vecRow[float32], d []float32) {
			mean, inv := stats(portable)
			r.layerNormGrad(rows, n, d, x, gamma, mean, inv, dy)
		}},
	} {
		got, check := guarded[float32](t, c.n)
		want := make([]float32, c.n)
		c.f(row, got)
		c.f(portable, want)
		check()
		checkClose(t, fmt.Sprintf("%s %dx%d", c.name, rows, n), got, wide(want), c.tol)
	}
	for _, x := range [][]float32{x[:n], low[:n]} {
		top, sum := row.expSum(x)
		wantTop, wantSum := portable.expSum(x)
		if top != wantTop || !close64(sum, wantSum, 1e-6, 0) {
			t.Fatalf("expSum of %d: %v, %v; want %v, %v", n, top, sum, wantTop, wantSum)
		}
	}
}

// TestDirectCalls: what is called by name is the routine of the row in use.
func TestDirectCalls(t *testing.T) {
	was := vec32
	defer func() { vec32 = was }()
	const n = 77
	x, y := afterNaN(1, n), afterNaN(2, n)
	for i := range vectors32 {
		if vec32 = &vectors32[i]; !vec32.supported(cpu.Detect()) {
			continue
		}
		sums := func(line func(acc []float64, x []float32)) []float64 {
			acc := wide(y[:n])
			line(acc, x)
			return acc
		}
		params := func(row func(dg, db []float64, x, dy []float32, mean, inv float64)) []float64 {
			acc := wide(append(slices.Clone(x[:n]), y[:n]...))
			row(acc[:n], acc[n:], x, y, 0.3, 1.7)
			return acc
		}
		line := func(f func(acc, x []float32)) []float32 {
			acc := slices.Clone(y[:n])
			f(acc, x)
			return acc
		}
		less := func(f func(y, x, top []float32)) []float32 {
			d := make([]float32, n)
			f(d, x, line(vec32.maxLine))
			return d
		}
		checkSame(t, vec32.name+" maxLine", line(maxLine32), line(vec32.maxLine))
		checkSame(t, vec32.name+" mulLine", line(mulLine32), line(vec32.mulLine))
		checkSame(t, vec32.name+" expLess", less(expLess32), less(vec32.expLess))
		checkSame(t, vec32.name+" sumLine", sums(sumLine32), sums(vec32.sumLine))
		checkSame(t, vec32.name+" squareLine", sums(squareLine32), sums(vec32.squareLine))
		checkSame(t, vec32.name+" normParam", params(normParam32), params(vec32.normParam))
	}
}

// TestVectorSpecials holds every row to the portable one where numbers are not
// ordinary: all pairs of them, in vectors and in tails.
func TestVectorSpecials(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	special := []float32{nan, inf, -inf, 0, float32(math.Copysign(0, -1)), 1.5, -2.5, 0.5, math.MaxFloat32, 1e-45}
	var x, y []float32
	for _, u := range special {
		for _, v := range special {
			x, y = append(x, u), append(y, v)
		}
	}
	portable := portableVectors[float32]()
	n := len(x)
	got, want := make([]float32, n), make([]float32, n)
	same := func(t *testing.T, what string, f func(r *vecRow[float32], d []float32), row *vecRow[float32]) {
		t.Helper()
		f(row, got)
		f(&portable, want)
		for i := range got {
			if got[i] != want[i] && !(isNaN(got[i]) && isNaN(want[i])) {
				t.Errorf("%s of %v and %v is %v, want %v", what, x[i], y[i], got[i], want[i])
			}
		}
	}
	eachVectorRow(t, func(t *testing.T, row *vecRow[float32]) {
		same(t, "max", func(r *vecRow[float32], d []float32) { r.max.vv(d, x, y) }, row)
		same(t, "prelu", func(r *vecRow[float32], d []float32) { r.prelu.vv(d, x, y) }, row)
		same(t, "min", func(r *vecRow[float32], d []float32) { r.min.vv(d, x, y) }, row)
		for _, v := range special {
			same(t, fmt.Sprint("max with ", v), func(r *vecRow[float32], d []float32) { r.max.vs(d, x, v) }, row)
			same(t, fmt.Sprint("min with ", v), func(r *vecRow[float32], d []float32) { r.min.sv(d, v, x) }, row)
			if !isNaN(v) {
				same(t, fmt.Sprint("clip from ", v), func(r *vecRow[float32], d []float32) { r.clip(d, x, v, inf) }, row)
				same(t, fmt.Sprint("clip to ", v), func(r *vecRow[float32], d []float32) { r.clip(d, x, -inf, v) }, row)
			}
		}
		same(t, "softsign", func(r *vecRow[float32], d []float32) { r.softsign(d, x) }, row)
		same(t, "maxLine", func(r *vecRow[float32], d []float32) { copy(d, x); r.maxLine(d, y) }, row)
		same(t, "quantize", func(r *vecRow[float32], d []float32) { r.quantize(d, x, 0.5, 3, -8, 7) }, row)
		same(t, "leaky", func(r *vecRow[float32], d []float32) { r.leaky(d, x, 0.1) }, row)
		same(t, "hardSigmoid", func(r *vecRow[float32], d []float32) { r.hardSigmoid(d, x, 0.2, 0.5) }, row)
		same(t, "elu", func(r *vecRow[float32], d []float32) { r.elu(d, x, 1, 1, 2) }, row)
	})
}

// gammaRows is x made positive, as a softmax's result is.
func gammaRows(x []float32, n int) []float32 {
	y := make([]float32, n)
	Abs(nil, y, x[:n])
	return y
}

// TestVectorAccuracy holds every row to the limits of the functions.
func TestVectorAccuracy(t *testing.T) {
	was := vec32
	defer func() { vec32 = was }()
	x := accuracyInputs()
	got := make([]float32, len(x))
	eachVectorRow(t, func(t *testing.T, row *vecRow[float32]) {
		vec32 = row
		for _, c := range unary32 {
			c.f(nil, got, x)
			checkUlps(t, c.name, got, x, c.want, c.limit)
		}
	})
}
