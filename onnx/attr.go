package onnx

import (
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx/internal/onnxpb"
)

// Field numbers of AttributeProto that may be large or nest.
const (
	attrTensor  = 5
	attrGraph   = 6
	attrFloats  = 7
	attrInts    = 8
	attrTensors = 10
	attrGraphs  = 11
	attrSparse  = 22
	attrSparses = 23
)

// attrExtra is an attribute as it was read.
type attrExtra struct {
	head    *onnxpb.AttributeProto // without tensors, graphs and what is in other
	kind    onnxpb.AttributeProto_AttributeType
	typ     ir.Type               // what a TYPE_PROTO was decoded to
	tensors []*onnxpb.TensorProto // headers
	other   []span                // fields that ir does not hold, whole
	packed  map[protowire.Number]bool
}

// parts collects the fields of an attribute that are not in its head.
type parts map[protowire.Number][]field

func (d *decoder) attr(msg span, s *scope, n *ir.Node) (*ir.Attr, error) {
	x := &attrExtra{head: &onnxpb.AttributeProto{}}
	p := parts{}
	err := d.split(msg, x.head, func(f field) (bool, error) {
		switch f.num {
		case attrTensor, attrGraph, attrTensors, attrGraphs, attrSparse, attrSparses:
			p[f.num] = append(p[f.num], f)
			return true, nil
		case attrFloats, attrInts:
			if x.packed == nil {
				x.packed = map[protowire.Number]bool{}
			}
			x.packed[f.num] = true
		}
		return false, nil
	})
	if err != nil {
		return nil, fmt.Errorf("attribute: %w", err)
	}
	h := x.head
	a := &ir.Attr{Name: h.GetName(), RefAttr: h.GetRefAttrName(), Doc: h.GetDocString(), Extra: x}
	x.kind = attrKind(h, p)
	if a.RefAttr == "" {
		if a.Value, err = d.attrValue(x, p, s, n); err != nil {
			return nil, within(err, "attribute %q", a.Name)
		}
	}
	for num := protowire.Number(attrTensor); num <= attrSparses; num++ {
		for _, f := range p[num] {
			x.other = append(x.other, f.whole)
		}
	}
	return a, nil
}

// attrKind is the declared type, or what the fields present say where an old
// file declares none.
func attrKind(h *onnxpb.AttributeProto, p parts) onnxpb.AttributeProto_AttributeType {
	if h.Type != nil {
		return h.GetType()
	}
	for _, c := range []struct {
		is   bool
		kind onnxpb.AttributeProto_AttributeType
	}{
		{len(p[attrGraph]) > 0, onnxpb.AttributeProto_GRAPH}, {len(p[attrTensor]) > 0, onnxpb.AttributeProto_TENSOR},
		{len(p[attrGraphs]) > 0, onnxpb.AttributeProto_GRAPHS}, {len(p[attrTensors]) > 0, onnxpb.AttributeProto_TENSORS},
		{len(h.Ints) > 0, onnxpb.AttributeProto_INTS}, {len(h.Floats) > 0, onnxpb.AttributeProto_FLOATS},
		{len(h.Strings) > 0, onnxpb.AttributeProto_STRINGS}, {h.S != nil, onnxpb.AttributeProto_STRING},
		{h.I != nil, onnxpb.AttributeProto_INT}, {h.F != nil, onnxpb.AttributeProto_FLOAT},
		{h.Tp != nil, onnxpb.AttributeProto_TYPE_PROTO},
	} {
		if c.is {
			return c.kind
		}
	}
	return onnxpb.AttributeProto_UNDEFINED
}

// attrValue decodes the field that x.kind names and takes it out of p.
func (d *decoder) attrValue(x *attrExtra, p parts, s *scope, n *ir.Node) (ir.AttrValue, error) {
	h := x.head
	switch x.kind {
	case onnxpb.AttributeProto_FLOAT:
		return ir.Float(h.GetF()), nil
	case onnxpb.AttributeProto_INT:
		return ir.Int(h.GetI()), nil
	case onnxpb.AttributeProto_STRING:
		return ir.String(h.GetS()), nil
	case onnxpb.AttributeProto_FLOATS:
		v := ir.Floats(h.Floats)
		h.Floats = nil
		return v, nil
	case onnxpb.AttributeProto_INTS:
		v := ir.Ints(h.Ints)
		h.Ints = nil
		return v, nil
	case onnxpb.AttributeProto_STRINGS:
		v := make(ir.Strings, len(h.Strings))
		for i, b := range h.Strings {
			v[i] = string(b)
		}
		h.Strings = nil
		return v, nil
	case onnxpb.AttributeProto_TYPE_PROTO:
		t, err := decodeType(h.Tp, 0)
		x.typ = t
		return ir.TypeAttr{Type: t}, err
	case onnxpb.AttributeProto_TENSOR:
		return d.tensorAttr(x, p)
	case onnxpb.AttributeProto_TENSORS:
		v, err := d.tensors(x, p[attrTensors])
		delete(p, attrTensors)
		return ir.TensorsAttr(v), err
	case onnxpb.AttributeProto_GRAPH:
		return d.graphAttr(p, s, n)
	case onnxpb.AttributeProto_GRAPHS:
		var gs ir.GraphsAttr
		for _, f := range p[attrGraphs] {
			g, err := d.graph([]span{f.body}, s, n)
			if err != nil {
				return nil, err
			}
			gs = append(gs, g)
		}
		delete(p, attrGraphs)
		return gs, nil
	}
	return ir.OpaqueAttr{Raw: x}, nil
}

func (d *decoder) tensorAttr(x *attrExtra, p parts) (ir.AttrValue, error) {
	list := p[attrTensor]
	if len(list) != 1 {
		return nil, fmt.Errorf("%d tensors, want one", len(list))
	}
	v, err := d.tensors(x, list)
	if err != nil {
		return nil, err
	}
	delete(p, attrTensor)
	return ir.TensorAttr{Data: v[0]}, nil
}

func (d *decoder) graphAttr(p parts, s *scope, n *ir.Node) (ir.AttrValue, error) {
	var spans []span
	for _, f := range p[attrGraph] {
		spans = append(spans, f.body)
	}
	if len(spans) == 0 {
		return nil, fmt.Errorf("no graph")
	}
	g, err := d.graph(spans, s, n)
	if err != nil {
		return nil, err
	}
	delete(p, attrGraph)
	return ir.GraphAttr{Graph: g}, nil
}

func (d *decoder) tensors(x *attrExtra, list []field) ([]ir.Data, error) {
	var out []ir.Data
	for _, f := range list {
		t, err := d.decodeTensor(f.body, d.files)
		if err != nil {
			return nil, err
		}
		x.tensors = append(x.tensors, t.head)
		out = append(out, t)
	}
	return out, nil
}

// clearValue empties the value fields where an attribute gets a value of another kind.
func clearValue(p *onnxpb.AttributeProto) {
	p.F, p.I, p.S, p.Tp = nil, nil, nil, nil
	p.Floats, p.Ints, p.Strings, p.TypeProtos = nil, nil, nil, nil
}

// kindOf is the ONNX type of an attribute value.
func kindOf(v ir.AttrValue) onnxpb.AttributeProto_AttributeType {
	switch v.(type) {
	case ir.Float:
		return onnxpb.AttributeProto_FLOAT
	case ir.Int:
		return onnxpb.AttributeProto_INT
	case ir.String:
		return onnxpb.AttributeProto_STRING
	case ir.Floats:
		return onnxpb.AttributeProto_FLOATS
	case ir.Ints:
		return onnxpb.AttributeProto_INTS
	case ir.Strings:
		return onnxpb.AttributeProto_STRINGS
	case ir.TypeAttr:
		return onnxpb.AttributeProto_TYPE_PROTO
	case ir.TensorAttr:
		return onnxpb.AttributeProto_TENSOR
	case ir.TensorsAttr:
		return onnxpb.AttributeProto_TENSORS
	case ir.GraphAttr:
		return onnxpb.AttributeProto_GRAPH
	case ir.GraphsAttr:
		return onnxpb.AttributeProto_GRAPHS
	}
	return onnxpb.AttributeProto_UNDEFINED
}

// attr appends an attribute to r, as field num.
func (e *encoder) attr(r *rope, num protowire.Number, a *ir.Attr) error {
	x, _ := a.Extra.(*attrExtra)
	p := &onnxpb.AttributeProto{}
	if x != nil {
		p = proto.CloneOf(x.head)
	}
	p.Name, p.RefAttrName, p.DocString = str(p.Name, a.Name), str(p.RefAttrName, a.RefAttr), str(p.DocString, a.Doc)
	if o, ok := a.Value.(ir.OpaqueAttr); ok {
		was, ok := o.Raw.(*attrExtra)
		if !ok {
			return fmt.Errorf("attribute %q: opaque value of unknown origin", a.Name)
		}
		name := p.Name
		x, p = was, proto.CloneOf(was.head)
		p.Name = name
	}
	kind := kindOf(a.Value)
	same := x != nil && (x.kind == kind || a.Value == nil || kind == onnxpb.AttributeProto_UNDEFINED)
	if !same && a.Value != nil {
		clearValue(p)
		p.Type = &kind
	}
	var body rope
	if err := e.attrValue(&body, p, a, x, same); err != nil {
		return fmt.Errorf("attribute %q: %w", a.Name, err)
	}
	if same {
		for _, f := range x.other {
			body.span(f)
		}
	}
	var head rope
	head.proto(p)
	head.append(&body)
	r.message(num, &head)
	return nil
}

// attrValue puts a's value into p or, where it is large or nests, into body.
func (e *encoder) attrValue(body *rope, p *onnxpb.AttributeProto, a *ir.Attr, x *attrExtra, same bool) error {
	packed := func(n protowire.Number) bool { return same && x.packed[n] }
	switch v := a.Value.(type) {
	case ir.Float:
		p.F = keep(p.F, float32(v), same)
	case ir.Int:
		p.I = keep(p.I, int64(v), same)
	case ir.String:
		if !same || p.S != nil || v != "" {
			p.S = []byte(v)
		}
	case ir.Floats:
		if p.Floats = v; packed(attrFloats) {
			var b []byte
			for _, f := range v {
				b = protowire.AppendFixed32(b, math.Float32bits(f))
			}
			body.field(attrFloats, b)
			p.Floats = nil
		}
	case ir.Ints:
		if p.Ints = v; packed(attrInts) {
			var b []byte
			for _, n := range v {
				b = protowire.AppendVarint(b, uint64(n))
			}
			body.field(attrInts, b)
			p.Ints = nil
		}
	case ir.Strings:
		p.Strings = nil
		for _, s := range v {
			p.Strings = append(p.Strings, []byte(s))
		}
	case ir.TypeAttr:
		if !same || v.Type != x.typ {
			p.Tp = encodeType(v.Type)
		}
	case ir.TensorAttr:
		return e.tensor(body, attrTensor, e.attrSlot(a, 0, v.Data, x, same))
	case ir.TensorsAttr:
		for i, t := range v {
			if err := e.tensor(body, attrTensors, e.attrSlot(a, i, t, x, same)); err != nil {
				return err
			}
		}
	case ir.GraphAttr:
		return e.graphField(body, attrGraph, v.Graph)
	case ir.GraphsAttr:
		for _, g := range v {
			if err := e.graphField(body, attrGraphs, g); err != nil {
				return err
			}
		}
	}
	return nil
}

// keep is num where the attribute was of this kind before, else always set.
func keep[T int64 | float32](old *T, v T, same bool) *T {
	if same {
		return num(old, v)
	}
	return &v
}
