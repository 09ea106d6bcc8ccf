package hugepage

import (
	"syscall"
	"unsafe"
)

const (
	size     = 2 << 20 // of a large page
	collapse = 25      // MADV_COLLAPSE, since Linux 6.1
)

func advise(b []byte) {
	first := uintptr(unsafe.Pointer(&b[0])) &^ (size - 1)
	end := (uintptr(unsafe.Pointer(&b[len(b)-1])) + size) &^ (size - 1)
	// Errors mean that pages stay as they are: an older system, memory that is
	// not there, none to spare.
	_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, first, end-first, collapse)
}
