//go:build unix

package mmap

import (
	"path/filepath"
	"syscall"
	"testing"
)

func TestOpenFIFODoesNotWait(t *testing.T) {
	p := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(p, 0o644); err != nil {
		t.Skip(err)
	}
	if f, err := Open(p, Options{}); err == nil {
		f.Close()
		t.Error("got no error for a FIFO")
	}
}
