package main

import (
	"fmt"
	"math"
)

// vecAMD64 writes the loops over float32 that are not products of matrices.
func vecAMD64(a *asm) {
	for _, v := range []vecISA{avx512f32, avx2f32} {
		for _, m := range maps {
			l := newLoop(a, v, m.name, "n int, y, x *float32", "is "+m.doc+":\n\n\tfor i < n: y[i] = "+m.name+"(x[i])")
			l.each(!inFloat32[m.name], 1, func(p *pass) { p.out("y", m.f(p, p.in("x"))) })
			l.end()
		}
		for _, m := range slopes {
			l := newLoop(a, v, m.name+"Grad", "n int, dx, x, dy *float32",
				"multiplies by the derivative:\n\n\tfor i < n: dx[i] = dy[i] * "+m.name+"'(x[i])")
			l.each(!inFloat32[m.name], 1, func(p *pass) { p.out("dx", p.mul(m.f(p, p.in("x")), p.in("dy"))) })
			l.end()
		}
		binaries(a, v)
		reductions(a, v)
		softmaxes(a, v)
		norms(a, v)
		adamW(a, v)
		halves(a, v)
	}
	turnPairs(a, avx2f32)
}

// halves turns pairs whose parts lie in two halves.
func halves(a *asm, v vecISA) {
	l := newLoop(a, v, "turnHalves", "n int, y0, y1, x0, x1, c0, c1, s0, s1 *float32",
		"is, products rounded,\n\n\tfor i < n: y0[i], y1[i] = x0[i]*c0[i] - x1[i]*s0[i], x1[i]*c1[i] + x0[i]*s1[i]")
	l.each(false, 2, func(p *pass) {
		x0, x1 := p.in("x0"), p.in("x1")
		y0 := p.sub(p.mul(x0, p.in("c0")), p.mul(x1, p.in("s0")))
		y1 := p.add(p.mul(x1, p.in("c1")), p.mul(x0, p.in("s1")))
		p.out("y0", y0)
		p.out("y1", y1)
	})
	l.end()
}

// turnPairs turns pairs that lie side by side, four at a time.
func turnPairs(a *asm, v vecISA) {
	a.function("turnPairs"+v.tag, "rows, pairs int, y, x, cos, sin *float32, step int, back bool",
		`turns pairs of rows that follow each other, by rows of tables that lie step
elements apart; pairs, of a row, are a multiple of four. Products are rounded:

	for i < pairs: y[2i], y[2i+1] = x[2i]*cos[i] - x[2i+1]*sin[i], x[2i+1]*cos[i] + x[2i]*sin[i]

with -sin for sin where back.`)
	for _, p := range [][2]string{{"rows", "R13"}, {"y", "DI"}, {"x", "SI"}, {"cos", "R8"}, {"sin", "R9"}, {"step", "R10"}} {
		a.op("MOVQ", a.arg(p[0]), p[1])
	}
	a.op("SHLQ", "$2", "R10")
	a.op("MOVBLZX", a.arg("back"), "AX")
	a.op("SHLL", "$31", "AX")
	a.op("VMOVD", "AX", "X4")
	a.op("VBROADCASTSS", "X4", "Y4")
	row, loop := a.label("row"), a.label("loop")
	a.at(row)
	a.op("MOVQ", a.arg("pairs"), "BX")
	a.op("MOVQ", "R8", "R11")
	a.op("MOVQ", "R9", "R12")
	a.at(loop)
	a.op("VPMOVZXDQ", "(R11)", "Y1")
	a.op("VPMOVZXDQ", "(R12)", "Y2")
	a.op("VMOVSLDUP", "Y1", "Y1") // each twice
	a.op("VMOVSLDUP", "Y2", "Y2")
	a.op("VXORPS", "Y4", "Y2", "Y2")
	a.op("VMOVUPS", "(SI)", "Y0")
	a.op("VPERMILPS", "$0xb1", "Y0", "Y3") // partners
	a.op("VMULPS", "Y1", "Y0", "Y0")
	a.op("VMULPS", "Y2", "Y3", "Y3")
	a.op("VADDSUBPS", "Y3", "Y0", "Y0")
	a.op("VMOVUPS", "Y0", "(DI)")
	for _, s := range [][2]string{{"$16", "R11"}, {"$16", "R12"}, {"$32", "SI"}, {"$32", "DI"}} {
		a.op("ADDQ", s[0], s[1])
	}
	a.op("SUBQ", "$4", "BX")
	a.op("JNZ", loop)
	a.op("ADDQ", "R10", "R8")
	a.op("ADDQ", "R10", "R9")
	a.op("DECQ", "R13")
	a.op("JNZ", row)
	a.op("VZEROUPPER")
	a.ret()
}

// binaries are functions of two vectors, and of a vector and a scalar.
func binaries(a *asm, v vecISA) {
	for _, b := range []struct {
		name, sign string
		f          func(p *pass, x, y val) val
	}{{"add", "+", (*pass).add}, {"sub", "-", (*pass).sub}, {"mul", "*", (*pass).mul}, {"div", "/", (*pass).div}} {
		l := newLoop(a, v, b.name+"VV", "n int, d, x, y *float32", "is\n\n\tfor i < n: d[i] = x[i] "+b.sign+" y[i]")
		l.each(false, 4, func(p *pass) { p.out("d", b.f(p, p.in("x"), p.in("y"))) })
		l.end()
		l = newLoop(a, v, b.name+"Rows", "rows, n int, d, x, y *float32, stepX, stepY int",
			"is, for rows of n elements that follow each other in d and lie step elements apart in x and y,\n\n"+
				"\tfor i < n: d[i] = x[i] "+b.sign+" y[i]")
		l.rowsOf(func(p *pass) { p.out("d", b.f(p, p.in("x"), p.in("y"))) },
			[3]string{"d", "n", "R9"}, [3]string{"x", "stepX", "R10"}, [3]string{"y", "stepY", "R11"})
		l = newLoop(a, v, b.name+"VS", "n int, d, x *float32, y float32", "is\n\n\tfor i < n: d[i] = x[i] "+b.sign+" y")
		y := l.scalar("y", false)
		l.each(false, 4, func(p *pass) { p.out("d", b.f(p, p.in("x"), y)) })
		l.end()
		if b.name == "add" || b.name == "mul" {
			continue
		}
		l = newLoop(a, v, b.name+"SV", "n int, d, y *float32, x float32", "is\n\n\tfor i < n: d[i] = x "+b.sign+" y[i]")
		x := l.scalar("x", false)
		l.each(false, 4, func(p *pass) { p.out("d", b.f(p, x, p.in("y"))) })
		l.end()
	}
	l := newLoop(a, v, "addScaled", "n int, y, x *float32, alpha float32", "is\n\n\tfor i < n: y[i] += alpha*x[i], the product rounded")
	alpha := l.scalar("alpha", false)
	l.each(false, 4, func(p *pass) { p.out("y", p.add(p.mul(p.in("x"), alpha), p.in("y"))) })
	l.end()
	l = newLoop(a, v, "relu", "n int, y, x *float32", "is\n\n\tfor i < n: y[i] = max(x[i], 0), NaN for NaN")
	l.each(false, 4, func(p *pass) { p.out("y", p.max(p.reg(p.c(0)), p.in("x"))) })
	l.end()
}

// strands is into how many sums an accumulation is dealt.
const strands = 4

// pins are several pinned values, zero at first.
func (l *loop) zeros(n int) []val {
	out := make([]val, n)
	for i := range out {
		out[i] = l.pin()
	}
	l.clear(out...)
	return out
}

// total adds up accumulators of float64 and their lanes, into all lanes of the
// first.
func (l *loop) total(acc []val) val {
	for n := len(acc); n > 1; n /= 2 {
		for i := range n / 2 {
			l.a.op("VADDPD", acc[i+n/2].fixed, acc[i].fixed, acc[i].fixed)
		}
	}
	l.across("VADDPD", true, acc[0], acc[len(acc)-1])
	return acc[0]
}

func (p *pass) strand(acc []val) val { return acc[p.off/p.isa.lanes()%len(acc)] }

func reductions(a *asm, v vecISA) {
	for _, r := range []struct {
		name, params, doc string
		f                 func(p *pass, acc val)
	}{
		{"sum", "n int, x *float32", "is the sum of x[i] for i < n", func(p *pass, acc val) { p.sum(acc, p.in("x")) }},
		{"dot", "n int, x, y *float32", "is the sum of x[i]*y[i] for i < n", func(p *pass, acc val) {
			p.addProduct(acc, p.in("x"), p.in("y"))
		}},
		{"around", "n int, x *float32, m float64", "is the sum of (x[i]-m)**2 for i < n", nil},
	} {
		l := newLoop(a, v, r.name, r.params, r.doc+".", "float64")
		acc := l.zeros(strands)
		f := r.f
		if f == nil {
			m := l.scalar("m", true)
			f = func(p *pass, acc val) {
				d := p.inTail(p.sub(p.in("x"), m))
				p.addProduct(acc, d, d)
			}
		}
		l.each(true, strands, func(p *pass) { f(p, p.strand(acc)) })
		a.op("VMOVSD", low(l.total(acc)), a.arg("ret"))
		l.end()
	}
	for _, square := range []bool{false, true} {
		name, doc := "sumLine", "adds a line to sums:\n\n\tfor i < n: acc[i] += x[i]"
		if square {
			name, doc = "squareLine", doc+"**2"
		}
		l := newLoop(a, v, name, "n int, acc *float64, x *float32", doc)
		l.each(true, 2, func(p *pass) {
			x := p.in("x")
			if square {
				p.out("acc", p.fma(x, x, p.in("acc")))
			} else {
				p.out("acc", p.add(x, p.in("acc")))
			}
		})
		l.end()
	}
}

// greatest makes top the greatest of the array x, in all lanes; NaNs may be
// passed over.
func (l *loop) greatest(top [2]val, tmp val) {
	l.a.op("VBROADCASTSS", l.a.constant(0xff800000)+"(SB)", top[0].fixed)
	l.a.op("VMOVAPS", top[0].fixed, top[1].fixed)
	l.each(false, 2, func(p *pass) { p.accumulate("VMAXPS", p.strand(top[:]), p.in("x")) })
	l.a.op("VMAXPS", top[1].fixed, top[0].fixed, top[0].fixed)
	l.across("VMAXPS", false, top[0], tmp)
}

// below is e**d of d <= 0: 0 where d is far down, NaN for NaN. It is good to
// about a millionth: sums of it are what counts.
func (p *pass) below(d val) val {
	if p.isa.masked {
		const magic = 1.5 * (1 << 23)
		x := p.max(p.reg(p.c(-104)), d)
		n := p.sub(p.fma(x, p.c(math.Log2E), p.reg(p.c(magic))), p.c(magic))
		return p.scale(p.poly(p.fnma(n, p.c(math.Ln2), x), belowTerms), n)
	}
	const least = -87
	t, r := p.reduce(p.max(p.reg(p.c(least)), d))
	return p.keepIf(p.when(d, notLT, p.c(least)), p.power(p.poly(r, belowTerms), t))
}

var belowTerms = chebyshev(math.Exp, math.Ln2/2, 5)

// sumOfBelow adds e**(x-top) to the accumulators, stored in y or not: several
// are added up before they are widened.
func (l *loop) sumOfBelow(top val, acc []val, y string) {
	l.eachOf(false, 4, func(p *pass, times int) {
		var sum val
		for u := range times {
			p.unit(u)
			e := p.below(p.sub(p.in("x"), top))
			if y != "" {
				p.out(y, e)
			}
			e = p.inTail(e)
			if u == 0 {
				sum = e
			} else {
				sum = p.add(sum, e)
			}
		}
		p.sumWide([2]val(acc), sum)
	})
}

// toFloat32 rounds the float64 in v and puts it in all lanes.
func (l *loop) toFloat32(v val) {
	l.a.op("VCVTSD2SS", low(v), low(v), low(v))
	l.a.op("VBROADCASTSS", low(v), v.fixed)
}

func softmaxes(a *asm, v vecISA) {
	l := newLoop(a, v, "softmax", "rows, n int, y, x *float32", "is Softmax of rows of n > 0 elements that follow each other.")
	top, acc := [2]val{l.pin(), l.pin()}, l.zeros(2)
	l.eachRow()
	l.greatest(top, acc[0])
	l.clear(acc...)
	l.sumOfBelow(top[0], acc, "y")
	s := l.total(acc)
	l.a.op("VMOVSD", a.constant(bitsOf(1, true)...)+"(SB)", low(acc[1]))
	l.a.op("VDIVSD", low(s), low(acc[1]), low(s))
	l.toFloat32(s)
	l.each(false, 4, func(p *pass) { p.out("y", p.mul(p.in("y"), s)) })
	l.nextRow("y", "x")
	l.end()

	l = newLoop(a, v, "softmaxGrad", "rows, n int, dx, y, dy *float32", "is SoftmaxGrad of rows of n > 0 elements that follow each other.")
	acc = l.zeros(2)
	l.eachRow()
	l.clear(acc...)
	l.each(true, 2, func(p *pass) { p.addProduct(p.strand(acc), p.in("y"), p.in("dy")) })
	s = l.total(acc)
	l.toFloat32(s)
	l.each(false, 2, func(p *pass) { p.out("dx", p.mul(p.sub(p.in("dy"), s), p.in("y"))) })
	l.nextRow("dx", "y", "dy")
	l.end()

	l = newLoop(a, v, "expSum", "n int, x *float32, top, sum *float64", `is the greatest of n > 0 elements, NaNs perhaps passed over, and

	sum = sum over i < n of e**(x[i]-top)`)
	top, acc = [2]val{l.pin(), l.pin()}, l.zeros(2)
	l.greatest(top, acc[0])
	l.clear(acc...)
	l.sumOfBelow(top[0], acc, "")
	a.op("VMOVSD", low(l.total(acc)), mem(0, l.ptr["sum"]))
	a.op("VCVTSS2SD", low(top[0]), low(top[0]), low(top[0]))
	a.op("VMOVSD", low(top[0]), mem(0, l.ptr["top"]))
	l.end()

	l = newLoop(a, v, "expScaled", "n int, y, x *float32, top, scale, less float32",
		"is, for x[i] <= top,\n\n\tfor i < n: y[i] = scale*e**(x[i]-top) - less")
	t, scale, less := l.scalar("top", false), l.scalar("scale", false), l.scalar("less", false)
	l.each(false, 1, func(p *pass) {
		p.out("y", p.sub(p.mul(p.below(p.sub(p.in("x"), t)), scale), less))
	})
	l.end()
}

// norms normalise rows; gamma, and beta where there is one, are not nil, what
// is written beside y may be.
func norms(a *asm, v vecISA) {
	l := newLoop(a, v, "rmsNorm", "rows, n int, y, x, gamma, invrms *float32, eps float64", "is RMSNorm; invrms may be nil.")
	acc := l.zeros(strands)
	eps, count := l.scalar("eps", true), l.count()
	l.eachRow()
	l.clear(acc...)
	l.each(true, strands, func(p *pass) { x := p.in("x"); p.addProduct(p.strand(acc), x, x) })
	inv := l.invRoot(l.total(acc), acc[1], count, eps)
	l.putRow("invrms", inv, acc[1])
	l.each(true, 2, func(p *pass) { p.out("y", p.mul(p.mul(p.in("x"), inv), p.in("gamma"))) })
	l.nextRow("y", "x")
	l.end()

	l = newLoop(a, v, "layerNorm", "rows, n int, y, x, gamma, beta, mean, invstd *float32, eps float64",
		"is LayerNorm; mean and invstd may be nil.")
	acc = l.zeros(strands)
	mean := l.pin()
	eps, count = l.scalar("eps", true), l.count()
	l.eachRow()
	l.clear(acc...)
	l.each(true, strands, func(p *pass) { p.sum(p.strand(acc), p.in("x")) })
	a.op("VDIVPD", count.fixed, l.total(acc).fixed, mean.fixed)
	l.putRow("mean", mean, acc[1])
	l.clear(acc...)
	l.each(true, strands, func(p *pass) {
		d := p.inTail(p.sub(p.in("x"), mean))
		p.addProduct(p.strand(acc), d, d)
	})
	inv = l.invRoot(l.total(acc), acc[1], count, eps)
	l.putRow("invstd", inv, acc[1])
	l.each(true, 2, func(p *pass) {
		t := p.mul(p.sub(p.in("x"), mean), inv)
		p.out("y", p.fma(t, p.in("gamma"), p.in("beta")))
	})
	l.nextRow("y", "x")
	l.end()

	for _, centred := range []bool{false, true} {
		normGrad(a, v, centred)
	}

	l = newLoop(a, v, "normParam", "n int, dg, db *float64, x, dy *float32, mean, inv float64",
		"adds what a row gives to the gradients of a norm's parameters:\n\n"+
			"\tfor j < n: dg[j] += dy[j]*(x[j]-mean)*inv; db[j] += dy[j]")
	mean, inv = l.scalar("mean", true), l.scalar("inv", true)
	l.each(true, 2, func(p *pass) {
		dy := p.in("dy")
		p.out("dg", p.fma(p.mul(dy, p.sub(p.in("x"), mean)), inv, p.in("dg")))
		p.out("db", p.add(dy, p.in("db")))
	})
	l.end()
}

func normGrad(a *asm, v vecISA, centred bool) {
	name, params, moved := "rmsNormGrad", "rows, n int, dx, x, gamma, dy, inv *float32", []string{"dx", "x", "dy", "inv:1"}
	if centred {
		name, params, moved = "layerNormGrad", "rows, n int, dx, x, gamma, dy, inv, mean *float32", append(moved, "mean:1")
	}
	l := newLoop(a, v, name, params, "is dx of the gradient.")
	sg, sgx := l.zeros(1), l.zeros(1)
	mean, inv, count := l.pin(), l.pin(), l.count()
	tmp := l.pin()
	centre := func(p *pass, x val) val {
		if centred {
			return p.sub(x, mean)
		}
		return x
	}
	l.eachRow()
	l.clear(sg[0], sgx[0])
	l.rowScalar("inv", inv)
	if centred {
		l.rowScalar("mean", mean)
	}
	l.each(true, 1, func(p *pass) {
		g := p.mul(p.in("dy"), p.in("gamma"))
		if centred {
			p.sum(sg[0], g)
		}
		p.addProduct(sgx[0], g, centre(p, p.in("x")))
	})
	l.across("VADDPD", true, sgx[0], tmp)
	for _, f := range []string{"VMULPD " + inv.fixed, "VMULPD " + inv.fixed, "VDIVPD " + count.fixed} {
		a.op(f[:6], f[7:], sgx[0].fixed, sgx[0].fixed)
	}
	if centred {
		l.across("VADDPD", true, sg[0], tmp)
		a.op("VDIVPD", count.fixed, sg[0].fixed, sg[0].fixed)
	}
	l.each(true, 1, func(p *pass) {
		g := p.mul(p.in("dy"), p.in("gamma"))
		if centred {
			g = p.sub(g, sg[0])
		}
		p.out("dx", p.mul(p.fnma(centre(p, p.in("x")), sgx[0], g), inv))
	})
	l.nextRow(moved...)
	l.end()
}

// count is n as a float64.
func (l *loop) count() val {
	c := l.pin()
	l.a.op("MOVQ", l.a.arg("n"), "AX")
	l.a.op("VCVTSI2SDQ", "AX", low(c), low(c))
	l.a.op("VBROADCASTSD", low(c), c.fixed)
	return c
}

// invRoot is 1/sqrt(sum/count + eps); tmp is lost.
func (l *loop) invRoot(sum, tmp, count, eps val) val {
	a := l.a
	a.op("VDIVSD", low(count), low(sum), low(sum))
	a.op("VADDSD", low(eps), low(sum), low(sum))
	a.op("VSQRTSD", low(sum), low(sum), low(sum))
	a.op("VMOVSD", a.constant(bitsOf(1, true)...)+"(SB)", low(tmp))
	a.op("VDIVSD", low(sum), low(tmp), low(sum))
	a.op("VBROADCASTSD", low(sum), sum.fixed)
	return sum
}

// putRow writes the float64 v to the array, which may be nil, and moves on.
func (l *loop) putRow(array string, v, tmp val) {
	skip := l.a.label("skip")
	l.a.op("TESTQ", l.ptr[array], l.ptr[array])
	l.a.op("JZ", skip)
	l.a.op("VCVTSD2SS", low(v), low(v), low(tmp))
	l.a.op("VMOVSS", low(tmp), mem(0, l.ptr[array]))
	l.a.op("ADDQ", fmt.Sprintf("$%d", l.step[array]), l.ptr[array])
	l.a.at(skip)
}

// rowScalar is the array's first element as a float64 in all lanes.
func (l *loop) rowScalar(array string, v val) {
	l.a.op("VMOVSS", mem(0, l.ptr[array]), low(v))
	l.a.op("VCVTSS2SD", low(v), low(v), low(v))
	l.a.op("VBROADCASTSD", low(v), v.fixed)
}

func adamW(a *asm, v vecISA) {
	l := newLoop(a, v, "adamW", "n int, w, m, v, dw *float32, rate, unbias, keep, beta1, rest1, beta2, rest2, eps float64",
		`is a step of AdamW, rest1 and rest2 being 1-beta1 and 1-beta2:

	m[i] = beta1*m[i] + rest1*dw[i]
	v[i] = beta2*v[i] + rest2*dw[i]*dw[i]
	w[i] = keep*w[i] - rate*m[i]/(sqrt(v[i])*unbias+eps)`)
	s := map[string]val{}
	for _, name := range []string{"rate", "unbias", "keep", "beta1", "rest1", "beta2", "rest2", "eps"} {
		s[name] = l.scalar(name, true)
	}
	l.each(true, 1, func(p *pass) {
		g := p.in("dw")
		m := p.fma(p.in("m"), s["beta1"], p.mul(g, s["rest1"]))
		v := p.fma(p.in("v"), s["beta2"], p.mul(p.mul(g, g), s["rest2"]))
		p.out("m", m)
		p.out("v", v)
		step := p.div(p.mul(m, s["rate"]), p.fma(p.sqrt(v), s["unbias"], s["eps"]))
		p.out("w", p.sub(p.mul(p.in("w"), s["keep"]), step))
	})
	l.end()
}
