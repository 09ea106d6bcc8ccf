package train

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// Names in an exported step. A parameter P comes in as P and goes out as
// P.new; its optimizer state as P.exp_avg and so on; its gradient as P.grad.
const (
	ExportLoss = "loss"
	NewSuffix  = ".new"
	gradSuffix = ".grad"
)

// ExportStep is the training step as plain ONNX: one graph of standard
// operators of the given opset (0 for the oldest possible), with the model's
// dynamic extents kept. Inputs: the model's, labels, the parameters, and
// unless gradsOnly the optimizer's state, learning_rate (float32 scalar) and
// step (int64 scalar, from 1). Outputs: loss, and either the new parameters
// and state or the gradients.
func ExportStep(m *ir.Model, set *ops.Set, params []string, l LossConfig, o OptimConfig, opset int64, gradsOnly bool) (*ir.Model, error) {
	g, err := newGraph(m, set, params, l)
	if err != nil {
		return nil, err
	}
	if err := g.setOpset(opset); err != nil {
		return nil, err
	}
	loss := g.loss.mean(g.b)
	if err := g.differentiate(loss); err != nil {
		return nil, err
	}
	for _, p := range g.params {
		g.toInput(p.value)
	}
	outputs := []*ir.Value{loss}
	g.name(loss, ExportLoss)
	if gradsOnly {
		for _, p := range g.params {
			g.name(p.grad, p.value.Name+gradSuffix)
			outputs = append(outputs, p.grad)
		}
	} else {
		g.optimize(o, g.stateInput)
		g.states(func(from, to *ir.Value) {
			g.name(to, from.Name+NewSuffix)
			outputs = append(outputs, to)
		})
	}
	if err := g.b.Err(); err != nil {
		return nil, err
	}
	g.setOutputs(outputs...)
	return g.finishExport(set)
}

// finishExport lowers composites and drops what is not needed any more.
func (g *graph) finishExport(set *ops.Set) (*ir.Model, error) {
	m := g.model
	m.Graph.Prune(true, nil)
	if err := fuse.Lower(m, set); err != nil {
		return nil, err
	}
	m.Graph.Prune(true, nil)
	store(m)
	m.Metadata.Delete("bonnx.adapters")
	m.ProducerName, m.ProducerVersion = "bonnx", ""
	return m, ir.Verify(m)
}

// toInput turns an initializer into a graph input.
func (g *graph) toInput(v *ir.Value) {
	gr := g.b.Graph
	v.Type = g.b.Fact(v).Type()
	v.Data = nil
	gr.Initializers = slices.DeleteFunc(gr.Initializers, func(w *ir.Value) bool { return w == v })
	if !slices.Contains(gr.Inputs, v) {
		gr.Inputs = append(gr.Inputs, v)
	}
}

// stateInput is a graph input for a parameter's optimizer state.
func (g *graph) stateInput(p *param, suffix string) *ir.Value {
	t := g.b.Fact(p.value).Type()
	v := g.b.Graph.AddInput(g.b.Names().Fresh(p.value.Name+"."+suffix), t)
	g.b.Analysis.Set(v, ops.FromType(t))
	return v
}

// irVersions maps opsets to the IR version that came with them.
var irVersions = []struct{ opset, ir int64 }{
	{25, 13}, {24, 12}, {23, 11}, {21, 10}, {19, 9}, {15, 8},
}

// setOpset raises the imported opset to what was asked for.
func (g *graph) setOpset(opset int64) error {
	have := g.model.Opset("")
	if opset == 0 {
		opset = have
	}
	if opset < have {
		return fmt.Errorf("a training step of this model needs opset %d or newer, not %d", have, opset)
	}
	if opset > ops.NewestOpset {
		return fmt.Errorf("opset %d is not known; the newest is %d", opset, ops.NewestOpset)
	}
	g.model.SetOpset("", opset)
	for _, v := range irVersions {
		if opset >= v.opset {
			g.model.IRVersion = max(g.model.IRVersion, v.ir)
			break
		}
	}
	return nil
}

// IsState reports whether name is optimizer state of one of the parameters.
func IsState(name string, params map[string]bool) bool {
	i := strings.LastIndexByte(name, '.')
	if i < 0 || !params[name[:i]] {
		return false
	}
	for _, o := range optimizers {
		if slices.Contains(o.suffixes(OptimConfig{Momentum: 1}), name[i+1:]) {
			return true
		}
	}
	return false
}

// StateNames lists the inputs of an exported step that hold optimizer state,
// zeros at the start, with their shapes.
func StateNames(m *ir.Model, params []string, o OptimConfig) map[string]*tensor.Tensor {
	state := map[string]*tensor.Tensor{}
	for _, v := range m.Graph.Initializers {
		if !slices.Contains(params, v.Name) {
			continue
		}
		for _, s := range optimizers[o.Optimizer].suffixes(o) {
			state[v.Name+"."+s] = tensor.New(v.Data.DType(), v.Data.Shape()...)
		}
	}
	return state
}
