package main

import "fmt"

func (m neon) constants() (toRegisters bool) { return true }

func (m neon) reserved(*pass, int) bool { return false }

// neonOps are the instructions on vectors of four float32, by their name in a
// pass or on pinned values. One bit makes them instructions on two float64. See
// the Arm architecture reference, C7.2.
var neonOps = map[string]struct {
	code uint32
	text string
}{
	"ADD":  {0x4e20d400, "fadd"},
	"SUB":  {0x4ea0d400, "fsub"},
	"MUL":  {0x6e20dc00, "fmul"},
	"DIV":  {0x6e20fc00, "fdiv"},
	"MAX":  {0x4e20f400, "fmax"},
	"MIN":  {0x4ea0f400, "fmin"},
	"FMA":  {0x4e20cc00, "fmla"},
	"FNMA": {0x4ea0cc00, "fmls"},
	"GT":   {0x6ea0e400, "fcmgt"},
	"ADDP": {0x6e20d400, "faddp"}, // of pairs of lanes
	"MAXP": {0x6e20f400, "fmaxp"},
	"EQ":   {0x4e20e400, "fcmeq"},
	// Of n alone:
	"SQRT":  {0x6ea1f800, "fsqrt"},
	"FLOOR": {0x4e219800, "frintm"},
	"CEIL":  {0x4ea18800, "frintp"},
	"ROUND": {0x4e218800, "frintn"},
}

var neonUnary = map[string]bool{"SQRT": true, "FLOOR": true, "CEIL": true, "ROUND": true}

const neonFloat64 = 1 << 22

// neon writes d = n op m of the table. FMA and FNMA add to d.
func (a *asm) neon(op string, f64 bool, d, n, m int) {
	o, ok := neonOps[op]
	if !ok {
		panic(a.fn + ": NEON has no " + op)
	}
	lanes := "4s"
	if f64 {
		o.code |= neonFloat64
		lanes = "2d"
	}
	if neonUnary[op] {
		a.word(o.code|uint32(n<<5|d), "%s v%d.%s, v%d.%s", o.text, d, lanes, n, lanes)
		return
	}
	a.word(o.code|uint32(m<<16|n<<5|d), "%s v%d.%s, v%d.%s, v%d.%s", o.text, d, lanes, n, lanes, m, lanes)
}

// bits writes an instruction on all bits, from sources as Go orders them.
func (a *asm) bits(op string, m, n, d string) { a.op(op, m+".B16", n+".B16", d+".B16") }

func (a *asm) copyNEON(from, to int) {
	a.bits("VORR", fmt.Sprintf("V%d", from), fmt.Sprintf("V%d", from), fmt.Sprintf("V%d", to))
}

// constantTable is the symbol of all constants of a file, each in all lanes of
// a vector.
const constantTable = "constants<>"

// inTable is where a constant lies in the table.
func (a *asm) inTable(words []uint32) string {
	key := fmt.Sprint(words)
	if s, ok := a.consts[key]; ok {
		return s
	}
	if a.consts == nil {
		a.consts = map[string]string{}
	}
	at := 16 * len(a.consts)
	for i := range 4 {
		fmt.Fprintf(&a.data, "DATA %s+%d(SB)/4, $0x%08x\n", constantTable, at+4*i, words[i%len(words)])
	}
	a.consts[key] = mem(at, neonTable)
	return a.consts[key]
}

// endTable declares the table.
func (a *asm) endTable() {
	fmt.Fprintf(&a.data, "GLOBL %s(SB), RODATA|NOPTR, $%d\n", constantTable, 16*len(a.consts))
}

// not turns all bits of a register over.
func (a *asm) not(d int) { a.word(0x6e205800|uint32(d<<5|d), "mvn v%d.16b, v%d.16b", d, d) }

// regNum is the number of a register.
func regNum(r string) int {
	n := 0
	if _, err := fmt.Sscanf(r[1:], "%d", &n); err != nil {
		panic(r + " is no register")
	}
	return n
}

// fmov is the instruction that moves some bytes, and clears the rest of a
// register that it loads.
var fmov = map[int]string{4: "FMOVS", 8: "FMOVD", 16: "FMOVQ"}

// first makes d the first lane of n and zeros.
func (a *asm) first(f64 bool, d, n int) {
	if f64 {
		a.word(0x1e604000|uint32(n<<5|d), "fmov d%d, d%d", d, n)
		return
	}
	a.word(0x1e204000|uint32(n<<5|d), "fmov s%d, s%d", d, n)
}

// lower writes an instruction by the table, or one of two sources.
func (m neon) lower(p *pass, in inst, dst string, src []string) {
	if f, ok := neonLower[in.op]; ok {
		f(p, in, dst, src)
		return
	}
	if neonUnary[in.op] {
		p.a.neon(in.op, p.wide, regNum(dst), regNum(src[0]), 0)
		return
	}
	p.a.neon(in.op, p.wide, regNum(dst), regNum(src[0]), regNum(src[1]))
}

var neonLower = map[string]func(p *pass, in inst, dst string, src []string){
	"IN": neonIn, "OUT": neonOut,
	"REG": func(p *pass, in inst, dst string, _ []string) {
		p.a.op("FMOVQ", p.a.inTable(in.src[0].words), fmt.Sprintf("F%d", regNum(dst)))
	},
	"HIGHBITS": neonShift("VUSHR", 52), "LASTBIT": neonShift("VSHL", 63), "SECONDBIT": neonShift("VSHL", 62),
	"XOR":  func(p *pass, _ inst, dst string, src []string) { p.a.bits("VEOR", src[1], src[0], dst) },
	"AND":  func(p *pass, _ inst, dst string, src []string) { p.a.bits("VAND", src[1], src[0], dst) },
	"OR":   func(p *pass, _ inst, dst string, src []string) { p.a.bits("VORR", src[1], src[0], dst) },
	"KEEP": func(p *pass, _ inst, dst string, src []string) { p.a.bits("VAND", src[1], src[0], dst) },
	lt:     neonLess,
	notLT: func(p *pass, in inst, dst string, src []string) {
		neonLess(p, in, dst, src)
		p.a.not(regNum(dst))
	},
	isNaN: func(p *pass, _ inst, dst string, src []string) {
		p.a.neon("EQ", p.wide, regNum(dst), regNum(src[0]), regNum(src[1]))
		p.a.not(regNum(dst))
	},
	"PICK": neonPick,
	"EXPONENT": func(p *pass, _ inst, dst string, src []string) {
		by := 23
		if p.wide {
			by = 52
		}
		p.a.op("VSHL", imm(by), src[0]+lanesOf(p.wide), dst+lanesOf(p.wide))
	},
	"INTAIL": func(p *pass, _ inst, dst string, src []string) { p.a.first(p.wide, regNum(dst), regNum(src[0])) },
	"SUM": func(p *pass, in inst, tmp string, src []string) {
		v := regNum(src[0])
		if p.tail {
			v = regNum(tmp)
			p.a.first(p.wide, v, regNum(src[0]))
		}
		p.a.neon("ADD", p.wide, in.acc[0].num, in.acc[0].num, v)
	},
	"GREATEST": func(p *pass, in inst, tmp string, src []string) {
		v := src[0]
		if p.tail {
			v = tmp
			p.a.op("VDUP", src[0]+".S[0]", tmp+".S4")
		}
		p.a.neon("MAX", p.wide, in.acc[0].num, in.acc[0].num, regNum(v))
	},
	"SUMWIDE": func(p *pass, in inst, tmp string, src []string) {
		t := regNum(tmp)
		p.a.fcvtl(t, regNum(src[0]))
		p.a.neon("ADD", true, in.acc[0].num, in.acc[0].num, t)
		p.a.fcvtl2(t, regNum(src[0]))
		p.a.neon("ADD", true, in.acc[1].num, in.acc[1].num, t)
	},
	"PRODUCT": func(p *pass, in inst, _ string, src []string) {
		p.a.neon("FMA", p.wide, in.acc[0].num, regNum(src[0]), regNum(src[1]))
	},
}

func neonShift(op string, by int) func(p *pass, in inst, dst string, src []string) {
	return func(p *pass, _ inst, dst string, src []string) {
		p.a.op(op, imm(by), src[0]+lanesOf(p.wide), dst+lanesOf(p.wide))
	}
}

// place is where the elements of an instruction lie, and what moves them.
func (p *pass) place(in inst) (at, op string) {
	bytes := p.step[in.array]
	if !p.tail {
		bytes *= p.isa.lanes()
	}
	return mem(in.off*p.step[in.array], neon{p.loop}.cursor(in.array)), fmov[bytes]
}

func neonIn(p *pass, in inst, dst string, _ []string) {
	d := regNum(dst)
	at, op := p.place(in)
	p.a.op(op, at, fmt.Sprintf("F%d", d))
	if p.wide && p.step[in.array] == 4 {
		p.a.fcvtl(d, d)
	}
}

func neonOut(p *pass, in inst, tmp string, src []string) {
	v := regNum(src[0])
	if p.wide && p.step[in.array] == 4 {
		p.a.fcvtn(regNum(tmp), v)
		v = regNum(tmp)
	}
	at, op := p.place(in)
	p.a.op(op, fmt.Sprintf("F%d", v), at)
}

// neonLess is the mask of lanes where the first source is less.
func neonLess(p *pass, _ inst, dst string, src []string) {
	p.a.neon("GT", p.wide, regNum(dst), regNum(src[1]), regNum(src[0]))
}

// neonPick writes over whichever source is of no further use.
func neonPick(p *pass, _ inst, dst string, src []string) {
	mask, x, y := src[0], src[1], src[2]
	switch dst {
	case y:
		p.a.bits("VBIT", mask, x, dst)
	case x:
		p.a.bits("VBIF", mask, y, dst)
	case mask:
		p.a.bits("VBSL", y, x, dst)
	default:
		p.a.copyNEON(regNum(y), regNum(dst))
		p.a.bits("VBIT", mask, x, dst)
	}
}

// fuse adds to the third source where it is of no further use, else to a copy.
func (m neon) fuse(r *registers, in inst, dies func(val) bool) {
	x, y, z := in.src[0], in.src[1], in.src[2]
	var dst string
	switch {
	case z.words != nil:
		dst = r.constant(z)
	case dies(z) && !same(z, x) && !same(z, y):
		dst = r.name(z)
	default:
		dst = r.take(false)
		m.a.copyNEON(regNum(r.name(z)), regNum(dst))
	}
	factor := ""
	if y.words != nil {
		factor = r.constant(y)
		defer r.release(factor)
	} else {
		factor = r.name(y)
	}
	m.a.neon(in.op, r.wide, regNum(dst), regNum(r.name(x)), regNum(factor))
	r.made(in, dst, dies)
}
