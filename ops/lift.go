package ops

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// lift is one step of an operator towards CanonicalOpset: it applies to models
// of an opset before until, and rewrites n in place; b builds before n.
type lift struct {
	until int64
	lift  func(b *ir.Builder, n *ir.Node) error
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

	"Split":   {{13, attrsToInputs(1, "split")}, {18, countOutputs}},
	"Reshape": {{5, attrsToInputs(1, "shape")}},
	"Slice":   {{10, liftSlice}},
	"Pad":     {{2, renameAttr("paddings", "pads")}, {11, liftPad}},
	"Clip":    {{11, liftClip}},
	"TopK":    {{10, liftTopK}},
	"Dropout": {{12, liftDropout}},
	"Concat":  {{4, defaultAttr("axis", ir.Int(1))}},
	"Cast":    {{6, liftCast}},

	"BatchNormalization": {{9, liftBatchNorm}},

	"Add": {{7, oldBroadcast}}, "Sub": {{7, oldBroadcast}}, "Mul": {{7, oldBroadcast}}, "Div": {{7, oldBroadcast}}, "Pow": {{7, oldBroadcast}},
	"And": {{7, oldBroadcast}}, "Or": {{7, oldBroadcast}}, "Xor": {{7, oldBroadcast}},
	"Equal": {{7, oldBroadcast}}, "Greater": {{7, oldBroadcast}}, "Less": {{7, oldBroadcast}},
	"Gemm": {{7, dropAttr("broadcast")}},
}

// attrsToInputs turns integer-list attributes into inputs from index at on.
func attrsToInputs(at int, names ...string) func(*ir.Builder, *ir.Node) error {
	return func(b *ir.Builder, n *ir.Node) error {
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
			n.SetInput(at+i, b.Ints(toInts([]int64(v))...))
		}
		return nil
	}
}

func renameAttr(from, to string) func(*ir.Builder, *ir.Node) error {
	return func(_ *ir.Builder, n *ir.Node) error {
		if a := n.Attr(from); a != nil {
			a.Name = to
		}
		return nil
	}
}

func defaultAttr(name string, v ir.AttrValue) func(*ir.Builder, *ir.Node) error {
	return func(_ *ir.Builder, n *ir.Node) error {
		if n.Attr(name) == nil {
			n.SetAttr(name, v)
		}
		return nil
	}
}

func dropAttr(name string) func(*ir.Builder, *ir.Node) error {
	return func(_ *ir.Builder, n *ir.Node) error {
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
func flattenAxis(b *ir.Builder, n *ir.Node) error {
	axis, err := intAttr(n, "axis", 1)
	if err != nil {
		return err
	}
	n.SetAttr("axis", ir.Int(-1))
	x := n.Input(0)
	if x == nil {
		return errors.New("no input")
	}
	if t := x.TensorType(); axis == -1 || t != nil && t.Ranked && axis == int64(len(t.Dims))-1 {
		return nil // the last axis alone: the same as today
	}
	shape := b.Op("Shape", ir.In(x))
	n.SetInput(0, b.Op("Flatten", ir.In(x), ir.A("axis", ir.Int(axis))))
	y := n.Output(0)
	flat := n.Graph().NewValue(b.Names().Fresh(n.Name+"_flat"), nil)
	n.SetOutput(0, nil)
	n.SetOutput(0, flat)
	r := ir.NewNode("", "Reshape", flat, shape)
	r.Name = b.Names().Fresh(n.Name + "/Reshape")
	r.SetOutput(0, y)
	n.Graph().InsertAfter(r, n)
	return nil
}

// countOutputs: since 18 a Split without sizes says how many outputs it has.
func countOutputs(_ *ir.Builder, n *ir.Node) error {
	if n.Input(1) == nil && n.Attr("num_outputs") == nil {
		n.SetAttr("num_outputs", ir.Int(len(n.Outputs())))
	}
	return nil
}

func liftSlice(b *ir.Builder, n *ir.Node) error {
	if n.Attr("starts") == nil || n.Attr("ends") == nil {
		return errors.New("starts and ends are missing")
	}
	return attrsToInputs(1, "starts", "ends", "axes")(b, n)
}

func liftPad(b *ir.Builder, n *ir.Node) error {
	if n.Attr("pads") == nil {
		return errors.New("pads are missing")
	}
	value, err := takeFloat(n, "value", 0)
	if err != nil {
		return err
	}
	if err := attrsToInputs(1, "pads")(b, n); err != nil {
		return err
	}
	if value != 0 {
		n.SetInput(2, b.Const("value", scalarLike(n.Input(0), value)))
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

// scalarLike is a scalar of v's declared dtype; old models compute in float32
// where nothing is declared.
func scalarLike(v *ir.Value, x float64) *tensor.Tensor {
	t := tensor.Scalar(float32(x))
	if v == nil {
		return t
	}
	d := tensor.Float32
	if tt := v.TensorType(); tt != nil {
		d = tt.Elem
	} else if v.Data != nil {
		d = v.Data.DType()
	}
	if c, err := t.Cast(d); err == nil {
		return c
	}
	return t
}

func liftClip(b *ir.Builder, n *ir.Node) error {
	for i, name := range []string{"min", "max"} {
		if n.Attr(name) == nil {
			continue
		}
		x, err := takeFloat(n, name, 0)
		if err != nil {
			return err
		}
		for len(n.Inputs()) <= i {
			n.SetInput(len(n.Inputs()), nil)
		}
		n.SetInput(1+i, b.Const(name, scalarLike(n.Input(0), x)))
	}
	return nil
}

func liftTopK(b *ir.Builder, n *ir.Node) error {
	k, err := intAttr(n, "k", 1)
	if err != nil {
		return err
	}
	n.RemoveAttr("k")
	n.SetInput(1, b.Ints(int(k)))
	return nil
}

// liftDropout: before 12 a model in a file is one for inference.
func liftDropout(b *ir.Builder, n *ir.Node) error {
	ratio, err := takeFloat(n, "ratio", 0.5)
	if err != nil {
		return err
	}
	n.RemoveAttr("is_test")
	n.SetInput(1, b.Const("ratio", tensor.Scalar(float32(ratio))))
	return nil
}

// liftCast: before 6 the type was given by name.
func liftCast(_ *ir.Builder, n *ir.Node) error {
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
func liftBatchNorm(_ *ir.Builder, n *ir.Node) error {
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
func oldBroadcast(b *ir.Builder, n *ir.Node) error {
	axis := n.Attr("axis")
	n.RemoveAttr("broadcast")
	if axis == nil {
		return nil
	}
	at, err := intAttr(n, "axis", 0)
	if err != nil {
		return err
	}
	n.RemoveAttr("axis")
	ra, okA := declaredRank(n.Input(0))
	rb, okB := declaredRank(n.Input(1))
	if !okA || !okB {
		return errors.New("broadcasting at an axis needs declared ranks")
	}
	if at < 0 {
		at += int64(ra)
	}
	extra := ra - int(at) - rb
	if extra < 0 {
		return fmt.Errorf("axis %d does not fit ranks %d and %d", at, ra, rb)
	}
	if extra == 0 {
		return nil
	}
	axes := make([]int, extra)
	for i := range axes {
		axes[i] = rb + i
	}
	n.SetInput(1, b.Op("Unsqueeze", ir.In(n.Input(1), b.Ints(axes...))))
	return nil
}

func declaredRank(v *ir.Value) (int, bool) {
	if v == nil {
		return 0, false
	}
	if v.Data != nil {
		return len(v.Data.Shape()), true
	}
	if t := v.TensorType(); t != nil && t.Ranked {
		return len(t.Dims), true
	}
	return 0, false
}
