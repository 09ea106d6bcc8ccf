package train

import (
	"fmt"
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
	return map[Task]func(*ops.Builder, LossConfig) (loss, error){
		CausalLM:       classLoss,
		Classification: classLoss,
		Regression:     squaredLoss,
		Custom:         customLoss,
	}[c.Task](b, c)
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
		s, ok := b.Fact(v).Shape()
		if b.Fact(v).DType.IsFloat() && (b.Fact(v).Rank() == 0 || ok && s.Size() == 1) {
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
	if n := v.Producer(); n.Is("Softmax") || n.Is("LogSoftmax") || n.Is("Sigmoid") || n.Is("ArgMax") {
		v = n.Input(0)
		from += fmt.Sprintf(", tapped before %v", n)
	}
	if f := b.Fact(v); !f.DType.IsFloat() {
		return nil, "", fmt.Errorf("%s is %v, not a float", from, f)
	}
	return v, from, nil
}

// findOutput picks the output that the loss is made from: the one named, else
// "logits", else the only float output.
func findOutput(b *ops.Builder, name string) (*ir.Value, error) {
	var v *ir.Value
	var floats []*ir.Value
	for _, o := range b.Graph.Outputs {
		if o.Name == name || name == "" && o.Name == "logits" {
			v = o
		}
		if b.Fact(o).DType.IsFloat() {
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

func outputNames(g *ir.Graph) string {
	var s []string
	for _, v := range g.Outputs {
		s = append(s, fmt.Sprintf("%q", v.Name))
	}
	return strings.Join(s, ", ")
}
