package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// DetectTask finds the task of a model from what data holds for it: arrays by
// name, of which "labels" tell most. c says where the loss is to attach. The
// reason says what it went by; so does the error where nothing fits.
//
//	no labels, or the model takes them; output "loss" is a float scalar   custom
//	no labels, token ids, logits (N, T, V)                                causal-lm
//	integer labels (N, T), token ids, logits (N, T, V)                    causal-lm
//	integer labels of the logits' shape without its last axis             classification
//	float labels of an output's shape                                     regression
func DetectTask(m *ir.Model, set *ops.Set, c LossConfig, held map[string]ops.Fact) (Task, string, error) {
	g, err := newRaised(m, set, nil)
	if err != nil {
		return "", "", err
	}
	d := detection{g: g, c: c, held: held}
	d.spec.Inputs, _ = g.inputs()
	for _, rule := range []func() (Task, string){d.custom, d.regression, d.classes} {
		if task, why := rule(); task != "" {
			return task, why, nil
		}
	}
	return "", "", d.failed()
}

// detection is what DetectTask looks at.
type detection struct {
	g    *graph
	c    LossConfig
	spec Spec
	held map[string]ops.Fact
}

// labels is what the data has to compare an output with.
func (d detection) labels() (ops.Fact, bool) {
	f, ok := d.held[LabelsInput]
	if _, taken := d.spec.port(LabelsInput); taken {
		return ops.Fact{}, false
	}
	return f, ok
}

func (d detection) custom() (Task, string) {
	name := d.c.LossOutput
	if _, ok := d.labels(); ok && name == "" {
		return "", ""
	}
	for _, v := range d.g.b.Graph.Outputs {
		if v.Name == name && name != "" || name == "" && v.Name == ExportLoss && isScalar(d.g.b.Fact(v)) {
			return Custom, fmt.Sprintf("the model has an output %q, a scalar", v.Name)
		}
	}
	return "", ""
}

// isScalar reports whether a fact is of one float.
func isScalar(f ops.Fact) bool {
	s, ok := f.Shape()
	return f.DType.IsFloat() && (f.Rank() == 0 || ok && s.Size() == 1)
}

func (d detection) regression() (Task, string) {
	labels, ok := d.labels()
	if !ok || !labels.DType.IsFloat() {
		return "", ""
	}
	y, err := findOutput(d.g.b, d.c.Logits)
	if err != nil {
		return "", ""
	}
	f := d.g.b.Fact(y)
	if !f.DType.IsFloat() || f.Ranked && !sameExtents(f.Dims, labels.Dims) {
		return "", ""
	}
	return Regression, fmt.Sprintf("labels are %v, output %q is %v", labels, y.Name, f)
}

// sameExtents compares the shapes of an output and of labels, first axes (the
// samples) and extents of 1 at the end left out.
func sameExtents(out, labels []ir.Dim) bool {
	trim := func(d []ir.Dim) []ir.Dim {
		for len(d) > 1 && d[len(d)-1] == ir.Fixed(1) {
			d = d[:len(d)-1]
		}
		return d[min(1, len(d)):]
	}
	return slices.EqualFunc(trim(out), trim(labels), func(a, b ir.Dim) bool { return !a.Known || !b.Known || a == b })
}

func (d detection) classes() (Task, string) {
	logits, from, err := findLogits(d.g.b, d.c.Logits)
	if err != nil {
		return "", ""
	}
	f := d.g.b.Fact(logits)
	tokens, _ := d.spec.tokens()
	ids, hasIDs := d.held[tokens.Name]
	hasIDs = hasIDs && ids.DType.IsInteger() && ids.Rank() == 2
	labels, ok := d.labels()
	switch why := fmt.Sprintf("%s is %v", from, f); {
	case !ok && hasIDs && (!f.Ranked || f.Rank() == 3):
		return CausalLM, fmt.Sprintf("the data has %q and no labels, %s", tokens.Name, why)
	case !ok || !labels.DType.IsInteger() && labels.DType != tensor.Bool, f.Ranked && (labels.Rank() != f.Rank()-1 || f.Dim(-1) == ir.Fixed(1)):
		return "", "" // one class is none
	case hasIDs && labels.Rank() == 2:
		return CausalLM, fmt.Sprintf("labels are %v for %q %v, %s", labels, tokens.Name, ids, why)
	default:
		return Classification, fmt.Sprintf("labels are %v, %s", labels, why)
	}
}

// failed says what there was that no task fits.
func (d detection) failed() error {
	var outs, data []string
	for _, v := range d.g.b.Graph.Outputs {
		outs = append(outs, fmt.Sprintf("%q %v", v.Name, d.g.b.Fact(v)))
	}
	for name, f := range d.held {
		data = append(data, fmt.Sprintf("%q %v", name, f))
	}
	slices.Sort(data)
	if len(data) == 0 {
		data = []string{"nothing"}
	}
	return fmt.Errorf("which task this is cannot be told: the data has %s, the model's outputs are %s; name it (--task), and if need be the output (--logits, --loss-output)",
		strings.Join(data, ", "), strings.Join(outs, ", "))
}

// chooseTask finds the run's task where it was not given.
func (l *loop) chooseTask(m *ir.Model, set *ops.Set) error {
	if l.c.Task != "" {
		return nil
	}
	b, err := l.data.largest(1)
	if err != nil {
		return err
	}
	task, why, err := DetectTask(m, set, l.c.LossConfig, heldFacts(b.Feeds))
	if err != nil {
		return err
	}
	if l.c.LabelSmoothing > 0 && (task == Regression || task == Custom) {
		return errors.New("label smoothing needs class labels; the task is " + string(task))
	}
	l.c.Task, l.sum.Picked.Task = task, task
	l.w.Note(fmt.Sprintf("task %s: %s", task, why))
	return nil
}

// heldFacts are the types of arrays, whose first axis is that of the samples.
func heldFacts(arrays map[string]*tensor.Tensor) map[string]ops.Fact {
	held := make(map[string]ops.Fact, len(arrays))
	for name, t := range arrays {
		f := ops.Concrete(t.DType(), t.Shape()...)
		if len(f.Dims) > 0 {
			f.Dims[0] = ir.Symbol("samples")
		}
		held[name] = f
	}
	return held
}

// heldLines is what the first lines of a .jsonl file hold; lines that cannot
// be read say nothing.
func heldLines(head []byte) map[string]ops.Fact {
	held := map[string]ops.Fact{}
	samples := ir.Symbol("samples")
	for line := range bytes.Lines(head) {
		var fields map[string]json.RawMessage
		if json.Unmarshal(line, &fields) != nil {
			continue
		}
		for name, raw := range fields {
			switch {
			case name == tokensName || name == "text":
				held[tokensName] = manyTokens
			case name == LabelsInput:
				held[LabelsInput] = manyTokens
			case name == "label" && raw[0] == '[':
				_, width, _ := parseFloats(field{raw, 1})
				held[LabelsInput] = ops.Of(tensor.Float32, samples, ir.Fixed(int64(width)))
			case name == "label" && bytes.ContainsAny(raw, ".eE"):
				held[LabelsInput] = ops.Of(tensor.Float32, samples)
			case name == "label" && !held[LabelsInput].DType.IsFloat():
				held[LabelsInput] = ops.Of(tensor.Int64, samples)
			}
		}
	}
	return held
}
