// Package atomicfile writes files whole or not at all: aside in the same
// directory, synced, then renamed, with the directory synced last. Several
// files can be one transaction (Set), so that a model never appears without
// its data.
//
// A file being written is called .NAME.RANDOM.bonnx-tmp beside its final
// place. It goes away on every failure but the death of the process.
package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// ErrSameFile is what an output gets that is one of the inputs, by name, by
// hard link or through symbolic links.
var ErrSameFile = errors.New("output is the same file as an input")

// Options say what a Set may replace.
type Options struct {
	// Force allows existing regular files to be replaced. Without it they
	// are an error that wraps fs.ErrExist.
	Force bool
	// Inputs are the files that the command reads; an output that is one of
	// them is ErrSameFile, Force or not.
	Inputs []string
	// FS stands for the operating system; nil is the real one. Tests use it
	// to make each step fail in turn.
	FS FS
}

// Write writes one file through f. The writer is buffered, and copies from an
// *os.File (or an io.LimitedReader over one) by the operating system where it
// can. When f, or anything after it, fails, path is as it was before.
func Write(path string, force bool, f func(w io.Writer) error) error {
	s := NewSet(Options{Force: force})
	defer s.Abort()
	w, err := s.Create(path)
	if err != nil {
		return err
	}
	if err := f(w); err != nil {
		return err
	}
	return s.Commit()
}

// WriteFile is Write of bytes that are there already.
func WriteFile(path string, force bool, data []byte) error {
	return Write(path, force, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// Check reports whether path could be written now: its directory exists and
// takes new files, path is no directory or device, does not exist unless
// force, and is none of inputs. Commands call it before they start to work.
func Check(path string, force bool, inputs ...string) error {
	s := NewSet(Options{Force: force, Inputs: inputs})
	defer s.Abort()
	_, err := s.Create(path)
	return err
}

// A Set is several files written as one transaction. Files appear in the
// order of their Create calls, so data comes before what refers to it. A Set
// belongs to one goroutine.
type Set struct {
	opt   Options
	files []*File
	dirs  []string // made by Mkdir, outermost first
	done  bool
}

// NewSet starts a transaction.
func NewSet(o Options) *Set {
	if o.FS == nil {
		o.FS = OS{}
	}
	return &Set{opt: o}
}

// A File is one output of a Set, written aside until Commit.
type File struct {
	path   string // where it shall be
	tmp    string
	backup string // what was at path before, while committing
	placed bool   // renamed to path
	f      Handle
	buf    *bufio.Writer
	n      int64
	err    error // the first write error; Commit repeats it
}

// Mkdir makes dir and its missing parents as part of the transaction: those
// it made are removed again on failure. An existing directory is no error.
func (s *Set) Mkdir(dir string) error {
	dir = filepath.Clean(dir)
	var missing []string
	for d := dir; ; d = filepath.Dir(d) {
		st, err := os.Stat(d)
		if err == nil {
			if !st.IsDir() {
				return fmt.Errorf("%s: is no directory", d)
			}
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(d) == d {
			return err
		}
		missing = append(missing, d)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := s.opt.FS.Mkdir(missing[i]); err != nil {
			return err
		}
		s.dirs = append(s.dirs, missing[i])
	}
	return nil
}

// Create starts the file that will be at path. The checks of Check are made
// here; nothing is at path before Commit.
func (s *Set) Create(path string) (*File, error) {
	perm, err := s.admit(path)
	if err != nil {
		return nil, err
	}
	dir, base := filepath.Split(path)
	var h Handle
	for range 100 {
		tmp := filepath.Join(dir, fmt.Sprintf(".%s.%08x.bonnx-tmp", shorten(base), rand.Uint32()))
		h, err = s.opt.FS.Create(tmp, perm)
		if err == nil {
			f := &File{path: path, tmp: tmp, f: h}
			f.buf = bufio.NewWriterSize(h, 64<<10)
			s.files = append(s.files, f)
			return f, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return nil, fmt.Errorf("write %s: %w", path, bare(err))
}

// shorten leaves room in a file name for the affixes of the temporary name.
func shorten(base string) string {
	if len(base) > 200 {
		return base[:200]
	}
	return base
}

// admit checks that path may be written and gives the permissions that the
// new file gets: those of the file it replaces, else the usual ones.
func (s *Set) admit(path string) (fs.FileMode, error) {
	if path == "" || os.IsPathSeparator(path[len(path)-1]) {
		return 0, fmt.Errorf("output %q: a file name is needed", path)
	}
	for _, f := range s.files {
		if filepath.Clean(f.path) == filepath.Clean(path) {
			return 0, fmt.Errorf("%s: written twice", path)
		}
	}
	st, err := os.Stat(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
		if _, lerr := os.Lstat(path); lerr == nil && !s.opt.Force {
			return 0, fmt.Errorf("%s: a dangling link is there: %w", path, fs.ErrExist)
		}
		return 0o666, nil
	}
	for _, in := range s.opt.Inputs {
		if ist, err := os.Stat(in); err == nil && os.SameFile(st, ist) {
			return 0, fmt.Errorf("%s: %w (%s)", path, ErrSameFile, in)
		}
	}
	switch {
	case st.IsDir():
		return 0, fmt.Errorf("%s: is a directory", path)
	case !st.Mode().IsRegular():
		return 0, fmt.Errorf("%s: is no regular file", path)
	case !s.opt.Force:
		return 0, fmt.Errorf("%s: %w", path, fs.ErrExist)
	}
	return st.Mode().Perm(), nil
}

// Write appends p.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.buf.Write(p)
	f.n += int64(n)
	return n, f.note(err)
}

// ReadFrom appends all of r, without a detour through this process where r
// and the operating system allow.
func (f *File) ReadFrom(r io.Reader) (int64, error) {
	if err := f.note(f.buf.Flush()); err != nil {
		return 0, err
	}
	n, err := io.Copy(f.f, r)
	f.n += n
	return n, f.note(err)
}

// Size is the number of bytes written so far.
func (f *File) Size() int64 { return f.n }

// Path is where the file will be.
func (f *File) Path() string { return f.path }

// note keeps the first error and makes it name the output, not its
// temporary stand-in.
func (f *File) note(err error) error {
	if err == nil {
		return nil
	}
	var pe *fs.PathError
	if !errors.As(err, &pe) || pe.Path == f.tmp {
		err = fmt.Errorf("write %s: %w", f.path, bare(err))
	}
	if f.err == nil {
		f.err = err
	}
	return err
}

// bare is err without the temporary path that the os package put in.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err
	}
	return err
}

// finish flushes, syncs and closes the file, still aside.
func (f *File) finish() error {
	if f.err != nil {
		return f.err
	}
	if err := f.note(f.buf.Flush()); err != nil {
		return err
	}
	if err := f.note(f.f.Sync()); err != nil {
		return err
	}
	h := f.f
	f.f = nil
	return f.note(h.Close())
}

// Commit makes all files appear. When any step fails, those already placed
// are taken back, what they replaced is put back, and the error says what
// failed. After Commit the Set is done; Abort is then without effect.
func (s *Set) Commit() error {
	if s.done {
		return errors.New("atomicfile: Commit after the end of the Set")
	}
	defer s.Abort()
	for _, f := range s.files {
		if err := f.finish(); err != nil {
			return err
		}
	}
	for _, f := range s.files {
		if err := s.place(f); err != nil {
			return f.note(err)
		}
	}
	if err := s.syncDirs(); err != nil {
		return err
	}
	s.done = true
	for _, f := range s.files {
		if f.backup != "" {
			_ = s.opt.FS.Remove(f.backup) // the outputs are complete all the same
		}
	}
	return nil
}

// place renames f to its path, keeping what it replaces until the end.
func (s *Set) place(f *File) error {
	if _, err := os.Lstat(f.path); err == nil {
		if !s.opt.Force {
			return fs.ErrExist // it appeared while we wrote
		}
		backup := f.tmp + "-old"
		if err := s.opt.FS.Link(f.path, backup); err != nil {
			// No hard links here: for a moment nothing is at path.
			if err := s.opt.FS.Rename(f.path, backup); err != nil {
				return err
			}
		}
		f.backup = backup
	}
	if err := s.opt.FS.Rename(f.tmp, f.path); err != nil {
		return err
	}
	f.placed = true
	return nil
}

// syncDirs makes the renames durable, and the directories that were made.
func (s *Set) syncDirs() error {
	seen := map[string]bool{}
	sync := func(dir string) error {
		if seen[dir] {
			return nil
		}
		seen[dir] = true
		if err := s.opt.FS.SyncDir(dir); err != nil {
			return fmt.Errorf("sync %s: %w", dir, bare(err))
		}
		return nil
	}
	for _, f := range s.files {
		if err := sync(filepath.Dir(f.path)); err != nil {
			return err
		}
	}
	for _, d := range s.dirs {
		if err := sync(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

// Abort undoes everything unless Commit succeeded. Deferring it right after
// NewSet is right; calling it twice does no harm.
func (s *Set) Abort() {
	if s.done {
		return
	}
	s.done = true
	for i := len(s.files) - 1; i >= 0; i-- {
		s.undo(s.files[i])
	}
	for i := len(s.dirs) - 1; i >= 0; i-- {
		_ = s.opt.FS.Remove(s.dirs[i]) // fails, rightly, when others put files there
	}
}

// undo is best effort: there is an error to report already.
func (s *Set) undo(f *File) {
	if f.f != nil {
		_ = f.f.Close()
		f.f = nil
	}
	if !f.placed {
		_ = s.opt.FS.Remove(f.tmp)
	}
	switch {
	case f.backup != "":
		// Where path still is the linked original, rename is a no-op that
		// leaves both names.
		_ = s.opt.FS.Rename(f.backup, f.path)
		_ = s.opt.FS.Remove(f.backup)
	case f.placed:
		_ = s.opt.FS.Remove(f.path)
	}
}
