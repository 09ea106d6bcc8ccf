package main

import "fmt"

// A tile is the register tile of a matrix product: mr rows by nv vectors.
type tile struct {
	vecISA
	mr, nv int
}

// tiles leave registers for a row of B and an element or two of A.
var tilesAMD64 = []tile{{avx512f32, 12, 2}, {avx512f64, 12, 2}, {avx2f32, 4, 3}, {avx2f64, 4, 3}}

func gemmAMD64(a *asm) {
	for _, t := range tilesAMD64 {
		for nv := 1; nv <= t.nv; nv++ {
			for rows := 1; rows <= t.mr; rows++ {
				t.micro(a, rows, nv)
			}
		}
		t.table(a)
		t.axpy(a)
	}
}

func (t tile) name(rows, nv int) string { return fmt.Sprintf("micro%s_%dx%d", t.tag, rows, nv) }

// micro is the microkernel for some rows of the tile and nv of its vectors.
// Accumulators come first among the registers, then a row of B, then A.
func (t tile) micro(a *asm, rows, nv int) {
	a.function(t.name(rows, nv), fmt.Sprintf("k int, a, b, c *%s, ldc, cols int, alpha %s, acc bool, ahead int", t.elem, t.elem), "")
	a.op("MOVQ", a.arg("k"), "BX")
	a.op("MOVQ", a.arg("a"), "SI")
	a.op("MOVQ", a.arg("b"), "DI")
	a.op("MOVQ", a.arg("c"), "DX")
	a.op("MOVQ", a.arg("ldc"), "R8")
	a.op("SHLQ", fmt.Sprintf("$%d", t.scale()), "R8")
	for i := range rows * nv {
		t.zero(a, t.r(i))
	}
	t.products(a, rows, nv)
	t.finish(a, rows, nv)
}

// products is the loop over k, four steps at a time. The last of them fetch a
// row of C each, soon enough and not so soon that panels push it out again:
// rows a power of two apart share a few sets of the cache.
func (t tile) products(a *asm, rows, nv int) {
	const unroll = 4
	by4, last, fetch, rest, one, done := a.label("by4_"), a.label("last"), a.label("fetch"), a.label("rest"), a.label("one"), a.label("done")
	four := func() {
		for u := range unroll {
			t.step(a, rows, nv, u)
		}
		t.advance(a, unroll)
	}
	a.op("MOVQ", "BX", "R10")
	a.op("ANDQ", "$3", "R10")
	a.op("SHRQ", "$2", "BX")
	a.op("JZ", rest)
	a.op("MOVQ", "DX", "R9")
	a.op("MOVQ", a.arg("ahead"), "R11")
	a.op("LEAQ", fmt.Sprintf("(DI)(R11*%d)", t.size), "R11")
	a.op("SUBQ", fmt.Sprintf("$%d", rows), "BX")
	a.op("JLE", last)
	a.at(by4)
	a.op("PREFETCHT1", "(R11)")
	a.op("ADDQ", "$64", "R11")
	four()
	a.op("DECQ", "BX")
	a.op("JNZ", by4)
	a.at(last)
	a.op("ADDQ", fmt.Sprintf("$%d", rows), "BX")
	a.at(fetch)
	for v := range (nv*t.bytes + 63) / 64 {
		a.op("PREFETCHT0", mem(64*v, "R9"))
	}
	a.op("ADDQ", "R8", "R9")
	four()
	a.op("DECQ", "BX")
	a.op("JNZ", fetch)
	a.at(rest)
	a.op("TESTQ", "R10", "R10")
	a.op("JZ", done)
	a.at(one)
	t.step(a, rows, nv, 0)
	t.advance(a, 1)
	a.op("DECQ", "R10")
	a.op("JNZ", one)
	a.at(done)
}

func (t tile) advance(a *asm, steps int) {
	a.op("ADDQ", fmt.Sprintf("$%d", steps*t.mr*t.size), "SI")
	a.op("ADDQ", fmt.Sprintf("$%d", steps*t.nv*t.bytes), "DI")
}

// step adds the products of line u of the panels.
func (t tile) step(a *asm, rows, nv, u int) {
	b, spare := t.mr*t.nv, 1
	if t.masked {
		spare = 4
	}
	for v := range nv {
		a.op("VMOVU"+t.ps, mem(u*t.nv*t.bytes+v*t.bytes, "DI"), t.r(b+v))
	}
	for i := range rows {
		x := t.r(b + t.nv + i%spare)
		a.op("VBROADCAST"+t.ss, mem((u*t.mr+i)*t.size, "SI"), x)
		for v := range nv {
			a.op("VFMADD231"+t.ps, t.r(b+v), x, t.r(i*nv+v))
		}
	}
}

// finish scales the sums and writes them, the last vector of a row under a
// mask where columns may be missing.
func (t tile) finish(a *asm, rows, nv int) {
	b := t.mr * t.nv
	part, add, addPart := a.label("part"), a.label("add"), a.label("addPart")
	alpha, tmp, mask := t.r(b), t.r(b+1), t.r(b+2)
	a.op("VBROADCAST"+t.ss, a.arg("alpha"), alpha)
	for i := range rows * nv {
		a.op("VMUL"+t.ps, alpha, t.r(i), t.r(i))
	}
	a.op("MOVQ", a.arg("cols"), "AX")
	a.op("MOVBLZX", a.arg("acc"), "BX")
	a.op("SUBQ", fmt.Sprintf("$%d", (nv-1)*t.lanes()), "AX")
	if t.masked {
		mask = "K1"
	} else { // masked stores are slow
		a.op("CMPQ", "AX", fmt.Sprintf("$%d", t.lanes()))
		a.op("JNE", part)
		a.op("TESTL", "BX", "BX")
		a.op("JNZ", add)
		t.put(a, rows, nv, "", "")
		a.at(add)
		t.put(a, rows, nv, "", tmp)
		a.at(part)
	}
	t.makeMask(a, "AX", "R10", mask)
	a.op("TESTL", "BX", "BX")
	a.op("JNZ", addPart)
	t.put(a, rows, nv, mask, "")
	a.at(addPart)
	t.put(a, rows, nv, mask, tmp)
}

// put writes the tile, added to what is there where tmp is a register, and
// returns.
func (t tile) put(a *asm, rows, nv int, mask, tmp string) {
	for i := range rows {
		for v := range nv {
			m := ""
			if v == nv-1 {
				m = mask
			}
			if tmp != "" {
				t.load(a, mem(v*t.bytes, "DX"), m, tmp)
				a.op("VADD"+t.ps, tmp, t.r(i*nv+v), t.r(i*nv+v))
			}
			t.store(a, t.r(i*nv+v), m, mem(v*t.bytes, "DX"))
		}
		if i < rows-1 {
			a.op("ADDQ", "R8", "DX")
		}
	}
	a.op("VZEROUPPER")
	a.ret()
}

// axpy adds four rows of b at a time, then single ones: rows are read from
// their beginning to their end, as caches like it, and t stays in the first.
func (t tile) axpy(a *asm) {
	a.function("axpy"+t.tag, fmt.Sprintf("k int, a *%s, inca int, b *%s, ldb int, t *%s, n int", t.elem, t.elem, t.elem),
		"adds k rows of b to t, one after the other:\n\n\tfor p < k in order, j < n: t[j] += a[p*inca]*b[p*ldb+j]")
	for _, p := range [][2]string{{"k", "BX"}, {"a", "SI"}, {"inca", "R9"}, {"b", "DI"}, {"ldb", "R11"}} {
		a.op("MOVQ", a.arg(p[0]), p[1])
	}
	a.op("SHLQ", fmt.Sprintf("$%d", t.scale()), "R9")
	a.op("SHLQ", fmt.Sprintf("$%d", t.scale()), "R11")
	a.op("LEAQ", "(R11)(R11*2)", "R12")
	mask := t.r(10)
	if t.masked {
		mask = "K1"
	}
	a.op("MOVQ", a.arg("n"), "R8")
	a.op("ANDQ", fmt.Sprintf("$%d", t.lanes()-1), "R8")
	t.makeMask(a, "R8", "R10", mask)
	four, one, done := a.label("four"), a.label("one"), a.label("done")
	for _, part := range []struct {
		rows       int
		here, next string
	}{{4, four, one}, {1, one, done}} {
		a.at(part.here)
		a.op("CMPQ", "BX", fmt.Sprintf("$%d", part.rows))
		a.op("JLT", part.next)
		for i := range part.rows {
			a.op("VBROADCAST"+t.ss, "(SI)", t.r(i))
			a.op("ADDQ", "R9", "SI")
		}
		t.addRows(a, part.rows, mask)
		for range part.rows {
			a.op("ADDQ", "R11", "DI")
		}
		a.op("SUBQ", fmt.Sprintf("$%d", part.rows), "BX")
		a.op("JMP", part.here)
	}
	a.at(done)
	a.op("VZEROUPPER")
	a.ret()
}

// addRows adds rows from DI on, times the first registers, to t.
func (t tile) addRows(a *asm, rows int, mask string) {
	many, tail, end := a.label("many"), a.label("tail"), a.label("end")
	a.op("MOVQ", "DI", "R13")
	a.op("MOVQ", a.arg("t"), "DX")
	a.op("MOVQ", a.arg("n"), "R8")
	from := []string{"(R13)", "(R13)(R11*1)", "(R13)(R11*2)", "(R13)(R12*1)"}
	a.at(many)
	a.op("SUBQ", fmt.Sprintf("$%d", t.lanes()), "R8")
	a.op("JLT", tail)
	t.load(a, "(DX)", "", t.r(8))
	for i := range rows {
		a.op("VFMADD231"+t.ps, from[i], t.r(i), t.r(8))
	}
	t.store(a, t.r(8), "", "(DX)")
	a.op("ADDQ", fmt.Sprintf("$%d", t.bytes), "R13")
	a.op("ADDQ", fmt.Sprintf("$%d", t.bytes), "DX")
	a.op("JMP", many)
	a.at(tail)
	a.op("ADDQ", fmt.Sprintf("$%d", t.lanes()), "R8")
	a.op("JZ", end)
	t.load(a, "(DX)", mask, t.r(8))
	for i := range rows {
		t.load(a, from[i], mask, t.r(9))
		a.op("VFMADD231"+t.ps, t.r(9), t.r(i), t.r(8))
	}
	t.store(a, t.r(8), mask, "(DX)")
	a.at(end)
}

const microDoc = `
// micro%s are microkernels by vectors of a row, less one, and by rows, less
// one. They multiply packed panels a (k,%d) and b (k,%d) for as many rows of c
// and for cols columns, which must end in the last vector:
//
//	c[i*ldc+j] = alpha * sum over p in order of a[p*%d+i]*b[p*%d+j], plus c[i*ldc+j] where acc
//
// They prefetch from b[ahead] on.
var micro%s = [%d][%d]func(k int, a, b, c *%s, ldc, cols int, alpha %s, acc bool, ahead int){
`

// table declares the microkernels of a tile.
func (t tile) table(a *asm) {
	nr := t.nv * t.lanes()
	fmt.Fprintf(&a.decls, microDoc, t.tag, t.mr, nr, t.mr, nr, t.tag, t.nv, t.mr, t.elem, t.elem)
	for nv := 1; nv <= t.nv; nv++ {
		a.decls.WriteString("\t{")
		for rows := 1; rows <= t.mr; rows++ {
			if rows > 1 {
				a.decls.WriteString(", ")
			}
			a.decls.WriteString(t.name(rows, nv))
		}
		a.decls.WriteString("},\n")
	}
	a.decls.WriteString("}\n")
}
