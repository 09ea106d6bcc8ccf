package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// faulty is the real file system until its n-th call, which fails.
type faulty struct {
	OS
	left int
	err  error
	log  []string
}

func (f *faulty) step(what string) error {
	f.log = append(f.log, what)
	f.left--
	if f.left == 0 {
		return f.err
	}
	return nil
}

func (f *faulty) Create(name string, perm fs.FileMode) (Handle, error) {
	if err := f.step("create"); err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	h, err := f.OS.Create(name, perm)
	if err != nil {
		return nil, err
	}
	return &faultyHandle{h, f, name}, nil
}

func (f *faulty) Mkdir(name string) error {
	if err := f.step("mkdir"); err != nil {
		return err
	}
	return f.OS.Mkdir(name)
}

func (f *faulty) Rename(a, b string) error {
	if err := f.step("rename"); err != nil {
		return &os.LinkError{Op: "rename", Old: a, New: b, Err: err}
	}
	return f.OS.Rename(a, b)
}

func (f *faulty) SyncDir(name string) error {
	if err := f.step("syncdir"); err != nil {
		return err
	}
	return f.OS.SyncDir(name)
}

type faultyHandle struct {
	Handle
	f    *faulty
	name string
}

func (h *faultyHandle) fail(op string) error {
	if err := h.f.step(op); err != nil {
		return &fs.PathError{Op: op, Path: h.name, Err: err}
	}
	return nil
}

func (h *faultyHandle) Write(p []byte) (int, error) {
	if err := h.fail("write"); err != nil {
		n, _ := h.Handle.Write(p[:len(p)/2]) // a full disk takes a part
		return n, err
	}
	return h.Handle.Write(p)
}

func (h *faultyHandle) Sync() error {
	if err := h.fail("sync"); err != nil {
		return err
	}
	return h.Handle.Sync()
}

func (h *faultyHandle) Close() error {
	err := h.Handle.Close()
	if ferr := h.fail("close"); ferr != nil {
		return ferr
	}
	return err
}

// tree lists dir's files with their contents.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if d.IsDir() {
			out = append(out, rel+"/")
			return nil
		}
		b, err := os.ReadFile(p)
		if len(b) > 20 {
			b = b[:20]
		}
		out = append(out, rel+"="+string(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func put(t *testing.T, path, s string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// save writes two files, the second in a directory that it makes.
func save(o Options, dir string) error {
	s := NewSet(o)
	defer s.Abort()
	data, err := s.Create(filepath.Join(dir, "m.data"))
	if err != nil {
		return err
	}
	if _, err := data.Write(bytes.Repeat([]byte("d"), 200<<10)); err != nil {
		return err
	}
	if err := s.Mkdir(filepath.Join(dir, "a", "b")); err != nil {
		return err
	}
	m, err := s.Create(filepath.Join(dir, "a", "b", "m.onnx"))
	if err != nil {
		return err
	}
	if _, err := io.WriteString(m, "model"); err != nil {
		return err
	}
	return s.Commit()
}

func TestEveryStepFailsInTurn(t *testing.T) {
	for _, force := range []bool{false, true} {
		steps := 0
		for n := 1; ; n++ {
			dir := t.TempDir()
			if force {
				put(t, filepath.Join(dir, "m.data"), "old")
				if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o777); err != nil {
					t.Fatal(err)
				}
				put(t, filepath.Join(dir, "a", "b", "m.onnx"), "old model")
			}
			before := tree(t, dir)
			f := &faulty{left: n, err: syscall.ENOSPC}
			err := save(Options{Force: force, FS: f}, dir)
			if err == nil {
				break
			}
			steps++
			if !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "bonnx-tmp") {
				t.Errorf("step %d (%s): got error %q, want one that wraps ENOSPC and names the output", n, f.log[n-1], err)
			}
			if after := tree(t, dir); !slices.Equal(after, before) {
				t.Errorf("force %v, step %d (%s): got %q, want %q", force, n, f.log[n-1], after, before)
			}
		}
		if steps < 12 {
			t.Errorf("force %v: got %d failing steps, want at least 12", force, steps)
		}
	}
}

func TestSetCommits(t *testing.T) {
	for _, force := range []bool{false, true} {
		dir := t.TempDir()
		if force {
			put(t, filepath.Join(dir, "m.data"), "old")
		}
		if err := save(Options{Force: force}, dir); err != nil {
			t.Fatal(err)
		}
		want := []string{"a/", "a/b/", "a/b/m.onnx=model", "m.data=" + strings.Repeat("d", 20)}
		if got := tree(t, dir); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestOrderIsDataBeforeModel(t *testing.T) {
	f := &faulty{}
	if err := save(Options{FS: f}, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	lastSync := -1
	for i, s := range f.log {
		if s == "sync" {
			lastSync = i
		}
	}
	firstRename := slices.Index(f.log, "rename")
	if firstRename < lastSync {
		t.Errorf("got a rename at step %d before the last sync at %d: %v", firstRename, lastSync, f.log)
	}
	if got, want := f.log[len(f.log)-1], "syncdir"; got != want {
		t.Errorf("got last step %s, want %s", got, want)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	in := put(t, filepath.Join(dir, "in"), "x")
	other := put(t, filepath.Join(dir, "other"), "y")
	hard, soft, dangling := filepath.Join(dir, "hard"), filepath.Join(dir, "soft"), filepath.Join(dir, "dangling")
	for _, err := range []error{os.Link(in, hard), os.Symlink(in, soft), os.Symlink("nowhere", dangling)} {
		if err != nil {
			t.Skip("no links here:", err)
		}
	}
	before := tree2(dir)
	for _, c := range []struct {
		name, path string
		force      bool
		want       error // nil: any error
		ok         bool
	}{
		{name: "new", path: filepath.Join(dir, "new"), ok: true},
		{name: "existing", path: other, want: fs.ErrExist},
		{name: "existing, force", path: other, force: true, ok: true},
		{name: "input", path: in, force: true, want: ErrSameFile},
		{name: "hard link of input", path: hard, force: true, want: ErrSameFile},
		{name: "link to input", path: soft, force: true, want: ErrSameFile},
		{name: "input by another spelling", path: dir + "/./in", force: true, want: ErrSameFile},
		{name: "dangling link", path: dangling, want: fs.ErrExist},
		{name: "dangling link, force", path: dangling, force: true, ok: true},
		{name: "directory", path: dir, force: true},
		{name: "device", path: os.DevNull, force: true},
		{name: "no name", path: "", force: true},
		{name: "slash", path: dir + "/x/", force: true},
		{name: "missing directory", path: filepath.Join(dir, "none", "f"), want: fs.ErrNotExist},
		{name: "file as directory", path: filepath.Join(in, "f")},
	} {
		err := Check(c.path, c.force, in)
		if c.ok != (err == nil) || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want ok=%v %v", c.name, err, c.ok, c.want)
		}
	}
	if after := tree2(dir); !slices.Equal(after, before) {
		t.Errorf("Check left something: got %q, want %q", after, before)
	}
}

func tree2(dir string) (names []string) {
	es, _ := os.ReadDir(dir)
	for _, e := range es {
		names = append(names, e.Name())
	}
	return names
}

func TestReadOnlyDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o755)
	if f, err := os.Create(filepath.Join(dir, "probe")); err == nil {
		f.Close()
		t.Skip("permissions do not hold here (root)")
	}
	if err := Check(filepath.Join(dir, "out"), false); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("got %v, want %v", err, fs.ErrPermission)
	}
}

func TestWriteCallbackFails(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "out")
	boom := errors.New("boom")
	err := Write(p, false, func(w io.Writer) error {
		fmt.Fprint(w, "half")
		return boom
	})
	if !errors.Is(err, boom) || len(tree2(dir)) != 0 {
		t.Errorf("got %v and %q, want %v and no files", err, tree2(dir), boom)
	}
}

func TestAppearsMeanwhile(t *testing.T) {
	dir := t.TempDir()
	p := filepath.Join(dir, "out")
	err := Write(p, false, func(w io.Writer) error {
		put(t, p, "theirs")
		return nil
	})
	if got, want := tree(t, dir), []string{"out=theirs"}; !errors.Is(err, fs.ErrExist) || !slices.Equal(got, want) {
		t.Errorf("got %v and %q, want %v and %q", err, got, fs.ErrExist, want)
	}
}

func TestCopiesFromFile(t *testing.T) {
	dir := t.TempDir()
	src := put(t, filepath.Join(dir, "src"), strings.Repeat("0123456789", 1000))
	p := filepath.Join(dir, "out")
	err := Write(p, false, func(w io.Writer) error {
		f, err := os.Open(src)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := io.WriteString(w, "head"); err != nil {
			return err
		}
		if _, err := f.Seek(5, io.SeekStart); err != nil {
			return err
		}
		n, err := io.Copy(w, io.LimitReader(f, 7))
		if n != 7 {
			t.Errorf("got %d bytes, want 7", n)
		}
		if got, want := w.(*File).Size(), int64(11); got != want {
			t.Errorf("got size %d, want %d", got, want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b, _ := os.ReadFile(p)
	if got, want := string(b), "head5678901"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestKeepsPermissions(t *testing.T) {
	p := put(t, filepath.Join(t.TempDir(), "out"), "x")
	if err := os.Chmod(p, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(p, true, []byte("new")); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(p)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want 0600", st.Mode().Perm(), err)
	}
}
