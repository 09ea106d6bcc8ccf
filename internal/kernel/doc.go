// Package kernel computes on slices: matrix products, elementwise functions,
// reductions, norms, losses, data movement, convolutions, optimizer steps.
//
// Kernels take slices and ints. They know no tensors and return no errors: a
// slice too short for the sizes given is a programmer's error and panics.
// Letters are those of BLAS (m, n, k, lda) and of the papers (x, W, r, D). The
// doc comment of a kernel is its reference loop.
//
// Work is cut by shape alone (package par), so a result is bit-equal for any
// number of threads. Slices written must not overlap slices read unless the
// comment says that a kernel works in place.
package kernel

//go:generate go run -C _generate . ..

// Float lists the types that kernels with rounding are generic over.
type Float interface{ float32 | float64 }

// Integer lists the integer types of tensors.
type Integer interface {
	int8 | int16 | int32 | int64 | uint8 | uint16 | uint32 | uint64
}

// Numeric lists the types that have arithmetic and an order.
type Numeric interface{ Float | Integer }

// grain is how many simple element operations make a chunk worth handing to
// another thread.
const grain = 1 << 14

// rowsPerChunk is the grain, in rows, of work that costs cost element
// operations a row.
func rowsPerChunk(cost int) int { return max(1, grain/max(cost, 1)) }

// isInteger reports whether T has no fractions.
func isInteger[T Numeric]() bool {
	one := T(1)
	return one/2 == 0
}

// pick chooses between the float32 and the float64 form of a function or
// other value by T. R is F32 or F64 with T in place of the float type.
func pick[R, F32, F64 any](f32 F32, f64 F64) R {
	if r, ok := any(f32).(R); ok {
		return r
	}
	return any(f64).(R)
}
