package onnx_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/onnx/internal/onnxpb"
)

// refused loads b in both ways and expects one line that contains want.
func refused(t *testing.T, name string, b []byte, want string) {
	t.Helper()
	path := write(t, filepath.Join(t.TempDir(), "m.onnx"), b)
	for _, o := range []onnx.LoadOptions{{}, {NoMap: true}} {
		m, err := onnx.LoadWith(path, o)
		if err == nil {
			onnx.Close(m)
			t.Errorf("%s: got no error, want %q", name, want)
			continue
		}
		s := err.Error()
		if !errors.Is(err, onnx.ErrInvalid) || !strings.Contains(s, want) || strings.Contains(s, "\n") || !strings.HasPrefix(s, path) {
			t.Errorf("%s: got %q, want one line with %q, of class %v", name, s, want, onnx.ErrInvalid)
		}
	}
}

func TestDamagedFiles(t *testing.T) {
	good := marshal(t, small(floats("w", 1, 2, 3)))
	refused(t, "empty", nil, "no graph")
	refused(t, "text", []byte("hello, this is no model\n"), "not an ONNX model")
	refused(t, "zip", []byte("PK\x03\x04 and so on"), "not an ONNX model")
	refused(t, "png", []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"), "not an ONNX model")
	refused(t, "zeros", make([]byte, 100), "not an ONNX model")
	refused(t, "tensor", marshal(t, floats("w", 1)), "")
	for n := 1; n < len(good); n++ {
		path := write(t, filepath.Join(t.TempDir(), "m.onnx"), good[:n])
		if m, err := onnx.Load(path); err == nil {
			// A cut between two fields of the model leaves a valid message.
			if m.Graph == nil {
				t.Errorf("cut at %d: got a model without graph", n)
			}
			onnx.Close(m)
		} else if !errors.Is(err, onnx.ErrInvalid) {
			t.Errorf("cut at %d: got %v, want %v", n, err, onnx.ErrInvalid)
		}
	}
}

func TestBadGraphs(t *testing.T) {
	edit := func(f func(*onnxpb.GraphProto)) []byte {
		m := small(floats("w", 1))
		f(m.Graph)
		return marshal(t, m)
	}
	for name, c := range map[string]struct {
		edit func(g *onnxpb.GraphProto)
		want string
	}{
		"cycle": {func(g *onnxpb.GraphProto) {
			g.Node = []*onnxpb.NodeProto{node("Add", []string{"x", "b"}, []string{"a"}), node("Neg", []string{"a"}, []string{"b"}), node("Neg", []string{"b"}, []string{"y"})}
		}, `node "Add_a" (Add) reads "b"`},
		"self loop":        {func(g *onnxpb.GraphProto) { g.Node[0].Input[0] = "y" }, `reads "y"`},
		"undefined input":  {func(g *onnxpb.GraphProto) { g.Node[0].Input[0] = "nowhere" }, `node "Relu_y" (Relu): input "nowhere" is not defined`},
		"undefined output": {func(g *onnxpb.GraphProto) { g.Output[0].Name = proto.String("nowhere") }, `graph output "nowhere" is not defined`},
		"two producers":    {func(g *onnxpb.GraphProto) { g.Node = append(g.Node, g.Node[0]) }, `"y": the name is defined twice`},
		"output is input":  {func(g *onnxpb.GraphProto) { g.Node[0].Output[0] = "x" }, `"x": the name is defined twice`},
		"two initializers": {func(g *onnxpb.GraphProto) { g.Initializer = append(g.Initializer, g.Initializer[0]) }, `"w": the name is defined twice`},
		"unnamed":          {func(g *onnxpb.GraphProto) { g.Initializer[0].Name = nil }, "without a name"},
		"two inputs":       {func(g *onnxpb.GraphProto) { g.Input = append(g.Input, g.Input[0]) }, `"x": the name is defined twice`},
		"no operator":      {func(g *onnxpb.GraphProto) { g.Node[0].OpType = nil }, "no operator"},
		"no graph in attr": {func(g *onnxpb.GraphProto) { g.Node[0].Attribute = []*onnxpb.AttributeProto{graphAttr("b", nil)} }, "no graph"},
		"no tensor in attr": {func(g *onnxpb.GraphProto) {
			g.Node[0].Attribute = []*onnxpb.AttributeProto{{Name: proto.String("t"), Type: onnxpb.AttributeProto_TENSOR.Enum()}}
		}, "0 tensors"},
	} {
		refused(t, name, edit(c.edit), c.want)
	}
}

// wrap puts b into a message as field num, in a message as field num2, ...
func wrap(b []byte, nums ...protowire.Number) []byte {
	for _, n := range nums {
		b = protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), b)
	}
	return b
}

func TestNestingWithoutEnd(t *testing.T) {
	g := []byte{}
	op := protowire.AppendString(protowire.AppendTag(nil, 4, protowire.BytesType), "If")
	for range 2000 {
		attr := append(wrap(g, 6), 0xa0, 0x01, 5) // g, type = GRAPH
		g = wrap(append(wrap(attr, 5), op...), 1)
	}
	refused(t, "graphs", wrap(g, 7), "nested more than")
	typ := []byte{}
	for range 3000 {
		typ = wrap(typ, 1, 4) // sequence_type.elem_type
	}
	vi := append(wrap([]byte("x"), 1), wrap(typ, 2)...)
	refused(t, "types", wrap(wrap(vi, 11), 7), "nested more than")
	refused(t, "groups", []byte(strings.Repeat("\xfb\x3e", 100000)), "nested")
}

// TestAllocationIsBounded: a file of a few bytes that announces gigabytes
// costs next to nothing.
func TestAllocationIsBounded(t *testing.T) {
	huge := protowire.AppendVarint(protowire.AppendTag(nil, 7, protowire.BytesType), 1<<40)
	w := floats("w", 1)
	w.Dims = []int64{1 << 40}
	files := [][]byte{huge, marshal(t, small(w)), marshal(t, small(&onnxpb.TensorProto{Name: proto.String("w"), DataType: proto.Int32(8), Dims: []int64{1 << 40}}))}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, b := range files {
		if _, err := onnx.LoadBytes(b); err == nil {
			t.Error("got no error")
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("got %d bytes allocated, want at most a megabyte", got)
	}
}

func TestHostileExternalData(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "model")
	secret := write(t, filepath.Join(top, "secret"), bulk(64, 9))
	write(t, filepath.Join(dir, "data"), bulk(64, 1))
	if err := os.MkdirAll(filepath.Join(dir, "folder"), 0o777); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"far": secret, "farther": "../secret", "up": "..", "loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Skip(err)
		}
	}
	mkfifo(t, filepath.Join(dir, "fifo"))
	for name, c := range map[string]struct{ loc, want string }{
		"missing":            {"none", "no such file"},
		"absolute":           {secret, "outside"},
		"parent":             {"../secret", "outside"},
		"hidden parent":      {"folder/../../secret", "outside"},
		"link out":           {"far", "escapes"},
		"relative link out":  {"farther", "escapes"},
		"folder link out":    {"up/secret", "escapes"},
		"loop":               {"loop", ""},
		"directory":          {"folder", "is a directory"},
		"the directory":      {".", "is a directory"},
		"fifo":               {"fifo", "no regular file"},
		"empty":              {"", "without location"},
		"nul":                {"da\x00ta", ""},
		"below a file":       {"data/x", ""},
		"root":               {"/", "outside"},
		"trailing parent":    {"folder/..", "is a directory"},
		"dot dot name, none": {"..data", "no such file"},
	} {
		path := write(t, filepath.Join(dir, "m.onnx"), marshal(t, small(external("w", c.loc, 0, 4))))
		m, err := onnx.Load(path)
		if err == nil {
			onnx.Close(m)
		}
		if !errors.Is(err, onnx.ErrInvalid) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line with %q", name, err, c.want)
		}
	}
	for name, w := range map[string]*onnxpb.TensorProto{
		"beyond the end": external("w", "data", 52, 4),
		"huge offset":    external("w", "data", 1<<62, 4),
		"huge length":    external("w", "data", 0, 1<<40),
	} {
		refusedIn(t, name, dir, w)
	}
	bad := external("w", "data", 0, 4)
	bad.ExternalData[1].Value = proto.String("-4")
	refusedIn(t, "negative offset", dir, bad)
	bad.ExternalData[1].Value = proto.String("0x10")
	refusedIn(t, "offset in hex", dir, bad)
	short := external("w", "data", 0, 4)
	short.ExternalData[2].Value = proto.String("12")
	refusedIn(t, "length that does not fit", dir, short)
	refused(t, "in memory", marshal(t, small(external("w", "data", 0, 4))), "no such file")
	if _, err := onnx.LoadBytes(marshal(t, small(external("w", "data", 0, 4)))); !errors.Is(err, onnx.ErrInvalid) {
		t.Errorf("bytes: got %v, want %v", err, onnx.ErrInvalid)
	}
}

func refusedIn(t *testing.T, name, dir string, w *onnxpb.TensorProto) {
	t.Helper()
	path := write(t, filepath.Join(dir, "m.onnx"), marshal(t, small(w)))
	if m, err := onnx.Load(path); !errors.Is(err, onnx.ErrInvalid) {
		t.Errorf("%s: got %v, want %v", name, err, onnx.ErrInvalid)
		if err == nil {
			onnx.Close(m)
		}
	}
}

func TestModelMustBeARegularFile(t *testing.T) {
	dir := t.TempDir()
	mkfifo(t, filepath.Join(dir, "fifo"))
	for _, path := range []string{dir, filepath.Join(dir, "fifo"), os.DevNull, filepath.Join(dir, "none")} {
		if _, err := onnx.Load(path); err == nil || errors.Is(err, onnx.ErrInvalid) {
			t.Errorf("%s: got %v, want an error that is not about content", path, err)
		}
	}
}

// A link that stays below the model's directory is fine, and so is a model
// reached through a link whose data lies beside the link.
func TestLinksInside(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "blobs", "1"), bulk(16, 1))
	if err := os.Symlink("blobs/1", filepath.Join(dir, "data")); err != nil {
		t.Skip(err)
	}
	m := load(t, write(t, filepath.Join(dir, "m.onnx"), marshal(t, small(external("w", "data", 0, 4)))))
	if got, want := string(initial(t, m, "w").Bytes()), string(bulk(16, 1)); got != want {
		t.Errorf("got % x, want % x", got, want)
	}
}
