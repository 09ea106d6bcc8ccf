package mmap

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const text = "0123456789abcdef"

func write(t *testing.T, s string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(p, []byte(s), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

// kinds opens text in every way there is.
func kinds(t *testing.T) map[string]*File {
	p := write(t, text)
	mapped, err := Open(p, Options{})
	if err != nil {
		t.Fatal(err)
	}
	read, err := Open(p, Options{NoMap: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mapped.Close(); read.Close() })
	return map[string]*File{
		"mapped": mapped, "read": read, "memory": FromBytes("m", []byte(text)),
		"reader": FromReaderAt("r", strings.NewReader(text), int64(len(text))),
	}
}

func TestRanges(t *testing.T) {
	for name, f := range kinds(t) {
		for _, c := range []struct {
			off, n int64
			ok     bool
		}{{0, 16, true}, {3, 4, true}, {16, 0, true}, {0, 0, true}, {15, 2, false}, {17, 0, false},
			{-1, 2, false}, {0, -1, false}, {0, 1 << 62, false}, {1 << 62, 1 << 62, false}} {
			b, err := f.Bytes(c.off, c.n)
			if (err == nil) != c.ok || c.ok && string(b) != text[c.off:c.off+c.n] {
				t.Errorf("%s: Bytes(%d, %d): got %q, %v", name, c.off, c.n, b, err)
			}
			var w bytes.Buffer
			err = f.CopyTo(&w, c.off, c.n)
			if (err == nil) != c.ok || c.ok && w.String() != text[c.off:c.off+c.n] {
				t.Errorf("%s: CopyTo(%d, %d): got %q, %v", name, c.off, c.n, &w, err)
			}
		}
	}
}

func TestCopyToFile(t *testing.T) {
	for name, f := range kinds(t) {
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.CopyTo(out, 4, 3), f.CopyTo(out, 0, 2), out.Close()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		b, _ := os.ReadFile(out.Name())
		if got, want := string(b), "45601"; got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for _, p := range []string{dir, os.DevNull, filepath.Join(dir, "none")} {
		if f, err := Open(p, Options{}); err == nil {
			f.Close()
			t.Errorf("Open(%s): got no error", p)
		}
	}
	f, err := Open(write(t, ""), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := f.Bytes(0, 0); err != nil || len(b) != 0 {
		t.Errorf("empty file: got %q, %v", b, err)
	}
}

func TestOpenInStaysInside(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in")
	if err := os.Mkdir(in, 0o777); err != nil {
		t.Fatal(err)
	}
	secret := write(t, "secret")
	for _, err := range []error{os.WriteFile(filepath.Join(in, "data"), []byte(text), 0o644),
		os.Symlink("data", filepath.Join(in, "near")), os.Symlink(secret, filepath.Join(in, "far"))} {
		if err != nil {
			t.Skip(err)
		}
	}
	root, err := os.OpenRoot(in)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for name, ok := range map[string]bool{"data": true, "near": true, "./data": true, "far": false, "../in/data": false, secret: false, ".": false} {
		f, err := OpenIn(root, name, Options{})
		if (err == nil) != ok {
			t.Errorf("OpenIn(%s): got %v, want ok=%v", name, err, ok)
		}
		if err == nil {
			f.Close()
		}
	}
}

func TestTruncatedWhileOpen(t *testing.T) {
	p := write(t, strings.Repeat("x", 1<<16))
	f, err := Open(p, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !f.Direct() {
		t.Skip("no mapping here")
	}
	b, err := f.Bytes(0, f.Size())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(p, 0); err != nil {
		t.Fatal(err)
	}
	sum := 0
	err = Guard(func() error {
		for _, c := range b {
			sum += int(c)
		}
		return nil
	})
	if !errors.Is(err, ErrChanged) {
		t.Errorf("Guard: got %v, want %v (sum %d)", err, ErrChanged, sum)
	}
	if _, err := f.Bytes(0, 1); !errors.Is(err, ErrChanged) {
		t.Errorf("Bytes: got %v, want %v", err, ErrChanged)
	}
	if err := f.CopyTo(io.Discard, 0, 8); !errors.Is(err, ErrChanged) {
		t.Errorf("CopyTo: got %v, want %v", err, ErrChanged)
	}
}

func TestGuardPassesOtherPanics(t *testing.T) {
	defer func() {
		if got := recover(); got != "mine" {
			t.Errorf("got %v, want mine", got)
		}
	}()
	_ = Guard(func() error { panic("mine") })
}

// What was released is there again when somebody looks.
func TestRelease(t *testing.T) {
	want := make([]byte, 5*os.Getpagesize()+7)
	for i := range want {
		want[i] = byte(i * i)
	}
	p := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(p, want, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{}, {NoMap: true}} {
		f, err := Open(p, o)
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Bytes(3, int64(len(want)-3))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range [][2]int64{{3, int64(len(want) - 3)}, {0, int64(len(want))}, {0, 10}, {-5, 1 << 40}, {int64(len(want)), 0}} {
			f.Release(r[0], r[1])
			if !bytes.Equal(got, want[3:]) {
				t.Errorf("%+v: bytes changed after Release(%d, %d)", o, r[0], r[1])
			}
		}
		f.Close()
		f.Release(0, 10)
	}
}
