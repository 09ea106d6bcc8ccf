// Package hugepage asks the system to back memory that is read again and again
// with large pages: a matrix then takes a handful of entries of the
// translation cache, not thousands. It is a hint; nothing depends on it.
package hugepage

import "unsafe"

// least is from how many bytes on it is worth a call.
const least = 1 << 19

// Advise is about memory that has been filled and stays. Large pages begin at
// multiples of their size, so neighbours on both sides are included.
func Advise[T any](x []T) {
	var one T
	if n := len(x) * int(unsafe.Sizeof(one)); n >= least {
		advise(unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), n))
	}
}
