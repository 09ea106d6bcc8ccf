package onnx

import (
	"fmt"
	"io"
	"math"
	"path"
	"path/filepath"

	"github.com/bonnx/bonnx/internal/atomicfile"
	"github.com/bonnx/bonnx/ir"
)

// SaveOptions say how a model is written. The zero value is right for most.
type SaveOptions struct {
	// Force allows existing files to be replaced.
	Force bool
	// Inputs are files that must not be written to, beside those that the
	// model was read from.
	Inputs []string
	// External is the size in bytes from which tensors that are in the model
	// file move to an external one, OUT.data. 0 leaves each tensor where it
	// was, new ones in the model file; a model file that would pass 2 GiB
	// then sheds its tensors of 1 KiB and more. A negative value brings
	// everything into the model file.
	External int64
	// FS stands for the file system in tests.
	FS atomicfile.FS
}

// Save writes m to path, and its external data beside it, all or nothing.
// Tensors that were not changed are copied from the files they were read
// from, without passing through memory; so are all parts of the message that
// ir does not hold. External files are named after the new model unless it
// has the old one's name.
func Save(path string, m *ir.Model, o SaveOptions) error {
	if x, ok := m.Extra.(*modelExtra); ok {
		o.Inputs = append(x.files.paths(), o.Inputs...)
	}
	set := atomicfile.NewSet(atomicfile.Options{Force: o.Force, Inputs: o.Inputs, FS: o.FS})
	defer set.Abort()
	if err := SaveIn(set, path, m, o); err != nil {
		return err
	}
	return set.Commit()
}

// SaveIn is Save as part of a transaction with other files. Force, Inputs and
// FS are the set's.
func SaveIn(set *atomicfile.Set, file string, m *ir.Model, o SaveOptions) error {
	l, r, err := encodeModel(m, filepath.Base(file), o.External)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for _, f := range l.files {
		if err := f.save(set, filepath.Dir(file)); err != nil {
			return err
		}
	}
	w, err := set.Create(file)
	if err != nil {
		return err
	}
	return r.writeTo(w)
}

// encodeModel lays out and encodes m as a file called base.
func encodeModel(m *ir.Model, base string, external int64) (*layout, *rope, error) {
	if m.Graph == nil {
		return nil, nil, fmt.Errorf("the model has no graph")
	}
	srcBase := ""
	if x, ok := m.Extra.(*modelExtra); ok {
		if err := x.files.main.Check(); err != nil {
			return nil, nil, err
		}
		if x.files.path != "" {
			srcBase = filepath.Base(x.files.path)
		}
	}
	l := &layout{}
	if external >= 0 {
		l = planLayout(m, srcBase, base, external)
	}
	r, err := (&encoder{l.places}).model(m)
	if err == nil && r.n > math.MaxInt32 && external == 0 {
		l = planLayout(m, srcBase, base, autoSpill)
		r, err = (&encoder{l.places}).model(m)
	}
	if err == nil && r.n > math.MaxInt32 {
		err = errTooBig
	}
	return l, r, err
}

// Marshal is the model as the bytes of a file, with all external data in it.
func Marshal(m *ir.Model) ([]byte, error) {
	_, r, err := encodeModel(m, "", -1)
	if err != nil {
		return nil, err
	}
	return r.memory()
}

// save writes one external file below dir.
func (f *outFile) save(set *atomicfile.Set, dir string) error {
	file := filepath.Join(dir, filepath.FromSlash(f.loc))
	if sub := path.Dir(f.loc); sub != "." {
		if err := set.Mkdir(filepath.Join(dir, filepath.FromSlash(sub))); err != nil {
			return err
		}
	}
	w, err := set.Create(file)
	if err != nil {
		return err
	}
	if f.src != nil {
		defer f.src.release()
	}
	if f.kept && !f.checksumStale {
		return chunk{n: f.size, ext: &extRef{file: f.src, n: f.size}}.writeTo(w)
	}
	for _, p := range f.places {
		if p.off < w.Size() && p.off+p.n <= w.Size() {
			continue // the same bytes as another tensor's
		}
		skip := max(0, w.Size()-p.off)
		if err := f.fill(w, p.off); err != nil {
			return err
		}
		if err := p.write(w, skip); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
	}
	return f.fill(w, f.size)
}

// fill brings the file to length upTo with what the source has there, where
// the layout is its, else with zeros.
func (f *outFile) fill(w *atomicfile.File, upTo int64) error {
	if f.kept && w.Size() < f.src.size {
		end := min(upTo, f.src.size)
		if n := end - w.Size(); n > 0 {
			if err := (chunk{n: n, ext: &extRef{file: f.src, off: w.Size(), n: n}}).writeTo(w); err != nil {
				return err
			}
		}
	}
	if n := upTo - w.Size(); n > 0 {
		_, err := w.Write(make([]byte, n)) // at most an alignment
		return err
	}
	return nil
}

// write writes the tensor but for its first skip bytes, which are there.
func (p *place) write(w io.Writer, skip int64) error {
	if p.from == nil {
		return chunk{n: p.n, data: p.data}.writeTo(w)
	}
	r := *p.from
	r.off, r.n = r.off+skip, r.n-skip
	return chunk{n: r.n, ext: &r}.writeTo(w)
}
