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
		if !p.reserved(p, n) {
			r.vectors = append(r.vectors, p.isa.r(n))
		}
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

// same tells whether two values lie in one register.
func same(a, b val) bool {
	return a.id == b.id && a.fixed == b.fixed && a.words == nil && b.words == nil
}

// constant takes a register for a constant and loads it.
func (r *registers) constant(v val) string {
	reg := r.take(false)
	r.lower(r.pass, inst{op: "REG", src: []val{v}}, reg, nil)
	return reg
}

// write writes one instruction. dies tells which sources it is the last to
// use, used whether anything uses what it makes.
func (r *registers) write(in inst, dies func(val) bool, used bool) {
	if in.fused() {
		r.fuse(r, in, dies)
		return
	}
	names := make([]string, len(in.src))
	var constants []string
	for i, s := range in.src {
		switch {
		case s.words == nil:
			names[i] = r.name(s)
		case r.constants() && in.op != "REG":
			names[i] = r.constant(s)
			constants = append(constants, names[i])
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
		for _, c := range constants {
			r.release(c)
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
	r.lower(r.pass, in, dst, names)
	if used {
		r.of[in.dst.id] = dst
	} else {
		r.release(dst)
	}
}

// made says that dst has what a fused instruction makes, and frees the sources
// that it is the last to use.
func (r *registers) made(in inst, dst string, dies func(val) bool) {
	done := map[string]bool{dst: true}
	for _, s := range in.src {
		if dies(s) && !done[r.name(s)] {
			done[r.name(s)] = true
			r.release(r.name(s))
		}
	}
	r.of[in.dst.id] = dst
}
