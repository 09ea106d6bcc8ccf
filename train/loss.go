package train

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// ignoreIndex marks labels that do not count, as in PyTorch.
const ignoreIndex = -100

// loss is what was appended to a graph.
type loss struct {
	sum   *ir.Value // summed over what counts, scalar
	count *ir.Value // how much counts, scalar of sum's type
	from  string    // where it attached, for people

	logits, labels *ir.Value // of a loss over classes, else nil
}

// correct is how many labels are the class of the largest logit, a scalar of
// the sum's type; labels that do not count are no class.
func (l loss) correct(b *ops.Builder) *ir.Value {
	best := b.Op("ArgMax", ir.In(l.logits), ir.A("axis", ir.Int(-1)), ir.A("keepdims", ir.Int(0)))
	hits := b.Cast(b.Op("Equal", ir.In(best, l.labels)), b.Fact(l.sum).DType)
	return b.Op("ReduceSum", ir.In(hits), ir.A("keepdims", ir.Int(0)))
}

// mean is sum/count.
func (l loss) mean(b *ops.Builder) *ir.Value { return b.Div(l.sum, l.count) }

// attachLoss appends the loss of a task. Labels become the graph input
// "labels".
func attachLoss(b *ops.Builder, c LossConfig) (loss, error) {
	attach, ok := map[Task]func(*ops.Builder, LossConfig) (loss, error){
		CausalLM:       classLoss,
		Classification: classLoss,
		Regression:     squaredLoss,
		Custom:         customLoss,
	}[c.Task]
	if !ok {
		return loss{}, fmt.Errorf("task %q is not one of causal-lm, classification, regression, custom", c.Task)
	}
	return attach(b, c)
}

// LabelsInput is the name of the graph input that holds the labels.
const LabelsInput = "labels"

func labelsInput(b *ops.Builder, t *ir.TensorType) (*ir.Value, error) {
	if b.Names().Taken(LabelsInput) {
		return nil, fmt.Errorf("the model already has a value called %q; use the task %q with its own loss", LabelsInput, Custom)
	}
	v := b.Graph.AddInput(b.Names().Fresh(LabelsInput), t)
	b.Analysis.Set(v, ops.FromType(t))
	return v, nil
}

func classLoss(b *ops.Builder, c LossConfig) (loss, error) {
	logits, from, err := findLogits(b, c.Logits)
	if err != nil {
		return loss{}, err
	}
	f := b.Fact(logits)
	t := &ir.TensorType{Elem: tensor.Int64}
	if f.Ranked {
		if len(f.Dims) < 2 {
			return loss{}, fmt.Errorf("%s is %v: classes need a last axis", from, f)
		}
		if f.Dim(-1) == ir.Fixed(1) {
			return loss{}, fmt.Errorf("%s is %v: with a single class there is nothing to learn; task %s compares numbers", from, f, Regression)
		}
		t.Ranked, t.Dims = true, f.Dims[:len(f.Dims)-1]
	}
	labels, err := labelsInput(b, t)
	if err != nil {
		return loss{}, err
	}
	out := b.Composite("CrossEntropy", ir.In(logits, labels), 2,
		ir.A("ignore_index", ir.Int(ignoreIndex)), ir.A("label_smoothing", ir.Float(c.LabelSmoothing)))
	return loss{out[0], b.Cast(out[1], f.DType), "cross-entropy of " + from, logits, labels}, b.Err()
}

func squaredLoss(b *ops.Builder, c LossConfig) (loss, error) {
	y, err := findOutput(b, c.Logits)
	if err != nil {
		return loss{}, err
	}
	from, f := fmt.Sprintf("output %q", y.Name), b.Fact(y)
	if !f.DType.IsFloat() {
		return loss{}, fmt.Errorf("%s is %v, not a float", from, f)
	}
	labels, err := labelsInput(b, &ir.TensorType{Elem: f.DType})
	if err != nil {
		return loss{}, err
	}
	d := b.Sub(y, b.ReshapeLike(labels, y))
	sum := b.Op("ReduceSum", ir.In(b.Mul(d, d)), ir.A("keepdims", ir.Int(0)))
	count := b.Cast(b.Op("Size", ir.In(y)), f.DType)
	return loss{sum: sum, count: count, from: "squared error of " + from}, b.Err()
}

func customLoss(b *ops.Builder, c LossConfig) (loss, error) {
	v, err := scalarOutput(b, c.LossOutput)
	if err != nil {
		return loss{}, err
	}
	s := b.ReshapeTo(v)
	return loss{sum: s, count: b.Scalar(s, 1), from: fmt.Sprintf("output %q", v.Name)}, b.Err()
}

func scalarOutput(b *ops.Builder, name string) (*ir.Value, error) {
	var found []*ir.Value
	for _, v := range b.Graph.Outputs {
		if name != "" && v.Name == name {
			return v, nil
		}
		if isScalar(b.Fact(v)) {
			found = append(found, v)
		}
	}
	if name != "" {
		return nil, fmt.Errorf("there is no output %q; outputs are %s", name, outputNames(b.Graph))
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%d outputs are float scalars; name the loss (--loss-output); outputs are %s", len(found), outputNames(b.Graph))
	}
	return found[0], nil
}

// findLogits picks what a loss over classes is made from: the output, or where
// that ends in an activation that the loss contains, the value before it.
func findLogits(b *ops.Builder, name string) (*ir.Value, string, error) {
	v, err := findOutput(b, name)
	if err != nil {
		return nil, "", err
	}
	from := fmt.Sprintf("output %q", v.Name)
	if n := activation(v); n != nil {
		from += fmt.Sprintf(", tapped before %v", n)
		v = beforeActivation(b, v, n)
	}
	if f := b.Fact(v); !f.DType.IsFloat() {
		return nil, "", fmt.Errorf("%s is %v, not a float", from, f)
	}
	return v, from, nil
}

// activations are what a loss over classes contains, by the axis of the
// classes that is meant where none is given; nil for those without an axis.
var activations = map[string]ir.AttrValue{"Softmax": ir.Int(-1), "LogSoftmax": ir.Int(-1), "ArgMax": ir.Int(0), "Sigmoid": nil}

// reshapers only give a value another shape or type.
var reshapers = []string{"Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"}

// activation is the node, if any, that v comes from through reshapers alone.
func activation(v *ir.Value) *ir.Node {
	for n := v.Producer(); n != nil; n = n.Input(0).Producer() {
		if _, ok := activations[n.OpType]; ok && n.Is(n.OpType) {
			return n
		}
		if !slices.ContainsFunc(reshapers, n.Is) {
			return nil
		}
	}
	return nil
}

// beforeActivation is what goes into the activation n that v ends in, classes
// last: where they are on another axis (a Softmax over (N,C,1,1) that is
// flattened, an ArgMax over (N,C,H,W)) the reshapers behind n are repeated, and
// without any the axis is moved.
func beforeActivation(b *ops.Builder, v *ir.Value, n *ir.Node) *ir.Value {
	x := n.Input(0)
	f, axis := b.Fact(x), activations[n.OpType]
	if a := n.Attr("axis"); a != nil && axis != nil {
		axis = a.Value
	}
	at, ok := axis.(ir.Int)
	last := f.Rank() - 1
	if !ok || !f.Ranked || at == -1 || int(at) == last || int(at) < -f.Rank() || int(at) > last {
		return x
	}
	if n.OpType != "ArgMax" && v != n.Output(0) {
		return reshaped(b, x, v, n.Output(0))
	}
	k := (int(at) + f.Rank()) % f.Rank()
	perm := make([]int, 0, f.Rank())
	for i := range f.Rank() {
		if i != k {
			perm = append(perm, i)
		}
	}
	return b.Transpose(x, append(perm, k)...)
}

// reshaped does to x what the nodes between from and v do, their casts left out.
func reshaped(b *ops.Builder, x, v, from *ir.Value) *ir.Value {
	if v == from {
		return x
	}
	n := v.Producer()
	x = reshaped(b, x, n.Input(0), from)
	if n.OpType == "Cast" || n.OpType == "Identity" {
		return x
	}
	return b.Op(n.OpType, append(ir.In(x), n.Inputs()[1:]...), n.Attrs...)
}

// findOutput picks the output that the loss is made from: the one named, else
// "logits", else the only one that is float (or ends in an ArgMax of floats)
// and not the cache of a decoder.
func findOutput(b *ops.Builder, name string) (*ir.Value, error) {
	var v *ir.Value
	var floats []*ir.Value
	for _, o := range b.Graph.Outputs {
		if o.Name == name || name == "" && o.Name == "logits" {
			v = o
		}
		if n := activation(o); b.Fact(o).DType.IsFloat() && !strings.HasPrefix(o.Name, presentPrefix) || n.Is("ArgMax") {
			floats = append(floats, o)
		}
	}
	switch {
	case v == nil && name != "":
		return nil, fmt.Errorf("there is no output %q; outputs are %s", name, outputNames(b.Graph))
	case v == nil && len(floats) == 1:
		v = floats[0]
	case v == nil:
		return nil, fmt.Errorf("%d outputs are floats and none is called logits; name one (--logits); outputs are %s", len(floats), outputNames(b.Graph))
	}
	return v, nil
}

// presentPrefix begins the names of a decoder's outputs that are the cache for
// the next position.
const presentPrefix = "present"

func outputNames(g *ir.Graph) string {
	var s []string
	for _, v := range g.Outputs {
		s = append(s, fmt.Sprintf("%q", v.Name))
	}
	return strings.Join(s, ", ")
}
