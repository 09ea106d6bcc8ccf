// Package bonnx fine-tunes ONNX models: it puts Bone, Bat, MiSS or LoRA
// adapters on the linear layers of a graph, trains them, and gives back an
// ordinary ONNX file. It needs no Python, no source framework and no cgo.
//
// Open reads a model, New puts an adapter on it, BoneModel.Train trains it;
// BoneModel.SaveAdapter writes the adapter alone as PEFT does, and
// BoneModel.MergeAndUnload gives a plain model to save. To serve, Compile once
// and give every goroutine a Session, which picks adapters per run.
//
// Names and meanings are those of Hugging Face PEFT's BoneConfig and
// BoneModel; docs/peft.md lists them side by side. The package prints nothing,
// keeps no global state, and may be used by several goroutines as each type
// says.
package bonnx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"

	"github.com/bonnx/bonnx/internal/atomicfile"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/rewrite"
)

// Model is an opened ONNX model. Weights stay in the file until they are
// needed. A Model is for one goroutine at a time; the Programs compiled from it
// are not bound to that.
type Model struct {
	graph     *ir.Model
	path      string
	set       *ops.Set
	modelType string
	log       *slog.Logger
	disk      atomicfile.FS // nil for the real one; tests make its steps fail
}

// Open reads the model at path; its weights are mapped, not read. Errors that
// are about the file's content satisfy IsInvalidModel.
func Open(path string) (*Model, error) {
	m, err := onnx.Load(path)
	if err != nil {
		return nil, err
	}
	return newModel(m, path), nil
}

// OpenFS is Open for a file system such as an embed.FS.
func OpenFS(fsys fs.FS, name string) (*Model, error) {
	m, err := onnx.LoadFS(fsys, name)
	if err != nil {
		return nil, err
	}
	return newModel(m, name), nil
}

// OpenReader is Open for the first size bytes of r, which must stay as they are
// while the model is in use. Such a model has no external data.
func OpenReader(r io.ReaderAt, size int64) (*Model, error) {
	m, err := onnx.LoadReader(r, size)
	if err != nil {
		return nil, err
	}
	return newModel(m, "model"), nil
}

func newModel(g *ir.Model, path string) *Model {
	return &Model{graph: g, path: path, set: ops.Standard()}
}

// with is m with another graph.
func (m *Model) with(g *ir.Model) *Model {
	c := *m
	c.graph = g
	return &c
}

// Close releases the file. The model's weights are gone then, and so are those
// of every model made from it.
func (m *Model) Close() error { return onnx.Close(m.graph) }

// Path is where the model was opened.
func (m *Model) Path() string { return m.path }

// Graph is the model's graph. Changing it is the caller's responsibility.
func (m *Model) Graph() *ir.Model { return m.graph }

// Files are the model's file and those of its external data.
func (m *Model) Files() []string { return onnx.Files(m.graph) }

// UseOps has the model run with another set of operators, such as
// ops.Standard().With(...), which adds one's own.
func (m *Model) UseOps(s *ops.Set) { m.set = s }

// SaveOptions say how a file or folder is written. The zero value is right for
// most.
type SaveOptions struct {
	// Force replaces what exists.
	Force bool
	// Keep are files, beside the model's own, that must not be replaced.
	Keep []string
	// Format is how an adapter alone is written: "peft" or "npz"; "" is npz
	// where the path ends so, else peft.
	Format string
	// Form is how adapters stand in a saved graph: "activation" keeps the base
	// layers and adds to their results, "weight" adds to the weights, which
	// other runtimes fold at load; "" leaves it to the method.
	Form string
	// BlockInputs makes the adapters' blocks graph inputs with defaults, to be
	// fed others at run time.
	BlockInputs bool
}

// Check reports whether path could be written: it is in a writable directory,
// does not exist unless Force is set, and is no file to keep.
func (o SaveOptions) Check(path string) error {
	if _, err := o.form(); err != nil {
		return err
	}
	return atomicfile.Check(path, o.Force, o.Keep...)
}

func (o SaveOptions) form() (rewrite.Form, error) {
	if o.Form == "" {
		return rewrite.Auto, nil
	}
	f, err := rewrite.ParseForm(o.Form)
	if err == nil && f == rewrite.Auto {
		err = fmt.Errorf("form %q is not one of activation, weight", o.Form)
	}
	return f, err
}

// Save writes the model, with its external data, whole or not at all. The files
// that it was read from are never replaced. When ctx ends, the writing ends and
// leaves nothing.
func (m *Model) Save(ctx context.Context, path string, o SaveOptions) error {
	return onnx.Save(path, m.graph, onnx.SaveOptions{Force: o.Force, Inputs: o.Keep, FS: interruptible(ctx, m.disk)})
}

// SetLogger has remarks (a weight that had to be copied, a configuration's key
// without effect) written to l; nil, the default, keeps silent.
func (m *Model) SetLogger(l *slog.Logger) { m.log = l }

// logger is never nil.
func (m *Model) logger() *slog.Logger {
	if m.log == nil {
		return slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1}))
	}
	return m.log
}

func (m *Model) notes(list []string) {
	for _, n := range list {
		m.logger().Info(n)
	}
}

// UnsupportedOpError names a node whose operator bonnx cannot run.
type UnsupportedOpError = ops.UnsupportedOpError

// BaseMismatchError says that an adapter was made for another base model.
type BaseMismatchError = rewrite.BaseMismatchError

// UnknownAdapterError says that a model has no adapter of that name.
type UnknownAdapterError struct {
	Name string
	Have []string // the adapters there are
}

func (e *UnknownAdapterError) Error() string {
	if len(e.Have) == 0 {
		return fmt.Sprintf("there is no adapter %q; the model has none", e.Name)
	}
	return fmt.Sprintf("there is no adapter %q; the model has %q", e.Name, e.Have)
}

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
	return errors.Is(err, onnx.ErrInvalid) || errors.Is(err, rewrite.ErrNoAdapter) ||
		errors.As(err, &bad) || errors.As(err, &op) || errors.As(err, &base)
}

// wrap names the model in an error.
func (m *Model) wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", m.path, err)
}
