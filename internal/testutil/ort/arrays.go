package ort

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

// writeArrays writes arrays under the names "0", "1", ... and returns what
// they are called by their place, and the file's path.
func writeArrays(t testing.TB, dir, file string, arrays map[string]*tensor.Tensor) (names []string, path string) {
	t.Helper()
	var f npz.File
	names = append([]string{}, sortedKeys(arrays)...)
	for i, name := range names {
		if err := f.Add(strconv.Itoa(i), arrays[name]); err != nil {
			t.Fatalf("input %q: %v", name, err)
		}
	}
	path = filepath.Join(dir, file)
	w, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Write(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return names, path
}

// readArrays returns the arrays "0", "1", ... of a file.
func readArrays(t testing.TB, path string) []*tensor.Tensor {
	t.Helper()
	f, err := npz.ReadFile(path, npz.Options{})
	if err != nil {
		t.Fatal(err)
	}
	out := make([]*tensor.Tensor, len(f.Names()))
	for i := range out {
		if out[i] = f.Get(strconv.Itoa(i)); out[i] == nil {
			t.Fatalf("%s has no array %d", path, i)
		}
	}
	return out
}
