//go:build !noasm && (amd64 || arm64)

package kernel

import "unsafe"

// at0 is where a slice lies, whose elements [0,n) must be there.
func at0[T Float](x []T, n int) *T { return unsafe.SliceData(x[:n]) }

// atOrNil is at0, and nil for nil.
func atOrNil(x []float32, n int) *float32 {
	if x == nil {
		return nil
	}
	return at0(x, n)
}
