package mmap

import "syscall"

// dropPages takes pages out of this process. Those of a file stay in the
// system's cache, and a later access maps them again.
func dropPages(b []byte) { _ = syscall.Madvise(b, syscall.MADV_DONTNEED) }
