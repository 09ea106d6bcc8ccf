// Package bonnx fine-tunes ONNX models: it puts Bone, Bat, MiSS or LoRA
// adapters on the linear layers of a graph, trains them, and gives back an
// ordinary ONNX file. It needs no Python, no source framework and no cgo.
//
// Open reads a model; Inject, Merge, Strip, Extract and Apply rewrite it;
// Train and Eval work on data; Compile readies it to be run; Save writes it.
package bonnx

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/bonnx/bonnx/internal/atomicfile"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
)

// Model is an opened ONNX model. Weights stay in the file until they are
// needed. A Model is for one goroutine at a time.
type Model struct {
	graph *ir.Model
	path  string
	set   *ops.Set
	disk  atomicfile.FS // nil for the real one; tests make its steps fail
}

// Open reads the model at path; its weights are mapped, not read. Errors that
// are about the file's content satisfy IsInvalidModel.
func Open(path string) (*Model, error) {
	m, err := onnx.Load(path)
	if err != nil {
		return nil, err
	}
	return &Model{graph: m, path: path, set: ops.Standard()}, nil
}

// OpenFS is Open for a file system such as embed.FS.
func OpenFS(fsys fs.FS, name string) (*Model, error) {
	m, err := onnx.LoadFS(fsys, name)
	if err != nil {
		return nil, err
	}
	return &Model{graph: m, path: name, set: ops.Standard()}, nil
}

// Close releases the file. The model's weights are gone then.
func (m *Model) Close() error { return onnx.Close(m.graph) }

// Path is where the model was opened.
func (m *Model) Path() string { return m.path }

// Graph is the model's graph. Changing it is the caller's responsibility.
func (m *Model) Graph() *ir.Model { return m.graph }

// Files are the model's file and those of its external data.
func (m *Model) Files() []string { return onnx.Files(m.graph) }

// SaveOptions say how Save writes.
type SaveOptions struct {
	// Force replaces an existing file.
	Force bool
	// Inputs are files, beside the model's own, that must not be replaced.
	Inputs []string
	// Context, where there is one, ends the writing when it is cancelled;
	// nothing is left then.
	Context context.Context
}

// Save writes the model, with its external data, whole or not at all. The
// files that it was read from are never replaced.
func (m *Model) Save(path string, o SaveOptions) error {
	return onnx.Save(path, m.graph, onnx.SaveOptions{Force: o.Force, Inputs: o.Inputs, FS: interruptible(o.Context, m.disk)})
}

// UnsupportedOpError names a node whose operator bonnx cannot run.
type UnsupportedOpError = ops.UnsupportedOpError

// invalid marks errors that say that a model, not its use, is at fault.
type invalid struct{ error }

func (e invalid) Unwrap() error { return e.error }

// invalidModel wraps err so that IsInvalidModel knows it.
func invalidModel(err error) error {
	if err == nil {
		return nil
	}
	return invalid{err}
}

// IsInvalidModel reports whether err says that a model's content is broken or
// not supported, or that it is not the base of an adapter.
func IsInvalidModel(err error) bool {
	var (
		bad  invalid
		op   *UnsupportedOpError
		base *BaseMismatchError
	)
	return errors.Is(err, onnx.ErrInvalid) || errors.As(err, &bad) || errors.As(err, &op) || errors.As(err, &base)
}

// wrap names the model in an error.
func (m *Model) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", m.path, err)
}
