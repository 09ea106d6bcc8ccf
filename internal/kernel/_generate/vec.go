package main

import "strings"

// vectorLoops writes the loops over float32 that are not products of matrices.
func vectorLoops(a *asm, v vecISA) {
	for _, m := range maps {
		l := newLoop(a, v, m.name, "n int, y, x [n]float32", "is "+m.doc+":\n\n\tfor i < n: y[i] = "+m.name+"(x[i])")
		l.eachValue(m.name, func(p *pass) { p.out("y", m.f(p, p.in("x"))) })
		l.end()
	}
	for _, m := range mapsWith {
		typ, wide := "float32", inFloat32[m.name] == 0
		if wide {
			typ = "float64"
		}
		l := newLoop(a, v, m.name, "n int, y, x [n]float32, "+m.params+" "+typ, "is "+m.doc+":\n\n\tfor i < n: y[i] = "+m.name+"(x[i])")
		var params []val
		for _, name := range strings.Split(m.params, ", ") {
			params = append(params, l.scalar(name, wide))
		}
		l.eachValue(m.name, func(p *pass) { p.out("y", m.f(p, p.in("x"), params)) })
		l.end()
	}
	for _, m := range slopes {
		l := newLoop(a, v, m.name+"Grad", "n int, dx, x, dy [n]float32",
			"multiplies by the derivative:\n\n\tfor i < n: dx[i] = dy[i] * "+m.name+"'(x[i])")
		l.eachValue(m.name, func(p *pass) { p.out("dx", p.mul(m.f(p, p.in("x")), p.in("dy"))) })
		l.end()
	}
	binaries(a, v)
	reductions(a, v)
	softmaxes(a, v)
	norms(a, v)
	adamW(a, v)
	halves(a, v)
}

// halves turns pairs whose parts lie in two halves.
func halves(a *asm, v vecISA) {
	l := newLoop(a, v, "turnHalves", "n int, y0, y1, x0, x1, c0, c1, s0, s1 [n]float32",
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

// beginTurnPairs begins a function that turns pairs that lie side by side.
func beginTurnPairs(a *asm, v vecISA) {
	r := a.routine(v, "turnPairs",
		"rows, pairs int, y, x [2*rows*pairs]float32, cos, sin [(rows-1)*step+pairs]float32, step int, back bool",
		`turns pairs of rows that follow each other, by rows of tables that lie step
elements apart; pairs, of a row, are a multiple of four. Products are rounded:

	for i < pairs: y[2i], y[2i+1] = x[2i]*cos[i] - x[2i+1]*sin[i], x[2i+1]*cos[i] + x[2i]*sin[i]

with -sin for sin where back.`)
	r.plain = "pairs%4 != 0 || pairs == 0 || rows == 0"
}

// binaries are functions of two vectors, and of a vector and a scalar.
func binaries(a *asm, v vecISA) {
	for _, b := range []struct {
		name, sign string
		f          func(p *pass, x, y val) val
	}{
		{"add", "+", (*pass).add}, {"sub", "-", (*pass).sub}, {"mul", "*", (*pass).mul}, {"div", "/", (*pass).div},
		{"max", "max", (*pass).larger}, {"min", "min", (*pass).smaller},
		{"prelu", "< 0 ? x[i]*y : x[i], y being", func(p *pass, x, y val) val {
			x = p.reg(x)
			return p.pick(p.when(x, lt, p.c(0)), p.mul(x, y), x)
		}},
	} {
		l := newLoop(a, v, b.name+".vv", "n int, d, x, y [n]float32", "is\n\n\tfor i < n: d[i] = x[i] "+b.sign+" y[i]")
		l.each(false, 4, func(p *pass) { p.out("d", b.f(p, p.in("x"), p.in("y"))) })
		l.end()
		l = newLoop(a, v, b.name+".rows",
			"rows, n int, d [rows*n]float32, x [(rows-1)*stepX+n]float32, y [(rows-1)*stepY+n]float32, stepX, stepY int",
			"is, for rows of n elements that follow each other in d and lie step elements apart in x and y,\n\n"+
				"\tfor i < n: d[i] = x[i] "+b.sign+" y[i]")
		l.rowsOf(func(p *pass) { p.out("d", b.f(p, p.in("x"), p.in("y"))) },
			[2]string{"d", "n"}, [2]string{"x", "stepX"}, [2]string{"y", "stepY"})
		l = newLoop(a, v, b.name+".vs", "n int, d, x [n]float32, y float32", "is\n\n\tfor i < n: d[i] = x[i] "+b.sign+" y")
		y := l.scalar("y", false)
		l.each(false, 4, func(p *pass) { p.out("d", b.f(p, p.in("x"), y)) })
		l.end()
		l = newLoop(a, v, b.name+".sv", "n int, d [n]float32, x float32, y [n]float32", "is\n\n\tfor i < n: d[i] = x "+b.sign+" y[i]")
		x := l.scalar("x", false)
		l.each(false, 4, func(p *pass) { p.out("d", b.f(p, x, p.in("y"))) })
		l.end()
	}
	l := newLoop(a, v, "addScaled", "n int, y, x [n]float32, alpha float32", "is\n\n\tfor i < n: y[i] += alpha*x[i], the product rounded")
	alpha := l.scalar("alpha", false)
	l.each(false, 4, func(p *pass) { p.out("y", p.add(p.mul(p.in("x"), alpha), p.in("y"))) })
	l.end()
}

// strands is into how many sums an accumulation is dealt.
const strands = 4

func reductions(a *asm, v vecISA) {
	for _, r := range []struct {
		name, params, doc string
		f                 func(p *pass, acc val)
	}{
		{"sum", "n int, x [n]float32", "is the sum of x[i] for i < n", func(p *pass, acc val) { p.sum(acc, p.in("x")) }},
		{"dot", "n int, x, y [n]float32", "is the sum of x[i]*y[i] for i < n", func(p *pass, acc val) {
			p.addProduct(acc, p.in("x"), p.in("y"))
		}},
		{"around", "n int, x [n]float32, m float64", "is the sum of (x[i]-m)**2 for i < n", nil},
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
		l.result("ret", l.total(acc))
		l.end()
	}
	for _, sign := range []float64{1, -1} {
		name, doc := "top", "is the greatest of n > 0 numbers."
		if sign < 0 {
			name, doc = "bottom", "is the least of n > 0 numbers, turned negative."
		}
		l := newLoop(a, v, name, "n int, x [n]float32", doc, "float64")
		top, tmp := [2]val{l.pin(), l.pin()}, l.pin()
		l.extreme(sign, top, tmp)
		l.toFloat64(top[0])
		l.result("ret", top[0])
		l.end()
	}
	l := newLoop(a, v, "maxLine", "n int, acc, x [n]float32", "is\n\n\tfor i < n: acc[i] = max(acc[i], x[i]), NaN where either is")
	l.routine.direct = true
	l.each(false, 4, func(p *pass) { p.out("acc", p.larger(p.in("acc"), p.in("x"))) })
	l.end()
	for _, square := range []bool{false, true} {
		name, doc := "sumLine", "adds a line to sums:\n\n\tfor i < n: acc[i] += x[i]"
		if square {
			name, doc = "squareLine", doc+"**2"
		}
		l := newLoop(a, v, name, "n int, acc [n]float64, x [n]float32", doc)
		l.routine.direct = true
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

func adamW(a *asm, v vecISA) {
	l := newLoop(a, v, "adamW", "n int, w, m, v, dw [n]float32, s adamWStep", `is a step of AdamW:

	m[i] = beta1*m[i] + (1-beta1)*dw[i]
	v[i] = beta2*v[i] + (1-beta2)*dw[i]*dw[i]
	w[i] = keep*w[i] - rate*m[i]/(sqrt(v[i])*unbias+eps)`)
	s := map[string]val{}
	for _, name := range structs["adamWStep"] {
		s[name] = l.scalar("s_"+name, true)
	}
	for _, beta := range []string{"1", "2"} {
		rest := l.pin()
		l.fill(rest, 1, true)
		l.two("SUB", true, s["beta"+beta], rest, rest)
		s["rest"+beta] = rest
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
