//go:build unix

package cli_test

import "syscall"

const haveFIFO = true

func makeFIFO(path string) error { return syscall.Mkfifo(path, 0o600) }
