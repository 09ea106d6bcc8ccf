package onnx_test

import (
	"testing"
	"testing/fstest"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/onnx/internal/onnxpb"
	"github.com/bonnx/bonnx/tensor"
)

func kv(k, v string) []*onnxpb.StringStringEntryProto {
	return []*onnxpb.StringStringEntryProto{{Key: &k, Value: &v}}
}

func graphAttr(name string, g *onnxpb.GraphProto) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_GRAPH.Enum(), G: g}
}

// everything is a model that uses every message and field of the format.
func everything() *onnxpb.ModelProto {
	mystery := func(m proto.Message) {
		b := unknown(1000, "from the future")
		b = protowire.AppendTag(b, 1001, protowire.StartGroupType)
		b = protowire.AppendVarint(protowire.AppendTag(b, 3, protowire.VarintType), 7)
		b = protowire.AppendTag(b, 1001, protowire.EndGroupType)
		m.ProtoReflect().SetUnknown(b)
	}
	m := small(floats("w", 1, 2, 3), &onnxpb.TensorProto{Name: proto.String("typed"), Dims: []int64{2}, DataType: proto.Int32(7), Int64Data: []int64{5, -5},
		DocString: proto.String(""), MetadataProps: kv("t", "m")})
	m.ProducerName, m.ProducerVersion, m.Domain, m.ModelVersion = proto.String("p"), proto.String(""), proto.String("d"), proto.Int64(0)
	m.DocString, m.MetadataProps = proto.String("model doc"), kv("k", "v")
	m.Configuration = []*onnxpb.DeviceConfigurationProto{{Name: proto.String("c"), NumDevices: proto.Int32(2), Device: []string{"a", "b"}}}
	m.TrainingInfo = []*onnxpb.TrainingInfoProto{{Algorithm: &onnxpb.GraphProto{Name: proto.String("alg")}, UpdateBinding: kv("w", "w2")}}
	m.OpsetImport = append(m.OpsetImport, &onnxpb.OperatorSetIdProto{Domain: proto.String("f"), Version: proto.Int64(1)})
	g := m.Graph
	g.DocString, g.MetadataProps = proto.String("graph doc"), kv("gk", "gv")
	g.QuantizationAnnotation = []*onnxpb.TensorAnnotation{{TensorName: proto.String("x"), QuantParameterTensorNames: kv("SCALE", "s")}}
	g.ValueInfo = []*onnxpb.ValueInfoProto{info("h"), info("gone long ago")}
	g.ValueInfo[0].DocString, g.ValueInfo[0].MetadataProps = proto.String("hidden"), kv("vi", "1")
	g.Input[0].Type.Denotation = proto.String("IMAGE")
	branch := &onnxpb.GraphProto{Name: proto.String("b"), Node: []*onnxpb.NodeProto{node("Neg", []string{"h"}, []string{"z"})}, Output: []*onnxpb.ValueInfoProto{info("z")}}
	inner := &onnxpb.GraphProto{Name: proto.String("i"), Node: []*onnxpb.NodeProto{node("Neg", []string{"x"}, []string{"u"})}, Output: []*onnxpb.ValueInfoProto{info("u")}}
	attrs := []*onnxpb.AttributeProto{
		{Name: proto.String("f"), Type: onnxpb.AttributeProto_FLOAT.Enum(), F: proto.Float32(0)},
		{Name: proto.String("f_absent"), Type: onnxpb.AttributeProto_FLOAT.Enum()},
		{Name: proto.String("i"), Type: onnxpb.AttributeProto_INT.Enum(), I: proto.Int64(-3), DocString: proto.String("why")},
		{Name: proto.String("i_untyped"), I: proto.Int64(3)},
		{Name: proto.String("s"), Type: onnxpb.AttributeProto_STRING.Enum(), S: []byte{0xff}},
		{Name: proto.String("fs"), Type: onnxpb.AttributeProto_FLOATS.Enum(), Floats: []float32{1, 2}},
		{Name: proto.String("is"), Type: onnxpb.AttributeProto_INTS.Enum(), Ints: []int64{1, -2}},
		{Name: proto.String("is_empty"), Type: onnxpb.AttributeProto_INTS.Enum()},
		{Name: proto.String("ss"), Type: onnxpb.AttributeProto_STRINGS.Enum(), Strings: [][]byte{[]byte("a"), {}}},
		{Name: proto.String("t"), Type: onnxpb.AttributeProto_TENSOR.Enum(), T: floats("", 4)},
		{Name: proto.String("ts"), Type: onnxpb.AttributeProto_TENSORS.Enum(), Tensors: []*onnxpb.TensorProto{floats("a", 4), floats("b", 5)}},
		{Name: proto.String("gs"), Type: onnxpb.AttributeProto_GRAPHS.Enum(), Graphs: []*onnxpb.GraphProto{inner}},
		{Name: proto.String("st"), Type: onnxpb.AttributeProto_SPARSE_TENSOR.Enum(), SparseTensor: &onnxpb.SparseTensorProto{Values: floats("v", 1), Dims: []int64{4}}},
		{Name: proto.String("sts"), Type: onnxpb.AttributeProto_SPARSE_TENSORS.Enum(), SparseTensors: []*onnxpb.SparseTensorProto{{Dims: []int64{4}}, {}}},
		{Name: proto.String("tp"), Type: onnxpb.AttributeProto_TYPE_PROTO.Enum(), Tp: floatType(3)},
		{Name: proto.String("tps"), Type: onnxpb.AttributeProto_TYPE_PROTOS.Enum(), TypeProtos: []*onnxpb.TypeProto{floatType(3), floatType()}},
		{Name: proto.String("two"), Type: onnxpb.AttributeProto_INT.Enum(), I: proto.Int64(1), F: proto.Float32(2), T: floats("", 1)},
		{Name: proto.String("nothing")},
	}
	for _, a := range attrs {
		mystery(a)
	}
	g.Node = []*onnxpb.NodeProto{
		node("Custom", []string{"x", "", "w"}, []string{"", "h", ""}, attrs...),
		node("If", []string{"x"}, []string{"y"}, graphAttr("then_branch", branch)),
		node("Fn", []string{"x"}, []string{"q"}),
	}
	g.Node[0].Name, g.Node[0].Overload, g.Node[0].DocString, g.Node[0].MetadataProps = proto.String("custom"), proto.String("o"), proto.String("nd"), kv("n", "m")
	g.Node[0].Domain = proto.String("f")
	g.Node[2].Domain = proto.String("f")
	g.Node[0].DeviceConfigurations = []*onnxpb.NodeDeviceConfigurationProto{{ConfigurationId: proto.String("c"), PipelineStage: proto.Int32(1),
		ShardingSpec: []*onnxpb.ShardingSpecProto{{TensorName: proto.String("x"), Device: []int64{0, 1}}}}}
	m.Functions = []*onnxpb.FunctionProto{{Name: proto.String("Fn"), Domain: proto.String("f"), Input: []string{"a"}, Output: []string{"b"},
		Attribute: []string{"alpha"}, AttributeProto: []*onnxpb.AttributeProto{{Name: proto.String("beta"), Type: onnxpb.AttributeProto_FLOAT.Enum(), F: proto.Float32(1)}},
		Node:        []*onnxpb.NodeProto{node("LeakyRelu", []string{"a"}, []string{"b"}, &onnxpb.AttributeProto{Name: proto.String("alpha"), RefAttrName: proto.String("alpha"), Type: onnxpb.AttributeProto_FLOAT.Enum()})},
		OpsetImport: []*onnxpb.OperatorSetIdProto{{Version: proto.Int64(17)}}, ValueInfo: []*onnxpb.ValueInfoProto{info("b")}, DocString: proto.String("fd"), MetadataProps: kv("fm", "1"), Overload: proto.String("")}}
	for _, p := range []proto.Message{m, g, g.Node[0], g.Input[0], g.Input[0].Type, g.Initializer[0], m.Functions[0], m.MetadataProps[0], m.OpsetImport[0],
		m.TrainingInfo[0], g.QuantizationAnnotation[0], branch, branch.Node[0], g.Initializer[1].MetadataProps[0]} {
		mystery(p)
	}
	return m
}

func TestEverythingSurvives(t *testing.T) {
	want := marshal(t, everything())
	m := loadBytes(t, want)
	got, err := onnx.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	sameModel(t, "everything", got, want)
	got, err = onnx.Marshal(m.Clone())
	if err != nil {
		t.Fatal(err)
	}
	sameModel(t, "its clone", got, want)
}

func TestPackedAttributesStayPacked(t *testing.T) {
	ints := []byte{1, 2, 3}
	a := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "axes")
	a = protowire.AppendBytes(protowire.AppendTag(a, 8, protowire.BytesType), ints)
	a = protowire.AppendBytes(protowire.AppendTag(a, 7, protowire.BytesType), make([]byte, 8))
	a = protowire.AppendVarint(protowire.AppendTag(a, 20, protowire.VarintType), 7)
	m := small()
	n := marshal(t, m.Graph.Node[0])
	n = protowire.AppendBytes(protowire.AppendTag(n, 5, protowire.BytesType), a)
	m.Graph.Node = nil
	g := marshal(t, m.Graph)
	g = protowire.AppendBytes(protowire.AppendTag(g, 1, protowire.BytesType), n)
	m.Graph = nil
	want := marshal(t, m)
	want = protowire.AppendBytes(protowire.AppendTag(want, 7, protowire.BytesType), g)
	im := loadBytes(t, want)
	if v, ok := im.Graph.First().Attrs[0].Value.(ir.Ints); !ok || len(v) != 3 {
		t.Fatalf("got %v", im.Graph.First().Attrs[0].Value)
	}
	got, err := onnx.Marshal(im)
	if err != nil {
		t.Fatal(err)
	}
	// floats of an attribute of ints are kept, in the unpacked form.
	p, q := unmarshal(t, got), unmarshal(t, want)
	if !proto.Equal(p, q) {
		t.Errorf("got %v, want %v", p, q)
	}
}

// A message in two parts is one message: protobuf concatenates.
func TestGraphInTwoParts(t *testing.T) {
	m := small(floats("w", 1))
	part := marshal(t, &onnxpb.ModelProto{Graph: &onnxpb.GraphProto{Node: []*onnxpb.NodeProto{node("Neg", []string{"y"}, []string{"v"})}}})
	b := append(marshal(t, m), part...)
	got, err := onnx.Marshal(loadBytes(t, b))
	if err != nil {
		t.Fatal(err)
	}
	if p, want := unmarshal(t, got), unmarshal(t, b); !proto.Equal(p, want) {
		t.Errorf("got %v, want %v", p, want)
	}
}

// TestEdits changes one thing after the other and expects exactly that.
func TestEdits(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(m *ir.Model)
		want func(p *onnxpb.ModelProto)
	}{
		"model": {func(m *ir.Model) {
			m.IRVersion, m.ProducerName, m.Doc = 9, "bonnx", ""
			m.Metadata.Set("k", "v2")
			m.Metadata.Set("new", "1")
			m.SetOpset("", 18)
			m.SetOpset("com.microsoft", 1)
		}, func(p *onnxpb.ModelProto) {
			p.IrVersion, p.ProducerName, p.DocString = proto.Int64(9), proto.String("bonnx"), proto.String("")
			p.MetadataProps[0].Value = proto.String("v2")
			p.MetadataProps = append(p.MetadataProps, kv("new", "1")...)
			p.OpsetImport[0].Version = proto.Int64(18)
			p.OpsetImport = append(p.OpsetImport, &onnxpb.OperatorSetIdProto{Domain: proto.String("com.microsoft"), Version: proto.Int64(1)})
		}},
		"rename a value": {func(m *ir.Model) { m.Graph.First().Output(1).Name = "h2" }, func(p *onnxpb.ModelProto) {
			p.Graph.Node[0].Output[1] = "h2"
			p.Graph.ValueInfo[0].Name = proto.String("h2")
			p.Graph.Node[1].Attribute[0].G.Node[0].Input[0] = "h2"
		}},
		"rename initializers": {func(m *ir.Model) {
			m.Graph.Initializers[0].Name = "w2"
			m.Graph.Initializers[1].Name = "typed2"
		}, func(p *onnxpb.ModelProto) {
			p.Graph.Initializer[0].Name, p.Graph.Node[0].Input[2] = proto.String("w2"), "w2"
			p.Graph.Initializer[1].Name = proto.String("typed2")
		}},
		"replace a tensor": {func(m *ir.Model) {
			m.Graph.Initializers[1].Data = ir.Dense(tensor.FromSlice([]float32{9}, 1, 1))
		}, func(p *onnxpb.ModelProto) {
			w := p.Graph.Initializer[1]
			w.DataType, w.Dims, w.Int64Data, w.RawData = proto.Int32(1), []int64{1, 1}, nil, []byte{0, 0, 0x10, 0x41}
		}},
		"retype a value": {func(m *ir.Model) {
			m.Graph.Outputs[0].Type = ir.Tensor(tensor.Float16, ir.Symbol("N"), ir.Fixed(3), ir.Dim{})
		}, func(p *onnxpb.ModelProto) {
			p.Graph.Output[0].Type = &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{TensorType: &onnxpb.TypeProto_Tensor{
				ElemType: proto.Int32(10), Shape: &onnxpb.TensorShapeProto{Dim: []*onnxpb.TensorShapeProto_Dimension{
					{Value: &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: "N"}},
					{Value: &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: 3}}, {}}}}}}
		}},
		"attributes": {func(m *ir.Model) {
			n := m.Graph.First()
			n.Attr("f").Value = ir.Float(2)
			n.Attr("i").Value = ir.Ints{0}
			n.SetAttr("s", ir.Int(0))
			n.Attr("t").Value = ir.TensorAttr{Data: ir.Dense(tensor.Scalar[float32](1))}
			n.RemoveAttr("gs")
			n.SetAttr("added", ir.String(""))
		}, func(p *onnxpb.ModelProto) {
			a := p.Graph.Node[0].Attribute
			a[0].F = proto.Float32(2)
			a[2].Type, a[2].I, a[2].Ints = onnxpb.AttributeProto_INTS.Enum(), nil, []int64{0}
			a[4] = &onnxpb.AttributeProto{Name: proto.String("s"), Type: onnxpb.AttributeProto_INT.Enum(), I: proto.Int64(0)}
			a[9].T.Dims, a[9].T.RawData = nil, []byte{0, 0, 0x80, 0x3f}
			a = append(a[:11], a[12:]...)
			p.Graph.Node[0].Attribute = append(a, &onnxpb.AttributeProto{Name: proto.String("added"), Type: onnxpb.AttributeProto_STRING.Enum(), S: []byte{}})
		}},
		"new node": {func(m *ir.Model) {
			p := ir.NewPatch(m.Graph, ir.NewNames(m))
			y := m.Graph.Outputs[0]
			k := p.Initializer("k", ir.Dense(tensor.FromStrings([]string{"a"}, 1)))
			p.TakeOver(y, p.Node("new", "Concat", []*ir.Value{y, k}, nil, ir.A("axis", ir.Int(0))))
			if err := p.Apply(); err != nil {
				panic(err)
			}
		}, func(p *onnxpb.ModelProto) {
			p.Graph.Node[1].Output[0] = "y_base"
			p.Graph.Node = append(p.Graph.Node, &onnxpb.NodeProto{Name: proto.String("new"), OpType: proto.String("Concat"), Input: []string{"y_base", "k"}, Output: []string{"y"},
				Attribute: []*onnxpb.AttributeProto{{Name: proto.String("axis"), Type: onnxpb.AttributeProto_INT.Enum(), I: proto.Int64(0)}}})
			p.Graph.Initializer = append(p.Graph.Initializer, &onnxpb.TensorProto{Name: proto.String("k"), DataType: proto.Int32(8), Dims: []int64{1}, StringData: [][]byte{[]byte("a")}})
		}},
	} {
		want := proto.CloneOf(everything())
		m := loadBytes(t, marshal(t, want))
		c.edit(m)
		c.want(want)
		got, err := onnx.Marshal(m)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p := unmarshal(t, got); !proto.Equal(p, want) {
			t.Errorf("%s: got\n%v\nwant\n%v", name, p, want)
		}
		again, err := onnx.Marshal(loadBytes(t, marshal(t, everything())))
		if err != nil {
			t.Fatal(err)
		}
		if name != "" && !proto.Equal(unmarshal(t, again), everything()) {
			t.Errorf("%s: the edit reached a model loaded afresh", name)
		}
	}
}

func TestLoadFS(t *testing.T) {
	fsys := fstest.MapFS{
		"dir/m.onnx":     {Data: marshal(t, small(external("w", "sub/w.bin", 4, 2)))},
		"dir/sub/w.bin":  {Data: bulk(12, 1)},
		"dir/plain.onnx": {Data: marshal(t, small(floats("w", 1)))},
	}
	m, err := onnx.LoadFS(fsys, "dir/m.onnx")
	if err != nil {
		t.Fatal(err)
	}
	defer onnx.Close(m)
	if got, want := string(initial(t, m, "w").Bytes()), string(bulk(12, 1)[4:]); got != want {
		t.Errorf("got % x, want % x", got, want)
	}
	if _, err := onnx.LoadFS(fsys, "dir/none.onnx"); err == nil {
		t.Error("got no error for a missing file")
	}
	if _, err := onnx.LoadFS(fsys, "dir"); err == nil {
		t.Error("got no error for a directory")
	}
}
