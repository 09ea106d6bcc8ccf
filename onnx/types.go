package onnx

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx/internal/onnxpb"
	"github.com/bonnx/bonnx/tensor"
)

// decodeType is nil for a type that says nothing.
func decodeType(p *onnxpb.TypeProto, depth int) (ir.Type, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("types are nested more than %d deep", maxDepth)
	}
	switch v := p.GetValue().(type) {
	case *onnxpb.TypeProto_TensorType:
		ranked, dims := decodeShape(v.TensorType.GetShape())
		return &ir.TensorType{Elem: elemType(v.TensorType.GetElemType()), Ranked: ranked, Dims: dims}, nil
	case *onnxpb.TypeProto_SparseTensorType:
		ranked, dims := decodeShape(v.SparseTensorType.GetShape())
		return &ir.SparseTensorType{Elem: elemType(v.SparseTensorType.GetElemType()), Ranked: ranked, Dims: dims}, nil
	case *onnxpb.TypeProto_SequenceType:
		e, err := decodeType(v.SequenceType.GetElemType(), depth+1)
		return &ir.SequenceType{Elem: e}, err
	case *onnxpb.TypeProto_OptionalType:
		e, err := decodeType(v.OptionalType.GetElemType(), depth+1)
		return &ir.OptionalType{Elem: e}, err
	case *onnxpb.TypeProto_MapType:
		e, err := decodeType(v.MapType.GetValueType(), depth+1)
		return &ir.MapType{Key: elemType(v.MapType.GetKeyType()), Elem: e}, err
	case *onnxpb.TypeProto_OpaqueType:
		return &ir.OpaqueType{Domain: v.OpaqueType.GetDomain(), Name: v.OpaqueType.GetName()}, nil
	}
	return nil, nil
}

// elemType is Undefined for numbers that no element type has.
func elemType(n int32) tensor.DType {
	if d := tensor.DType(n); int32(d) == n && d.Valid() {
		return d
	}
	return tensor.Undefined
}

// decodeShape takes a negative extent, which some exporters write for an
// unknown one, as unknown.
func decodeShape(p *onnxpb.TensorShapeProto) (ranked bool, dims []ir.Dim) {
	if p == nil {
		return false, nil
	}
	dims = make([]ir.Dim, len(p.Dim))
	for i, d := range p.Dim {
		switch v := d.GetValue().(type) {
		case *onnxpb.TensorShapeProto_Dimension_DimValue:
			if v.DimValue >= 0 {
				dims[i] = ir.Fixed(v.DimValue)
			}
		case *onnxpb.TensorShapeProto_Dimension_DimParam:
			dims[i] = ir.Symbol(v.DimParam)
		}
	}
	return true, dims
}

// encodeType is the inverse of decodeType.
func encodeType(t ir.Type) *onnxpb.TypeProto {
	p := &onnxpb.TypeProto{}
	switch t := t.(type) {
	case *ir.TensorType:
		p.Value = &onnxpb.TypeProto_TensorType{TensorType: &onnxpb.TypeProto_Tensor{
			ElemType: proto.Int32(int32(t.Elem)), Shape: encodeShape(t.Ranked, t.Dims)}}
	case *ir.SparseTensorType:
		p.Value = &onnxpb.TypeProto_SparseTensorType{SparseTensorType: &onnxpb.TypeProto_SparseTensor{
			ElemType: proto.Int32(int32(t.Elem)), Shape: encodeShape(t.Ranked, t.Dims)}}
	case *ir.SequenceType:
		p.Value = &onnxpb.TypeProto_SequenceType{SequenceType: &onnxpb.TypeProto_Sequence{ElemType: encodeType(t.Elem)}}
	case *ir.OptionalType:
		p.Value = &onnxpb.TypeProto_OptionalType{OptionalType: &onnxpb.TypeProto_Optional{ElemType: encodeType(t.Elem)}}
	case *ir.MapType:
		p.Value = &onnxpb.TypeProto_MapType{MapType: &onnxpb.TypeProto_Map{
			KeyType: proto.Int32(int32(t.Key)), ValueType: encodeType(t.Elem)}}
	case *ir.OpaqueType:
		p.Value = &onnxpb.TypeProto_OpaqueType{OpaqueType: &onnxpb.TypeProto_Opaque{
			Domain: str(nil, t.Domain), Name: str(nil, t.Name)}}
	}
	return p
}

func encodeShape(ranked bool, dims []ir.Dim) *onnxpb.TensorShapeProto {
	if !ranked {
		return nil
	}
	p := &onnxpb.TensorShapeProto{}
	for _, d := range dims {
		q := &onnxpb.TensorShapeProto_Dimension{}
		switch {
		case d.Known:
			q.Value = &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: d.Value}
		case d.Sym != "":
			q.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: d.Sym}
		}
		p.Dim = append(p.Dim, q)
	}
	return p
}

// str is the field that holds v, where old is what the file had: a field that
// was absent stays so while v is empty.
func str(old *string, v string) *string {
	switch {
	case old == nil && v == "":
		return nil
	case old != nil && *old == v:
		return old
	}
	return &v
}

// num is str for numbers.
func num[T int64 | float32](old *T, v T) *T {
	if old == nil && v == 0 {
		return nil
	}
	return &v
}

func decodeMetadata(ps []*onnxpb.StringStringEntryProto) ir.Metadata {
	if len(ps) == 0 {
		return nil
	}
	m := make(ir.Metadata, len(ps))
	for i, p := range ps {
		m[i] = ir.KV{Key: p.GetKey(), Value: p.GetValue(), Extra: p}
	}
	return m
}

func encodeMetadata(m ir.Metadata) []*onnxpb.StringStringEntryProto {
	var ps []*onnxpb.StringStringEntryProto
	for _, kv := range m {
		p, _ := kv.Extra.(*onnxpb.StringStringEntryProto)
		switch {
		case p == nil:
			p = &onnxpb.StringStringEntryProto{Key: &kv.Key, Value: &kv.Value}
		case p.GetKey() != kv.Key || p.GetValue() != kv.Value:
			p = proto.CloneOf(p)
			p.Key, p.Value = str(p.Key, kv.Key), str(p.Value, kv.Value)
		}
		ps = append(ps, p)
	}
	return ps
}

func decodeOpsets(ps []*onnxpb.OperatorSetIdProto) []ir.Opset {
	list := make([]ir.Opset, len(ps))
	for i, p := range ps {
		list[i] = ir.Opset{Domain: p.GetDomain(), Version: p.GetVersion(), Extra: p}
	}
	return list
}

func encodeOpsets(list []ir.Opset) []*onnxpb.OperatorSetIdProto {
	var ps []*onnxpb.OperatorSetIdProto
	for _, o := range list {
		p, _ := o.Extra.(*onnxpb.OperatorSetIdProto)
		switch {
		case p == nil:
			p = &onnxpb.OperatorSetIdProto{Domain: &o.Domain, Version: &o.Version}
		case p.GetDomain() != o.Domain || p.GetVersion() != o.Version:
			p = proto.CloneOf(p)
			p.Domain, p.Version = str(p.Domain, o.Domain), num(p.Version, o.Version)
		}
		ps = append(ps, p)
	}
	return ps
}
