package extent

import (
	"errors"
	"fmt"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
)

// A rule is how an operator treats samples, for nodes some input of which has
// them.
type rule struct {
	// trace, after inference, is where the samples are in the outputs, or why
	// the node does not treat each alone.
	trace func(c *call) (place, error)
	// fix, before inference, changes operands that contain the batch.
	fix func(c *call) error
	// shape is an input, not the first, that may depend on their number.
	shape int
	// fills says that the number of samples alone makes rows of the output.
	fills bool
}

// rules is the table of operators of which it can be told whether they keep
// samples apart; package ops spells those out that stand for others. What is
// not here, on the way of samples, is in the way.
var rules = table()

func table() map[string]rule {
	t := map[string]rule{
		"Shape": {trace: measure}, "Size": {trace: measure},
		"CastLike": {trace: like},

		"Softmax": {trace: along(-1)}, "LogSoftmax": {trace: along(-1)}, "Hardmax": {trace: along(-1)},
		"LpNormalization": {trace: along(-1)}, "TopK": {trace: along(-1)}, "Split": {trace: along(0)},
		"CumSum": {trace: alongInput(1)}, "CumProd": {trace: alongInput(1)},
		"LayerNormalization": {trace: inner}, "RMSNormalization": {trace: inner},
		"ArgMax": {trace: arg}, "ArgMin": {trace: arg},

		"MatMul": {trace: matMul}, "Gemm": {trace: gemm}, "MatMulInteger": {trace: matMulInteger},
		"Einsum": {trace: einsum},

		"Transpose": {trace: transpose}, "Reshape": {trace: reshape, fix: fixReshape, shape: 1}, "Flatten": {trace: flatten},
		"Squeeze": {trace: squeeze}, "Unsqueeze": {trace: unsqueeze}, "Expand": {trace: expand, fix: fixExpand, shape: 1, fills: true},
		"ConstantOfShape": {trace: fill, fills: true}, "Concat": {trace: concat, fix: fixConcat},
		"Slice": {trace: slice, fix: fixSlice, shape: 2}, "Tile": {trace: tile}, "Pad": {trace: pad}, "Trilu": {trace: trilu},
		"Gather": {trace: gather}, "GatherElements": {trace: gatherElements}, "GatherND": {trace: gatherND, fix: fixGatherND},
		"OneHot": {trace: oneHot}, "Resize": {trace: resize, fix: fixResize},

		"QuantizeLinear": {trace: scaled}, "DequantizeLinear": {trace: scaled},
		"MaxPool": {trace: maxPool},
	}
	for _, op := range []string{
		"Abs", "Neg", "Sign", "Floor", "Ceil", "Round", "Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Tanh", "Sigmoid", "Relu",
		"Softplus", "Softsign", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Mish",
		"HardSwish", "Elu", "Selu", "Celu", "LeakyRelu", "ThresholdedRelu", "HardSigmoid", "Shrink", "Gelu", "Swish", "IsNaN", "IsInf",
		"Not", "BitwiseNot", "Cast", "Identity", "Clip",
		"Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Sum", "Mean", "And", "Or", "Xor", "Equal", "Greater",
		"GreaterOrEqual", "Less", "LessOrEqual", "Where", "PRelu", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor",
	} {
		t[op] = rule{trace: elementwise}
	}
	for _, op := range []string{"ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
		"ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"} {
		t[op] = rule{trace: reduce}
	}
	for _, op := range []string{"Conv", "ConvTranspose", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool",
		"BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "DepthToSpace", "SpaceToDepth"} {
		t[op] = rule{trace: image}
	}
	return t
}

func errMixes(axis int) error {
	return fmt.Errorf("it mixes the samples, which are along axis %d", axis)
}

// of is the axis of the samples in input i, all other inputs being free.
func (c *call) of(i int) (axis, rank int, err error) {
	if err := c.onlyInputs(i); err != nil {
		return 0, 0, err
	}
	return c.place(i).axis, c.fact(i).Rank(), nil
}

// measure is for shapes: numbers alone.
func measure(c *call) (place, error) {
	if c.counts(c.n.Output(0)) {
		return place{kind: count}, nil
	}
	return place{}, nil
}

// like casts its first input to the type of the second, whatever that is.
func like(c *call) (place, error) { return c.place(0), nil }

// elementwise inputs broadcast: counted from the end, samples are along the
// same axis in all of them, and what has none is one there.
func elementwise(c *call) (place, error) {
	return c.aligned(len(c.n.Inputs()), 0)
}

// aligned is elementwise for the first inputs, without their last axes.
func (c *call) aligned(inputs, without int) (place, error) {
	back, extent := 0, ir.Dim{}
	for i := range inputs {
		if c.place(i).kind != rows {
			continue
		}
		f := c.fact(i)
		b, d := f.Rank()-c.place(i).axis, f.Dims[c.place(i).axis]
		if b <= without {
			return place{}, errMixes(c.place(i).axis)
		}
		if back != 0 && (b != back || !ops.SameDim(d, extent)) {
			return place{}, errors.New("samples of its inputs are along different axes")
		}
		back, extent = b, d
	}
	if back == 0 {
		return place{}, errMixes(0)
	}
	for i := range inputs {
		f := c.fact(i)
		if c.place(i).kind == rows || c.n.Input(i) == nil || f.Rank() >= 0 && f.Rank() < back {
			continue
		}
		if d := f.Dim(-back); !d.Known || d.Value != 1 {
			return place{}, fmt.Errorf("its input %d, which is no sample's own, has an extent of %v along the batch", i, d)
		}
	}
	return place{rows, c.out().Rank() - back}, nil
}

// along is for operators that work along the axis in an attribute.
func along(otherwise int64) func(*call) (place, error) {
	return func(c *call) (place, error) {
		k, rank, err := c.of(0)
		if err == nil && c.axis("axis", otherwise, rank) == k {
			err = errMixes(k)
		}
		return place{rows, k}, err
	}
}

// alongInput is along with the axis in a constant input.
func alongInput(i int) func(*call) (place, error) {
	return func(c *call) (place, error) {
		k, rank, err := c.of(0)
		if err != nil {
			return place{}, err
		}
		axes, ok := c.intsOf(i)
		if !ok || slices.Contains(absolute(axes, rank), k) {
			return place{}, errMixes(k)
		}
		return place{rows, k}, nil
	}
}

// absolute makes axes count from the front.
func absolute(axes []int, rank int) []int {
	out := make([]int, len(axes))
	for i, a := range axes {
		if out[i] = a; a < 0 {
			out[i] += rank
		}
	}
	return out
}

// inner is for norms over the axes from the attribute axis on.
func inner(c *call) (place, error) {
	k, rank, err := c.of(0)
	if err == nil && c.axis("axis", -1, rank) <= k {
		err = errMixes(k)
	}
	return place{rows, k}, err
}

// reduce is over the axes in input 1; without, over all or none.
func reduce(c *call) (place, error) {
	k, rank, err := c.of(0)
	if err != nil {
		return place{}, err
	}
	axes, ok := []int{}, true
	if c.n.Input(1) != nil {
		axes, ok = c.intsOf(1)
	}
	if len(axes) == 0 && c.int("noop_with_empty_axes", 0) != 0 {
		return place{rows, k}, nil
	}
	if !ok || len(axes) == 0 {
		return place{}, errMixes(k)
	}
	return c.without(absolute(axes, rank), k, c.int("keepdims", 1) != 0)
}

// without is axis k after the others have been reduced.
func (c *call) without(axes []int, k int, keep bool) (place, error) {
	if slices.Contains(axes, k) {
		return place{}, errMixes(k)
	}
	at := k
	for _, a := range axes {
		if a < k && !keep {
			at--
		}
	}
	return place{rows, at}, nil
}

func arg(c *call) (place, error) {
	k, rank, err := c.of(0)
	if err != nil {
		return place{}, err
	}
	return c.without([]int{c.axis("axis", 0, rank)}, k, c.int("keepdims", 1) != 0)
}

// image is for operators on (N,C,...) whose other inputs are parameters.
func image(c *call) (place, error) {
	k, _, err := c.of(0)
	if err == nil && k != 0 {
		err = errMixes(k)
	}
	return place{rows, 0}, err
}

// maxPool may say where it found each value: in the whole batch.
func maxPool(c *call) (place, error) {
	if v := c.n.Output(1); v != nil && !v.Unused() {
		return place{}, errors.New("its indices count through all samples")
	}
	return image(c)
}

// scaled is for (de)quantization: a scale for the whole, or for each element of
// an axis that is not the batch.
func scaled(c *call) (place, error) {
	k, rank, err := c.of(0)
	if err == nil && c.fact(1).Rank() != 0 && (c.fact(1).Rank() != 1 || c.axis("axis", 1, rank) == k) && !single(c.fact(1)) {
		err = fmt.Errorf("its scale %v may be of the samples", c.fact(1))
	}
	return place{rows, k}, err
}

func single(f ops.Fact) bool {
	s, ok := f.Shape()
	return ok && s.Size() == 1
}
