package main

import (
	"fmt"
	"strings"
)

// x86 is the machine of amd64. AX is the index of a pass, BX what is left of n,
// R13 counts rows, K1 and the last vectors hold masks of a tail.
type x86 struct{ *loop }

func (x x86) bank() bank {
	b := bank{16, []string{"SI", "DI", "DX", "R8", "R9", "R10", "R11", "R12"}, "MOVQ"}
	if x.v.masked {
		b.vectors = 32
	}
	return b
}

func (x x86) eachRow() {
	x.a.op("MOVQ", x.a.arg("rows"), "R13")
	x.rows = x.a.label("row")
	x.a.at(x.rows)
}

func (x x86) nextRow(arrays ...string) {
	for _, name := range arrays {
		name, one := strings.CutSuffix(name, ":1")
		if one {
			x.a.op("ADDQ", fmt.Sprintf("$%d", x.step[name]), x.ptr[name])
			continue
		}
		x.a.op("MOVQ", x.a.arg("n"), "AX")
		x.a.op("LEAQ", fmt.Sprintf("(%s)(AX*%d)", x.ptr[name], x.step[name]), x.ptr[name])
	}
	x.a.op("DECQ", "R13")
	x.a.op("JNZ", x.rows)
}

func (x x86) end() {
	x.a.op("VZEROUPPER")
	x.a.ret()
}

// rowsOf is a body for each of many rows and the end of the function; arrays
// are named with the parameter that says by how much they move on. Rows that
// fit a vector have one mask for all.
func (x x86) rowsOf(body func(p *pass), arrays ...[2]string) {
	a := x.a
	long, row := a.label("long"), a.label("short")
	by := []string{"R9", "R10", "R11"}
	for i, s := range arrays {
		a.op("MOVQ", a.arg(s[1]), by[i])
		a.op("SHLQ", "$2", by[i])
	}
	next := func(row string) {
		for i, s := range arrays {
			a.op("ADDQ", by[i], x.ptr[s[0]])
		}
		a.op("DECQ", "R13")
		a.op("JNZ", row)
		x.end()
	}
	a.op("MOVQ", a.arg("rows"), "R13")
	a.op("MOVQ", a.arg("n"), "BX")
	a.op("CMPQ", "BX", fmt.Sprintf("$%d", x.v.lanes()))
	a.op("JGT", long)
	a.op("XORL", "AX", "AX")
	p := x.newPass(false, true)
	tailMasks(p)
	a.at(row)
	body(p)
	p.write()
	next(row)
	a.at(long)
	x.eachOf(false, 2, repeated(body))
	next(long)
}

func (x x86) eachOf(wide bool, unroll int, body func(p *pass, times int)) {
	a := x.a
	lanes := x.v.of(wide).lanes()
	many, one, tail, done := a.label("many"), a.label("one"), a.label("tail"), a.label("done")
	a.op("XORL", "AX", "AX")
	a.op("MOVQ", a.arg("n"), "BX")
	for _, part := range []struct {
		times      int
		here, next string
	}{{unroll, many, one}, {1, one, tail}} {
		if part.times == 1 && part.here == many {
			continue
		}
		a.at(part.here)
		a.op("SUBQ", fmt.Sprintf("$%d", part.times*lanes), "BX")
		back := a.label("back")
		a.op("JLT", back)
		p := x.newPass(wide, false)
		body(p, part.times)
		p.write()
		a.op("ADDQ", fmt.Sprintf("$%d", part.times*lanes), "AX")
		a.op("JMP", part.here)
		a.at(back)
		a.op("ADDQ", fmt.Sprintf("$%d", part.times*lanes), "BX")
	}
	a.op("JZ", done)
	p := x.newPass(wide, true)
	tailMasks(p)
	body(p, 1)
	p.write()
	a.at(done)
}

// parts are the names of the registers of which v is the widest: Z, Y, X.
func parts(num int) (z, y, x string) {
	return fmt.Sprintf("Z%d", num), fmt.Sprintf("Y%d", num), fmt.Sprintf("X%d", num)
}

// low is the register with the first lanes of a pinned value.
func low(v val) string { return fmt.Sprintf("X%d", v.num) }

func (x x86) scalar(name string, f64 bool) val {
	p := x.pin()
	x.a.op("VBROADCAST"+x.v.of(f64).ss, x.a.arg(name), p.fixed)
	return p
}

func (x x86) fill(v val, c float64, f64 bool) {
	x.a.op("VBROADCAST"+x.v.of(f64).ss, x.a.constant(bitsOf(c, f64)...)+"(SB)", v.fixed)
}

func (x x86) clear(vals ...val) {
	for _, v := range vals {
		x.v.zero(x.a, v.fixed)
	}
}

func (x x86) move(from, to val) { x.a.op("VMOVAPS", from.fixed, to.fixed) }

func (x x86) two(op string, f64 bool, b, a, dst val) {
	x.a.op("V"+op+x.v.of(f64).ps, b.fixed, a.fixed, dst.fixed)
}

func (x x86) across(op string, f64 bool, acc, tmp val) {
	op = "V" + op + x.v.of(f64).ps
	zr, yr, xr := parts(acc.num)
	_, ty, tx := parts(tmp.num)
	if x.v.masked {
		x.a.op("VEXTRACTF64X4", "$1", zr, ty)
		x.a.op(op, ty, yr, yr)
	}
	x.a.op("VEXTRACTF128", "$1", yr, tx)
	x.a.op(op, tx, xr, xr)
	if f64 {
		x.a.op("VPERMILPD", "$1", xr, tx)
		x.a.op(op, tx, xr, xr)
		x.a.op("VBROADCASTSD", xr, acc.fixed)
		return
	}
	x.a.op("VPERMILPS", "$0x4e", xr, tx)
	x.a.op(op, tx, xr, xr)
	x.a.op("VPERMILPS", "$0xb1", xr, tx)
	x.a.op(op, tx, xr, xr)
	x.a.op("VBROADCASTSS", xr, acc.fixed)
}

func (x x86) invert(v, tmp val) {
	x.a.op("VMOVSD", x.a.constant(bitsOf(1, true)...)+"(SB)", low(tmp))
	x.a.op("VDIVSD", low(v), low(tmp), low(v))
}

func (x x86) invRoot(sum, tmp, count, eps val) val {
	a := x.a
	a.op("VDIVSD", low(count), low(sum), low(sum))
	a.op("VADDSD", low(eps), low(sum), low(sum))
	a.op("VSQRTSD", low(sum), low(sum), low(sum))
	x.invert(sum, tmp)
	a.op("VBROADCASTSD", low(sum), sum.fixed)
	return sum
}

func (x x86) count() val {
	c := x.pin()
	x.a.op("MOVQ", x.a.arg("n"), "AX")
	x.a.op("VCVTSI2SDQ", "AX", low(c), low(c))
	x.a.op("VBROADCASTSD", low(c), c.fixed)
	return c
}

func (x x86) toFloat32(v val) {
	x.a.op("VCVTSD2SS", low(v), low(v), low(v))
	x.a.op("VBROADCASTSS", low(v), v.fixed)
}

func (x x86) toFloat64(v val) { x.a.op("VCVTSS2SD", low(v), low(v), low(v)) }

func (x x86) rowScalar(array string, v val) {
	x.a.op("VMOVSS", mem(0, x.ptr[array]), low(v))
	x.toFloat64(v)
	x.a.op("VBROADCASTSD", low(v), v.fixed)
}

func (x x86) putRow(array string, v, tmp val) {
	skip := x.a.label("skip")
	x.a.op("TESTQ", x.ptr[array], x.ptr[array])
	x.a.op("JZ", skip)
	x.a.op("VCVTSD2SS", low(v), low(v), low(tmp))
	x.a.op("VMOVSS", low(tmp), mem(0, x.ptr[array]))
	x.a.op("ADDQ", fmt.Sprintf("$%d", x.step[array]), x.ptr[array])
	x.a.at(skip)
}

func (x x86) result(name string, v val) { x.a.op("VMOVSD", low(v), x.a.arg(name)) }
