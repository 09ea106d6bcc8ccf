package main

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

// An inst makes dst of src, in the words of a machine.
type inst struct {
	op    string
	src   []val
	dst   val
	array string // that IN and OUT move,
	off   int    // elements further on
	acc   []val  // pinned accumulators
	mask  bool   // dst is a mask
	keep  bool   // dst must not be a register of src
}

func (l *loop) newPass(wide, tail bool) *pass {
	return &pass{loop: l, wide: wide, isa: l.v.of(wide), tail: tail}
}

// unit chooses a vector of an unrolled body.
func (p *pass) unit(u int) { p.off = u * p.isa.lanes() }

// strand is the accumulator that the chosen vector goes to.
func (p *pass) strand(acc []val) val { return acc[p.off/p.isa.lanes()%len(acc)] }

func (p *pass) add_(i inst) val {
	p.count++
	i.dst = val{id: p.count}
	p.insts = append(p.insts, i)
	return i.dst
}

// in loads from an array; lanes past the end are 0.
func (p *pass) in(name string) val { return p.add_(inst{op: "IN", array: name, off: p.off}) }

// out stores to an array. The value is lost where the pass is wide.
func (p *pass) out(name string, v val) {
	p.add_(inst{op: "OUT", array: name, off: p.off, src: []val{p.reg(v)}, keep: true})
}

// c is a constant.
func (p *pass) c(x float64) val { return p.bits(bitsOf(x, p.wide)...) }

func (p *pass) bits(words ...uint32) val { return val{words: words} }

// reg is v in a register.
func (p *pass) reg(v val) val {
	if v.words == nil {
		return v
	}
	return p.add_(inst{op: "REG", src: []val{v}})
}

// binary is an instruction of two sources, of which the second may be a
// constant.
func (p *pass) binary(op string, x, y val) val {
	return p.add_(inst{op: op, src: []val{p.reg(x), y}})
}

func (p *pass) add(x, y val) val { return p.binary("ADD", x, y) }
func (p *pass) sub(x, y val) val { return p.binary("SUB", x, y) }
func (p *pass) mul(x, y val) val { return p.binary("MUL", x, y) }
func (p *pass) div(x, y val) val { return p.binary("DIV", x, y) }

// max and min are of a number x and any y, and NaN for NaN.
func (p *pass) max(x, y val) val { return p.binary("MAX", x, y) }
func (p *pass) min(x, y val) val { return p.binary("MIN", x, y) }
func (p *pass) and(x, y val) val { return p.binary("AND", x, y) }
func (p *pass) or(x, y val) val  { return p.binary("OR", x, y) }
func (p *pass) xor(x, y val) val { return p.binary("XOR", x, y) }

// clamp is x within [lo,hi], and NaN for NaN.
func (p *pass) clamp(x val, lo, hi float64) val {
	return p.min(p.reg(p.c(hi)), p.max(p.reg(p.c(lo)), x))
}

// larger and smaller are max and min of any x and y, NaN where either is.
func (p *pass) larger(x, y val) val  { return p.pick(p.when(x, isNaN, x), x, p.max(x, y)) }
func (p *pass) smaller(x, y val) val { return p.pick(p.when(x, isNaN, x), x, p.min(x, y)) }

func (p *pass) unary(op string, x val) val { return p.add_(inst{op: op, src: []val{x}}) }
func (p *pass) sqrt(x val) val             { return p.unary("SQRT", x) }

// floor, ceil and round make integers, the last the nearest or nearest even.
func (p *pass) floor(x val) val { return p.unary("FLOOR", x) }
func (p *pass) ceil(x val) val  { return p.unary("CEIL", x) }
func (p *pass) round(x val) val { return p.unary("ROUND", x) }

// fma is x*y+z, fnma z-x*y.
func (p *pass) fma(x, y, z val) val  { return p.fused("FMA", x, y, z) }
func (p *pass) fnma(x, y, z val) val { return p.fused("FNMA", x, y, z) }

func (p *pass) fused(op string, x, y, z val) val {
	if x.words != nil {
		x, y = y, x
	}
	if x.words != nil || y.words != nil && z.words != nil {
		x, z = p.reg(x), p.reg(z)
	}
	return p.add_(inst{op: op, src: []val{x, y, z}})
}

func (i inst) fused() bool { return i.op == "FMA" || i.op == "FNMA" }

// abs is |x|, sign the sign bit of x.
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
	lt    = "LT"
	notLT = "NOTLT" // or a NaN is among them
	isNaN = "NAN"   // of x and itself
)

// when is the mask of lanes where x stands to y as the predicate says.
func (p *pass) when(x val, pred string, y val) val {
	return p.add_(inst{op: pred, src: []val{x, y}, mask: true})
}

// pick is x where the mask m is set, else y.
func (p *pass) pick(m, x, y val) val {
	return p.add_(inst{op: "PICK", src: []val{m, p.reg(x), p.reg(y)}})
}

// keepIf is x where the mask m is set, else 0.
func (p *pass) keepIf(m, x val) val { return p.add_(inst{op: "KEEP", src: []val{m, x}}) }

// power is x * 2**n where the low bits of the float t hold n and the bias of
// exponents: see exp.
func (p *pass) power(x, t val) val { return p.mul(x, p.unary("EXPONENT", t)) }

// split is m and e of a normal float64 x = m * 2**e, 1 <= m < 2.
func (p *pass) split(x val) (m, e val) {
	m = p.or(p.and(x, p.bits(0xffffffff, 0xfffff)), p.c(1))
	e = p.sub(p.or(p.unary("HIGHBITS", x), p.c(1<<52)), p.c(1<<52+1023))
	return m, e
}

// scale is x * 2**n, for AVX-512.
func (p *pass) scale(x, n val) val { return p.binary("SCALEF", x, n) }

// recip is 1/x for a finite x that is not small, to 27 bits in one step of
// Newton's, else to full precision.
func (p *pass) recip(x val, steps int) val {
	if !p.isa.masked || !p.wide {
		return p.div(p.c(1), x)
	}
	r := p.unary("RCP14", x)
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
	return p.add_(inst{op: "INTAIL", src: []val{v}})
}

// sum adds v to a pinned accumulator, greatest makes it the greater of both,
// for lanes within the arrays.
func (p *pass) sum(acc, v val) { p.accumulate("SUM", v, acc) }

func (p *pass) greatest(acc, v val) { p.accumulate("GREATEST", v, acc) }

// sumWide adds a v of float32 to two accumulators of float64.
func (p *pass) sumWide(acc [2]val, v val) { p.accumulate("SUMWIDE", v, acc[:]...) }

func (p *pass) accumulate(op string, v val, acc ...val) {
	p.add_(inst{op: op, src: []val{p.reg(v)}, acc: acc, keep: true})
}

// addProduct adds x*y to a pinned accumulator; lanes past the end are zeros.
func (p *pass) addProduct(acc, x, y val) {
	p.add_(inst{op: "PRODUCT", src: []val{x, y}, acc: []val{acc}})
}
