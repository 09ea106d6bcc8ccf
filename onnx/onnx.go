// Package onnx reads and writes ONNX files: bytes on one side, package ir on
// the other. It is the only package that knows protobuf.
//
// Reading takes what the graph needs and leaves tensors where they are: an
// initializer is a range of the mapped file until somebody asks for its
// elements. Writing copies everything that was not changed as it was, the
// fields that bonnx does not know included.
package onnx

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/bonnx/bonnx/internal/mmap"
	"github.com/bonnx/bonnx/ir"
)

// ErrInvalid is wrapped by errors that say that a file is no valid ONNX
// model, or one with external data that cannot be used.
var ErrInvalid = errors.New("invalid model")

// invalidError gives an error the class ErrInvalid and leaves its text alone.
type invalidError struct{ error }

func (e invalidError) Is(target error) bool { return target == ErrInvalid }
func (e invalidError) Unwrap() error        { return e.error }

func invalid(err error) error {
	if errors.Is(err, mmap.ErrChanged) {
		return err
	}
	return invalidError{err}
}

// LoadOptions say how a model is read. The zero value is right for most.
type LoadOptions struct {
	// NoMap reads ranges of files when they are needed instead of mapping
	// the files.
	NoMap bool
	// NoVerify leaves out ir.Verify: the graph may be cyclic or otherwise
	// break the format's structural rules.
	NoVerify bool
}

// Load reads the model at path, a regular file. It reads no weights: they
// stay in the file, which must not change while the model is in use. External
// data must be regular files below the model's directory; that they exist and
// are long enough is checked, their checksums are not. The files stay open
// until Close.
func Load(path string) (*ir.Model, error) { return LoadWith(path, LoadOptions{}) }

// LoadWith is Load with options.
func LoadWith(path string, o LoadOptions) (*ir.Model, error) {
	f, err := mmap.Open(path, mmap.Options{NoMap: o.NoMap})
	if err != nil {
		return nil, err
	}
	return load(&files{main: f, path: path, opt: mmap.Options{NoMap: o.NoMap}}, path, o)
}

// LoadBytes reads a model from memory, which must not change while the model
// is in use. It cannot have external data.
func LoadBytes(b []byte) (*ir.Model, error) {
	return load(&files{main: mmap.FromBytes("model", b)}, "model", LoadOptions{})
}

// LoadReader reads a model from the first size bytes of r, which must not change
// while the model is in use. Weights are read when they are needed. It cannot
// have external data.
func LoadReader(r io.ReaderAt, size int64) (*ir.Model, error) {
	return load(&files{main: mmap.FromReaderAt("model", r, size)}, "model", LoadOptions{})
}

// LoadFS reads a model, and its external data, from a file system such as an
// embed.FS.
func LoadFS(fsys fs.FS, name string) (*ir.Model, error) {
	f, err := openFS(fsys, name)
	if err != nil {
		return nil, err
	}
	return load(&files{main: f, fsys: fsys, dir: path.Dir(name)}, name, LoadOptions{})
}

func load(s *files, name string, o LoadOptions) (*ir.Model, error) {
	var m *ir.Model
	err := mmap.Guard(func() error {
		r, err := newReader(s.main)
		if err != nil {
			return err
		}
		m, err = (&decoder{r, s}).model()
		if err == nil && !o.NoVerify {
			err = ir.Verify(m)
		}
		return err
	})
	if err != nil {
		s.close()
		return nil, fmt.Errorf("%s: %w", name, invalid(err))
	}
	return m, nil
}

// Close closes the files that m, and every copy of m, was read from. Tensors
// from it must not be used afterwards. Closing a model that was not read from
// a file, or was closed before, does nothing.
func Close(m *ir.Model) error {
	if x, ok := m.Extra.(*modelExtra); ok {
		return x.files.close()
	}
	return nil
}

// Files are the files that m was read from: the model, then external data.
func Files(m *ir.Model) []string {
	if x, ok := m.Extra.(*modelExtra); ok {
		return x.files.paths()
	}
	return nil
}
