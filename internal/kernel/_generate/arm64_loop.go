package main

import (
	"fmt"
	"strings"
)

// neon is the machine of arm64. Each array has a register that says where it,
// or its row, begins, and in a pass another, eight on, that goes along it. There
// are no masks: what is left after whole vectors goes element by element, in
// the first lane.
type neon struct{ *loop }

var neonf32 = vecISA{tag: "NEONF32", reg: "V", bytes: 16, elem: "float32", size: 4}

// Other registers of general use.
const (
	neonLeft  = "R19" // elements of a pass that are left
	neonRow   = "R20" // rows that are left
	neonTable = "R21" // where the constants are
	neonTemp  = "R22"
)

func (m neon) bank() bank {
	b := bank{vectors: 32, load: "MOVD"}
	for i := range 8 {
		b.pointers = append(b.pointers, fmt.Sprintf("R%d", i))
	}
	return b
}

// cursor is the register that goes along an array.
func (m neon) cursor(array string) string { return fmt.Sprintf("R%d", regNum(m.ptr[array])+8) }

func (m neon) eachRow() {
	m.a.op("MOVD", m.a.arg("rows"), neonRow)
	m.rows = m.a.label("row")
	m.a.at(m.rows)
}

func (m neon) nextRow(arrays ...string) {
	for _, name := range arrays {
		name, one := strings.CutSuffix(name, ":1")
		if one {
			m.a.op("ADD", imm(m.step[name]), m.ptr[name])
			continue
		}
		m.goOn(name, "n")
	}
	m.a.op("SUBS", "$1", neonRow)
	m.a.op("BNE", m.rows)
}

// goOn moves an array on by as many elements as a parameter says.
func (m neon) goOn(array, by string) {
	m.a.op("MOVD", m.a.arg(by), neonTemp)
	scale := vecISA{size: m.step[array]}.scale()
	m.a.op("ADD", fmt.Sprintf("%s<<%d", neonTemp, scale), m.ptr[array])
}

func (m neon) rowsOf(body func(p *pass), arrays ...[2]string) {
	m.eachRow()
	m.eachOf(false, 4, repeated(body))
	for _, s := range arrays {
		m.goOn(s[0], s[1])
	}
	m.nextRow()
	m.end()
}

func (m neon) end() { m.a.ret() }

func (m neon) eachOf(wide bool, unroll int, body func(p *pass, times int)) {
	arrays := m.prepare(wide, body)
	m.a.op("MOVD", m.a.arg("n"), neonLeft)
	done := m.a.label("done")
	if unroll > 1 {
		m.part(m.newPass(wide, false), unroll, arrays, body, done)
	}
	m.part(m.newPass(wide, false), 1, arrays, body, done)
	m.part(m.newPass(wide, true), 1, arrays, body, done)
	m.a.at(done)
}

// part repeats a body for as long as there are elements for it, and goes to
// done where none are left then.
func (m neon) part(p *pass, times int, arrays []string, body func(p *pass, times int), done string) {
	elems := times
	if !p.tail {
		elems *= p.isa.lanes()
	}
	here, next := m.a.label("loop"), m.a.label("next")
	m.a.op("SUBS", imm(elems), neonLeft)
	m.a.op("BLT", next)
	m.a.at(here)
	body(p, times)
	p.write()
	for _, name := range arrays {
		m.a.op("ADD", imm(elems*m.step[name]), m.cursor(name))
	}
	m.a.op("SUBS", imm(elems), neonLeft)
	m.a.op("BGE", here)
	m.a.at(next)
	if !p.tail {
		m.a.op("ADDS", imm(elems), neonLeft)
		m.a.op("BEQ", done)
	}
}

// prepare sets the cursors of the arrays that a body uses, which it returns,
// and the place of constants if there are any.
func (m neon) prepare(wide bool, body func(p *pass, times int)) (arrays []string) {
	p := m.newPass(wide, false)
	body(p, 1)
	seen, constants := map[string]bool{"": true}, false
	for _, in := range p.insts {
		if !seen[in.array] {
			seen[in.array] = true
			arrays = append(arrays, in.array)
			m.a.op("MOVD", m.ptr[in.array], m.cursor(in.array))
		}
		for _, s := range in.src {
			constants = constants || s.words != nil
		}
	}
	if constants {
		m.a.op("MOVD", "$"+constantTable+"(SB)", neonTable)
	}
	return arrays
}

// scalarReg is the scalar register of a vector register.
func scalarReg(v val) string { return fmt.Sprintf("F%d", v.num) }

// spread copies the first lane to all.
func (m neon) spread(v val, f64 bool) {
	lane := ".S[0]"
	if f64 {
		lane = ".D[0]"
	}
	m.a.op("VDUP", v.fixed+lane, v.fixed+lanesOf(f64))
}

// lanesOf is the suffix that counts lanes.
func lanesOf(f64 bool) string {
	if f64 {
		return ".D2"
	}
	return ".S4"
}

func (m neon) scalar(name string, f64 bool) val {
	v := m.pin()
	m.a.op(fmov[m.v.of(f64).size], m.a.arg(name), scalarReg(v))
	m.spread(v, f64)
	return v
}

func (m neon) fill(v val, c float64, f64 bool) {
	var bits uint64
	for i, w := range bitsOf(c, f64) {
		bits |= uint64(w) << (32 * i)
	}
	m.a.op("MOVD", fmt.Sprintf("$0x%x", bits), neonTemp)
	m.a.op("VDUP", neonTemp, v.fixed+lanesOf(f64))
}

func (m neon) clear(vals ...val) {
	for _, v := range vals {
		m.a.clearNEON(v.num, v.num+1)
	}
}

func (m neon) move(from, to val) { m.a.copyNEON(from.num, to.num) }

func (m neon) two(op string, f64 bool, y, x, dst val) {
	m.a.neon(op, f64, dst.num, x.num, y.num)
}

func (m neon) across(op string, f64 bool, acc, _ val) {
	for range m.v.of(f64).lanes() / 2 { // pairs, from 4 to 2 to 1
		m.two(op+"P", f64, acc, acc, acc)
	}
}

func (m neon) invert(v, tmp val) {
	m.fill(tmp, 1, true)
	m.two("DIV", true, v, tmp, v)
}

func (m neon) invRoot(sum, tmp, count, eps val) val {
	m.two("DIV", true, count, sum, sum)
	m.two("ADD", true, eps, sum, sum)
	m.a.neon("SQRT", true, sum.num, sum.num, 0)
	m.invert(sum, tmp)
	return sum
}

func (m neon) count() val {
	v := m.pin()
	m.a.op("MOVD", m.a.arg("n"), neonTemp)
	m.a.op("SCVTFD", neonTemp, scalarReg(v))
	m.spread(v, true)
	return v
}

func (m neon) toFloat32(v val) {
	m.a.op("FCVTDS", scalarReg(v), scalarReg(v))
	m.spread(v, false)
}

func (m neon) toFloat64(v val) { m.a.op("FCVTSD", scalarReg(v), scalarReg(v)) }

func (m neon) rowScalar(array string, v val) {
	m.a.op("FMOVS", mem(0, m.ptr[array]), scalarReg(v))
	m.toFloat64(v)
	m.spread(v, true)
}

func (m neon) putRow(array string, v, tmp val) {
	skip := m.a.label("skip")
	m.a.op("CBZ", m.ptr[array], skip)
	m.a.op("FCVTDS", scalarReg(v), scalarReg(tmp))
	m.a.op("FMOVS", scalarReg(tmp), mem(0, m.ptr[array]))
	m.a.op("ADD", imm(m.step[array]), m.ptr[array])
	m.a.at(skip)
}

func (m neon) result(name string, v val) { m.a.op("FMOVD", scalarReg(v), m.a.arg(name)) }
