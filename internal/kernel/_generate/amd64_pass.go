package main

import "fmt"

// Masks of a tail: K1 for elements in memory and lanes alike; on AVX2 the last
// registers, of 32-bit lanes and, in a wide pass, of 64-bit ones.
const memMask2, laneMask2 = 15, 14

func (x x86) constants() (toRegisters bool) { return false }

func (x x86) reserved(p *pass, n int) bool {
	return !p.isa.masked && p.tail && (n == memMask2 || p.wide && n == laneMask2)
}

func tailMasks(p *pass) {
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

// laneMask is the mask register of the lanes that count in a tail.
func laneMask(p *pass) string {
	switch {
	case p.isa.masked:
		return "K1"
	case p.wide:
		return fmt.Sprintf("Y%d", laneMask2)
	}
	return fmt.Sprintf("Y%d", memMask2)
}

// inTail is the mask in a tail.
func inTail(p *pass, mask string) string {
	if p.tail {
		return mask
	}
	return ""
}

// address is where element AX of an array lies.
func address(p *pass, in inst) string {
	r, ok := p.ptr[in.array]
	if !ok {
		panic(p.a.fn + " has no array " + in.array)
	}
	off := in.off * p.step[in.array]
	if off == 0 {
		return fmt.Sprintf("(%s)(AX*%d)", r, p.step[in.array])
	}
	return fmt.Sprintf("%d(%s)(AX*%d)", off, r, p.step[in.array])
}

// narrow is the part of a register that holds as many float32 as it holds
// float64.
func narrow(r string) string {
	if r[0] == 'Z' {
		return "Y" + r[1:]
	}
	return "X" + r[1:]
}

// operand is a constant as the last source of an instruction, and the suffix
// that the instruction then has.
func operand(p *pass, v val) (operand, suffix string) {
	if p.isa.masked {
		return p.a.constant(v.words...) + "(SB)", ".BCST"
	}
	var all []uint32
	for len(all) < 8 {
		all = append(all, v.words...)
	}
	return p.a.constant(all...) + "(SB)", ""
}

// lower writes an instruction by the table, or one of two sources.
func (x x86) lower(p *pass, in inst, dst string, src []string) {
	if f, ok := x86Lower[in.op]; ok {
		f(p, in, dst, src)
		return
	}
	op, second := "V"+in.op+p.isa.ps, src[1]
	imm, compares := x86Predicates[in.op]
	if compares {
		op = "VCMP" + p.isa.ps
	}
	if second == "" {
		suffix := ""
		second, suffix = operand(p, in.src[1])
		op += suffix
	}
	if compares {
		p.a.op(op, imm, second, src[0], dst)
	} else {
		p.a.op(op, second, src[0], dst)
	}
}

var x86Predicates = map[string]string{lt: "$0x11", notLT: "$0x15", isNaN: "$0x03"}

var x86Lower = map[string]func(p *pass, in inst, dst string, src []string){
	"IN": x86In, "OUT": x86Out, "SUM": x86Accumulate("VADD"), "GREATEST": x86Accumulate("VMAX"), "SUMWIDE": x86SumWide,
	"REG": func(p *pass, in inst, dst string, _ []string) {
		p.a.op("VBROADCAST"+p.isa.ss, p.a.constant(in.src[0].words...)+"(SB)", dst)
	},
	"SQRT":  func(p *pass, _ inst, dst string, src []string) { p.a.op("VSQRT"+p.isa.ps, src[0], dst) },
	"FLOOR": x86Round("$1"), "CEIL": x86Round("$2"), "ROUND": x86Round("$0"),
	"HIGHBITS": x86Shift("VPSRLQ", 52), "LASTBIT": x86Shift("VPSLLQ", 63), "SECONDBIT": x86Shift("VPSLLQ", 62),
	"PICK": func(p *pass, _ inst, dst string, src []string) {
		if p.isa.masked {
			p.a.op("VBLENDM"+p.isa.ps, src[1], src[2], src[0], dst)
		} else {
			p.a.op("VBLENDV"+p.isa.ps, src[0], src[1], src[2], dst)
		}
	},
	"KEEP": func(p *pass, _ inst, dst string, src []string) {
		if p.isa.masked {
			p.a.op("VMOVA"+p.isa.ps+".Z", src[1], src[0], dst)
		} else {
			p.a.op("VAND"+p.isa.ps, src[0], src[1], dst)
		}
	},
	"EXPONENT": func(p *pass, _ inst, dst string, src []string) {
		if p.wide {
			p.a.op("VPSLLQ", "$52", src[0], dst)
		} else {
			p.a.op("VPSLLD", "$23", src[0], dst)
		}
	},
	"RCP14": func(p *pass, _ inst, dst string, src []string) { p.a.op("VRCP14PD", src[0], dst) },
	"INTAIL": func(p *pass, _ inst, dst string, src []string) {
		if p.isa.masked {
			p.a.op("VMOVA"+p.isa.ps+".Z", src[0], "K1", dst)
		} else {
			p.a.op("VAND"+p.isa.ps, laneMask(p), src[0], dst)
		}
	},
	"PRODUCT": func(p *pass, in inst, _ string, src []string) {
		p.a.op("VFMADD231"+p.isa.ps, src[0], src[1], in.acc[0].fixed)
	},
}

func x86Shift(op string, by int) func(p *pass, in inst, dst string, src []string) {
	return func(p *pass, _ inst, dst string, src []string) { p.a.op(op, imm(by), src[0], dst) }
}

func x86Round(mode string) func(p *pass, in inst, dst string, src []string) {
	return func(p *pass, _ inst, dst string, src []string) {
		op := "VROUND"
		if p.isa.masked {
			op = "VRNDSCALE"
		}
		p.a.op(op+p.isa.ps, mode, src[0], dst)
	}
}

func x86In(p *pass, in inst, dst string, _ []string) {
	from := address(p, in)
	switch {
	case p.wide && p.step[in.array] == 4 && !p.tail:
		p.a.op("VCVTPS2PD", from, dst)
	case p.wide && p.step[in.array] == 4 && p.isa.masked:
		p.a.op("VCVTPS2PD.Z", from, "K1", dst)
	case p.wide && p.step[in.array] == 4:
		p.a.op("VMASKMOVPS", from, fmt.Sprintf("X%d", memMask2), narrow(dst))
		p.a.op("VCVTPS2PD", narrow(dst), dst)
	default:
		p.isa.load(p.a, from, inTail(p, laneMask(p)), dst)
	}
}

func x86Out(p *pass, in inst, tmp string, src []string) {
	to := address(p, in)
	if !p.wide || p.step[in.array] == 8 {
		p.isa.store(p.a, src[0], inTail(p, laneMask(p)), to)
		return
	}
	op := "VCVTPD2PS"
	if !p.isa.masked {
		op = "VCVTPD2PSY"
	}
	p.a.op(op, src[0], narrow(tmp))
	mask := inTail(p, "K1")
	if p.tail && !p.isa.masked {
		mask = fmt.Sprintf("X%d", memMask2)
	}
	p.v.store(p.a, narrow(tmp), mask, to)
}

func x86Accumulate(op string) func(p *pass, in inst, tmp string, src []string) {
	return func(p *pass, in inst, tmp string, src []string) {
		acc, op := in.acc[0].fixed, op+p.isa.ps
		switch {
		case !p.tail:
			p.a.op(op, src[0], acc, acc)
		case p.isa.masked:
			p.a.op(op, src[0], acc, "K1", acc)
		default:
			p.a.op(op, src[0], acc, tmp)
			p.a.op("VBLENDV"+p.isa.ps, laneMask(p), tmp, acc, acc)
		}
	}
}

func x86SumWide(p *pass, in inst, tmp string, src []string) {
	p.a.op("VCVTPS2PD", narrow(src[0]), tmp)
	p.a.op("VADDPD", tmp, in.acc[0].fixed, in.acc[0].fixed)
	if p.isa.masked {
		p.a.op("VEXTRACTF64X4", "$1", src[0], narrow(tmp))
	} else {
		p.a.op("VEXTRACTF128", "$1", src[0], narrow(tmp))
	}
	p.a.op("VCVTPS2PD", narrow(tmp), tmp)
	p.a.op("VADDPD", tmp, in.acc[1].fixed, in.acc[1].fixed)
}

var x86Fused = map[string]string{"FMA": "VFMADD", "FNMA": "VFNMADD"}

// fuse chooses the form that overwrites a source of no further use.
func (m x86) fuse(r *registers, in inst, dies func(val) bool) {
	x, y, z := in.src[0], in.src[1], in.src[2]
	op := x86Fused[in.op]
	loses := func(v val) bool { return v.words == nil && dies(v) }
	write := func(form string, last val, second, dst string) {
		name, suffix := "", ""
		if last.words != nil {
			name, suffix = operand(r.pass, last)
		} else {
			name = r.name(last)
		}
		r.a.op(op+form+r.isa.ps+suffix, name, second, dst)
	}
	var dst string
	switch {
	case loses(z) && !same(z, x) && !same(z, y): // z += x*y
		dst = r.name(z)
		write("231", y, r.name(x), dst)
	case loses(x) && y.words == nil && !same(x, y) && !same(x, z): // x = y*x + z
		dst = r.name(x)
		write("213", z, r.name(y), dst)
	case loses(y) && !same(x, y) && !same(y, z): // y = x*y + z
		dst = r.name(y)
		write("213", z, r.name(x), dst)
	case loses(x) && !same(x, z) && z.words == nil: // x = x*y + z, y maybe a constant or x itself
		dst = r.name(x)
		write("132", y, r.name(z), dst)
	default:
		dst = r.take(false)
		if z.words != nil {
			r.a.op("VBROADCAST"+r.isa.ss, r.a.constant(z.words...)+"(SB)", dst)
		} else {
			r.a.op("VMOVA"+r.isa.ps, r.name(z), dst)
		}
		write("231", y, r.name(x), dst)
	}
	r.made(in, dst, dies)
}
