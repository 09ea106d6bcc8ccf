package opcheck

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/bonnx/bonnx/autodiff"
	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// Functions, operators that Canonical spells out, are tested as the graph that
// becomes of them, with the gradients that autodiff makes of it.

// isFunction reports whether the case goes through Canonical.
func (c *Case) isFunction() bool {
	if c.Canonical {
		return true
	}
	if c.Domain == ops.Domain {
		return false
	}
	m, n := c.model(1)
	op, err := c.set().Parse(n, m.Opset(n.Domain))
	if err != nil {
		return false
	}
	_, ok := op.(ops.Composite)
	return ok
}

// spelled is a function's body.
type spelled struct {
	set    *ops.Set
	model  *ir.Model
	inputs map[int]*ir.Value // those that are fed
	outs   []*ir.Value
}

func (c *Case) spelled(mode int) (*spelled, error) {
	m, n := c.model(mode)
	fed := map[int]string{}
	for i, v := range n.Inputs() {
		if v != nil && v.IsInput() {
			fed[i] = v.Name
		}
	}
	var names []string
	for _, v := range n.Outputs() {
		names = append(names, v.Name)
	}
	canonical, err := ops.Canonical(m)
	if err != nil {
		return nil, err
	}
	w := &spelled{set: c.set(), model: canonical, inputs: map[int]*ir.Value{}}
	index := canonical.Graph.Index()
	for i, name := range fed {
		w.inputs[i] = index[name]
	}
	for _, name := range names {
		if index[name] == nil {
			return nil, fmt.Errorf("%q is not in the body", name)
		}
		w.outs = append(w.outs, index[name])
	}
	for n := range canonical.Graph.Nodes() {
		if n.Domain != "" && n.Domain != ops.Domain {
			return nil, fmt.Errorf("the body has a %s of %s", n.OpType, n.Domain)
		}
	}
	return w, nil
}

func (w *spelled) feeds(in []*tensor.Tensor) map[*ir.Value]*tensor.Tensor {
	feeds := map[*ir.Value]*tensor.Tensor{}
	for i, v := range w.inputs {
		feeds[v] = in[i]
	}
	return feeds
}

func (w *spelled) run(in []*tensor.Tensor) ([]*tensor.Tensor, error) {
	return Run(w.set, w.model, w.feeds(in), w.outs)
}

func (c *Case) forwardSpelled(t *testing.T, tol float64, want []*tensor.Tensor) {
	t.Helper()
	for mode, what := range []string{"symbolic", "known"} {
		w, err := c.spelled(mode)
		if err != nil {
			t.Fatalf("%s (%s shapes): %v", c.Name, what, err)
		}
		an, err := w.set.Analyze(w.model, ops.AnalyzeOptions{})
		if err != nil {
			t.Fatalf("%s (%s shapes): %v", c.Name, what, err)
		}
		got, err := w.run(c.Inputs)
		if err != nil {
			t.Fatalf("%s (%s shapes): %v", c.Name, what, err)
		}
		for i, g := range got {
			name := fmt.Sprintf("%s: output %d (%s shapes)", c.Name, i, what)
			checkFact(t, name, an.Fact(w.outs[i]), g)
			if i < len(want) && want[i] != nil {
				Close(t, name, g, want[i], tol)
			}
		}
	}
}

func (c *Case) gradientSpelled(mode int) error {
	w, err := c.spelled(mode)
	if err != nil {
		if mode == 2 {
			return errNeedsRank
		}
		return err
	}
	outs, err := w.run(c.Inputs)
	if err != nil {
		return err
	}
	forward, err := c.spelled(1)
	if err != nil {
		return err
	}
	g, err := w.backward(c, outs)
	if err != nil {
		if mode == 2 {
			return errNeedsRank
		}
		return err
	}
	for k, i := range g.of {
		res, err := Run(w.set, w.model, g.feeds, []*ir.Value{g.grads[k]})
		if err != nil {
			return err
		}
		x := c.Inputs[i].Clone()
		in := slices.Clone(c.Inputs)
		in[i] = x
		want, err := c.differences(x, g.up, func() ([]*tensor.Tensor, error) { return forward.run(in) })
		if err != nil {
			return err
		}
		if err := c.agree(i, res[0], want); err != nil {
			return err
		}
	}
	return nil
}

// backward is a body's gradients of sum(up*y).
type backward struct {
	of    []int // inputs
	grads []*ir.Value
	up    []*tensor.Tensor
	feeds map[*ir.Value]*tensor.Tensor
	loss  *ir.Value
}

func (w *spelled) backward(c *Case, outs []*tensor.Tensor) (*backward, error) {
	g := &backward{up: make([]*tensor.Tensor, len(outs)), feeds: w.feeds(c.Inputs)}
	graph := w.model.Graph
	ups := make([]*ir.Value, len(outs))
	for i, o := range outs {
		if !o.DType().IsFloat() || c.GradOf != nil && !slices.Contains(c.GradOf, i) {
			continue
		}
		up, err := Random(uint64(100+i), -1, 1, o.Shape()...).Cast(o.DType())
		if err != nil {
			return nil, err
		}
		g.up[i] = up
		ups[i] = graph.AddInput(fmt.Sprintf("g%d", i), ops.Concrete(o.DType(), o.Shape()...).Type())
		g.feeds[ups[i]] = up
	}
	if w.model.Opset(ops.Domain) == 0 {
		w.model.SetOpset(ops.Domain, 1)
	}
	an, err := w.set.Analyze(w.model, ops.AnalyzeOptions{})
	if err != nil {
		return nil, err
	}
	b := ops.NewBuilder(an, graph, ir.NewNames(w.model))
	for i, up := range ups {
		if up == nil {
			continue
		}
		part := b.Op("ReduceSum", ir.In(b.Mul(up, w.outs[i])), ir.A("keepdims", ir.Int(0)))
		if g.loss != nil {
			part = b.Add(g.loss, part)
		}
		g.loss = part
	}
	var params []*ir.Value
	for i := range c.Inputs {
		v := w.inputs[i]
		if v != nil && c.Inputs[i].DType().IsFloat() && (c.Diff == nil || slices.Contains(c.Diff, i)) {
			g.of, params = append(g.of, i), append(params, v)
		}
	}
	if g.loss == nil || len(params) == 0 {
		return nil, errors.New("nothing to differentiate")
	}
	g.grads, err = autodiff.Gradient(b, g.loss, params)
	if err == nil && slices.Contains(g.grads, nil) {
		err = errors.New("an input has no gradient")
	}
	return g, err
}

// Model is the case as a model with known shapes, what is fed to it, and
// what its outputs are, computed node by node.
func (c Case) Model() (m *ir.Model, feeds map[string]*tensor.Tensor, want map[string]*tensor.Tensor, err error) {
	outs, err := Eval(c)
	if err != nil {
		return nil, nil, nil, err
	}
	m, n := c.model(1)
	feeds, want = map[string]*tensor.Tensor{}, map[string]*tensor.Tensor{}
	for i, v := range n.Inputs() {
		if v != nil && v.IsInput() {
			feeds[v.Name] = c.Inputs[i]
		}
	}
	for i, v := range n.Outputs() {
		v.Type = &ir.TensorType{Elem: outs[i].DType()}
		m.Graph.Outputs = append(m.Graph.Outputs, v)
		want[v.Name] = outs[i]
	}
	return m, feeds, want, nil
}

// GradientModel is the gradients of the case's inputs in standard operators,
// built with nothing known of extents where that will do: a model, what is fed
// to it, and what its outputs are, computed node by node.
func (c Case) GradientModel() (m *ir.Model, feeds, want map[string]*tensor.Tensor, err error) {
	if m, feeds, want, err = c.gradientModel(0); err != nil { // an extent decides
		m, feeds, want, err = c.gradientModel(1)
	}
	return m, feeds, want, err
}

func (c *Case) gradientModel(mode int) (m *ir.Model, feeds, want map[string]*tensor.Tensor, err error) {
	w, err := c.spelled(mode)
	if err != nil {
		return nil, nil, nil, err
	}
	outs, err := w.run(c.Inputs)
	if err != nil {
		return nil, nil, nil, err
	}
	g, err := w.backward(c, outs)
	if err != nil {
		return nil, nil, nil, err
	}
	for k, i := range g.of {
		v := g.grads[k]
		v.Type = &ir.TensorType{Elem: c.Inputs[i].DType()}
		w.model.Graph.Outputs = append(w.model.Graph.Outputs, v)
	}
	if err := fuse.Lower(w.model, w.set); err != nil {
		return nil, nil, nil, err
	}
	got, err := Run(w.set, w.model, g.feeds, w.model.Graph.Outputs)
	if err != nil {
		return nil, nil, nil, err
	}
	feeds, want = map[string]*tensor.Tensor{}, map[string]*tensor.Tensor{}
	for v, t := range g.feeds {
		feeds[v.Name] = t
	}
	for i, v := range w.model.Graph.Outputs {
		want[v.Name] = got[i]
	}
	return w.model, feeds, want, nil
}
