package onnx

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx/internal/onnxpb"
	"github.com/bonnx/bonnx/tensor"
)

// A sparse initializer's dense form may take minDense bytes, or maxBlowUp
// times what it takes in the file: a few bytes must not claim gigabytes.
const (
	minDense  = 64 << 20
	maxBlowUp = 64
)

// sparseData is a sparse initializer, read as the dense tensor that it means
// and written as it was.
type sparseData struct {
	head            *onnxpb.SparseTensorProto // dims and what is unknown
	values, indices *fileData
	shape           tensor.Shape
}

// DType implements ir.Data.
func (d *sparseData) DType() tensor.DType { return d.values.dtype }

// Shape implements ir.Data.
func (d *sparseData) Shape() tensor.Shape { return d.shape }

func (d *decoder) sparse(g *ir.Graph, s *scope, list []span) error {
	for _, sp := range list {
		t, err := d.sparseTensor(sp)
		if err != nil {
			return fmt.Errorf("sparse initializer: %w", err)
		}
		v, err := initializer(g, s, t.values.head.GetName())
		if err != nil {
			return err
		}
		v.Data = t
	}
	return nil
}

func (d *decoder) sparseTensor(sp span) (*sparseData, error) {
	t := &sparseData{head: &onnxpb.SparseTensorProto{}}
	err := d.split(sp, t.head, func(f field) (took bool, err error) {
		switch f.num {
		case 1:
			t.values, err = d.decodeTensor(f.body, d.files)
		case 2:
			t.indices, err = d.decodeTensor(f.body, d.files)
		default:
			return false, nil
		}
		return true, err
	})
	if err != nil {
		return nil, err
	}
	if t.values == nil || t.indices == nil {
		return nil, errors.New("values or indices are missing")
	}
	for _, n := range t.head.Dims {
		if n < 0 || int64(int(n)) != n {
			return nil, fmt.Errorf("tensor %q: a dimension is %d", t.values.head.GetName(), n)
		}
		t.shape = append(t.shape, int(n))
	}
	if _, err := t.shape.CheckedSize(); err != nil {
		return nil, err
	}
	nnz, idx := t.values.size, t.indices.shape
	linear := len(idx) == 1 && idx[0] == nnz
	coords := len(idx) == 2 && idx[0] == nnz && idx[1] == len(t.shape)
	if t.indices.dtype != tensor.Int64 || t.values.dtype.Bits() < 8 || !linear && !coords {
		return nil, fmt.Errorf("tensor %q: indices %v%v do not fit %d values of %v", t.values.head.GetName(), t.indices.dtype, idx, nnz, t.values.dtype)
	}
	return t, nil
}

// Tensor implements ir.Data.
func (d *sparseData) Tensor() (*tensor.Tensor, error) {
	stored := d.values.dtype.Size(d.values.size) + 8*d.indices.size
	if d.values.dtype.Size(d.shape.Size()) > max(minDense, maxBlowUp*stored) {
		return nil, fmt.Errorf("sparse tensor %q: the dense form of %v is too large", d.values.head.GetName(), d.shape)
	}
	values, err := d.values.Tensor()
	if err != nil {
		return nil, err
	}
	indices, err := d.indices.Tensor()
	if err != nil {
		return nil, err
	}
	out := tensor.New(d.values.dtype, d.shape...)
	idx, width := tensor.Data[int64](indices), d.values.dtype.Size(1)
	per := 1
	if indices.Rank() == 2 {
		per = len(d.shape)
	}
	for i := range d.values.size {
		at := int64(0)
		for k, x := range idx[i*per : (i+1)*per] {
			limit := int64(d.shape.Size())
			if indices.Rank() == 2 {
				limit = int64(d.shape[k])
				at *= limit
			}
			if x < 0 || x >= limit {
				return nil, fmt.Errorf("sparse tensor %q: index %d is outside of %v", d.values.head.GetName(), x, d.shape)
			}
			at += x
		}
		copy(out.Bytes()[int(at)*width:], values.Bytes()[i*width:(i+1)*width])
	}
	return out, nil
}

// sparse appends a sparse initializer.
func (e *encoder) sparse(r *rope, name string, d *sparseData) error {
	var body rope
	for i, s := range d.slots(name) {
		if err := e.tensor(&body, protowire.Number(i+1), s); err != nil {
			return err
		}
	}
	body.proto(proto.CloneOf(d.head))
	r.message(15, &body)
	return nil
}

func (d *sparseData) slots(name string) []slot {
	return []slot{
		{key: slotKey{d, 0}, name: name, data: d.values, head: d.values.head},
		{key: slotKey{d, 1}, name: d.indices.head.GetName(), data: d.indices, head: d.indices.head},
	}
}
