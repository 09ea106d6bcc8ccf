package onnx

import (
	"fmt"
	"slices"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx/internal/onnxpb"
	"github.com/bonnx/bonnx/tensor"
)

// An encoder turns a model into a message. What is as it was read is written
// as it was read; places says which tensors go to which external file.
type encoder struct {
	places map[slotKey]*place
}

func (e *encoder) model(m *ir.Model) (*rope, error) {
	x, _ := m.Extra.(*modelExtra)
	p := &onnxpb.ModelProto{}
	if x != nil {
		p = proto.CloneOf(x.head)
	}
	p.IrVersion, p.ModelVersion = num(p.IrVersion, m.IRVersion), num(p.ModelVersion, m.ModelVersion)
	p.ProducerName, p.ProducerVersion = str(p.ProducerName, m.ProducerName), str(p.ProducerVersion, m.ProducerVersion)
	p.Domain, p.DocString = str(p.Domain, m.Domain), str(p.DocString, m.Doc)
	p.OpsetImport, p.MetadataProps = encodeOpsets(m.Opsets), encodeMetadata(m.Metadata)
	r := &rope{}
	r.proto(p)
	if err := e.graphField(r, 7, m.Graph); err != nil {
		return nil, err
	}
	if x != nil {
		for _, t := range x.training {
			r.span(t)
		}
	}
	for _, f := range m.Functions {
		if err := e.function(r, f); err != nil {
			return nil, fmt.Errorf("function %q: %w", f.Name, err)
		}
	}
	return r, r.err
}

// graphField appends a graph as field num.
func (e *encoder) graphField(r *rope, num protowire.Number, g *ir.Graph) error {
	var body rope
	if err := e.graph(&body, g); err != nil {
		return err
	}
	r.message(num, &body)
	return nil
}

func (e *encoder) graph(r *rope, g *ir.Graph) error {
	p := &onnxpb.GraphProto{}
	if x, ok := g.Extra.(*graphExtra); ok {
		p = proto.CloneOf(x.head)
	}
	p.Name, p.DocString = str(p.Name, g.Name), str(p.DocString, g.Doc)
	p.MetadataProps = encodeMetadata(g.Metadata)
	p.Input = valueInfos(g.Inputs, func(x *valueExtra) []*onnxpb.ValueInfoProto { return x.in })
	p.Output = valueInfos(g.Outputs, func(x *valueExtra) []*onnxpb.ValueInfoProto { return x.out })
	p.ValueInfo = valueInfos(g.Annotated, func(x *valueExtra) []*onnxpb.ValueInfoProto { return x.ann })
	if err := e.nodes(r, 1, g); err != nil {
		return err
	}
	for _, v := range g.Initializers {
		if err := e.initializer(r, v); err != nil {
			return fmt.Errorf("initializer %q: %w", v.Name, err)
		}
	}
	r.proto(p)
	return r.err
}

func (e *encoder) nodes(r *rope, num protowire.Number, g *ir.Graph) error {
	for n := range g.Nodes() {
		var body rope
		if err := e.node(&body, n); err != nil {
			return fmt.Errorf("%v: %w", n, err)
		}
		r.message(num, &body)
	}
	return nil
}

func (e *encoder) node(r *rope, n *ir.Node) error {
	p := &onnxpb.NodeProto{}
	if x, ok := n.Extra.(*nodeExtra); ok {
		p = proto.CloneOf(x.head)
	}
	p.Name, p.OpType = str(p.Name, n.Name), str(p.OpType, n.OpType)
	p.Domain, p.Overload, p.DocString = str(p.Domain, n.Domain), str(p.Overload, n.Overload), str(p.DocString, n.Doc)
	p.Input, p.Output = valueNames(n.Inputs()), valueNames(n.Outputs())
	p.MetadataProps = encodeMetadata(n.Metadata)
	r.proto(p)
	for _, a := range n.Attrs {
		if err := e.attr(r, 5, a); err != nil {
			return err
		}
	}
	return r.err
}

func valueNames(vs []*ir.Value) []string {
	names := make([]string, len(vs))
	for i, v := range vs {
		if v != nil {
			names[i] = v.Name
		}
	}
	return names
}

// valueInfos are the entries of one of a graph's lists; was picks the entries
// that a value had in that list, in order.
func valueInfos(vs []*ir.Value, was func(*valueExtra) []*onnxpb.ValueInfoProto) []*onnxpb.ValueInfoProto {
	var out []*onnxpb.ValueInfoProto
	used := map[*ir.Value]int{}
	for _, v := range vs {
		x, _ := v.Extra.(*valueExtra)
		var old *onnxpb.ValueInfoProto
		if x != nil {
			if list := was(x); used[v] < len(list) {
				old = list[used[v]]
			}
			used[v]++
		}
		out = append(out, valueInfo(v, x, old))
	}
	return out
}

// valueInfo is old with what changed since it was read.
func valueInfo(v *ir.Value, x *valueExtra, old *onnxpb.ValueInfoProto) *onnxpb.ValueInfoProto {
	if old == nil {
		p := &onnxpb.ValueInfoProto{Name: &v.Name, DocString: str(nil, v.Doc), MetadataProps: encodeMetadata(v.Metadata)}
		switch {
		case v.Type != nil:
			p.Type = encodeType(v.Type)
		case v.Data != nil:
			p.Type = encodeType(ir.TensorOf(v.Data.DType(), v.Data.Shape()))
		}
		return p
	}
	typ, doc, meta := v.Type == x.typ, v.Doc == x.doc, slices.Equal(v.Metadata, x.meta)
	if typ && doc && meta && old.GetName() == v.Name {
		return old
	}
	p := proto.CloneOf(old)
	p.Name = str(p.Name, v.Name)
	if !typ {
		p.Type = nil
		if v.Type != nil {
			p.Type = encodeType(v.Type)
		}
	}
	if !doc {
		p.DocString = str(p.DocString, v.Doc)
	}
	if !meta {
		p.MetadataProps = encodeMetadata(v.Metadata)
	}
	return p
}

func (e *encoder) function(r *rope, f *ir.Function) error {
	p := &onnxpb.FunctionProto{}
	if x, ok := f.Extra.(*functionExtra); ok {
		p = proto.CloneOf(x.head)
	}
	p.Name, p.Domain, p.Overload = str(p.Name, f.Name), str(p.Domain, f.Domain), str(p.Overload, f.Overload)
	p.DocString, p.Attribute = str(p.DocString, f.Doc), f.Attrs
	p.OpsetImport, p.MetadataProps = encodeOpsets(f.Opsets), encodeMetadata(f.Metadata)
	p.Input, p.Output = valueNames(f.Body.Inputs), valueNames(f.Body.Outputs)
	p.ValueInfo = valueInfos(f.Body.Annotated, func(x *valueExtra) []*onnxpb.ValueInfoProto { return x.ann })
	var body rope
	body.proto(p)
	if len(f.Body.Initializers) > 0 {
		return fmt.Errorf("constant %q: a function's constants are Constant nodes", f.Body.Initializers[0].Name)
	}
	if err := e.nodes(&body, 7, f.Body); err != nil {
		return err
	}
	for _, a := range f.Defaults {
		if err := e.attr(&body, 11, a); err != nil {
			return err
		}
	}
	r.message(25, &body)
	return nil
}

// A slot is one place in a model where a tensor is written.
type slot struct {
	key   slotKey
	name  string
	data  ir.Data
	head  *onnxpb.TensorProto // of the tensor that was read from this place
	spill bool                // may move to an external file
}

// slotKey tells slots apart: a value, an attribute or a sparse tensor, and
// the number within it.
type slotKey struct {
	owner any
	i     int
}

func initSlot(v *ir.Value) slot {
	s := slot{key: slotKey{v, 0}, name: v.Name, data: v.Data, spill: true}
	if x, ok := v.Extra.(*valueExtra); ok {
		s.head = x.tensor
	}
	return s
}

func (e *encoder) attrSlot(a *ir.Attr, i int, d ir.Data, x *attrExtra, same bool) slot {
	s := slot{key: slotKey{a, i}, data: d}
	if same && i < len(x.tensors) {
		s.head = x.tensors[i]
	}
	if f, ok := d.(*fileData); ok {
		s.name = f.head.GetName()
	} else {
		s.name = s.head.GetName()
	}
	return s
}

func (e *encoder) initializer(r *rope, v *ir.Value) error {
	if s, ok := v.Data.(*sparseData); ok {
		return e.sparse(r, v.Name, s)
	}
	if v.Data == nil {
		return fmt.Errorf("it has no data")
	}
	return e.tensor(r, 5, initSlot(v))
}

// tensor appends a tensor as field num.
func (e *encoder) tensor(r *rope, num protowire.Number, s slot) error {
	var body rope
	f, _ := s.data.(*fileData)
	at := e.places[s.key]
	switch {
	case f == nil:
		if err := e.fresh(&body, s, at); err != nil {
			return err
		}
	case f.ext == nil && at == nil || f.ext != nil && at.same(f.ext):
		if s.name == f.head.GetName() {
			body.span(f.msg)
			break
		}
		p := proto.CloneOf(f.head)
		p.Name = str(p.Name, s.name)
		body.proto(p)
		if err := f.copyElements(&body); err != nil {
			return err
		}
	default:
		p := proto.CloneOf(f.head)
		p.Name = str(p.Name, s.name)
		at.describe(p)
		body.proto(p)
		if at == nil {
			body.head(fieldRaw, f.ext.n)
			body.add(chunk{n: f.ext.n, ext: f.ext})
		}
	}
	r.message(num, &body)
	return nil
}

// fresh writes a tensor that was not read from a file, with what the one that
// was in its place had besides elements.
func (e *encoder) fresh(r *rope, s slot, at *place) error {
	p := &onnxpb.TensorProto{}
	if s.head != nil {
		p = proto.CloneOf(s.head)
	}
	setShape(p, s.data.DType(), s.data.Shape())
	p.Name = str(p.Name, s.name)
	at.describe(p)
	r.proto(p)
	switch n := int64(s.data.DType().Size(s.data.Shape().Size())); {
	case s.data.DType() == tensor.String:
		t, err := s.data.Tensor()
		if err != nil {
			return err
		}
		r.elements(t)
	case at == nil:
		r.head(fieldRaw, n)
		if n > 0 {
			r.add(chunk{n: n, data: s.data})
		}
	}
	return nil
}

// setShape sets element type and dims.
func setShape(p *onnxpb.TensorProto, d tensor.DType, shape tensor.Shape) {
	p.DataType = proto.Int32(int32(d))
	p.Dims = nil
	for _, n := range shape {
		p.Dims = append(p.Dims, int64(n))
	}
}

// copyElements appends the fields that hold d's elements, as they are.
func (d *fileData) copyElements(r *rope) error {
	rd, err := newReader(d.msg.src)
	if err != nil {
		return err
	}
	return rd.fields(d.msg, func(f field) error {
		if isBulk(f.num) {
			r.span(f.whole)
		}
		return nil
	})
}

// same reports whether external data stays where it is said to be.
func (at *place) same(x *extRef) bool {
	return at != nil && at.file.loc == x.file.loc && at.off == x.off && !at.file.checksumStale
}

// describe makes a tensor's header say where its elements are.
func (at *place) describe(p *onnxpb.TensorProto) {
	if at == nil {
		p.ExternalData, p.DataLocation = nil, nil
		return
	}
	p.DataLocation = onnxpb.TensorProto_EXTERNAL.Enum()
	set := map[string]string{
		keyLocation: at.file.loc, keyOffset: strconv.FormatInt(at.off, 10), keyLength: strconv.FormatInt(at.n, 10),
	}
	old := p.ExternalData
	p.ExternalData = nil
	for _, kv := range old {
		v, known := set[kv.GetKey()]
		delete(set, kv.GetKey())
		if kv.GetKey() == keyChecksum && at.file.checksumStale {
			continue
		}
		if known {
			kv = proto.CloneOf(kv)
			kv.Value = &v
		}
		p.ExternalData = append(p.ExternalData, kv)
	}
	if len(old) > 0 && at.off == 0 {
		delete(set, keyOffset) // it was left out, and may stay so
	}
	for _, k := range []string{keyLocation, keyOffset, keyLength} {
		if v, missing := set[k]; missing {
			p.ExternalData = append(p.ExternalData, &onnxpb.StringStringEntryProto{Key: proto.String(k), Value: &v})
		}
	}
}
