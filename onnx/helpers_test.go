package onnx_test

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/bonnx/bonnx/internal/atomicfile"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/onnx/internal/onnxpb"
	"github.com/bonnx/bonnx/tensor"
)

func floatType(dims ...int64) *onnxpb.TypeProto {
	s := &onnxpb.TensorShapeProto{}
	for _, d := range dims {
		s.Dim = append(s.Dim, &onnxpb.TensorShapeProto_Dimension{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: d}})
	}
	return &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{TensorType: &onnxpb.TypeProto_Tensor{ElemType: proto.Int32(1), Shape: s}}}
}

func info(name string) *onnxpb.ValueInfoProto {
	return &onnxpb.ValueInfoProto{Name: &name, Type: floatType(2, 3)}
}

func node(op string, in, out []string, attrs ...*onnxpb.AttributeProto) *onnxpb.NodeProto {
	return &onnxpb.NodeProto{OpType: &op, Name: proto.String(op + "_" + out[0]), Input: in, Output: out, Attribute: attrs}
}

func floats(name string, v ...float32) *onnxpb.TensorProto {
	raw := []byte{}
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return &onnxpb.TensorProto{Name: &name, DataType: proto.Int32(1), Dims: []int64{int64(len(v))}, RawData: raw}
}

// external is a float tensor of n elements in another file.
func external(name, loc string, off, n int64) *onnxpb.TensorProto {
	kv := func(k, v string) *onnxpb.StringStringEntryProto {
		return &onnxpb.StringStringEntryProto{Key: &k, Value: &v}
	}
	return &onnxpb.TensorProto{Name: &name, DataType: proto.Int32(1), Dims: []int64{n},
		DataLocation: onnxpb.TensorProto_EXTERNAL.Enum(),
		ExternalData: []*onnxpb.StringStringEntryProto{kv("location", loc), kv("offset", strconv.FormatInt(off, 10)), kv("length", strconv.FormatInt(4*n, 10))}}
}

// small is y = Relu(x) with whatever initializers are given.
func small(inits ...*onnxpb.TensorProto) *onnxpb.ModelProto {
	return &onnxpb.ModelProto{
		IrVersion: proto.Int64(8), OpsetImport: []*onnxpb.OperatorSetIdProto{{Domain: proto.String(""), Version: proto.Int64(17)}},
		Graph: &onnxpb.GraphProto{Name: proto.String("g"), Node: []*onnxpb.NodeProto{node("Relu", []string{"x"}, []string{"y"})},
			Input: []*onnxpb.ValueInfoProto{info("x")}, Output: []*onnxpb.ValueInfoProto{info("y")}, Initializer: inits},
	}
}

func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unmarshal(t testing.TB, b []byte) *onnxpb.ModelProto {
	t.Helper()
	m := &onnxpb.ModelProto{}
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	return m
}

func write(t testing.TB, path string, b []byte) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func load(t testing.TB, path string) *ir.Model {
	t.Helper()
	m, err := onnx.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { onnx.Close(m) })
	return m
}

func loadBytes(t testing.TB, b []byte) *ir.Model {
	t.Helper()
	m, err := onnx.LoadBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func save(t testing.TB, path string, m *ir.Model, o onnx.SaveOptions) {
	t.Helper()
	if err := onnx.Save(path, m, o); err != nil {
		t.Fatal(err)
	}
}

// initial is the value of an initializer.
func initial(t testing.TB, m *ir.Model, name string) *tensor.Tensor {
	t.Helper()
	for _, v := range m.Graph.Initializers {
		if v.Name == name {
			x, err := v.Data.Tensor()
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
	}
	t.Fatalf("no initializer %q", name)
	return nil
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		out = append(out, e.Name())
	}
	slices.Sort(out)
	return out
}

// bulk is n bytes that tell where they are.
func bulk(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i) ^ byte(i>>8)*7 ^ seed
	}
	return b
}

// unknown is a field that no ONNX version has.
func unknown(num protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), s)
}

// breaking is a file system whose n-th changing call fails.
type breaking struct {
	atomicfile.OS
	n   int
	err error
}

func (b *breaking) step() error {
	if b.n--; b.n == 0 {
		return b.err
	}
	return nil
}

func (b *breaking) Create(name string, perm os.FileMode) (atomicfile.Handle, error) {
	if err := b.step(); err != nil {
		return nil, err
	}
	h, err := b.OS.Create(name, perm)
	return breakingHandle{h, b}, err
}

func (b *breaking) Rename(from, to string) error {
	if err := b.step(); err != nil {
		return err
	}
	return b.OS.Rename(from, to)
}

type breakingHandle struct {
	atomicfile.Handle
	b *breaking
}

func (h breakingHandle) Write(p []byte) (int, error) {
	if err := h.b.step(); err != nil {
		return 0, err
	}
	return h.Handle.Write(p)
}

func (h breakingHandle) Sync() error {
	if err := h.b.step(); err != nil {
		return err
	}
	return h.Handle.Sync()
}
