package main

import "math"

// greatest makes top the greatest of the numbers of the array x, in all lanes.
func (l *loop) greatest(top [2]val, tmp val) { l.extreme(1, top, tmp) }

// extreme is greatest of x, or of -x for a sign of -1.
func (l *loop) extreme(sign float64, top [2]val, tmp val) {
	l.fill(top[0], math.Inf(-1), false)
	l.move(top[0], top[1])
	l.each(false, 2, func(p *pass) {
		x := p.in("x")
		if sign < 0 {
			x = p.sub(p.reg(p.c(0)), x)
		}
		p.greatest(p.strand(top[:]), x)
	})
	l.two("MAX", false, top[1], top[0], top[0])
	l.across("MAX", false, top[0], tmp)
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

func softmaxes(a *asm, v vecISA) {
	l := newLoop(a, v, "softmax", "rows, n int, y, x [rows*n]float32", "is Softmax of rows of n > 0 elements that follow each other.")
	top, acc := [2]val{l.pin(), l.pin()}, l.zeros(2)
	l.eachRow()
	l.greatest(top, acc[0])
	l.clear(acc...)
	l.sumOfBelow(top[0], acc, "y")
	s := l.total(acc)
	l.invert(s, acc[1])
	l.toFloat32(s)
	l.each(false, 4, func(p *pass) { p.out("y", p.mul(p.in("y"), s)) })
	l.nextRow("y", "x")
	l.end()

	l = newLoop(a, v, "softmaxGrad", "rows, n int, dx, y, dy [rows*n]float32", "is SoftmaxGrad of rows of n > 0 elements that follow each other.")
	acc = l.zeros(2)
	l.eachRow()
	l.clear(acc...)
	l.each(true, 2, func(p *pass) { p.addProduct(p.strand(acc), p.in("y"), p.in("dy")) })
	s = l.total(acc)
	l.toFloat32(s)
	l.each(false, 2, func(p *pass) { p.out("dx", p.mul(p.sub(p.in("dy"), s), p.in("y"))) })
	l.nextRow("dx", "y", "dy")
	l.end()

	l = newLoop(a, v, "expLess", "n int, y, x, top [n]float32", "is, for x[i] <= top[i],\n\n\tfor i < n: y[i] = e**(x[i]-top[i])")
	l.routine.direct = true
	l.each(false, 2, func(p *pass) { p.out("y", p.below(p.sub(p.in("x"), p.in("top")))) })
	l.end()

	l = newLoop(a, v, "mulLine", "n int, y, x [n]float32", "is\n\n\tfor i < n: y[i] *= x[i]")
	l.routine.direct = true
	l.each(false, 4, func(p *pass) { p.out("y", p.mul(p.in("y"), p.in("x"))) })
	l.end()

	l = newLoop(a, v, "expSum", "n int, x [n]float32", `is the greatest of n > 0 elements, NaNs perhaps passed over, and

	sum = sum over i < n of e**(x[i]-top)`, "(top, sum float64)")
	top, acc = [2]val{l.pin(), l.pin()}, l.zeros(2)
	l.greatest(top, acc[0])
	l.clear(acc...)
	l.sumOfBelow(top[0], acc, "")
	l.result("sum", l.total(acc))
	l.toFloat64(top[0])
	l.result("top", top[0])
	l.end()

	l = newLoop(a, v, "expScaled", "n int, y, x [n]float32, top, scale, less float32",
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
	l := newLoop(a, v, "rmsNorm", "rows, n int, y, x [rows*n]float32, gamma [n]float32, invrms [rows?]float32, eps float64",
		"is RMSNorm; invrms may be nil.")
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

	l = newLoop(a, v, "layerNorm",
		"rows, n int, y, x [rows*n]float32, gamma, beta [n]float32, mean, invstd [rows?]float32, eps float64",
		"is LayerNorm; mean and invstd may be nil.")
	acc = l.zeros(strands)
	mean := l.pin()
	eps, count = l.scalar("eps", true), l.count()
	l.eachRow()
	l.clear(acc...)
	l.each(true, strands, func(p *pass) { p.sum(p.strand(acc), p.in("x")) })
	l.two("DIV", true, count, l.total(acc), mean)
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

	l = newLoop(a, v, "normParam", "n int, dg, db [n]float64, x, dy [n]float32, mean, inv float64",
		"adds what a row gives to the gradients of a norm's parameters:\n\n"+
			"\tfor j < n: dg[j] += dy[j]*(x[j]-mean)*inv; db[j] += dy[j]")
	l.routine.direct = true
	mean, inv = l.scalar("mean", true), l.scalar("inv", true)
	l.each(true, 2, func(p *pass) {
		dy := p.in("dy")
		p.out("dg", p.fma(p.mul(dy, p.sub(p.in("x"), mean)), inv, p.in("dg")))
		p.out("db", p.add(dy, p.in("db")))
	})
	l.end()
}

func normGrad(a *asm, v vecISA, centred bool) {
	name, stats, moved := "rmsNormGrad", "inv", []string{"dx", "x", "dy", "inv:1"}
	if centred {
		name, stats, moved = "layerNormGrad", "mean, inv", append(moved, "mean:1")
	}
	l := newLoop(a, v, name, "rows, n int, dx, x [rows*n]float32, gamma [n]float32, "+stats+" [rows]float32, dy [rows*n]float32",
		"is dx of the gradient.")
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
	l.across("ADD", true, sgx[0], tmp)
	l.two("MUL", true, inv, sgx[0], sgx[0])
	l.two("MUL", true, inv, sgx[0], sgx[0])
	l.two("DIV", true, count, sgx[0], sgx[0])
	if centred {
		l.across("ADD", true, sg[0], tmp)
		l.two("DIV", true, count, sg[0], sg[0])
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
