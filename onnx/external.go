package onnx

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/bonnx/bonnx/internal/mmap"
	"github.com/bonnx/bonnx/onnx/internal/onnxpb"
	"github.com/bonnx/bonnx/tensor"
)

// Keys of external_data entries.
const (
	keyLocation = "location"
	keyOffset   = "offset"
	keyLength   = "length"
	keyChecksum = "checksum"
)

// files is where a model came from: its own bytes and the files beside it.
// It is safe for concurrent use.
type files struct {
	main *mmap.File
	path string // of the model; "" where it has none
	opt  mmap.Options
	fsys fs.FS // for models of a file system value
	dir  string

	mu   sync.Mutex
	root *os.Root // the model's directory, once external data is met
	ext  map[string]*extFile
}

// extFile is one file with external data. It is opened when it is first read.
type extFile struct {
	owner *files
	loc   string // as external_data names it, cleaned
	size  int64
	info  fs.FileInfo

	mu     sync.Mutex
	f      *mmap.File
	pinned bool // slices of it are out
}

// extRef is a range of an external file.
type extRef struct {
	file   *extFile
	off, n int64
}

// locateExternal resolves external_data and checks that the file is there, is
// below the model's directory, is regular and has the range.
func (d *fileData) locateExternal(all *files) error {
	if d.dtype == tensor.String {
		return errors.New("strings cannot be external data")
	}
	d.form = 0
	want := int64(d.dtype.Size(d.size))
	ref := &extRef{n: want}
	loc := ""
	for _, kv := range d.head.ExternalData {
		var err error
		switch kv.GetKey() {
		case keyLocation:
			loc = kv.GetValue()
		case keyOffset:
			ref.off, err = parseCount(kv)
		case keyLength:
			ref.n, err = parseCount(kv)
		}
		if err != nil {
			return err
		}
	}
	if ref.n != want {
		return fmt.Errorf("%v%v needs %d bytes, external data has length %d", d.dtype, d.shape, want, ref.n)
	}
	if all == nil {
		return errors.New("external data, and no file to find it beside")
	}
	f, err := all.external(loc)
	if err != nil {
		return err
	}
	if ref.off > f.size || ref.n > f.size-ref.off {
		return fmt.Errorf("external data %q: %d bytes at %d, the file has %d", loc, ref.n, ref.off, f.size)
	}
	ref.file = f
	d.ext = ref
	return nil
}

func parseCount(kv *onnxpb.StringStringEntryProto) (int64, error) {
	n, err := strconv.ParseInt(kv.GetValue(), 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("external data: %s is %q", kv.GetKey(), kv.GetValue())
	}
	return n, nil
}

// external finds the file that a location names. Only a regular file below
// the model's directory is taken, links included.
func (s *files) external(loc string) (*extFile, error) {
	if loc == "" {
		return nil, errors.New("external data without location")
	}
	clean := path.Clean(loc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.ext[clean]; f != nil {
		return f, nil
	}
	if path.IsAbs(loc) || !filepath.IsLocal(filepath.FromSlash(loc)) {
		return nil, fmt.Errorf("external data %q: lies outside of the model's directory", loc)
	}
	st, err := s.stat(clean)
	if err == nil {
		err = mmap.CheckRegular(loc, st)
	}
	if err != nil {
		return nil, fmt.Errorf("external data %q: %w", loc, bare(err))
	}
	f := &extFile{owner: s, loc: clean, size: st.Size(), info: st}
	if s.ext == nil {
		s.ext = map[string]*extFile{}
	}
	s.ext[clean] = f
	return f, nil
}

func (s *files) stat(loc string) (fs.FileInfo, error) {
	switch {
	case s.fsys != nil:
		return fs.Stat(s.fsys, path.Join(s.dir, loc))
	case s.path == "":
		return nil, errors.New("the model was not read from a file")
	}
	if s.root == nil {
		root, err := os.OpenRoot(filepath.Dir(s.path))
		if err != nil {
			return nil, err
		}
		s.root = root
	}
	return s.root.Stat(filepath.FromSlash(loc))
}

// bare is err without the path that the os package put in: the caller names
// the file in the model's words.
func bare(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// open gives the opened file; keep says that slices of it will be handed out.
func (f *extFile) open(keep bool) (*mmap.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f == nil {
		m, err := f.owner.openExternal(f.loc)
		if err != nil {
			return nil, fmt.Errorf("external data %q: %w", f.loc, bare(err))
		}
		if m.Size() != f.size || m.Info() != nil && !m.Info().ModTime().Equal(f.info.ModTime()) {
			m.Close()
			return nil, fmt.Errorf("external data %q: %w", f.loc, mmap.ErrChanged)
		}
		f.f = m
	}
	f.pinned = f.pinned || keep
	return f.f, nil
}

// release closes the file where nobody holds slices of it: a model may have
// more files than a process may have open.
func (f *extFile) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.f != nil && !f.pinned {
		f.f.Close()
		f.f = nil
	}
}

// drop gives back the range's memory, where the file is in use at all.
func (e *extRef) drop() {
	e.file.mu.Lock()
	defer e.file.mu.Unlock()
	if e.file.f != nil {
		e.file.f.Release(e.off, e.n)
	}
}

func (s *files) openExternal(loc string) (*mmap.File, error) {
	if s.fsys != nil {
		return openFS(s.fsys, path.Join(s.dir, loc))
	}
	return mmap.OpenIn(s.root, filepath.FromSlash(loc), s.opt)
}

func (r *extRef) bytes() ([]byte, error) {
	f, err := r.file.open(true)
	if err != nil {
		return nil, err
	}
	return f.Bytes(r.off, r.n)
}

// openFS reads a file of fsys by ranges where it can, else whole.
func openFS(fsys fs.FS, name string) (*mmap.File, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil {
		err = mmap.CheckRegular(name, st)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	if of, ok := f.(*os.File); ok {
		return mmap.FromFile(of, mmap.Options{})
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	return mmap.FromBytes(name, b), nil
}

// paths are the files that the model was read from.
func (s *files) paths() []string {
	if s.path == "" {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []string{s.path}
	for loc := range s.ext {
		out = append(out, filepath.Join(filepath.Dir(s.path), filepath.FromSlash(loc)))
	}
	return out
}

func (s *files) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.main.Close()
	for _, f := range s.ext {
		f.mu.Lock()
		if f.f != nil {
			err = errors.Join(err, f.f.Close())
			f.f = nil
		}
		f.mu.Unlock()
	}
	if s.root != nil {
		err = errors.Join(err, s.root.Close())
		s.root = nil
	}
	return err
}
