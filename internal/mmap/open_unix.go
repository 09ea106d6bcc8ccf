//go:build unix

package mmap

import (
	"os"
	"syscall"
)

// openNonblock opens without waiting for the writer of a FIFO.
func openNonblock(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

// OpenIn is Open of a file below root, which no name and no link can leave.
func OpenIn(root *os.Root, name string, o Options) (*File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	return FromFile(f, o)
}
