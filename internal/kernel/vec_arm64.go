//go:build !noasm

package kernel

import "unsafe"

// platformVectors32 are the rows of the vector table written in assembly for
// this platform, best first. NEON has the simplest loops; the others are the
// portable ones.
func platformVectors32() []vecRow[float32] {
	v := portableVectors[float32]()
	plain := v
	v.name, v.supported = "neon", hasNEON
	v.add = neonLoops(addVVNEONF32, addVSNEONF32, plain.add, true)
	v.sub = neonLoops(subVVNEONF32, subVSNEONF32, plain.sub, false)
	v.mul = neonLoops(mulVVNEONF32, mulVSNEONF32, plain.mul, true)
	v.div = neonLoops(divVVNEONF32, divVSNEONF32, plain.div, false)
	v.addScaled = func(y, x []float32, alpha float32) {
		n := len(y) &^ 3
		addScaledNEONF32(n, unsafe.SliceData(y), unsafe.SliceData(x[:n]), alpha)
		plain.addScaled(y[n:], x[n:], alpha)
	}
	v.sum = func(x []float32) float64 {
		n := len(x) &^ 3
		return sumNEONF32(n, unsafe.SliceData(x)) + plain.sum(x[n:])
	}
	v.dot = func(x, y []float32) float64 {
		n := len(x) &^ 3
		return dotNEONF32(n, unsafe.SliceData(x), unsafe.SliceData(y[:n])) + plain.dot(x[n:], y[n:])
	}
	return []vecRow[float32]{v}
}

// neonLoops has assembly do whole vectors and plain the rest. A scalar may
// stand on either side where the function commutes.
func neonLoops(vv func(n int, d, x, y *float32), vs func(n int, d, x *float32, y float32), plain fast[float32], commutes bool) fast[float32] {
	f := fast[float32]{
		vv: func(d, x, y []float32) {
			n := len(d) &^ 3
			vv(n, unsafe.SliceData(d), unsafe.SliceData(x[:n]), unsafe.SliceData(y[:n]))
			plain.vv(d[n:], x[n:], y[n:])
		},
		vs: func(d, x []float32, y float32) {
			n := len(d) &^ 3
			vs(n, unsafe.SliceData(d), unsafe.SliceData(x[:n]), y)
			plain.vs(d[n:], x[n:], y)
		},
		sv: plain.sv,
	}
	if commutes {
		f.sv = func(d []float32, x float32, y []float32) { f.vs(d, y, x) }
	}
	return f
}

func sumLine32(acc []float64, x []float32) { sumLine(acc, x) }

func normParam32(dg, db []float64, x, dy []float32, mean, inv float64) {
	normParamRow(dg, db, x, dy, mean, inv)
}
