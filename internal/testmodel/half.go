package testmodel

import (
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// largestHalf is what converters write for floats that float16 has not.
const largestHalf = 65504

// Half makes a float32 model one of float16, inputs and outputs too, as
// converters do.
func Half(m *ir.Model) (*ir.Model, error) {
	var err error
	convert := func(d ir.Data) ir.Data {
		if d == nil || d.DType() != tensor.Float32 || err != nil {
			return d
		}
		t, e := halfOf(d)
		if e != nil {
			err = e
			return d
		}
		return ir.Dense(t)
	}
	m.Graphs(func(g *ir.Graph) bool {
		for _, v := range g.Initializers {
			v.Data = convert(v.Data)
		}
		for _, list := range [][]*ir.Value{g.Inputs, g.Outputs} {
			for _, v := range list {
				if t := v.TensorType(); t != nil && t.Elem == tensor.Float32 {
					v.Type = ir.Tensor(tensor.Float16, t.Dims...)
				}
			}
		}
		for n := range g.Nodes() {
			if a := n.Attr("value"); a != nil && n.Is("Constant") {
				n.SetAttr("value", ir.TensorAttr{Data: convert(a.Value.(ir.TensorAttr).Data)})
			}
			if a := n.Attr("to"); a != nil && a.Value == ir.Int(onnxType[tensor.Float32]) {
				n.SetAttr("to", ir.Int(10))
			}
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("testmodel: %w", err)
	}
	return m, ir.Verify(m)
}

func halfOf(d ir.Data) (*tensor.Tensor, error) {
	t, err := d.Tensor()
	if err != nil {
		return nil, err
	}
	t = t.Clone()
	x := tensor.Data[float32](t)
	for i := range x {
		x[i] = max(-largestHalf, min(largestHalf, x[i]))
	}
	return t.Cast(tensor.Float16)
}
