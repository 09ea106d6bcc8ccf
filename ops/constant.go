package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// constant is a value in an attribute.
// https://onnx.ai/onnx/operators/onnx__Constant.html
type constant struct{ data ir.Data }

func newConstant(a *Args) (Op, error) {
	a.Skip(constantForms...)
	d, err := ConstantValue(a.Node)
	if err != nil {
		return nil, err
	}
	return constant{d}, nil
}

// constantForms are the attributes that may hold a Constant's value.
var constantForms = []string{"value", "value_float", "value_floats", "value_int", "value_ints", "value_string", "value_strings", "sparse_value"}

// ConstantValue is the value of a Constant node.
func ConstantValue(n *ir.Node) (ir.Data, error) {
	var found ir.Data
	for _, name := range constantForms {
		at := n.Attr(name)
		if at == nil {
			continue
		}
		d := constantData(at.Value)
		if d == nil || found != nil {
			return nil, fmt.Errorf("attribute %q does not give the value", name)
		}
		found = d
	}
	if found == nil {
		return nil, errors.New("no value")
	}
	return found, nil
}

func constantData(v ir.AttrValue) ir.Data {
	switch v := v.(type) {
	case ir.TensorAttr:
		return v.Data
	case ir.Float:
		return ir.Dense(tensor.Scalar(float32(v)))
	case ir.Floats:
		return ir.Dense(tensor.FromSlice([]float32(v), len(v)))
	case ir.Int:
		return ir.Dense(tensor.Scalar(int64(v)))
	case ir.Ints:
		return ir.Dense(tensor.FromSlice([]int64(v), len(v)))
	case ir.String:
		return ir.Dense(tensor.FromStrings([]string{string(v)}))
	case ir.Strings:
		return ir.Dense(tensor.FromStrings(v, len(v)))
	}
	return nil
}

func (o constant) Infer([]Fact) ([]Fact, error) { return []Fact{ConstantData(o.data)}, nil }

func (o constant) Bind(*Binder, []Fact, []Fact) (Step, error) {
	t, err := o.data.Tensor()
	if err != nil {
		return nil, err
	}
	return func(_ *Frame, _, out []*tensor.Tensor) error {
		copyTensor(out[0], t)
		return nil
	}, nil
}

// constantOfShape is a tensor of the shape in its input, an int64 vector, each
// element the attribute's one (default 0 of float32).
// https://onnx.ai/onnx/operators/onnx__ConstantOfShape.html
type constantOfShape struct{ value *tensor.Tensor }

func newConstantOfShape(a *Args) (Op, error) {
	v := a.Tensor("value")
	if v == nil {
		v = tensor.New(tensor.Float32, 1)
	}
	if v.Size() != 1 {
		return nil, fmt.Errorf("attribute \"value\" is %v, want one element", v)
	}
	return constantOfShape{v}, nil
}

func (o constantOfShape) Infer(in []Fact) ([]Fact, error) {
	dims, ok := in[0].Extents()
	if !ok {
		return []Fact{unranked(o.value.DType())}, nil
	}
	for _, d := range dims {
		if d.Known && d.Value < 0 {
			return nil, fmt.Errorf("shape %s", dimsString(dims))
		}
	}
	f := Of(o.value.DType(), dims...)
	if s, ok := f.Shape(); ok && len(s) <= 1 && s.Size() <= maxElems {
		if e, ok := elemsOf(Constant(o.value)); ok {
			all := make([]ir.Dim, s.Size())
			for i := range all {
				all[i] = e[0]
			}
			f = withElems(f, all)
		}
	}
	return []Fact{f}, nil
}

func (o constantOfShape) Bind(_ *Binder, _, out []Fact) (Step, error) {
	scalar := o.value.Reshape()
	bc, err := planBroadcast(out[0].MustShape(), scalar.Shape())
	if err != nil {
		return nil, err
	}
	m := moverFor(scalar.DType())
	return func(f *Frame, _, out []*tensor.Tensor) error {
		m.expand(f.Pool, bc, out[0], scalar)
		return nil
	}, nil
}
