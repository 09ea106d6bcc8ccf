package onnx_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/bonnx/bonnx/internal/atomicfile"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/onnx/internal/onnxpb"
	"github.com/bonnx/bonnx/tensor"
)

// outside writes a model with two tensors in model.onnx.data, one in its own
// file below a folder, and one inline.
func outside(t *testing.T, dir string) string {
	write(t, filepath.Join(dir, "model.onnx.data"), bulk(9000, 1))
	write(t, filepath.Join(dir, "parts", "c"), bulk(40, 2))
	return write(t, filepath.Join(dir, "model.onnx"), marshal(t, small(
		external("a", "model.onnx.data", 0, 100), external("b", "model.onnx.data", 4096, 1000),
		external("c", "parts/c", 0, 10), floats("d", 1, 2))))
}

func TestExternalSameName(t *testing.T) {
	for _, o := range []onnx.LoadOptions{{}, {NoMap: true}} {
		src := outside(t, t.TempDir())
		m, err := onnx.LoadWith(src, o)
		if err != nil {
			t.Fatal(err)
		}
		defer onnx.Close(m)
		dst := filepath.Join(t.TempDir(), "model.onnx")
		save(t, dst, m, onnx.SaveOptions{})
		sameModel(t, "model.onnx", read(t, dst), read(t, src))
		for _, f := range []string{"model.onnx.data", "parts/c"} {
			if !bytes.Equal(read(t, filepath.Join(filepath.Dir(dst), f)), read(t, filepath.Join(filepath.Dir(src), f))) {
				t.Errorf("%s changed", f)
			}
		}
	}
}

func TestExternalOtherName(t *testing.T) {
	dir := t.TempDir()
	m := load(t, outside(t, dir))
	dst := filepath.Join(dir, "out.onnx")
	save(t, dst, m, onnx.SaveOptions{})
	if got, want := names(t, dir), []string{"model.onnx", "model.onnx.data", "out.onnx", "out.onnx.data", "parts"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := names(t, filepath.Join(dir, "parts")), []string{"c", "out.c"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	got := load(t, dst)
	for _, name := range []string{"a", "b", "c", "d"} {
		if !initial(t, got, name).Equal(initial(t, m, name)) {
			t.Errorf("%s changed", name)
		}
	}
	// Back under the first name everything is as it was.
	back := filepath.Join(t.TempDir(), "model.onnx")
	save(t, back, got, onnx.SaveOptions{})
	want, p := unmarshal(t, read(t, filepath.Join(dir, "model.onnx"))), unmarshal(t, read(t, back))
	want.Graph.Initializer[2].ExternalData[0].Value = proto.String("parts/model.c") // a name without the model's gets it
	p.Graph.Initializer[2].ExternalData[0].Value = proto.String("parts/model.c")
	if !proto.Equal(p, want) {
		t.Errorf("got %v, want %v", p, want)
	}
}

func TestReplacedExternalTensors(t *testing.T) {
	for name, c := range map[string]struct {
		edit     func(m *ir.Model)
		off      map[string]string // offsets of a and b in the new file
		size     int
		gapKept  bool
		checksum bool
	}{
		"same size": {edit: func(m *ir.Model) {
			m.Graph.Initializers[1].Data = ir.Dense(tensor.New(tensor.Float32, 1000))
		}, off: map[string]string{"a": "0", "b": "4096"}, size: 9000, gapKept: true},
		"larger": {edit: func(m *ir.Model) {
			m.Graph.Initializers[1].Data = ir.Dense(tensor.New(tensor.Float32, 3000))
		}, off: map[string]string{"a": "0", "b": "12288"}, size: 12288 + 12000, gapKept: true},
		"removed": {edit: func(m *ir.Model) {
			m.Graph.RemoveInitializer(m.Graph.Initializers[1])
		}, off: map[string]string{"a": "0"}, size: 9000, gapKept: true},
	} {
		m := load(t, outside(t, t.TempDir()))
		a := initial(t, m, "a")
		c.edit(m)
		dst := filepath.Join(t.TempDir(), "out.onnx")
		save(t, dst, m, onnx.SaveOptions{})
		p := unmarshal(t, read(t, dst))
		for _, w := range p.Graph.Initializer {
			for _, e := range w.ExternalData {
				if want, ok := c.off[w.GetName()]; ok && e.GetKey() == "offset" && e.GetValue() != want {
					t.Errorf("%s: %s: got offset %s, want %s", name, w.GetName(), e.GetValue(), want)
				}
			}
		}
		data := read(t, filepath.Join(filepath.Dir(dst), "out.onnx.data"))
		if len(data) != c.size || c.gapKept && !bytes.Equal(data[:4096], bulk(9000, 1)[:4096]) {
			t.Errorf("%s: got %d bytes, want %d with the gap as it was", name, len(data), c.size)
		}
		again := load(t, dst)
		if !initial(t, again, "a").Equal(a) {
			t.Errorf("%s: a changed", name)
		}
		for _, v := range m.Graph.Initializers {
			x, err := v.Data.Tensor()
			if err != nil {
				t.Fatal(err)
			}
			if !initial(t, again, v.Name).Equal(x) {
				t.Errorf("%s: %s differs", name, v.Name)
			}
		}
	}
}

// A removed tensor that leaves a large hole makes the file be packed anew.
func TestRepack(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "m.data"), bulk(400<<10, 3))
	src := write(t, filepath.Join(dir, "m.onnx"), marshal(t, small(
		external("a", "m.data", 0, 100), external("b", "m.data", 4096, 70<<10), external("tied", "m.data", 0, 100), external("c", "m.data", 300<<10, 1000))))
	m := load(t, src)
	a, c := initial(t, m, "a"), initial(t, m, "c")
	m.Graph.RemoveInitializer(m.Graph.Initializers[1])
	dst := filepath.Join(dir, "o.onnx")
	save(t, dst, m, onnx.SaveOptions{})
	if got, want := len(read(t, filepath.Join(dir, "o.data"))), 4096+4000; got != want {
		t.Errorf("got %d bytes, want %d", got, want)
	}
	m = load(t, dst)
	if !initial(t, m, "a").Equal(a) || !initial(t, m, "tied").Equal(a) || !initial(t, m, "c").Equal(c) {
		t.Error("tensors changed")
	}
}

// One of two tied tensors is replaced: the other keeps its bytes.
func TestTiedExternalTensors(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "m.data"), bulk(400, 3))
	m := load(t, write(t, filepath.Join(dir, "m.onnx"), marshal(t, small(external("a", "m.data", 0, 100), external("b", "m.data", 0, 100)))))
	old := initial(t, m, "a")
	m.Graph.Initializers[1].Data = ir.Dense(tensor.New(tensor.Float32, 100))
	dst := filepath.Join(dir, "o.onnx")
	save(t, dst, m, onnx.SaveOptions{})
	m = load(t, dst)
	if !initial(t, m, "a").Equal(old) || !initial(t, m, "b").Equal(tensor.New(tensor.Float32, 100)) {
		t.Error("got wrong tensors")
	}
}

func TestSpillAndInline(t *testing.T) {
	dir := t.TempDir()
	w := tensor.FromSlice([]float32{1, 2, 3, 4, 5, 6, 7, 8}, 2, 4)
	p := small(floats("s", 1), floats("l", 1, 2, 3, 4, 5, 6, 7, 8))
	p.Graph.Initializer = append(p.Graph.Initializer, &onnxpb.TensorProto{Name: proto.String("i"), DataType: proto.Int32(7), Dims: []int64{4}, Int64Data: []int64{1, 2, 3, 4}})
	m := loadBytes(t, marshal(t, p))
	m.Graph.AddInitializer("new", ir.Dense(w))
	out := filepath.Join(dir, "out.onnx")
	save(t, out, m, onnx.SaveOptions{External: 32})
	got := load(t, out)
	if n := len(read(t, filepath.Join(dir, "out.onnx.data"))); n != 2*4096+32 {
		t.Errorf("got %d bytes of data, want %d", n, 2*4096+32)
	}
	for _, name := range []string{"s", "l", "i", "new"} {
		if !initial(t, got, name).Equal(initial(t, m, name)) {
			t.Errorf("%s differs", name)
		}
	}
	in := filepath.Join(dir, "in.onnx")
	save(t, in, got, onnx.SaveOptions{External: -1})
	onnx.Close(got)
	if err := os.Remove(filepath.Join(dir, "out.onnx.data")); err != nil {
		t.Fatal(err)
	}
	if x := initial(t, load(t, in), "new"); !x.Equal(w) {
		t.Errorf("got %v", x)
	}
	if _, err := onnx.Load(out); !errors.Is(err, onnx.ErrInvalid) {
		t.Errorf("without its data: got %v, want %v", err, onnx.ErrInvalid)
	}
}

func TestChecksumGoesWhenTheFileChanges(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "m.data"), bulk(400, 3))
	a := external("a", "m.data", 0, 50)
	a.ExternalData = append(a.ExternalData, kv("checksum", "abc")...)
	b := external("b", "m.data", 200, 50)
	src := write(t, filepath.Join(dir, "m.onnx"), marshal(t, small(a, b)))
	count := func(path string) (n int) {
		for _, e := range unmarshal(t, read(t, path)).Graph.Initializer[0].ExternalData {
			if e.GetKey() == "checksum" {
				n++
			}
		}
		return n
	}
	m := load(t, src)
	kept := filepath.Join(dir, "kept.onnx")
	save(t, kept, m, onnx.SaveOptions{})
	m.Graph.Initializers[1].Data = ir.Dense(tensor.New(tensor.Float32, 50))
	changed := filepath.Join(dir, "changed.onnx")
	save(t, changed, m, onnx.SaveOptions{})
	if k, c := count(kept), count(changed); k != 1 || c != 0 {
		t.Errorf("got %d and %d checksums, want 1 and 0", k, c)
	}
}

func TestSaveRefusesItsInputs(t *testing.T) {
	dir := t.TempDir()
	src := outside(t, dir)
	m := load(t, src)
	for _, path := range []string{src, filepath.Join(dir, "model.onnx.data"), filepath.Join(dir, "parts", "c")} {
		if err := onnx.Save(path, m, onnx.SaveOptions{Force: true}); !errors.Is(err, atomicfile.ErrSameFile) {
			t.Errorf("%s: got %v, want %v", path, err, atomicfile.ErrSameFile)
		}
	}
	taken := write(t, filepath.Join(dir, "out.onnx.data"), []byte("mine"))
	if err := onnx.Save(filepath.Join(dir, "out.onnx"), m, onnx.SaveOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("data file taken: got %v, want %v", err, fs.ErrExist)
	}
	if got := read(t, taken); string(got) != "mine" {
		t.Errorf("the taken file is now %q", got)
	}
	if got, want := names(t, dir), []string{"model.onnx", "model.onnx.data", "out.onnx.data", "parts"}; !slices.Equal(got, want) {
		t.Errorf("left behind: got %q, want %q", got, want)
	}
}

// TestSaveFailsWhole makes every write, sync and rename fail in turn.
func TestSaveFailsWhole(t *testing.T) {
	m := load(t, outside(t, t.TempDir()))
	for n := 1; ; n++ {
		dir := t.TempDir()
		err := onnx.Save(filepath.Join(dir, "out.onnx"), m, onnx.SaveOptions{FS: &breaking{n: n, err: syscall.ENOSPC}})
		if err == nil {
			if n < 10 {
				t.Errorf("got %d steps, want at least 10", n)
			}
			return
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("step %d: got %v, want %v", n, err, syscall.ENOSPC)
		}
		if got := names(t, dir); len(got) != 0 {
			t.Errorf("step %d: left %q", n, got)
		}
	}
}

func TestSourceChangedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	src := outside(t, dir)
	m := load(t, src)
	if err := os.Truncate(filepath.Join(dir, "model.onnx.data"), 100); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Graph.Initializers[0].Data.Tensor(); err == nil {
		t.Error("Tensor: got no error for a truncated data file")
	}
	out := filepath.Join(t.TempDir(), "out.onnx")
	if err := onnx.Save(out, m, onnx.SaveOptions{}); err == nil {
		t.Error("Save: got no error for a truncated data file")
	}
	m = load(t, write(t, filepath.Join(dir, "n.onnx"), marshal(t, small(floats("w", 1, 2)))))
	if err := os.Truncate(filepath.Join(dir, "n.onnx"), 10); err != nil {
		t.Fatal(err)
	}
	if err := onnx.Save(out, m, onnx.SaveOptions{}); err == nil {
		t.Error("Save: got no error for a truncated model")
	}
	if got := names(t, filepath.Dir(out)); len(got) != 0 {
		t.Errorf("left %q", got)
	}
}
