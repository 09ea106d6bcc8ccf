package main

import "fmt"

// Go's assembler knows few vector instructions of arm64 with floats: the others
// are written as words.

// word writes an instruction by its encoding, with its text as a comment.
func (a *asm) word(code uint32, text string, args ...any) {
	fmt.Fprintf(&a.text, "\tWORD $0x%08x // %s\n", code, fmt.Sprintf(text, args...))
}

// The instructions on vector registers d, n and m that are not in the table of
// arithmetic (arm64_pass.go); d is written. See the Arm architecture reference,
// C7.2.

// fmla adds the product with element i of m.
func (a *asm) fmla(d, n, m, i int) {
	a.word(0x4f801000|uint32(i&1<<21|m<<16|i>>1<<11|n<<5|d), "fmla v%d.4s, v%d.4s, v%d.s[%d]", d, n, m, i)
}

// fmulBy multiplies by element 0 of m.
func (a *asm) fmulBy(d, n, m int) {
	a.word(0x4f809000|uint32(m<<16|n<<5|d), "fmul v%d.4s, v%d.4s, v%d.s[0]", d, n, m)
}

// fcvtl makes float64 of the lower two float32, fcvtl2 of the upper two.
func (a *asm) fcvtl(d, n int) {
	a.word(0x0e617800|uint32(n<<5|d), "fcvtl v%d.2d, v%d.2s", d, n)
}

func (a *asm) fcvtl2(d, n int) {
	a.word(0x4e617800|uint32(n<<5|d), "fcvtl2 v%d.2d, v%d.4s", d, n)
}

// fcvtn rounds two float64 to the lower two float32.
func (a *asm) fcvtn(d, n int) {
	a.word(0x0e616800|uint32(n<<5|d), "fcvtn v%d.2s, v%d.2d", d, n)
}

// upperHalf is the bit by which an instruction reads the upper half of n, and
// the ending of its name.
func upperHalf(upper bool) (bit uint32, ending, from string) {
	if upper {
		return 1 << 30, "2", "8h"
	}
	return 0, "", "4h"
}

// fcvtlHalves makes float32 of four float16, shll of four bfloat16, which are
// their upper halves, and sxtl makes integers of 32 bits of four of 16.
func (a *asm) fcvtlHalves(upper bool, d, n int) {
	bit, ending, from := upperHalf(upper)
	a.word(0x0e217800|bit|uint32(n<<5|d), "fcvtl%s v%d.4s, v%d.%s", ending, d, n, from)
}

func (a *asm) shll(upper bool, d, n int) {
	bit, ending, from := upperHalf(upper)
	a.word(0x2e613800|bit|uint32(n<<5|d), "shll%s v%d.4s, v%d.%s, #16", ending, d, n, from)
}

func (a *asm) sxtl(upper bool, d, n int) {
	bit, ending, from := upperHalf(upper)
	a.word(0x0f10a400|bit|uint32(n<<5|d), "sxtl%s v%d.4s, v%d.%s", ending, d, n, from)
}

// scvtf makes float32 of integers of 32 bits.
func (a *asm) scvtf(d, n int) {
	a.word(0x4e21d800|uint32(n<<5|d), "scvtf v%d.4s, v%d.4s", d, n)
}

// ushl shifts bytes to the left by those of m, to the right where they are less
// than 0.
func (a *asm) ushl(d, n, m int) {
	a.word(0x6e204400|uint32(m<<16|n<<5|d), "ushl v%d.16b, v%d.16b, v%d.16b", d, n, m)
}

func (a *asm) clearNEON(from, to int) {
	for r := from; r < to; r++ {
		a.op("VEOR", fmt.Sprintf("V%d.B16", r), fmt.Sprintf("V%d.B16", r), fmt.Sprintf("V%d.B16", r))
	}
}

// s4 is a list of n vector registers of float32.
func s4(first, n int) string {
	list := ""
	for i := range n {
		if i > 0 {
			list += ", "
		}
		list += fmt.Sprintf("V%d.S4", first+i)
	}
	return "[" + list + "]"
}

func imm(n int) string { return fmt.Sprintf("$%d", n) }
