package bonnx_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/bonnx/bonnx"
	"github.com/bonnx/bonnx/internal/atomicfile"
	"github.com/bonnx/bonnx/internal/testutil/fixture"
	"github.com/bonnx/bonnx/train"
)

// failing is a file system whose n-th step fails as on a full disk; steps are
// counted over creating, writing, syncing, closing, renaming and so on.
type failing struct {
	atomicfile.OS
	n    int    // the step that fails
	step int    // steps so far
	what string // the step that failed
}

func (f *failing) fail(what, path string) error {
	f.step++
	if f.step != f.n {
		return nil
	}
	f.what = what
	return &fs.PathError{Op: what, Path: path, Err: syscall.ENOSPC}
}

func (f *failing) Create(name string, perm fs.FileMode) (atomicfile.Handle, error) {
	if err := f.fail("create", name); err != nil {
		return nil, err
	}
	h, err := f.OS.Create(name, perm)
	return &failingHandle{f, name, h}, err
}

func (f *failing) Mkdir(name string) error {
	if err := f.fail("mkdir", name); err != nil {
		return err
	}
	return f.OS.Mkdir(name)
}

func (f *failing) Link(from, to string) error {
	if err := f.fail("link", from); err != nil {
		return err
	}
	return f.OS.Link(from, to)
}

func (f *failing) Rename(from, to string) error {
	if err := f.fail("rename", from); err != nil {
		return err
	}
	return f.OS.Rename(from, to)
}

func (f *failing) SyncDir(name string) error {
	if err := f.fail("sync directory", name); err != nil {
		return err
	}
	return f.OS.SyncDir(name)
}

type failingHandle struct {
	fs   *failing
	name string
	h    atomicfile.Handle
}

// Write writes half before it fails, as a full disk does.
func (h *failingHandle) Write(p []byte) (int, error) {
	if err := h.fs.fail("write", h.name); err != nil {
		n, _ := h.h.Write(p[:len(p)/2])
		return n, err
	}
	return h.h.Write(p)
}

func (h *failingHandle) Sync() error {
	if err := h.fs.fail("sync", h.name); err != nil {
		return err
	}
	return h.h.Sync()
}

func (h *failingHandle) Close() error {
	if err := h.fs.fail("close", h.name); err != nil {
		_ = h.h.Close()
		return err
	}
	return h.h.Close()
}

// tree is every file below dir with its content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			all[rel+"/"] = ""
			return nil
		}
		b, err := os.ReadFile(path)
		all[rel] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// adapted is a fixture with an adapter; trained, after two steps.
func adapted(t *testing.T, dir, kind string, trained bool) *bonnx.BoneModel {
	t.Helper()
	path := filepath.Join(dir, "model.onnx")
	if err := fixture.Write(kind, path); err != nil {
		t.Fatal(err)
	}
	m := open(t, path)
	b, err := bonnx.New(m, "", bonnx.BoneConfig{R: 2, TargetModules: bonnx.Modules{Regex: "all-linear"}})
	if err != nil {
		t.Fatal(err)
	}
	if !trained {
		return b
	}
	data := filepath.Join(dir, "data.npz")
	if err := fixture.Write("features", data); err != nil {
		t.Fatal(err)
	}
	d, err := m.OpenData(data, bonnx.DataOptions{Task: "regression"})
	if err != nil {
		t.Fatal(err)
	}
	tc := train.Default()
	tc.Task, tc.Steps = "regression", 2
	if _, err := b.TrainOn(context.Background(), d, nil, tc); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFullDiskInEveryStep makes each step of every writer fail in turn. Each
// time there is an error that names the output and says what happened, and the
// directory is as it was: no output, no part of one, and a file that was to be
// replaced unchanged. The step after the last succeeds.
func TestFullDiskInEveryStep(t *testing.T) {
	save := func(m *bonnx.BoneModel, out string, force bool) error {
		return m.Save(context.Background(), out, bonnx.SaveOptions{Force: force})
	}
	extract := func(m *bonnx.BoneModel, out string, force bool) error {
		return m.SaveAdapter(out, "", bonnx.SaveOptions{Force: force})
	}
	for name, c := range map[string]struct {
		kind    string
		trained bool
		out     string
		write   func(m *bonnx.BoneModel, out string, force bool) error
	}{
		"inject":                    {"mlp", false, "out.onnx", save},
		"inject with external data": {"external", false, "out.onnx", save},
		"train":                     {"mlp", true, "out.onnx", save},
		"train with external data":  {"external", true, "out.onnx", save},
		"extract npz":               {"mlp", true, "out.npz", extract},
		"extract peft":              {"mlp", true, "out", extract},
	} {
		for _, force := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, force %v", name, force), func(t *testing.T) {
				src, dir := t.TempDir(), t.TempDir()
				m := adapted(t, src, c.kind, c.trained)
				out := filepath.Join(dir, c.out)
				if force { // something of another run is there
					if err := c.write(adapted(t, t.TempDir(), c.kind, !c.trained), out, false); err != nil {
						t.Fatal(err)
					}
				}
				steps := everyStep(t, m, dir, func() error { return c.write(m, out, force) })
				for _, want := range []string{"create", "write", "sync", "close", "rename", "sync directory"} {
					if !slices.Contains(steps, want) {
						t.Errorf("no step is %q; they are %v", want, steps)
					}
				}
			})
		}
	}
}

// everyStep makes the n-th step of write fail for n = 1, 2, ... until none is
// left, and names them.
func everyStep(t *testing.T, m *bonnx.BoneModel, dir string, write func() error) []string {
	before, written := tree(t, dir), false
	var steps []string
	for n := 1; n < 1000; n++ {
		disk := &failing{n: n}
		m.Base().SetDisk(disk)
		err := write()
		if disk.what == "" {
			if err != nil {
				t.Fatalf("nothing failed, got %v", err)
			}
			if !written && maps.Equal(tree(t, dir), before) {
				t.Fatal("nothing was written")
			}
			return steps
		}
		steps = append(steps, disk.what)
		if err == nil && disk.what == "link" {
			// File systems without hard links are served by renaming; the
			// output is whole then.
			before, written = tree(t, dir), true
			continue
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("step %d (%s): got error %v, want %v", n, disk.what, err, syscall.ENOSPC)
		}
		if text := err.Error(); !strings.Contains(text, dir) || strings.Contains(text, "bonnx-tmp") {
			t.Errorf("step %d (%s): the error does not name the output: %v", n, disk.what, err)
		}
		if after := tree(t, dir); !maps.Equal(after, before) {
			t.Fatalf("step %d (%s): files changed\nbefore %v\nafter  %v", n, disk.what,
				slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
		}
	}
	t.Fatal("there is no end of steps")
	return nil
}

// TestExternalDataIsCopied: external data of the base comes along unchanged.
func TestExternalDataIsCopied(t *testing.T) {
	src, dir := t.TempDir(), t.TempDir()
	m := adapted(t, src, "external", false)
	if err := m.Save(context.Background(), filepath.Join(dir, "out.onnx"), bonnx.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "out.onnx.data"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(src, "model.onnx.data"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(got, want) {
		t.Errorf("external data changed: %d bytes, were %d", len(got), len(want))
	}
}

// TestInterruptedSave: a cancelled context ends the writing and leaves nothing.
func TestInterruptedSave(t *testing.T) {
	dir := t.TempDir()
	m := adapted(t, t.TempDir(), "external", false)
	ctx, cancel := context.WithCancel(context.Background())
	if err := m.Save(ctx, filepath.Join(dir, "a.onnx"), bonnx.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	plain := filepath.Join(t.TempDir(), "a.onnx")
	if err := m.Save(context.Background(), plain, bonnx.SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	if want := tree(t, filepath.Dir(plain)); !maps.Equal(before, want) {
		t.Error("a model saved under a context differs from one that is not")
	}
	cancel()
	if err := m.Save(ctx, filepath.Join(dir, "b.onnx"), bonnx.SaveOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if after := tree(t, dir); !maps.Equal(after, before) {
		t.Errorf("files changed: %v", slices.Sorted(maps.Keys(after)))
	}
}
