package onnx_test

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/onnx/internal/onnxpb"
)

// FuzzLoad: no bytes make Load, reading the tensors, or saving panic, and
// what was loaded is the same after it was saved and loaded again.
func FuzzLoad(f *testing.F) {
	seeds := []*onnxpb.ModelProto{small(floats("w", 1, 2)), small(external("w", "data", 0, 4)), everything()}
	sparse := small()
	sparse.Graph.SparseInitializer = []*onnxpb.SparseTensorProto{{Values: floats("s", 5), Dims: []int64{2, 3},
		Indices: &onnxpb.TensorProto{DataType: proto.Int32(7), Dims: []int64{1}, Int64Data: []int64{4}}}}
	for _, c := range typedCases {
		c.p.DataType, c.p.Dims, c.p.Name = proto.Int32(int32(c.dtype)), c.dims, proto.String(c.dtype.String())
		sparse.Graph.Initializer = append(sparse.Graph.Initializer, c.p)
	}
	for _, m := range append(seeds, sparse) {
		f.Add(marshal(f, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := onnx.LoadBytes(b)
		if err != nil {
			return
		}
		for _, v := range m.Graph.Initializers {
			x, err := v.Data.Tensor()
			if err == nil && (x.DType() != v.Data.DType() || !x.Shape().Equal(v.Data.Shape())) {
				t.Errorf("%s: got %v, announced %v%v", v.Name, x, v.Data.DType(), v.Data.Shape())
			}
		}
		first, err := onnx.Marshal(m)
		if err != nil {
			t.Fatalf("saving what was loaded: %v", err)
		}
		again, err := onnx.LoadBytes(first)
		if err != nil {
			t.Fatalf("loading what was saved: %v", err)
		}
		second, err := onnx.Marshal(again)
		if err != nil {
			t.Fatal(err)
		}
		if proto.Unmarshal(b, &onnxpb.ModelProto{}) != nil {
			return // broken in a part that is passed on unread
		}
		sameModel(t, "saved twice", second, first)
	})
}

// FuzzTensor is FuzzLoad for files of one tensor.
func FuzzTensor(f *testing.F) {
	for _, c := range typedCases {
		c.p.DataType, c.p.Dims = proto.Int32(int32(c.dtype)), c.dims
		f.Add(marshal(f, c.p))
	}
	f.Add(marshal(f, floats("w", 1, 2)))
	f.Fuzz(func(t *testing.T, b []byte) {
		name, x, err := onnx.LoadTensor(b)
		if err != nil {
			return
		}
		back, err := onnx.MarshalTensor(name, x)
		if err != nil {
			t.Fatal(err)
		}
		if _, y, err := onnx.LoadTensor(back); err != nil || !y.Equal(x) {
			t.Errorf("got %v, %v, want %v", y, err, x)
		}
	})
}
