package ops

import (
	"errors"
	"fmt"
	"math"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// lift is one step of an operator towards CanonicalOpset: it applies to nodes
// of an opset before until, and rewrites n in place; s builds before n.
type lift struct {
	until int64
	lift  func(s *site, n *ir.Node) error
}

// lifts is the table of what changed, oldest first for each operator.
var lifts = map[string][]lift{
	"Softmax":    {{13, flattenAxis}},
	"LogSoftmax": {{13, flattenAxis}},
	"Hardmax":    {{13, flattenAxis}},

	"Squeeze":   {{13, attrsToInputs(1, "axes")}},
	"Unsqueeze": {{13, attrsToInputs(1, "axes")}},
	"ReduceSum": {{13, attrsToInputs(1, "axes")}},

	"ReduceMax":       {{18, attrsToInputs(1, "axes")}},
	"ReduceMin":       {{18, attrsToInputs(1, "axes")}},
	"ReduceMean":      {{18, attrsToInputs(1, "axes")}},
	"ReduceProd":      {{18, attrsToInputs(1, "axes")}},
	"ReduceL1":        {{18, attrsToInputs(1, "axes")}},
	"ReduceL2":        {{18, attrsToInputs(1, "axes")}},
	"ReduceLogSum":    {{18, attrsToInputs(1, "axes")}},
	"ReduceLogSumExp": {{18, attrsToInputs(1, "axes")}},
	"ReduceSumSquare": {{18, attrsToInputs(1, "axes")}},

	"Split":    {{13, attrsToInputs(1, "split")}, {18, countOutputs}},
	"Reshape":  {{5, attrsToInputs(1, "shape")}},
	"Slice":    {{10, liftSlice}},
	"Pad":      {{2, renameAttr("paddings", "pads")}, {11, liftPad}},
	"Clip":     {{11, liftClip}},
	"TopK":     {{10, liftTopK}},
	"Dropout":  {{10, boolMask}, {12, liftDropout}},
	"Concat":   {{4, defaultAttr("axis", ir.Int(1))}},
	"Cast":     {{6, liftCast}},
	"Tile":     {{6, liftTile}},
	"Scan":     {{9, liftScan}},
	"Scatter":  {{11, rename("ScatterElements")}},
	"Upsample": {{9, attrToScales}, {10, rename("Resize")}},
	"Resize":   {{11, liftResize}},
	"RoiAlign": {{16, liftRoiAlign}},
	"Selu":     {{6, liftSelu}},
	"PRelu":    {{7, liftPRelu}},

	"BatchNormalization": {{9, liftBatchNorm}, {14, batchNormMode}},

	"Add": {{7, oldBroadcast}}, "Sub": {{7, oldBroadcast}}, "Mul": {{7, oldBroadcast}}, "Div": {{7, oldBroadcast}}, "Pow": {{7, oldBroadcast}},
	"And": {{7, oldBroadcast}}, "Or": {{7, oldBroadcast}}, "Xor": {{7, oldBroadcast}},
	"Equal": {{7, oldBroadcast}}, "Greater": {{7, oldBroadcast}}, "Less": {{7, oldBroadcast}},
	"Gemm": {{7, dropAttr("broadcast")}},
}

// attrsToInputs turns integer-list attributes into inputs from index at on.
func attrsToInputs(at int, names ...string) func(*site, *ir.Node) error {
	return func(s *site, n *ir.Node) error {
		for i, name := range names {
			a := n.Attr(name)
			if a == nil {
				continue
			}
			v, ok := a.Value.(ir.Ints)
			if !ok {
				return fmt.Errorf("attribute %q is not a list of integers", name)
			}
			if len(n.Inputs()) > at+i {
				return fmt.Errorf("attribute %q and input %d exclude each other", name, at+i)
			}
			n.RemoveAttr(name)
			n.SetInput(at+i, s.Ints(toInts([]int64(v))...))
		}
		return nil
	}
}

func renameAttr(from, to string) func(*site, *ir.Node) error {
	return func(_ *site, n *ir.Node) error {
		if a := n.Attr(from); a != nil {
			a.Name = to
		}
		return nil
	}
}

func defaultAttr(name string, v ir.AttrValue) func(*site, *ir.Node) error {
	return func(_ *site, n *ir.Node) error {
		if n.Attr(name) == nil {
			n.SetAttr(name, v)
		}
		return nil
	}
}

func dropAttr(name string) func(*site, *ir.Node) error {
	return func(_ *site, n *ir.Node) error {
		n.RemoveAttr(name)
		return nil
	}
}

func intAttr(n *ir.Node, name string, def int64) (int64, error) {
	a := n.Attr(name)
	if a == nil {
		return def, nil
	}
	v, ok := a.Value.(ir.Int)
	if !ok {
		return 0, fmt.Errorf("attribute %q is not an integer", name)
	}
	return int64(v), nil
}

// flattenAxis: before 13 the operator worked on the input flattened to two
// dimensions at axis (1 by default), and normalised the whole second one.
func flattenAxis(s *site, n *ir.Node) error {
	axis, err := intAttr(n, "axis", 1)
	if err != nil {
		return err
	}
	n.SetAttr("axis", ir.Int(-1))
	x := n.Input(0)
	if x == nil {
		return errors.New("no input")
	}
	if axis == -1 || int(axis) == s.Fact(x).Rank()-1 {
		return nil // the last axis alone: the same as today
	}
	shape := s.Op("Shape", ir.In(x))
	n.SetInput(0, s.Op("Flatten", ir.In(x), ir.A("axis", ir.Int(axis))))
	s.then(n, 0, func(y *ir.Value) *ir.Node {
		r := ir.NewNode("", "Reshape", y, shape)
		r.SetAttr("allowzero", ir.Int(1))
		return r
	})
	return nil
}

// countOutputs: since 18 a Split without sizes says how many outputs it has.
func countOutputs(_ *site, n *ir.Node) error {
	if n.Input(1) == nil && n.Attr("num_outputs") == nil {
		n.SetAttr("num_outputs", ir.Int(len(n.Outputs())))
	}
	return nil
}

func liftSlice(s *site, n *ir.Node) error {
	if n.Attr("starts") == nil || n.Attr("ends") == nil {
		return errors.New("starts and ends are missing")
	}
	return attrsToInputs(1, "starts", "ends", "axes")(s, n)
}

func liftPad(s *site, n *ir.Node) error {
	if n.Attr("pads") == nil {
		return errors.New("pads are missing")
	}
	value, err := takeFloat(n, "value", 0)
	if err != nil {
		return err
	}
	if err := attrsToInputs(1, "pads")(s, n); err != nil {
		return err
	}
	if value != 0 {
		n.SetInput(2, s.like(n.Input(0), value))
	}
	return nil
}

// takeFloat reads and removes a float attribute.
func takeFloat(n *ir.Node, name string, def float64) (float64, error) {
	a := n.Attr(name)
	if a == nil {
		return def, nil
	}
	v, ok := a.Value.(ir.Float)
	if !ok {
		return 0, fmt.Errorf("attribute %q is not a float", name)
	}
	n.RemoveAttr(name)
	return float64(v), nil
}

// like is a scalar of v's dtype.
func (s *site) like(v *ir.Value, x float64) *ir.Value {
	t := tensor.Scalar(float32(x))
	d := s.Fact(v).DType
	if c, err := t.Cast(d); d != tensor.Undefined && err == nil {
		return s.Const("c", c)
	}
	return s.Op("CastLike", ir.In(s.Const("c", t), v))
}

// liftClip: the bounds were attributes, by default the least and the greatest
// float32, which infinities are clipped to.
func liftClip(s *site, n *ir.Node) error {
	for i, name := range []string{"min", "max"} {
		x, err := takeFloat(n, name, [2]float64{-math.MaxFloat32, math.MaxFloat32}[i])
		if err != nil {
			return err
		}
		n.SetInput(1+i, s.like(n.Input(0), x))
	}
	return nil
}

func liftTopK(s *site, n *ir.Node) error {
	k, err := intAttr(n, "k", 1)
	if err != nil {
		return err
	}
	n.RemoveAttr("k")
	n.SetInput(1, s.Ints(int(k)))
	return nil
}

// liftDropout: before 12 a model in a file is one for inference.
func liftDropout(s *site, n *ir.Node) error {
	ratio, err := takeFloat(n, "ratio", 0.5)
	if err != nil {
		return err
	}
	n.RemoveAttr("is_test")
	n.SetInput(1, s.Const("ratio", tensor.Scalar(float32(ratio))))
	return nil
}

// liftCast: before 6 the type was given by name.
func liftCast(_ *site, n *ir.Node) error {
	a := n.Attr("to")
	if a == nil {
		return errors.New("no type to cast to")
	}
	s, ok := a.Value.(ir.String)
	if !ok {
		return nil
	}
	d, ok := castNames[string(s)]
	if !ok {
		return fmt.Errorf("cast to %q", string(s))
	}
	n.SetAttr("to", ir.Int(d))
	return nil
}

var castNames = map[string]tensor.DType{
	"FLOAT": tensor.Float32, "UINT8": tensor.Uint8, "INT8": tensor.Int8, "UINT16": tensor.Uint16, "INT16": tensor.Int16,
	"INT32": tensor.Int32, "INT64": tensor.Int64, "STRING": tensor.String, "BOOL": tensor.Bool, "FLOAT16": tensor.Float16,
	"DOUBLE": tensor.Float64, "UINT32": tensor.Uint32, "UINT64": tensor.Uint64,
}

// liftBatchNorm: statistics of one number per channel are the only kind left.
func liftBatchNorm(_ *site, n *ir.Node) error {
	spatial, err := intAttr(n, "spatial", 1)
	if err != nil {
		return err
	}
	if spatial != 1 {
		return errors.New("spatial=0 is gone since opset 9")
	}
	n.RemoveAttr("spatial")
	n.RemoveAttr("is_test")
	return nil
}

// oldBroadcast: before 7 the second input was stretched on request, aligned at
// axis, or at the end where no axis is given.
func oldBroadcast(s *site, n *ir.Node) error {
	given := n.Attr("axis") != nil
	at, err := intAttr(n, "axis", 0)
	if err != nil {
		return err
	}
	n.RemoveAttr("broadcast")
	n.RemoveAttr("axis")
	if !given {
		return nil
	}
	x, y := n.Input(0), n.Input(1)
	if x == nil || y == nil {
		return errors.New("an input is left out")
	}
	n.SetInput(1, s.alignAt(x, y, int(at)))
	return nil
}

// alignAt gives y as many axes of extent 1 at its end as x has after y's,
// where y's first is x's axis at.
func (s *site) alignAt(x, y *ir.Value, at int) *ir.Value {
	rx, ry := s.Fact(x).Rank(), s.Fact(y).Rank()
	if rx >= 0 && ry >= 0 {
		if at < 0 {
			at += rx
		}
		axes := make([]int, max(0, rx-at-ry))
		for i := range axes {
			axes[i] = ry + i
		}
		if len(axes) == 0 {
			return y
		}
		return s.Op("Unsqueeze", ir.In(y, s.Ints(axes...)))
	}
	rank := func(v *ir.Value) *ir.Value { return s.Op("Shape", ir.In(s.Op("Shape", ir.In(v)))) }
	left := s.Ints(-at)
	if at >= 0 {
		left = s.Sub(rank(x), s.Ints(at))
	}
	ones := s.Op("ConstantOfShape", ir.In(s.Sub(left, rank(y))), ir.A("value", ir.TensorAttr{Data: ir.Dense(tensor.Ints(1))}))
	return s.reshapeExact(y, s.Op("Concat", ir.In(s.Op("Shape", ir.In(y)), ones), ir.A("axis", ir.Int(0))))
}

// liftPRelu: before 7 a slope of several elements had one for each channel,
// which is x's axis 1.
func liftPRelu(s *site, n *ir.Node) error {
	x, slope := n.Input(0), n.Input(1)
	if x == nil || slope == nil {
		return errors.New("an input is left out")
	}
	if s.Fact(slope).Rank() == 1 {
		n.SetInput(1, s.alignAt(x, slope, 1))
	}
	return nil
}

// liftTile: the number of repetitions along one axis was a scalar.
func liftTile(s *site, n *ir.Node) error {
	x := n.Input(0)
	tiles, ok := s.Fact(n.Input(1)).Ints()
	axis, ok2 := s.Fact(n.Input(2)).Ints()
	rank := s.Fact(x).Rank()
	if !ok || !ok2 || len(tiles) != 1 || len(axis) != 1 || rank < 0 {
		return errors.New("rank, tiles or axis is not known")
	}
	a, err := axisIn(axis[0], rank)
	if err != nil {
		return err
	}
	repeats := make([]int, rank)
	for i := range repeats {
		repeats[i] = 1
	}
	repeats[a] = tiles[0]
	n.TruncateInputs(1)
	n.SetInput(1, s.Ints(repeats...))
	return nil
}

func rename(op string) func(*site, *ir.Node) error {
	return func(_ *site, n *ir.Node) error {
		n.OpType = op
		return nil
	}
}

// liftSelu: the defaults had fewer digits.
func liftSelu(_ *site, n *ir.Node) error {
	for name, v := range map[string]ir.Float{"alpha": 1.6732, "gamma": 1.0507} {
		if n.Attr(name) == nil {
			n.SetAttr(name, v)
		}
	}
	return nil
}

// boolMask: before 10 the mask had the dtype of the data.
func boolMask(s *site, n *ir.Node) error {
	if y := n.Output(1); y != nil && !y.Unused() {
		x := n.Input(0)
		s.then(n, 1, func(mask *ir.Value) *ir.Node { return ir.NewNode("", "CastLike", mask, x) })
	}
	return nil
}

// batchNormMode: before 14 an operator with more than one output was one that
// trains; what it saved for a gradient of its own is gone.
func batchNormMode(_ *site, n *ir.Node) error {
	for i, v := range n.Outputs() {
		if i > 2 && v != nil && !v.Unused() {
			return fmt.Errorf("output %d is gone since opset 14", i)
		}
		if v != nil && (i == 1 || i == 2) {
			n.SetAttr("training_mode", ir.Int(1))
		}
	}
	if len(n.Outputs()) > 3 {
		n.TruncateOutputs(3)
	}
	return nil
}
