package main

import (
	"math"
	"strings"
)

// A loop is a function over arrays under way: passes over n elements, perhaps
// once for each of many rows. Its passes are written once, in terms of values,
// and registers are given to values here.
type loop struct {
	machine
	a *asm
	v vecISA // of float32

	routine *routine

	ptr  map[string]string // the register of each array
	step map[string]int    // and the bytes of its elements
	free []int             // vector registers that no pinned value has
	rows string            // the label of the loop over rows
}

// newLoop begins a routine. Its parameters are "n int", the arrays and scalars;
// arrays are of float32 or float64. Where there are rows, eachRow begins the loop
// over as many rows of n elements as the parameter rows says; nextRow ends it
// and moves the arrays named on by a row, those named "x:1" by one element.
func newLoop(a *asm, v vecISA, field, params, doc string, result ...string) *loop {
	l := &loop{a: a, v: v, ptr: map[string]string{}, step: map[string]int{}}
	l.routine = a.routine(v, field, params, doc, result...)
	l.machine = v.machine(l)
	b := l.bank()
	for i := range b.vectors {
		l.free = append(l.free, i)
	}
	for _, p := range l.routine.args {
		if !strings.HasPrefix(p.typ, "*") {
			continue
		}
		l.ptr[p.name], b.pointers = b.pointers[0], b.pointers[1:]
		l.step[p.name] = sizeOf(p.typ[1:])
		a.op(b.load, a.arg(p.name), l.ptr[p.name])
	}
	return l
}

// pin takes a register for as long as the function runs.
func (l *loop) pin() val {
	r := l.free[0]
	l.free = l.free[1:]
	return val{fixed: l.v.r(r), num: r}
}

// zeros are several pinned values, zero at first.
func (l *loop) zeros(n int) []val {
	out := make([]val, n)
	for i := range out {
		out[i] = l.pin()
	}
	l.clear(out...)
	return out
}

// total adds up accumulators of float64 and their lanes, into all lanes of the
// first.
func (l *loop) total(acc []val) val {
	for n := len(acc); n > 1; n /= 2 {
		for i := range n / 2 {
			l.two("ADD", true, acc[i+n/2], acc[i], acc[i])
		}
	}
	l.across("ADD", true, acc[0], acc[len(acc)-1])
	return acc[0]
}

func bitsOf(c float64, f64 bool) []uint32 {
	if f64 {
		b := math.Float64bits(c)
		return []uint32{uint32(b), uint32(b >> 32)}
	}
	return []uint32{math.Float32bits(float32(c))}
}

// each writes a pass, its body repeated unroll times in the main part.
func (l *loop) each(wide bool, unroll int, body func(p *pass)) {
	l.eachOf(wide, unroll, repeated(body))
}

// repeated is a body for several vectors, which eachOf wants: it sees to times
// of them itself, of which p.unit chooses one.
func repeated(body func(p *pass)) func(p *pass, times int) {
	return func(p *pass, times int) {
		for u := range times {
			p.unit(u)
			body(p)
		}
	}
}
