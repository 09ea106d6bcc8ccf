package ops

import (
	"errors"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// attrToScales: the scales of an Upsample were an attribute.
func attrToScales(s *site, n *ir.Node) error {
	a := n.Attr("scales")
	if a == nil {
		return errors.New("scales are missing")
	}
	v, ok := a.Value.(ir.Floats)
	if !ok {
		return errors.New("attribute \"scales\" is not a list of floats")
	}
	n.RemoveAttr("scales")
	n.SetInput(1, s.Const("scales", tensor.FromSlice([]float32(v), len(v))))
	return nil
}

// liftResize: Resize of opset 10, and Upsample before it, scaled from the first
// element on. Places between elements were rounded down along axes that grow,
// and up along those that shrink; where there are, or may be, both kinds they
// take a node each.
func liftResize(s *site, n *ir.Node) error {
	scales := n.Input(1)
	n.SetInput(1, nil)
	n.SetInput(2, scales)
	n.SetAttr("coordinate_transformation_mode", ir.String("asymmetric"))
	n.SetAttr("nearest_mode", ir.String("floor"))
	if a := n.Attr("mode"); a != nil && a.Value != ir.String("nearest") {
		return nil
	}
	grows, shrinks := true, true
	if t := s.Fact(scales).Value(); t != nil && t.DType() == tensor.Float32 {
		v := tensor.Data[float32](t)
		grows = slices.ContainsFunc(v, func(x float32) bool { return x > 1 })
		shrinks = slices.ContainsFunc(v, func(x float32) bool { return x < 1 })
	}
	switch {
	case !shrinks:
	case !grows:
		n.SetAttr("nearest_mode", ir.String("ceil"))
	default:
		one := s.Const("one", tensor.Scalar[float32](1))
		down := s.Op("Min", ir.In(scales, one))
		n.SetInput(2, s.Op("Max", ir.In(scales, one)))
		s.then(n, 0, func(y *ir.Value) *ir.Node {
			after := ir.NewNode("", "Resize", y, nil, down)
			after.SetAttr("coordinate_transformation_mode", ir.String("asymmetric"))
			after.SetAttr("nearest_mode", ir.String("ceil"))
			return after
		})
	}
	return nil
}
