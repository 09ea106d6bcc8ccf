package main

import (
	"fmt"
	"math"
	"strings"
)

// A loop is a function over arrays under way: passes over n elements, perhaps
// once for each of many rows. Its passes are written once, in terms of values,
// and registers are given to values here.
type loop struct {
	a *asm
	v vecISA // of float32

	ptr   map[string]string // the register of each array
	step  map[string]int    // and the bytes of its elements
	free  []int             // vector registers that no pinned value has
	pins  int
	rows  string // the label of the loop over rows
	pass_ *pass  // the pass under way
}

// newLoop begins a function. Its parameters are "n int", the arrays and
// scalars; arrays are *float32 or *float64.
func newLoop(a *asm, v vecISA, name, params, doc string, result ...string) *loop {
	a.function(name+v.tag, params, doc, result...)
	l := &loop{a: a, v: v, ptr: map[string]string{}, step: map[string]int{}}
	count := 16
	if v.masked {
		count = 32
	}
	for i := range count {
		l.free = append(l.free, i)
	}
	regs := []string{"SI", "DI", "DX", "R8", "R9", "R10", "R11", "R12"}
	for _, p := range parseArgs(params) {
		if !strings.HasPrefix(p.typ, "*") {
			continue
		}
		l.ptr[p.name], regs = regs[0], regs[1:]
		l.step[p.name] = sizeOf(p.typ[1:])
		a.op("MOVQ", a.arg(p.name), l.ptr[p.name])
	}
	return l
}

// eachRow begins the loop over as many rows of n elements as the parameter
// rows says; nextRow ends it and moves the arrays named on by a row, those
// named "x:1" by one element.
func (l *loop) eachRow() {
	l.a.op("MOVQ", l.a.arg("rows"), "R13")
	l.rows = l.a.label("row")
	l.a.at(l.rows)
}

func (l *loop) nextRow(arrays ...string) {
	for _, name := range arrays {
		name, one := strings.CutSuffix(name, ":1")
		if one {
			l.a.op("ADDQ", fmt.Sprintf("$%d", l.step[name]), l.ptr[name])
			continue
		}
		l.a.op("MOVQ", l.a.arg("n"), "AX")
		l.a.op("LEAQ", fmt.Sprintf("(%s)(AX*%d)", l.ptr[name], l.step[name]), l.ptr[name])
	}
	l.a.op("DECQ", "R13")
	l.a.op("JNZ", l.rows)
}

func (l *loop) end() {
	l.a.op("VZEROUPPER")
	l.a.ret()
}

// rowsOf is a body for each of many rows and the end of the function; arrays
// are named with the parameter that says by how much they move on, and a
// register for it. Rows that fit a vector have one mask for all.
func (l *loop) rowsOf(body func(p *pass), arrays ...[3]string) {
	a := l.a
	long, row := a.label("long"), a.label("short")
	for _, s := range arrays {
		a.op("MOVQ", a.arg(s[1]), s[2])
		a.op("SHLQ", "$2", s[2])
	}
	next := func(row string) {
		for _, s := range arrays {
			a.op("ADDQ", s[2], l.ptr[s[0]])
		}
		a.op("DECQ", "R13")
		a.op("JNZ", row)
		l.end()
	}
	a.op("MOVQ", a.arg("rows"), "R13")
	a.op("MOVQ", a.arg("n"), "BX")
	a.op("CMPQ", "BX", fmt.Sprintf("$%d", l.v.lanes()))
	a.op("JGT", long)
	a.op("XORL", "AX", "AX")
	p := &pass{loop: l, isa: l.v, tail: true}
	p.tailMasks()
	a.at(row)
	body(p)
	p.write()
	next(row)
	a.at(long)
	l.each(false, 2, body)
	next(long)
}

// pin takes a register for as long as the function runs.
func (l *loop) pin() val {
	r := l.free[0]
	l.free = l.free[1:]
	return val{fixed: l.v.r(r), num: r}
}

// scalar is a parameter in all lanes of a pinned register, float32 or float64
// as it is declared.
func (l *loop) scalar(name string, f64 bool) val {
	p := l.pin()
	l.a.op("VBROADCAST"+l.isa(f64).ss, l.a.arg(name), p.fixed)
	return p
}

// isa is the instruction set for float32 or for float64.
func (l *loop) isa(f64 bool) vecISA {
	if !f64 {
		return l.v
	}
	if l.v.masked {
		return avx512f64
	}
	return avx2f64
}

// clear makes a pinned value zero.
func (l *loop) clear(vals ...val) {
	for _, v := range vals {
		l.v.zero(l.a, v.fixed)
	}
}

// fill sets all lanes of a pinned value to a constant.
func (l *loop) fill(v val, c float64, f64 bool) {
	l.a.op("VBROADCAST"+l.isa(f64).ss, l.a.constant(bitsOf(c, f64)...)+"(SB)", v.fixed)
}

func bitsOf(c float64, f64 bool) []uint32 {
	if f64 {
		b := math.Float64bits(c)
		return []uint32{uint32(b), uint32(b >> 32)}
	}
	return []uint32{math.Float32bits(float32(c))}
}

// parts are the names of the registers of which v is the widest: Z, Y, X.
func parts(num int) (z, y, x string) {
	return fmt.Sprintf("Z%d", num), fmt.Sprintf("Y%d", num), fmt.Sprintf("X%d", num)
}

// across folds the lanes of acc with an instruction for two vectors, which
// leaves the result in all lanes. tmp is lost.
func (l *loop) across(op string, f64 bool, acc, tmp val) {
	z, y, x := parts(acc.num)
	_, ty, tx := parts(tmp.num)
	if l.v.masked {
		l.a.op("VEXTRACTF64X4", "$1", z, ty)
		l.a.op(op, ty, y, y)
	}
	l.a.op("VEXTRACTF128", "$1", y, tx)
	l.a.op(op, tx, x, x)
	if f64 {
		l.a.op("VPERMILPD", "$1", x, tx)
		l.a.op(op, tx, x, x)
		l.a.op("VBROADCASTSD", x, l.v.r(acc.num))
		return
	}
	l.a.op("VPERMILPS", "$0x4e", x, tx)
	l.a.op(op, tx, x, x)
	l.a.op("VPERMILPS", "$0xb1", x, tx)
	l.a.op(op, tx, x, x)
	l.a.op("VBROADCASTSS", x, l.v.r(acc.num))
}

// low is the register with the first lanes of a pinned value.
func low(v val) string { return fmt.Sprintf("X%d", v.num) }

// A val is a value in a pass: made there, pinned, or a constant.
type val struct {
	id    int    // made in the pass, from 1 on
	fixed string // pinned
	num   int    // of the pinned register
	words []uint32
}

// A pass is one way over the n elements. Values are vectors of float32, or of
// float64 where wide: arrays of float32 are then converted on the way.
type pass struct {
	*loop
	wide bool
	isa  vecISA
	tail bool
	off  int // elements from the index register on, in an unrolled body

	insts []inst
	count int
}

// An inst makes dst of src. Where fma is set it is dst = src[0]*src[1]+src[2]
// (minus the product where neg), where emit is nil a plain instruction op.
type inst struct {
	op       string
	imm      string
	src      []val
	dst      val
	mask     bool // dst is a mask
	fma, neg bool
	emit     func(dst string, src []string)
	keep     bool // dst must not be a register of src
}

// each writes a pass, its body repeated unroll times in the main part.
func (l *loop) each(wide bool, unroll int, body func(p *pass)) {
	l.eachOf(wide, unroll, func(p *pass, times int) {
		for u := range times {
			p.unit(u)
			body(p)
		}
	})
}

// eachOf is each with a body that sees to several vectors itself: to times of
// them, of which p.unit chooses one.
func (l *loop) eachOf(wide bool, unroll int, body func(p *pass, times int)) {
	a := l.a
	isa := l.isa(wide)
	lanes := isa.lanes()
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
		p := &pass{loop: l, wide: wide, isa: isa}
		body(p, part.times)
		p.write()
		a.op("ADDQ", fmt.Sprintf("$%d", part.times*lanes), "AX")
		a.op("JMP", part.here)
		a.at(back)
		a.op("ADDQ", fmt.Sprintf("$%d", part.times*lanes), "BX")
	}
	a.op("JZ", done)
	p := &pass{loop: l, wide: wide, isa: isa, tail: true}
	p.tailMasks()
	body(p, 1)
	p.write()
	a.at(done)
}

// unit chooses a vector of an unrolled body.
func (p *pass) unit(u int) { p.off = u * p.isa.lanes() }

// Masks of a tail: K1 for elements in memory and lanes alike; on AVX2 the last
// registers, of 32-bit lanes and, in a wide pass, of 64-bit ones.
const memMask2, laneMask2 = 15, 14

func (p *pass) tailMasks() {
	switch {
	case p.isa.masked:
		p.isa.makeMask(p.a, "BX", "R14", "K1")
	case !p.wide:
		avx2f32.makeMask(p.a, "BX", "R14", fmt.Sprintf("Y%d", memMask2))
	default:
		avx2f32.makeMask(p.a, "BX", "R14", fmt.Sprintf("Y%d", memMask2))
		p.a.op("VPMOVSXDQ", fmt.Sprintf("X%d", memMask2), fmt.Sprintf("Y%d", laneMask2))
	}
}

// lanes is the mask register of the lanes that count in a tail.
func (p *pass) laneMask() string {
	switch {
	case p.isa.masked:
		return "K1"
	case p.wide:
		return fmt.Sprintf("Y%d", laneMask2)
	}
	return fmt.Sprintf("Y%d", memMask2)
}

func (p *pass) add_(i inst) val {
	p.count++
	i.dst = val{id: p.count}
	p.insts = append(p.insts, i)
	return i.dst
}

// address is where element AX of an array lies.
func (p *pass) address(name string) string {
	r, ok := p.ptr[name]
	if !ok {
		panic(p.a.fn + " has no array " + name)
	}
	off := p.off * p.step[name]
	if off == 0 {
		return fmt.Sprintf("(%s)(AX*%d)", r, p.step[name])
	}
	return fmt.Sprintf("%d(%s)(AX*%d)", off, r, p.step[name])
}

// narrow is the part of a register that holds as many float32 as it holds
// float64.
func narrow(r string) string {
	if r[0] == 'Z' {
		return "Y" + r[1:]
	}
	return "X" + r[1:]
}

// in loads from an array; lanes past the end are 0.
func (p *pass) in(name string) val {
	from := p.address(name)
	return p.add_(inst{emit: func(dst string, _ []string) {
		switch {
		case p.wide && p.step[name] == 4 && !p.tail:
			p.a.op("VCVTPS2PD", from, dst)
		case p.wide && p.step[name] == 4 && p.isa.masked:
			p.a.op("VCVTPS2PD.Z", from, "K1", dst)
		case p.wide && p.step[name] == 4:
			p.a.op("VMASKMOVPS", from, fmt.Sprintf("X%d", memMask2), narrow(dst))
			p.a.op("VCVTPS2PD", narrow(dst), dst)
		default:
			p.isa.load(p.a, from, p.tailOf(p.laneMask()), dst)
		}
	}})
}

func (p *pass) tailOf(mask string) string {
	if p.tail {
		return mask
	}
	return ""
}

// out stores to an array. The value is lost where the pass is wide.
func (p *pass) out(name string, v val) {
	to := p.address(name)
	p.add_(inst{src: []val{p.reg(v)}, keep: true, emit: func(tmp string, src []string) {
		if !p.wide || p.step[name] == 8 {
			p.isa.store(p.a, src[0], p.tailOf(p.laneMask()), to)
			return
		}
		op := "VCVTPD2PS"
		if !p.isa.masked {
			op = "VCVTPD2PSY"
		}
		p.a.op(op, src[0], narrow(tmp))
		mask := p.tailOf("K1")
		if p.tail && !p.isa.masked {
			mask = fmt.Sprintf("X%d", memMask2)
		}
		p.isa.store2(p.a, narrow(tmp), mask, to)
	}})
}

// store2 is store for float32, whatever the element.
func (v vecISA) store2(a *asm, from, m, to string) {
	v.ps = "PS"
	v.store(a, from, m, to)
}

// c is a constant.
func (p *pass) c(x float64) val { return p.bits(bitsOf(x, p.wide)...) }

func (p *pass) bits(words ...uint32) val { return val{words: words} }

// operand is a constant as the last source of an instruction, and the suffix
// that the instruction then has.
func (p *pass) operand(v val) (operand, suffix string) {
	if p.isa.masked {
		return p.a.constant(v.words...) + "(SB)", ".BCST"
	}
	var all []uint32
	for len(all) < 8 {
		all = append(all, v.words...)
	}
	return p.a.constant(all...) + "(SB)", ""
}

// reg is v in a register.
func (p *pass) reg(v val) val {
	if v.words == nil {
		return v
	}
	return p.add_(inst{emit: func(dst string, _ []string) {
		p.a.op("VBROADCAST"+p.isa.ss, p.a.constant(v.words...)+"(SB)", dst)
	}})
}

// two is an instruction of two sources, of which the second may be a constant.
func (p *pass) two(op string, x, y val) val {
	return p.add_(inst{op: op, src: []val{p.reg(x), y}})
}

func (p *pass) f(op string) string { return op + p.isa.ps }

func (p *pass) add(x, y val) val { return p.two(p.f("VADD"), x, y) }
func (p *pass) sub(x, y val) val { return p.two(p.f("VSUB"), x, y) }
func (p *pass) mul(x, y val) val { return p.two(p.f("VMUL"), x, y) }
func (p *pass) div(x, y val) val { return p.two(p.f("VDIV"), x, y) }

// max and min give y where either is a NaN.
func (p *pass) max(x, y val) val { return p.two(p.f("VMAX"), x, y) }
func (p *pass) min(x, y val) val { return p.two(p.f("VMIN"), x, y) }
func (p *pass) and(x, y val) val { return p.two(p.f("VAND"), x, y) }
func (p *pass) or(x, y val) val  { return p.two(p.f("VOR"), x, y) }

// clamp is x within [lo,hi], and NaN for NaN.
func (p *pass) clamp(x val, lo, hi float64) val {
	return p.min(p.reg(p.c(hi)), p.max(p.reg(p.c(lo)), x))
}

func (p *pass) sqrt(x val) val {
	return p.add_(inst{src: []val{x}, emit: func(dst string, src []string) { p.a.op(p.f("VSQRT"), src[0], dst) }})
}

// fma is x*y+z, fnma z-x*y.
func (p *pass) fma(x, y, z val) val  { return p.fused(x, y, z, false) }
func (p *pass) fnma(x, y, z val) val { return p.fused(x, y, z, true) }

func (p *pass) fused(x, y, z val, neg bool) val {
	if x.words != nil {
		x, y = y, x
	}
	if x.words != nil || y.words != nil && z.words != nil {
		x, z = p.reg(x), p.reg(z)
	}
	return p.add_(inst{fma: true, neg: neg, src: []val{x, y, z}})
}

// abs is |x|, sign the sign bit of x, withSign y >= 0 with the sign bit s.
func (p *pass) abs(x val) val {
	if p.wide {
		return p.and(x, p.bits(0xffffffff, 0x7fffffff))
	}
	return p.and(x, p.bits(0x7fffffff))
}

func (p *pass) sign(x val) val {
	if p.wide {
		return p.and(x, p.bits(0, 0x80000000))
	}
	return p.and(x, p.bits(0x80000000))
}

// Comparison predicates, quiet about NaNs.
const (
	lt    = "$0x11"
	notLT = "$0x15" // or a NaN is among them
)

// when is the mask of lanes where x stands to y as the predicate says.
func (p *pass) when(x val, pred string, y val) val {
	return p.add_(inst{op: p.f("VCMP"), imm: pred, src: []val{x, y}, mask: true})
}

// pick is x where the mask m is set, else y.
func (p *pass) pick(m, x, y val) val {
	return p.add_(inst{src: []val{m, p.reg(x), p.reg(y)}, emit: func(dst string, src []string) {
		if p.isa.masked {
			p.a.op(p.f("VBLENDM"), src[1], src[2], src[0], dst)
		} else {
			p.a.op(p.f("VBLENDV"), src[0], src[1], src[2], dst)
		}
	}})
}

// keep is x where the mask m is set, else 0.
func (p *pass) keepIf(m, x val) val {
	return p.add_(inst{src: []val{m, x}, emit: func(dst string, src []string) {
		if p.isa.masked {
			p.a.op(p.f("VMOVA")+".Z", src[1], src[0], dst)
		} else {
			p.a.op(p.f("VAND"), src[0], src[1], dst)
		}
	}})
}

// power is x * 2**n where the low bits of the float t hold n and the bias of
// exponents: see exp.
func (p *pass) power(x, t val) val {
	op, by := "VPSLLD", "$23"
	if p.wide {
		op, by = "VPSLLQ", "$52"
	}
	s := p.add_(inst{src: []val{t}, emit: func(dst string, src []string) { p.a.op(op, by, src[0], dst) }})
	return p.mul(x, s)
}

// scale is x * 2**n, for AVX-512.
func (p *pass) scale(x, n val) val { return p.two(p.f("VSCALEF"), x, n) }

// recip is 1/x for a finite x that is not small, to 27 bits in one step of
// Newton's, else to full precision.
func (p *pass) recip(x val, steps int) val {
	if !p.isa.masked || !p.wide {
		return p.div(p.c(1), x)
	}
	r := p.add_(inst{src: []val{x}, emit: func(dst string, src []string) { p.a.op("VRCP14PD", src[0], dst) }})
	for range steps {
		r = p.fma(r, p.fnma(x, r, p.c(1)), r)
	}
	return r
}

// inTail is v with zeros in lanes past the end.
func (p *pass) inTail(v val) val {
	if !p.tail {
		return v
	}
	return p.add_(inst{src: []val{v}, emit: func(dst string, src []string) {
		if p.isa.masked {
			p.a.op(p.f("VMOVA")+".Z", src[0], "K1", dst)
		} else {
			p.a.op(p.f("VAND"), p.laneMask(), src[0], dst)
		}
	}})
}

// accumulate is acc = acc op v for a pinned acc, for lanes within the arrays.
func (p *pass) accumulate(op string, acc, v val) {
	p.add_(inst{src: []val{p.reg(v)}, emit: func(tmp string, src []string) {
		switch {
		case !p.tail:
			p.a.op(op, src[0], acc.fixed, acc.fixed)
		case p.isa.masked:
			p.a.op(op, src[0], acc.fixed, "K1", acc.fixed)
		default:
			p.a.op(op, src[0], acc.fixed, tmp)
			p.a.op(p.f("VBLENDV"), p.laneMask(), tmp, acc.fixed, acc.fixed)
		}
	}, keep: true})
}

// sum adds v to a pinned accumulator.
func (p *pass) sum(acc, v val) { p.accumulate(p.f("VADD"), acc, v) }

// sumWide adds a v of float32 to two accumulators of float64.
func (p *pass) sumWide(acc [2]val, v val) {
	p.add_(inst{src: []val{v}, keep: true, emit: func(tmp string, src []string) {
		f64 := p.loop.isa(true)
		p.a.op("VCVTPS2PD", narrow(src[0]), tmp)
		p.a.op("VADD"+f64.ps, tmp, acc[0].fixed, acc[0].fixed)
		if p.isa.masked {
			p.a.op("VEXTRACTF64X4", "$1", src[0], narrow(tmp))
		} else {
			p.a.op("VEXTRACTF128", "$1", src[0], narrow(tmp))
		}
		p.a.op("VCVTPS2PD", narrow(tmp), tmp)
		p.a.op("VADD"+f64.ps, tmp, acc[1].fixed, acc[1].fixed)
	}})
}

// addProduct adds x*y to a pinned accumulator; lanes past the end are zeros.
func (p *pass) addProduct(acc, x, y val) {
	p.add_(inst{src: []val{x, y}, emit: func(_ string, src []string) {
		p.a.op(p.f("VFMADD231"), src[0], src[1], acc.fixed)
	}})
}
