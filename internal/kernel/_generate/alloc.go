package main

import "fmt"

// write gives registers to the values of a pass and writes its instructions.
// A value's register is free again after its last use.
func (p *pass) write() {
	last := map[int]int{}
	for i, in := range p.insts {
		for _, s := range in.src {
			if s.id > 0 {
				last[s.id] = i
			}
		}
	}
	r := &registers{pass: p, of: map[int]string{}}
	for _, n := range p.free {
		if !p.isa.masked && p.tail && (n == memMask2 || p.wide && n == laneMask2) {
			continue
		}
		r.vectors = append(r.vectors, p.isa.r(n))
	}
	for i := 2; i < 8; i++ {
		r.masks = append(r.masks, fmt.Sprintf("K%d", i))
	}
	for i, in := range p.insts {
		r.write(in, func(s val) bool { return s.id > 0 && last[s.id] == i }, last[in.dst.id] > i)
	}
}

// registers knows which are free and which value has which.
type registers struct {
	*pass
	of             map[int]string
	vectors, masks []string
}

func (r *registers) take(mask bool) string {
	list := &r.vectors
	if mask && r.isa.masked {
		list = &r.masks
	}
	if len(*list) == 0 {
		panic(r.a.fn + ": out of registers")
	}
	reg := (*list)[0]
	*list = (*list)[1:]
	return reg
}

func (r *registers) release(reg string) {
	if reg[0] == 'K' {
		r.masks = append([]string{reg}, r.masks...)
	} else {
		r.vectors = append([]string{reg}, r.vectors...)
	}
}

func (r *registers) name(v val) string {
	if v.fixed != "" {
		return v.fixed
	}
	return r.of[v.id]
}

// write writes one instruction. dies tells which sources it is the last to
// use, used whether anything uses what it makes.
func (r *registers) write(in inst, dies func(val) bool, used bool) {
	if in.fma {
		r.writeFMA(in, dies)
		return
	}
	var names []string
	for _, s := range in.src {
		if s.words == nil {
			names = append(names, r.name(s))
		}
	}
	free := func() {
		done := map[int]bool{}
		for _, s := range in.src {
			if dies(s) && !done[s.id] {
				r.release(r.name(s))
				done[s.id] = true
			}
		}
	}
	var dst string
	if in.keep {
		dst = r.take(in.mask)
		free()
	} else {
		free()
		dst = r.take(in.mask)
	}
	if in.emit != nil {
		in.emit(dst, names)
	} else {
		op, second := in.op, ""
		if y := in.src[1]; y.words != nil {
			suffix := ""
			second, suffix = r.operand(y)
			op += suffix
		} else {
			second = names[1]
		}
		if in.imm != "" {
			r.a.op(op, in.imm, second, names[0], dst)
		} else {
			r.a.op(op, second, names[0], dst)
		}
	}
	if used {
		r.of[in.dst.id] = dst
	} else {
		r.release(dst)
	}
}

// writeFMA chooses the form that overwrites a source of no further use.
func (r *registers) writeFMA(in inst, dies func(val) bool) {
	x, y, z := in.src[0], in.src[1], in.src[2]
	op := "VFMADD"
	if in.neg {
		op = "VFNMADD"
	}
	loses := func(v val) bool { return v.words == nil && dies(v) }
	write := func(form string, last val, second, dst string) {
		operand, suffix := "", ""
		if last.words != nil {
			operand, suffix = r.operand(last)
		} else {
			operand = r.name(last)
		}
		r.a.op(r.f(op+form)+suffix, operand, second, dst)
	}
	same := func(a, b val) bool { return a.id == b.id && a.fixed == b.fixed && a.words == nil && b.words == nil }
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
			r.a.op(r.f("VMOVA"), r.name(z), dst)
		}
		write("231", y, r.name(x), dst)
	}
	done := map[string]bool{dst: true}
	for _, s := range in.src {
		if dies(s) && !done[r.name(s)] {
			done[r.name(s)] = true
			r.release(r.name(s))
		}
	}
	r.of[in.dst.id] = dst
}
