// Package mmap reads ranges of regular files: through a read-only mapping
// where the system has one, else by reading. Callers see one File either way.
package mmap

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
)

// ErrChanged is what reading gives when a file is no longer what was opened.
var ErrChanged = errors.New("file changed while in use")

// Options say how a file is read.
type Options struct {
	// NoMap reads ranges when they are asked for instead of mapping the file.
	NoMap bool
}

// A File is read-only bytes: a mapped file, a file read on demand, or memory.
// It is safe for concurrent use until Close. Slices given out by Bytes may
// lie in the mapping: they are invalid after Close, must not be written to,
// and reading them faults if somebody truncates the file meanwhile (see Guard).
type File struct {
	name string
	size int64
	data []byte      // the mapping, or the memory; nil where ranges are read
	ra   io.ReaderAt // where data is nil
	file *os.File    // nil for memory and foreign readers
	info fs.FileInfo // of file when opened
	unma bool        // data is a mapping

	mu sync.Mutex // guards the offset of file
}

// Open opens a regular file. A directory, device or FIFO is an error, given
// at once: opening never waits.
func Open(path string, o Options) (*File, error) {
	f, err := openNonblock(path)
	if err != nil {
		return nil, err
	}
	return FromFile(f, o)
}

// FromFile is Open for a file that the caller opened. It takes f over, also
// where it fails.
func FromFile(f *os.File, o Options) (*File, error) {
	st, err := f.Stat()
	if err == nil {
		err = CheckRegular(f.Name(), st)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	m := &File{name: f.Name(), size: st.Size(), ra: f, file: f, info: st}
	if o.NoMap || m.size == 0 || int64(int(m.size)) != m.size {
		return m, nil
	}
	if data, err := mapFile(f, int(m.size)); err == nil {
		m.data, m.unma = data, true
	}
	return m, nil
}

// CheckRegular is an error where st is not that of a regular file.
func CheckRegular(name string, st fs.FileInfo) error {
	switch {
	case st.IsDir():
		return fmt.Errorf("%s: is a directory", name)
	case !st.Mode().IsRegular():
		return fmt.Errorf("%s: is no regular file", name)
	}
	return nil
}

// FromBytes is a File over memory, which must not change.
func FromBytes(name string, b []byte) *File {
	if b == nil {
		b = []byte{}
	}
	return &File{name: name, size: int64(len(b)), data: b}
}

// FromReaderAt is a File over the first size bytes of r.
func FromReaderAt(name string, r io.ReaderAt, size int64) *File {
	return &File{name: name, size: size, ra: r}
}

// Name is the path that was opened.
func (f *File) Name() string { return f.name }

// Size is the number of bytes.
func (f *File) Size() int64 { return f.size }

// Direct reports whether Bytes gives slices of the whole without copying.
func (f *File) Direct() bool { return f.data != nil }

// Bytes is n bytes from off, shared with the file where Direct, else a copy.
// A range that the file does not have is an error, before any allocation.
func (f *File) Bytes(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || off > f.size || n > f.size-off {
		return nil, fmt.Errorf("%s: %w: %d bytes at %d, the file has %d", f.name, io.ErrUnexpectedEOF, n, off, f.size)
	}
	if f.data != nil {
		if f.unma && n > 0 {
			if err := f.Check(); err != nil {
				return nil, err
			}
		}
		return f.data[off : off+n : off+n], nil
	}
	b := make([]byte, n)
	if k, err := f.ra.ReadAt(b, off); int64(k) < n {
		return nil, fmt.Errorf("%s: read at %d: %w", f.name, off, noEOF(err))
	}
	return b, nil
}

// Release says that nobody needs n bytes from off soon: pages of a mapping that
// lie within give their memory back, and are read again when somebody does.
func (f *File) Release(off, n int64) {
	page := int64(os.Getpagesize())
	first, end := (off+page-1)/page*page, (off+n)/page*page
	if f.unma && first >= 0 && first < end && end <= f.size {
		dropPages(f.data[first:end])
	}
}

// CopyTo appends n bytes from off to w, by the operating system where both
// are files. The bytes do not pass through the mapping.
func (f *File) CopyTo(w io.Writer, off, n int64) error {
	if off < 0 || n < 0 || off > f.size || n > f.size-off {
		return fmt.Errorf("%s: %w: %d bytes at %d, the file has %d", f.name, io.ErrUnexpectedEOF, n, off, f.size)
	}
	var r io.Reader
	switch {
	case f.file != nil:
		f.mu.Lock()
		defer f.mu.Unlock()
		if _, err := f.file.Seek(off, io.SeekStart); err != nil {
			return err
		}
		r = &io.LimitedReader{R: f.file, N: n}
	case f.data != nil:
		_, err := w.Write(f.data[off : off+n])
		return err
	default:
		r = io.NewSectionReader(f.ra, off, n)
	}
	k, err := io.Copy(w, r)
	if err == nil && k < n {
		err = fmt.Errorf("%s: %w", f.name, ErrChanged)
	}
	return err
}

// Check reports ErrChanged where the file has another size or modification
// time than when it was opened.
func (f *File) Check() error {
	if f.file == nil {
		return nil
	}
	st, err := f.file.Stat()
	if err != nil {
		return err
	}
	if st.Size() != f.size || !st.ModTime().Equal(f.info.ModTime()) {
		return fmt.Errorf("%s: %w", f.name, ErrChanged)
	}
	return nil
}

// Info is the file's description from when it was opened, nil for memory.
func (f *File) Info() fs.FileInfo { return f.info }

// Close ends all use of the file and of slices from it.
func (f *File) Close() error {
	var err error
	if f.unma {
		err = unmapFile(f.data)
		f.unma = false
	}
	f.data, f.ra, f.size = nil, nil, 0
	if f.file != nil {
		err = errors.Join(err, f.file.Close())
		f.file = nil
	}
	return err
}

// Guard runs fn, which reads mapped bytes, and turns the fault that a file
// truncated meanwhile causes into ErrChanged. It covers this goroutine only.
func Guard(fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		switch r := recover().(type) {
		case nil:
		case interface {
			error
			Addr() uintptr
		}:
			err = ErrChanged
		default:
			panic(r)
		}
	}()
	return fn()
}

func noEOF(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
