package main

// A machine is how loops are written for a processor: what a loop says is the
// same for all, in values and pinned values, and a machine says it in
// instructions. There is one for amd64 (amd64_loop.go) and one for arm64
// (arm64_loop.go).
type machine interface {
	bank() bank

	// Control of loops: see loop.go.
	eachOf(wide bool, unroll int, body func(p *pass, times int))
	eachRow()
	nextRow(arrays ...string)
	rowsOf(body func(p *pass), arrays ...[2]string)
	end()

	// On pinned values, of float64 where the operation is not on both:
	scalar(name string, f64 bool) val         // a parameter, in all lanes
	fill(v val, c float64, f64 bool)          // v is a constant, in all lanes
	clear(vals ...val)                        // they are zero
	move(from, to val)                        // to is from
	two(op string, f64 bool, y, x, dst val)   // dst = x op y
	across(op string, f64 bool, acc, tmp val) // folds the lanes of acc, the result in all
	invert(v, tmp val)                        // the first lane is 1/v
	invRoot(sum, tmp, count, eps val) val     // 1/sqrt(sum/count + eps) in all lanes of sum
	count() val                               // n in all lanes
	toFloat32(v val)                          // the first lane rounded, in all lanes
	toFloat64(v val)                          // the first lane of float32 widened
	rowScalar(array string, v val)            // the first element widened, in all lanes
	putRow(array string, v, tmp val)          // writes v rounded, and moves on; the array may be nil
	result(name string, v val)                // returns v

	// Instructions of a pass, once there are registers: see alloc.go. A source
	// that is a constant has the name "", unless constants go to registers.
	constants() (toRegisters bool)
	reserved(p *pass, register int) bool
	lower(p *pass, in inst, dst string, src []string)
	fuse(r *registers, in inst, dies func(val) bool)
}

// A bank is the registers of a machine: how many for vectors, those for
// pointers, and the instruction that loads those.
type bank struct {
	vectors  int
	pointers []string
	load     string
}
