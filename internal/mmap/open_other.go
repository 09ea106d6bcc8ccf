//go:build !unix

package mmap

import "os"

// openNonblock looks first, as opening could wait.
func openNonblock(path string) (*os.File, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if err := CheckRegular(path, st); err != nil {
		return nil, err
	}
	return os.Open(path)
}

// OpenIn is Open of a file below root, which no name and no link can leave.
func OpenIn(root *os.Root, name string, o Options) (*File, error) {
	st, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if err := CheckRegular(name, st); err != nil {
		return nil, err
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	return FromFile(f, o)
}
