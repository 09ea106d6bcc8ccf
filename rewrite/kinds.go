package rewrite

import (
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/ir"
)

// microsoft is the domain of ONNX Runtime's own operators.
const microsoft = "com.microsoft"

// A kind is what is known of an operator that adapters are put on.
type kind struct {
	// read fills in what is particular to the node of l and returns the value
	// that is its weight and whether that is (out, in). in are the node's inputs
	// as they are without adapters.
	read func(l *Linear, in func(int) *ir.Value) (weight *ir.Value, transposed bool, err error)
	// bias is the input of the node that is added to its result, 0 for none.
	bias int
	// not is the form that an adapter cannot have there, and why.
	not   Form
	why   string
	exact bool // inputs and results are matrices, never stacks of them
	// named says that all-linear leaves it out, as PEFT's leaves out convolutions.
	named bool
}

// What an operator does behind its product, or instead of a product of floats,
// leaves an adapter one form.
const (
	activated = "its result is no plain product"
	packed    = "its weight is quantized"
)

// kinds is the table of operators that adapters are put on.
var kinds = map[[2]string]*kind{
	{"", "MatMul"}:                       {read: matMul},
	{"", "Gemm"}:                         {read: gemm, bias: 2, exact: true},
	{"", "Conv"}:                         {read: pointwise, bias: 2, named: true},
	{"", "MatMulInteger"}:                {read: matMulInteger, not: Weighted, why: packed},
	{"", "QLinearMatMul"}:                {read: qLinearMatMul, not: Weighted, why: packed},
	{microsoft, "QGemm"}:                 {read: qGemm, not: Weighted, why: packed, exact: true},
	{microsoft, "MatMulIntegerToFloat"}:  {read: matMulIntegerToFloat, bias: 6, not: Weighted, why: packed},
	{microsoft, "DynamicQuantizeMatMul"}: {read: dynamicQuantizeMatMul, bias: 4, not: Weighted, why: packed},
	{microsoft, "MatMulNBits"}:           {read: matMulNBits, bias: 5, not: Weighted, why: packed},
	{microsoft, "FusedMatMul"}:           {read: fusedMatMul},
	{microsoft, "FusedGemm"}:             {read: gemm, bias: 2, not: Activation, why: activated, exact: true},
	{microsoft, "Attention"}:             {read: attention, bias: 2, not: Activation, why: activated},
}

// otherKinds have weights that adapters are not put on.
var otherKinds = map[[2]string]bool{
	{"", "ConvTranspose"}: true, {"", "Einsum"}: true, {"", "LSTM"}: true, {"", "GRU"}: true, {"", "RNN"}: true,
	{"", "QLinearConv"}: true, {"", "ConvInteger"}: true,
	{microsoft, "QAttention"}: true, {microsoft, "GemmFastGelu"}: true, {microsoft, "FusedConv"}: true,
}

func kindKey(n *ir.Node) [2]string { return [2]string{ir.CanonicalDomain(n.Domain), n.OpType} }

// kindOf is the node's row of kinds, nil where it has none.
func kindOf(n *ir.Node) *kind { return kinds[kindKey(n)] }

// spot is where an adapter taps a layer and joins it.
type spot struct {
	kind   *kind
	tap    ir.Use    // what reads x, of floats: another adapter may change x
	result *ir.Value // y, of floats
	slot   int       // of the node's inputs, the one that is the weight
	transA bool      // of Gemm: x is (in, rows)
	scale  float32   // of the product, alpha in Gemm
	// product is how x is multiplied by a matrix; nil is MatMul(x, M).
	product product
	// parts are the nodes that make up a layer of several, in order, the
	// quantization of x first where it has one.
	parts []*ir.Node
}

// input is x as it is now.
func (l *Linear) input() *ir.Value { return l.tap.Node.Input(l.tap.Index) }

// takes says why an adapter of the method cannot be put on the layer.
func (l *Linear) takes(m adapter.Method) error {
	if m == adapter.Bat && l.kind.not == Weighted {
		return fmt.Errorf("bat changes the weight itself, and this is %s: %s", l.Kind, l.kind.why)
	}
	return nil
}

// unnamed says why all-linear leaves the layer out, "" where it does not.
func (l *Linear) unnamed(head bool) string {
	switch {
	case l.kind.named:
		return fmt.Sprintf("it is a %s; name it to adapt it too", l.Kind)
	case l.Head && !head:
		return "it is the head; name it to adapt it too"
	}
	return ""
}

// formOf is the form that an adapter has there which is to be in the form f.
func (l *Linear) formOf(f Form) Form {
	switch l.kind.not {
	case f:
		return Activation + Weighted - f
	default:
		return f
	}
}

// readLayer is the layer whose operator is n's; in are n's inputs as they are
// without adapters. The error says why it is none.
func readLayer(n *ir.Node, in func(int) *ir.Value) (*Linear, error) {
	l := &Linear{Node: n, Kind: n.OpType, label: label(n)}
	l.spot = spot{kind: kindOf(n), tap: ir.Use{Node: n}, result: n.Output(0), slot: 1, scale: 1}
	if n.Output(0) == nil || n.Input(0) == nil || n.Input(1) == nil {
		return nil, errors.New("it lacks an input or its output")
	}
	v, transposed, err := l.kind.read(l, in)
	if err == nil && l.Weight == nil {
		l.Weight, err = traceWeight(v, nil, transposed)
	}
	if err != nil {
		return nil, err
	}
	l.In, l.Out = l.Weight.in, l.Weight.out
	l.Bias = biasOf(l)
	return l, nil
}

func matMul(l *Linear, in func(int) *ir.Value) (*ir.Value, bool, error) {
	if constant(in(0)) && !constant(in(1)) {
		l.tap.Index, l.slot, l.product = 1, 0, columns
		return in(0), true, nil
	}
	return in(1), false, nil
}

func gemm(l *Linear, in func(int) *ir.Value) (_ *ir.Value, transB bool, err error) {
	if l.scale, err = number(l.Node, "alpha", 1); err != nil {
		return nil, false, err
	}
	l.transA = flag(l.Node, "transA")
	return in(1), flag(l.Node, "transB"), nil
}

// fusedMatMul is MatMul that may transpose its operands and scale the product.
func fusedMatMul(l *Linear, in func(int) *ir.Value) (_ *ir.Value, transB bool, err error) {
	if flag(l.Node, "transBatchA") || flag(l.Node, "transBatchB") {
		return nil, false, errors.New("it moves the axes of its batch")
	}
	if l.scale, err = number(l.Node, "alpha", 1); err != nil {
		return nil, false, err
	}
	if flag(l.Node, "transA") {
		l.product = turnedRows
	}
	return in(1), flag(l.Node, "transB"), nil
}

// pointwise is a convolution whose kernel is a point: a linear layer over the
// channels of x (N, in, ..), its weight (out, in, 1, ..).
func pointwise(l *Linear, in func(int) *ir.Value) (*ir.Value, bool, error) {
	w, at, err := traceConstant(in(1))
	if err != nil {
		return nil, false, err
	}
	if len(at.shape) < 3 || at.shape[2:].Size() != 1 {
		return nil, false, fmt.Errorf("adapters are put on convolutions of 1x1 alone; its weight has shape %v", at.shape)
	}
	if a := l.Node.Attr("group"); a != nil && a.Value != ir.Int(1) {
		return nil, false, errors.New("adapters are not put on grouped convolutions")
	}
	l.product = points
	matrix := reshape{dims: []int{at.shape[0], at.shape[1]}}
	l.Weight, err = w.as(at, matrix, true)
	return nil, true, err
}

// attention is ONNX Runtime's Attention: the projections of query, key and
// value are one weight (in, out of all three), side by side as GPT-2 has them.
func attention(_ *Linear, in func(int) *ir.Value) (*ir.Value, bool, error) { return in(1), false, nil }

// flag is an attribute that is 0 or 1.
func flag(n *ir.Node, name string) bool {
	a := n.Attr(name)
	if a == nil {
		return false
	}
	v, _ := a.Value.(ir.Int)
	return v != 0
}

// number is a float attribute.
func number(n *ir.Node, name string, or float32) (float32, error) {
	a := n.Attr(name)
	if a == nil {
		return or, nil
	}
	v, ok := a.Value.(ir.Float)
	if !ok {
		return 0, fmt.Errorf("attribute %s is no number", name)
	}
	return float32(v), nil
}

// integer is an integer attribute.
func integer(n *ir.Node, name string, or int) (int, error) {
	a := n.Attr(name)
	if a == nil {
		return or, nil
	}
	v, ok := a.Value.(ir.Int)
	if !ok {
		return 0, fmt.Errorf("attribute %s is no whole number", name)
	}
	return int(v), nil
}

// A factor is a matrix of an adapter, or its transpose.
type factor struct {
	v      *ir.Value
	turned bool
}

// A product multiplies x, in the layout of a layer's input, by a matrix (k, n):
// the first of an adapter's, or one that follows.
type product func(w *writer, x *ir.Value, m factor, first bool) *ir.Value

// rows is MatMul(x, M), x (.., k).
func rows(w *writer, x *ir.Value, m factor, _ bool) *ir.Value {
	return w.op("MatMul", ir.In(x, w.factor(m, false)))
}

// turnedRows is rows of x (.., k, rows) at first.
func turnedRows(w *writer, x *ir.Value, m factor, first bool) *ir.Value {
	if !first {
		return rows(w, x, m, false)
	}
	y := w.op("FusedMatMul", ir.In(x, w.factor(m, false)), ir.A("transA", ir.Int(1)))
	y.Producer().Domain = microsoft
	return y
}

// columns is MatMul(M', x), x (.., k, columns).
func columns(w *writer, x *ir.Value, m factor, _ bool) *ir.Value {
	return w.op("MatMul", ir.In(w.factor(m, true), x))
}

// points is the 1x1 convolution of x (N, k, ..) by M'. The first takes the
// points of x that the layer's own does.
func points(w *writer, x *ir.Value, m factor, first bool) *ir.Value {
	shape := []int{0, 0}
	for range len(w.l.Weight.view.from.shape) - 2 {
		shape = append(shape, 1)
	}
	var attrs []*ir.Attr
	for _, name := range []string{"auto_pad", "pads", "strides"} {
		if a := w.l.Node.Attr(name); a != nil && first {
			attrs = append(attrs, ir.A(name, a.Value))
		}
	}
	return w.op("Conv", ir.In(x, w.reshape(w.factor(m, true), shape...)), attrs...)
}

// factor is the matrix, or turned its transpose.
func (w *writer) factor(m factor, turned bool) *ir.Value {
	if m.turned != turned {
		return w.transpose(m.v, 1, 0)
	}
	return m.v
}

// multiply is x M as the layer multiplies.
func (w *writer) multiply(x *ir.Value, m factor, first bool) *ir.Value {
	if w.l.product != nil {
		return w.l.product(w, x, m, first)
	}
	return rows(w, x, m, first)
}
