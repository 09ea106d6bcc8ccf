package train

import (
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// narrow reports whether d is a float of 16 bits, in which nothing trains:
// gradients would vanish there, or need a scaled loss.
func narrow(d tensor.DType) bool { return d == tensor.Float16 || d == tensor.BFloat16 }

// InFloat32 has the canonical model m compute in float32 what it computes in 16
// bits. Constants are kept as they are stored and read as float32; inputs that
// are fed in 16 bits still are; outputs become float32. The result differs from
// the model's own by the rounding that is left out.
func InFloat32(m *ir.Model) {
	if !narrows(m) {
		return
	}
	names := ir.NewNames(m)
	m.Graphs(func(g *ir.Graph) bool {
		for _, v := range g.Initializers {
			if narrow(v.Data.DType()) {
				v.Data = ops.Recast{Data: v.Data, To: tensor.Float32}
			}
			widenType(v)
		}
		for n := range g.Nodes() {
			widenNode(n)
		}
		for _, v := range g.Inputs {
			if g == m.Graph && v.Data == nil && isNarrow(v) {
				castInput(g, v, names)
			} else {
				widenType(v)
			}
		}
		for _, v := range slices.Concat(g.Outputs, g.Annotated) {
			if v.Producer() != nil {
				widenType(v)
			}
		}
		return true
	})
}

// narrows reports whether anything of m's is of 16 bits.
func narrows(m *ir.Model) bool {
	found := false
	m.Graphs(func(g *ir.Graph) bool {
		found = found || slices.ContainsFunc(g.Initializers, func(v *ir.Value) bool { return narrow(v.Data.DType()) }) ||
			slices.ContainsFunc(g.Inputs, isNarrow)
		for n := range g.Nodes() {
			found = found || slices.ContainsFunc(n.Attrs, func(a *ir.Attr) bool { return narrowing(n, a) })
		}
		return !found
	})
	return found
}

func isNarrow(v *ir.Value) bool { t := v.TensorType(); return t != nil && narrow(t.Elem) }

func widenType(v *ir.Value) {
	if isNarrow(v) {
		t := *v.TensorType()
		t.Elem = tensor.Float32
		v.Type = &t
	}
}

// castInput has everything that reads v read it as float32.
func castInput(g *ir.Graph, v *ir.Value, names *ir.Names) {
	n := ir.NewNode("", "Cast")
	n.Name = names.Fresh(v.Name + "/Cast")
	n.SetAttr("to", ir.Int(tensor.Float32))
	y := g.NewValue(names.Fresh(v.Name+"_float32"), nil)
	n.SetOutput(0, y)
	v.ReplaceUses(y)
	n.SetInput(0, v)
	g.InsertBefore(n, g.First())
}

// typeAttrs are the attributes that name the type of a result.
var typeAttrs = map[string]string{
	"Cast": "to", "EyeLike": "dtype", "RandomNormal": "dtype", "RandomUniform": "dtype", "RandomNormalLike": "dtype",
	"RandomUniformLike": "dtype", "DequantizeLinear": "output_dtype",
}

// narrowing reports whether the attribute makes n's result one of 16 bits.
func narrowing(n *ir.Node, a *ir.Attr) bool {
	switch v := a.Value.(type) {
	case ir.Int:
		return n.Domain == "" && typeAttrs[n.OpType] == a.Name && narrow(tensor.DType(v))
	case ir.TensorAttr:
		return narrow(v.Data.DType())
	}
	return false
}

func widenNode(n *ir.Node) {
	for _, a := range n.Attrs {
		if !narrowing(n, a) {
			continue
		}
		if v, ok := a.Value.(ir.TensorAttr); ok {
			a.Value = ir.TensorAttr{Data: ops.Recast{Data: v.Data, To: tensor.Float32}}
		} else {
			a.Value = ir.Int(tensor.Float32)
		}
	}
}

// store gives m's constants back the 16 bits that they are stored in, each
// behind a Cast, for a file.
func store(m *ir.Model) {
	names := ir.NewNames(m)
	m.Graphs(func(g *ir.Graph) bool {
		for _, v := range g.Initializers {
			if w, ok := v.Data.(ops.Recast); ok {
				v.Data = w.Data
				castInput(g, v, names)
			}
		}
		return true
	})
}
