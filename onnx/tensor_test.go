package onnx_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/onnx/internal/onnxpb"
	"github.com/bonnx/bonnx/tensor"
)

// typedCases has one tensor of every element type in its typed field, and the
// bytes that it has in memory.
var typedCases = []struct {
	dtype tensor.DType
	dims  []int64
	p     *onnxpb.TensorProto
	want  []byte
}{
	{tensor.Float32, []int64{2}, &onnxpb.TensorProto{FloatData: []float32{1, -2}}, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}},
	{tensor.Uint8, []int64{3}, &onnxpb.TensorProto{Int32Data: []int32{0, 1, 255}}, []byte{0, 1, 255}},
	{tensor.Int8, []int64{3}, &onnxpb.TensorProto{Int32Data: []int32{-1, 127, -128}}, []byte{255, 127, 128}},
	{tensor.Uint16, []int64{2}, &onnxpb.TensorProto{Int32Data: []int32{258, 65535}}, []byte{2, 1, 255, 255}},
	{tensor.Int16, []int64{2}, &onnxpb.TensorProto{Int32Data: []int32{-2, 258}}, []byte{254, 255, 2, 1}},
	{tensor.Int32, []int64{2}, &onnxpb.TensorProto{Int32Data: []int32{-1, 16909060}}, []byte{255, 255, 255, 255, 4, 3, 2, 1}},
	{tensor.Int64, []int64{2}, &onnxpb.TensorProto{Int64Data: []int64{-1, 1}}, []byte{255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 0, 0, 0, 0, 0, 0}},
	{tensor.Bool, []int64{3}, &onnxpb.TensorProto{Int32Data: []int32{0, 1, 2}}, []byte{0, 1, 1}},
	{tensor.Float16, []int64{1}, &onnxpb.TensorProto{Int32Data: []int32{0x3c00}}, []byte{0, 0x3c}},
	{tensor.Float64, []int64{1}, &onnxpb.TensorProto{DoubleData: []float64{1}}, []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}},
	{tensor.Uint32, []int64{1}, &onnxpb.TensorProto{Uint64Data: []uint64{0xfffffffe}}, []byte{254, 255, 255, 255}},
	{tensor.Uint64, []int64{1}, &onnxpb.TensorProto{Uint64Data: []uint64{1 << 63}}, []byte{0, 0, 0, 0, 0, 0, 0, 128}},
	{tensor.Complex64, []int64{1}, &onnxpb.TensorProto{FloatData: []float32{1, -2}}, []byte{0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0}},
	{tensor.Complex128, []int64{1}, &onnxpb.TensorProto{DoubleData: []float64{1, 2}}, []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0x40}},
	{tensor.BFloat16, []int64{1}, &onnxpb.TensorProto{Int32Data: []int32{0x3f80}}, []byte{0x80, 0x3f}},
	{tensor.Float8E4M3FN, []int64{2}, &onnxpb.TensorProto{Int32Data: []int32{0x38, 0xb8}}, []byte{0x38, 0xb8}},
	{tensor.Float8E4M3FNUZ, []int64{1}, &onnxpb.TensorProto{Int32Data: []int32{0x80}}, []byte{0x80}},
	{tensor.Float8E5M2, []int64{1}, &onnxpb.TensorProto{Int32Data: []int32{0x3c}}, []byte{0x3c}},
	{tensor.Float8E5M2FNUZ, []int64{1}, &onnxpb.TensorProto{Int32Data: []int32{0x40}}, []byte{0x40}},
	{tensor.Float8E8M0, []int64{1}, &onnxpb.TensorProto{Int32Data: []int32{127}}, []byte{127}},
	{tensor.Uint4, []int64{3}, &onnxpb.TensorProto{Int32Data: []int32{0x21, 0x03}}, []byte{0x21, 0x03}},
	{tensor.Int4, []int64{2}, &onnxpb.TensorProto{Int32Data: []int32{0xf8}}, []byte{0xf8}},
	{tensor.Float4E2M1, []int64{2}, &onnxpb.TensorProto{Int32Data: []int32{0x72}}, []byte{0x72}},
	{tensor.Uint2, []int64{5}, &onnxpb.TensorProto{Int32Data: []int32{0xe4, 0x01}}, []byte{0xe4, 0x01}},
	{tensor.Int2, []int64{4}, &onnxpb.TensorProto{Int32Data: []int32{0xe4}}, []byte{0xe4}},
}

func TestEveryElementType(t *testing.T) {
	covered := map[tensor.DType]bool{tensor.String: true}
	for i := range typedCases {
		c := typedCases[i]
		covered[c.dtype] = true
		c.p.DataType, c.p.Dims, c.p.Name = proto.Int32(int32(c.dtype)), c.dims, proto.String("w")
		typed := marshal(t, c.p)
		raw := marshal(t, &onnxpb.TensorProto{DataType: c.p.DataType, Dims: c.dims, Name: c.p.Name, RawData: c.want})
		for form, b := range map[string][]byte{"typed": typed, "raw": raw, "unpacked": unpackFields(t, typed)} {
			name, got, err := onnx.LoadTensor(b)
			if err != nil {
				t.Errorf("%v %s: %v", c.dtype, form, err)
				continue
			}
			if name != "w" || got.DType() != c.dtype || !bytes.Equal(got.Bytes(), c.want) {
				t.Errorf("%v %s: got %q %v % x, want % x", c.dtype, form, name, got, got.Bytes(), c.want)
			}
			back, err := onnx.MarshalTensor("w", got)
			if err != nil || !bytes.Equal(back, raw) {
				t.Errorf("%v %s: MarshalTensor: got % x, %v, want % x", c.dtype, form, back, err, raw)
			}
			m := loadBytes(t, marshal(t, small(mustTensor(t, b))))
			if x := initial(t, m, "w"); !x.Equal(got) {
				t.Errorf("%v %s: as initializer: got %v, want %v", c.dtype, form, x, got)
			}
		}
	}
	for d := tensor.Float32; d.Valid(); d++ {
		if !covered[d] {
			t.Errorf("%v has no case", d)
		}
	}
}

func mustTensor(t *testing.T, b []byte) *onnxpb.TensorProto {
	p := &onnxpb.TensorProto{}
	if err := proto.Unmarshal(b, p); err != nil {
		t.Fatal(err)
	}
	return p
}

// unpackFields rewrites packed fields of a TensorProto as repeated entries.
func unpackFields(t *testing.T, b []byte) []byte {
	widths := map[protowire.Number]protowire.Type{4: protowire.Fixed32Type, 5: protowire.VarintType, 7: protowire.VarintType, 10: protowire.Fixed64Type, 11: protowire.VarintType}
	var out []byte
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		k := protowire.ConsumeFieldValue(num, typ, b[n:])
		if n < 0 || k < 0 {
			t.Fatal("bad message")
		}
		entry, packed := widths[num]
		if !packed || typ != protowire.BytesType {
			out = append(out, b[:n+k]...)
			b = b[n+k:]
			continue
		}
		body, _ := protowire.ConsumeBytes(b[n:])
		for len(body) > 0 {
			j := protowire.ConsumeFieldValue(num, entry, body)
			out = append(protowire.AppendTag(out, num, entry), body[:j]...)
			body = body[j:]
		}
		b = b[n+k:]
	}
	return out
}

func TestStringTensor(t *testing.T) {
	p := &onnxpb.TensorProto{Name: proto.String("s"), DataType: proto.Int32(int32(tensor.String)), Dims: []int64{3},
		StringData: [][]byte{[]byte("a"), {}, []byte("\xff\x00")}}
	name, got, err := onnx.LoadTensor(marshal(t, p))
	if err != nil || name != "s" || !slices.Equal(got.Strings(), []string{"a", "", "\xff\x00"}) {
		t.Fatalf("got %q %q, %v", name, got.Strings(), err)
	}
	b, err := onnx.MarshalTensor("s", got)
	if err != nil || !proto.Equal(mustTensor(t, b), p) {
		t.Errorf("got %v, %v, want %v", mustTensor(t, b), err, p)
	}
}

func TestLyingTensors(t *testing.T) {
	f := func(p *onnxpb.TensorProto, d tensor.DType, dims ...int64) *onnxpb.TensorProto {
		p.Name, p.DataType, p.Dims = proto.String("w"), proto.Int32(int32(d)), dims
		return p
	}
	big := make([]int32, 20000)
	for name, p := range map[string]*onnxpb.TensorProto{
		"raw too short":        f(&onnxpb.TensorProto{RawData: make([]byte, 20)}, tensor.Float32, 2, 3),
		"raw too long":         f(&onnxpb.TensorProto{RawData: make([]byte, 28)}, tensor.Float32, 2, 3),
		"no data":              f(&onnxpb.TensorProto{}, tensor.Float32, 2),
		"no data, huge":        f(&onnxpb.TensorProto{}, tensor.Float32, 1<<30, 1<<30),
		"overflow":             f(&onnxpb.TensorProto{RawData: make([]byte, 4)}, tensor.Float32, 1<<62, 1<<62, 4),
		"negative":             f(&onnxpb.TensorProto{RawData: make([]byte, 4)}, tensor.Float32, -1),
		"typed too few":        f(&onnxpb.TensorProto{Int32Data: []int32{1, 2}}, tensor.Int32, 3),
		"typed huge":           f(&onnxpb.TensorProto{Int32Data: big}, tensor.Int32, 1<<40),
		"typed, short by one":  f(&onnxpb.TensorProto{FloatData: []float32{1, 2}}, tensor.Float32, 3),
		"complex half":         f(&onnxpb.TensorProto{FloatData: []float32{1}}, tensor.Complex64, 1),
		"wrong field":          f(&onnxpb.TensorProto{Int64Data: []int64{1}}, tensor.Int32, 1),
		"strings too few":      f(&onnxpb.TensorProto{StringData: [][]byte{{}}}, tensor.String, 2),
		"strings huge":         f(&onnxpb.TensorProto{StringData: [][]byte{{}}}, tensor.String, 1<<40),
		"strings in raw":       f(&onnxpb.TensorProto{RawData: []byte("ab")}, tensor.String, 2),
		"undefined type":       f(&onnxpb.TensorProto{RawData: []byte("ab")}, 0, 2),
		"type of the future":   f(&onnxpb.TensorProto{RawData: []byte("ab")}, 99, 2),
		"external, none there": external("w", "data", 0, 2),
		"segment":              f(&onnxpb.TensorProto{RawData: make([]byte, 4), Segment: &onnxpb.TensorProto_Segment{}}, tensor.Float32, 1),
	} {
		b := marshal(t, p)
		if _, _, err := onnx.LoadTensor(b); !errors.Is(err, onnx.ErrInvalid) {
			t.Errorf("%s: got %v, want %v", name, err, onnx.ErrInvalid)
		}
		if _, err := onnx.LoadBytes(marshal(t, small(p))); !errors.Is(err, onnx.ErrInvalid) || !strings.Contains(err.Error(), `"w"`) {
			t.Errorf("%s: model: got %v, want %v naming the tensor", name, err, onnx.ErrInvalid)
		}
	}
}

// A large varint field is counted when it is read, not when it is loaded.
func TestLargeVarintsAreCountedWhenRead(t *testing.T) {
	v := make([]int32, 40000)
	p := &onnxpb.TensorProto{Name: proto.String("w"), DataType: proto.Int32(int32(tensor.Int32)), Dims: []int64{40000}, Int32Data: v}
	m := loadBytes(t, marshal(t, small(p)))
	if got := initial(t, m, "w"); got.Size() != 40000 {
		t.Errorf("got %v", got)
	}
	p.Dims = []int64{39999}
	m = loadBytes(t, marshal(t, small(p)))
	if _, err := m.Graph.Initializers[0].Data.Tensor(); err == nil {
		t.Error("got no error for 40000 entries in a shape of 39999")
	}
}

func TestSparseInitializer(t *testing.T) {
	idx := func(v []int64, dims ...int64) *onnxpb.TensorProto {
		return &onnxpb.TensorProto{DataType: proto.Int32(int32(tensor.Int64)), Dims: dims, Int64Data: v}
	}
	want := []float32{0, 5, 0, 0, 0, 7}
	for name, c := range map[string]struct {
		indices *onnxpb.TensorProto
		load    bool
		read    bool
	}{
		"linear":      {idx([]int64{1, 5}, 2), true, true},
		"coordinates": {idx([]int64{0, 1, 1, 2}, 2, 2), true, true},
		"outside":     {idx([]int64{1, 6}, 2), true, false},
		"negative":    {idx([]int64{-1, 0}, 2), true, false},
		"too few":     {idx([]int64{1}, 1), false, false},
	} {
		m := small()
		m.Graph.SparseInitializer = []*onnxpb.SparseTensorProto{{Values: floats("w", 5, 7), Indices: c.indices, Dims: []int64{2, 3}}}
		m.Graph.Node[0] = node("Add", []string{"x", "w"}, []string{"y"})
		b := marshal(t, m)
		im, err := onnx.LoadBytes(b)
		if (err == nil) != c.load {
			t.Errorf("%s: got %v, want loads=%v", name, err, c.load)
		}
		if err != nil {
			continue
		}
		x, err := im.Graph.Initializers[0].Data.Tensor()
		if (err == nil) != c.read || err == nil && !slices.Equal(tensor.Data[float32](x), want) {
			t.Errorf("%s: got %v, %v, want %v", name, x, err, want)
		}
		back, err := onnx.Marshal(im)
		if err != nil {
			t.Fatal(err)
		}
		sameModel(t, name, back, b)
	}
}

// TestOfficialTensors reads every tensor of the official node tests.
func TestOfficialTensors(t *testing.T) {
	dirs, err := filepath.Glob(filepath.Join(testutil.Shared(t, "onnx-node-tests"), "node", "*"))
	if err != nil || len(dirs) == 0 {
		t.Fatal(len(dirs), err)
	}
	n := 0
	for _, dir := range dirs {
		m := load(t, filepath.Join(dir, "model.onnx"))
		n += checkTensors(t, dir, "input", m.Graph.Inputs) + checkTensors(t, dir, "output", m.Graph.Outputs)
		onnx.Close(m)
	}
	if n < 5000 {
		t.Errorf("got %d tensors, want at least 5000", n)
	}
}

func checkTensors(t *testing.T, dir, kind string, vs []*ir.Value) (n int) {
	for i, v := range vs {
		want := v.TensorType()
		files, _ := filepath.Glob(filepath.Join(dir, "test_data_set_*", kind+"_"+strconv.Itoa(i)+".pb"))
		for _, path := range files {
			if want == nil {
				continue
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, got, err := onnx.LoadTensor(b)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			if p := mustTensor(t, b); p.RawData != nil && !bytes.Equal(got.Bytes(), p.RawData) || got.DType() != want.Elem {
				t.Errorf("%s: got %v, want %v", path, got, want)
			}
			back, err := onnx.MarshalTensor("x", got)
			if err != nil {
				t.Fatal(err)
			}
			if _, again, err := onnx.LoadTensor(back); err != nil || !again.Equal(got) {
				t.Errorf("%s: read back: got %v, %v, want %v", path, again, err, got)
			}
			n++
		}
	}
	return n
}
