package ops

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// valueForms maps the attributes that a Constant node may have to the
// value they give. https://onnx.ai/onnx/operators/onnx__Constant.html
var valueForms = map[string]func(v ir.AttrValue) (ir.Data, bool){
	"value": func(v ir.AttrValue) (ir.Data, bool) {
		t, ok := v.(ir.TensorAttr)
		return t.Data, ok && t.Data != nil
	},
	"value_float": func(v ir.AttrValue) (ir.Data, bool) {
		x, ok := v.(ir.Float)
		return ir.Dense(tensor.Scalar(float32(x))), ok
	},
	"value_int": func(v ir.AttrValue) (ir.Data, bool) {
		x, ok := v.(ir.Int)
		return ir.Dense(tensor.Scalar(int64(x))), ok
	},
	"value_string": func(v ir.AttrValue) (ir.Data, bool) {
		x, ok := v.(ir.String)
		return ir.Dense(tensor.FromStrings([]string{string(x)})), ok
	},
	"value_floats": func(v ir.AttrValue) (ir.Data, bool) {
		x, ok := v.(ir.Floats)
		return ir.Dense(tensor.FromSlice([]float32(x), len(x))), ok
	},
	"value_ints": func(v ir.AttrValue) (ir.Data, bool) {
		x, ok := v.(ir.Ints)
		return ir.Dense(tensor.FromSlice([]int64(x), len(x))), ok
	},
	"value_strings": func(v ir.AttrValue) (ir.Data, bool) {
		x, ok := v.(ir.Strings)
		return ir.Dense(tensor.FromStrings([]string(x), len(x))), ok
	},
}

// constantOf is the value of a Constant node.
func constantOf(n *ir.Node) (ir.Data, error) {
	if len(n.Attrs) != 1 {
		return nil, fmt.Errorf("%d attributes, where one gives the value", len(n.Attrs))
	}
	a := n.Attrs[0]
	form, ok := valueForms[a.Name]
	if !ok {
		return nil, fmt.Errorf("attribute %q is not supported", a.Name)
	}
	d, ok := form(a.Value)
	if !ok {
		return nil, fmt.Errorf("attribute %q has the wrong kind", a.Name)
	}
	return d, nil
}
