package main

import "fmt"

// A vecISA is a vector extension for one element type.
type vecISA struct {
	tag    string // in names of functions
	reg    string // of registers: Z, Y or V
	bytes  int    // of a register
	masked bool   // has mask registers, else masks are vectors
	elem   string // Go's name of the element
	size   int    // its bytes
	ps, ss string // suffixes of packed and scalar instructions of amd64
}

var (
	avx512f32 = vecISA{"AVX512F32", "Z", 64, true, "float32", 4, "PS", "SS"}
	avx512f64 = vecISA{"AVX512F64", "Z", 64, true, "float64", 8, "PD", "SD"}
	avx2f32   = vecISA{"AVX2F32", "Y", 32, false, "float32", 4, "PS", "SS"}
	avx2f64   = vecISA{"AVX2F64", "Y", 32, false, "float64", 8, "PD", "SD"}
)

// of is the extension for float64, or as it is.
func (v vecISA) of(f64 bool) vecISA {
	if f64 {
		v.elem, v.size, v.ps, v.ss = "float64", 8, "PD", "SD"
	}
	return v
}

// machine is how loops are written for the extension.
func (v vecISA) machine(l *loop) machine {
	if v.reg == "V" {
		return neon{l}
	}
	return x86{l}
}

// lanes is how many elements a register holds.
func (v vecISA) lanes() int { return v.bytes / v.size }

// r is register number i.
func (v vecISA) r(i int) string { return fmt.Sprintf("%s%d", v.reg, i) }

// scale is log2 of the element's size.
func (v vecISA) scale() int {
	if v.size == 8 {
		return 3
	}
	return 2
}

// mem is an operand off bytes from a base register.
func mem(off int, base string) string {
	if off == 0 {
		return "(" + base + ")"
	}
	return fmt.Sprintf("%d(%s)", off, base)
}

// zero clears a register.
func (v vecISA) zero(a *asm, r string) {
	if v.masked {
		a.op("VPXORQ", r, r, r)
	} else {
		a.op("VXORPS", r, r, r)
	}
}

// makeMask sets the mask m (a K register, or a vector on AVX2) to the first n
// lanes, n in a general register that is lost, as CX and tmp are.
func (v vecISA) makeMask(a *asm, n, tmp, m string) {
	if v.masked {
		a.op("MOVQ", n, "CX")
		a.op("MOVL", "$1", tmp)
		a.op("SHLL", "CX", tmp)
		a.op("DECL", tmp)
		a.op("KMOVW", tmp, m)
		return
	}
	words := make([]uint32, 16) // a window of ones, then zeros
	for i := range 8 {
		words[i] = 0xffffffff
	}
	a.op("LEAQ", a.constant(words...)+"+32(SB)", tmp)
	a.op("SHLQ", fmt.Sprintf("$%d", v.scale()), n)
	a.op("SUBQ", n, tmp)
	a.op("VMOVDQU", mem(0, tmp), m)
}

// load and store move a whole register, or the lanes of the mask m where it is
// not "": the other lanes are loaded as zeros and not stored.
func (v vecISA) load(a *asm, from, m, to string) {
	switch {
	case m == "":
		a.op("VMOVU"+v.ps, from, to)
	case v.masked:
		a.op("VMOVU"+v.ps+".Z", from, m, to)
	default:
		a.op("VMASKMOV"+v.ps, from, m, to)
	}
}

func (v vecISA) store(a *asm, from, m, to string) {
	switch {
	case m == "":
		a.op("VMOVU"+v.ps, from, to)
	case v.masked:
		a.op("VMOVU"+v.ps, from, m, to)
	default:
		a.op("VMASKMOV"+v.ps, from, m, to)
	}
}
