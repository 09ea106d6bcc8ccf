// Package npz reads and writes NumPy's array files: .npz archives and the
// .npy arrays inside of them.
//
// Files are taken for hostile: every size is checked before anything is
// allocated for it, and memory grows with what was really read. Writing is
// deterministic: entries are stored, not compressed, under one fixed date, in
// the order in which they were added.
//
// Element types that NumPy lacks (bfloat16, float8, float4, 4 and 2 bit
// integers) are stored in an archive as unsigned integers, one per element,
// and the entry bonnx.dtypes.json says what they are.
package npz

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bonnx/bonnx/internal/atomicfile"
	"github.com/bonnx/bonnx/tensor"
)

// dtypesEntry holds the types that NumPy lacks: {"array": "bfloat16"}.
const dtypesEntry = "bonnx.dtypes.json"

// Options bounds what reading may take; the zero value is the default.
type Options struct {
	// MaxBytes is the most that all entries together may unpack to. The
	// default is 1 GiB, or 64 times the archive where that is more.
	MaxBytes int64
	// MaxEntries is the most entries; by default 65536.
	MaxEntries int
}

func (o Options) withDefaults(size int64) Options {
	if o.MaxBytes <= 0 {
		o.MaxBytes = max(1<<30, min(size, 1<<56)*64)
	}
	if o.MaxEntries <= 0 {
		o.MaxEntries = 1 << 16
	}
	return o
}

// File is an archive: named arrays, and other entries such as bonnx.json,
// both in the order of the archive. The zero value is an empty one.
type File struct {
	arrays []entry
	extra  []entry
}

type entry struct {
	name string
	t    *tensor.Tensor
	data []byte
}

// FromMap is an archive of the arrays in m, sorted by name.
func FromMap(m map[string]*tensor.Tensor) (*File, error) {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	f := &File{}
	for _, n := range names {
		if err := f.Add(n, m[n]); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Add appends an array; its entry will be name + ".npy".
func (f *File) Add(name string, t *tensor.Tensor) error {
	if err := checkName(name); err != nil {
		return err
	}
	if f.Get(name) != nil {
		return fmt.Errorf("array %q is there twice", name)
	}
	f.arrays = append(f.arrays, entry{name: name, t: t})
	return nil
}

// AddExtra appends an entry that is no array. Its name may not end in .npy.
func (f *File) AddExtra(name string, data []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	if strings.HasSuffix(name, ".npy") || name == dtypesEntry {
		return fmt.Errorf("entry name %q is reserved", name)
	}
	if _, ok := f.Extra(name); ok {
		return fmt.Errorf("entry %q is there twice", name)
	}
	f.extra = append(f.extra, entry{name: name, data: data})
	return nil
}

// checkName refuses names that other programs cannot unpack. A leading slash
// is a legal part of an ONNX value's name.
func checkName(name string) error {
	switch {
	case name == "" || len(name) > 60000 || !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		return fmt.Errorf("%q is no name for an entry", name[:min(len(name), 80)])
	case slices.Contains(strings.Split(strings.ReplaceAll(name, `\`, "/"), "/"), ".."):
		return fmt.Errorf("entry name %q has a .. element", name)
	}
	return nil
}

// Get is the array of that name, nil where there is none.
func (f *File) Get(name string) *tensor.Tensor {
	for _, e := range f.arrays {
		if e.name == name {
			return e.t
		}
	}
	return nil
}

// Names are the arrays' names, in order.
func (f *File) Names() []string { return names(f.arrays) }

// Map is the arrays by name.
func (f *File) Map() map[string]*tensor.Tensor {
	m := make(map[string]*tensor.Tensor, len(f.arrays))
	for _, e := range f.arrays {
		m[e.name] = e.t
	}
	return m
}

// Extra is the content of the entry of that name that is no array.
func (f *File) Extra(name string) ([]byte, bool) {
	for _, e := range f.extra {
		if e.name == name {
			return e.data, true
		}
	}
	return nil, false
}

// ExtraNames are the names of the entries that are no arrays, in order.
func (f *File) ExtraNames() []string { return names(f.extra) }

func names(es []entry) []string {
	out := make([]string, len(es))
	for i, e := range es {
		out[i] = e.name
	}
	return out
}

// ReadFile reads the archive at path.
func ReadFile(path string, o Options) (*File, error) {
	if err := regular(path); err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	st, err := file.Stat()
	if err != nil {
		return nil, err
	}
	f, err := Read(file, st.Size(), o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return f, nil
}

// regular refuses what is no file before it is opened: a pipe would block.
func regular(path string) error {
	st, err := os.Stat(path)
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s: is no regular file", path)
	}
	return err
}

// Read reads an archive of size bytes.
func Read(r io.ReaderAt, size int64, o Options) (*File, error) {
	o = o.withDefaults(size)
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("read npz: %w", err)
	}
	if err := checkDirectory(z.File, size, o); err != nil {
		return nil, err
	}
	f, left := &File{}, o.MaxBytes
	seen := make(map[string]bool, len(z.File))
	var dtypes []byte
	for _, zf := range z.File {
		if strings.HasSuffix(zf.Name, "/") {
			continue
		}
		if err := checkName(zf.Name); err != nil {
			return nil, err
		}
		if seen[zf.Name] {
			return nil, fmt.Errorf("entry %q is there twice", zf.Name)
		}
		seen[zf.Name] = true
		e, err := readEntry(zf, &left)
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", zf.Name, err)
		}
		switch {
		case e.t != nil:
			f.arrays = append(f.arrays, e)
		case e.name == dtypesEntry:
			dtypes = e.data
		default:
			f.extra = append(f.extra, e)
		}
	}
	if dtypes != nil {
		if err := f.restoreTypes(dtypes); err != nil {
			return nil, fmt.Errorf("entry %q: %w", dtypesEntry, err)
		}
	}
	return f, nil
}

// checkDirectory refuses archives whose entries overlap: the compressed sizes
// must fit into the file together.
func checkDirectory(files []*zip.File, size int64, o Options) error {
	if len(files) > o.MaxEntries {
		return fmt.Errorf("%d entries, more than the limit of %d", len(files), o.MaxEntries)
	}
	var sum uint64
	for _, zf := range files {
		if zf.CompressedSize64 > uint64(size) {
			return fmt.Errorf("entry %q is larger than the file", zf.Name)
		}
		if sum += zf.CompressedSize64; sum > uint64(size) {
			return errors.New("entries overlap")
		}
		if zf.Flags&1 != 0 {
			return fmt.Errorf("entry %q is encrypted", zf.Name)
		}
	}
	return nil
}

// readEntry reads an entry and takes its unpacked bytes off left.
func readEntry(zf *zip.File, left *int64) (entry, error) {
	rc, err := zf.Open()
	if err != nil {
		return entry{}, err
	}
	defer rc.Close()
	// The bytes of a stored entry are in the file, so they may be allocated
	// at once; what a compressed one declares may be a lie.
	var sure int64
	if zf.Method == zip.Store {
		sure = int64(min(zf.UncompressedSize64, zf.CompressedSize64))
	}
	lr := &limited{r: rc, left: left}
	if name, ok := strings.CutSuffix(zf.Name, ".npy"); ok {
		t, err := readArray(lr, *left, sure)
		if err == nil {
			err = atEnd(lr)
		}
		return entry{name: name, t: t}, err
	}
	data, err := io.ReadAll(lr)
	return entry{name: zf.Name, data: data}, err
}

// atEnd makes sure that nothing follows, which also lets the zip reader check
// the entry's checksum.
func atEnd(r io.Reader) error {
	var b [1]byte
	if n, err := io.ReadFull(r, b[:]); n != 0 {
		return errors.New("bytes follow the array")
	} else if err != io.EOF {
		return err
	}
	return nil
}

var errLimit = errors.New("unpacks to more than the limit, which is 1 GiB, or 64 times the archive where that is more")

// limited is a reader that ends with errLimit.
type limited struct {
	r    io.Reader
	left *int64
}

func (l *limited) Read(p []byte) (int, error) {
	if int64(len(p)) > *l.left+1 {
		p = p[:*l.left+1]
	}
	n, err := l.r.Read(p)
	if *l.left -= int64(n); *l.left < 0 {
		*l.left = 0
		return n, errLimit
	}
	return n, err
}

// restoreTypes gives arrays back the types that NumPy lacks.
func (f *File) restoreTypes(data []byte) error {
	var m map[string]string
	if err := json.Unmarshal(data, &m); err != nil {
		return err
	}
	for i, e := range f.arrays {
		name, ok := m[e.name]
		if !ok {
			continue
		}
		d := dtypeNamed(name)
		if native(d) {
			return fmt.Errorf("array %q: %q is no type that NumPy lacks", e.name, name)
		}
		t, err := tensor.FromCodes(d, e.t)
		if err != nil {
			return fmt.Errorf("array %q: %w", e.name, err)
		}
		f.arrays[i].t = t
	}
	return nil
}

func dtypeNamed(name string) tensor.DType {
	for d := tensor.Float32; d.Valid(); d++ {
		if d.String() == name {
			return d
		}
	}
	return tensor.Undefined
}

// Write writes the archive.
func (f *File) Write(w io.Writer) error {
	z := zip.NewWriter(w)
	dtypes := map[string]string{}
	for _, e := range f.arrays {
		t := e.t
		if !native(t.DType()) {
			dtypes[e.name] = t.DType().String()
			var err error
			if t, err = t.Codes(); err != nil {
				return fmt.Errorf("array %q: %w", e.name, err)
			}
		}
		head, body, err := encodeArray(t)
		if err == nil {
			err = writeEntry(z, e.name+".npy", head, body)
		}
		if err != nil {
			return fmt.Errorf("array %q: %w", e.name, err)
		}
	}
	for _, e := range f.extra {
		if err := writeEntry(z, e.name, e.data, nil); err != nil {
			return fmt.Errorf("entry %q: %w", e.name, err)
		}
	}
	if len(dtypes) > 0 {
		data, err := json.Marshal(dtypes)
		if err != nil {
			return err
		}
		if err := writeEntry(z, dtypesEntry, data, nil); err != nil {
			return err
		}
	}
	return z.Close()
}

// writeEntry stores head and body. The checksum is computed first, so that
// the entry needs no data descriptor, which some readers do not know.
func writeEntry(z *zip.Writer, name string, head, body []byte) error {
	size := uint64(len(head)) + uint64(len(body))
	h := &zip.FileHeader{Name: name, Method: zip.Store}
	create := z.CreateRaw
	if size >= 1<<32-1 { // the raw form has no room for such sizes in the local header
		h.Modified = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
		create = z.CreateHeader
	} else {
		h.ModifiedDate = 1<<5 | 1 //nolint:staticcheck // 1980-01-01: the raw form writes this field, not Modified
		h.CRC32 = crc32.Update(crc32.ChecksumIEEE(head), crc32.IEEETable, body)
		h.CompressedSize64, h.UncompressedSize64 = size, size
		h.CreatorVersion, h.ReaderVersion = 20, 20
		if !isASCII(name) {
			h.Flags |= 0x800
		}
	}
	w, err := create(h)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err = w.Write(body)
	return err
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// WriteFile writes the archive to path, whole or not at all. An existing file
// is replaced.
func (f *File) WriteFile(path string) error { return atomicfile.Write(path, true, f.Write) }
