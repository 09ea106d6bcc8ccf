package bonnx

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/autodiff"
	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/train"
)

// Support finds all at once what is not supported for running and for training
// the model: of one without adapters, with adapters on all its linear layers.
// Putting adapters on, merging them and taking them off needs none of it.
// Weights are read as far as shapes depend on their values.
func (m *Model) Support() (*ops.Support, error) {
	g, params, err := m.trained()
	if err != nil {
		return nil, m.wrap(invalidModel(err))
	}
	s := &ops.Support{Running: []ops.Unsupported{}, Training: []ops.Unsupported{}}
	c, an, problems := m.set.Survey(g)
	for _, p := range problems {
		reason, help := why(p)
		s.Running = m.add(s.Running, p.Node, reason, help)
	}
	if an == nil {
		return s, nil
	}
	if len(params) == 0 {
		s.Training = append(s.Training, ops.Unsupported{Nodes: []string{}, Reason: "it has no linear layer that adapters are put on", Help: "inspect lists what is no target, and why"})
		return s, nil
	}
	m.gradients(s, c, params, len(problems) == 0)
	return s, nil
}

// trained is the model with adapters, its own or small ones on all layers, and
// the names of what they train.
func (m *Model) trained() (*ir.Model, []string, error) {
	all, err := rewrite.Adapters(m.graph)
	if err != nil {
		return nil, nil, err
	}
	g := m.graph
	if len(all) == 0 {
		g = g.Clone()
		cfg := adapter.DefaultConfig()
		cfg.Rank, cfg.Targets = 1, adapter.Modules{Regex: ".*"}
		var none *NoMatchError
		if _, err := rewrite.Inject(g, cfg, rewrite.Options{SkipUnfit: true}); errors.As(err, &none) {
			return m.graph, nil, nil
		} else if err != nil {
			return nil, nil, err
		}
		if all, err = rewrite.Adapters(g); err != nil {
			return nil, nil, err
		}
	}
	var names []string
	for _, a := range all {
		names = append(names, a.TrainableNames()...)
	}
	return g, names, nil
}

// gradients adds what has none in the canonical model c. Where all of it is
// known, it is taken as training takes it, and differentiated.
func (m *Model) gradients(s *ops.Support, c *ir.Model, names []string, known bool) {
	mutable := func(v *ir.Value) bool { return slices.Contains(names, v.Name) }
	if known {
		train.InFloat32(c)
		if err := fuse.Raise(c, m.set, fuse.Options{Mutable: mutable}); err != nil {
			s.Training = m.add(s.Training, nil, err.Error(), "")
			return
		}
		if c.Opset(ops.Domain) == 0 {
			c.SetOpset(ops.Domain, 1)
		}
	}
	c, an, _ := m.set.Survey(c)
	if an == nil {
		return
	}
	b := ops.NewBuilder(an, c.Graph, ir.NewNames(c))
	var params []*ir.Value
	for _, v := range c.Graph.Initializers {
		if mutable(v) {
			params = append(params, v)
		}
	}
	to := lossOutputs(c)
	missing := autodiff.Missing(b, params, to)
	for _, n := range missing {
		if an.Op(n) == nil {
			continue // it cannot be run either
		}
		s.Training = m.add(s.Training, n, "it has no gradient, and lies between layers that take adapters and the outputs", helpToTrain)
	}
	if !known || len(missing) > 0 || len(to) == 0 {
		return
	}
	loss := b.Scalar(to[0], 0)
	for _, y := range to {
		loss = b.Add(loss, b.Cast(b.Op("ReduceSum", ir.In(y), ir.A("keepdims", ir.Int(0))), b.Fact(loss).DType))
	}
	if _, err := autodiff.Gradient(b, loss, params); err != nil {
		s.Training = m.add(s.Training, nil, err.Error(), helpToTrain)
	}
}

// lossOutputs are the outputs that a loss may attach to: the one called logits,
// else all of floats.
func lossOutputs(m *ir.Model) (list []*ir.Value) {
	for _, v := range m.Graph.Outputs {
		if v.Name == "logits" {
			return []*ir.Value{v}
		}
		if t := v.TensorType(); t == nil || t.Elem.IsFloat() {
			list = append(list, v)
		}
	}
	return list
}

const helpToTrain = "leave the layers before it out of the targets: name those that come after it (--target, --layers, --exclude)"

// why tells of a problem what is wrong and what would help.
func why(p ops.Problem) (reason, help string) {
	var unknown *UnsupportedOpError
	if errors.As(p.Err, &unknown) {
		return "bonnx has no such operator", unknown.Help()
	}
	return p.Err.Error(), "docs/operators.md lists what is supported; another opset or exporter may write it in another way"
}

// add notes that n is not supported, beside nodes of the same operator and
// reason.
func (m *Model) add(list []ops.Unsupported, n *ir.Node, reason, help string) []ops.Unsupported {
	u := ops.Unsupported{Nodes: []string{}, Reason: reason, Help: help}
	if n != nil {
		u.Domain, u.Op, u.Opset = cmp.Or(ir.CanonicalDomain(n.Domain), "ai.onnx"), n.OpType, m.graph.Opset(n.Domain)
		u.Nodes = append(u.Nodes, n.Name)
		u.Reason = strings.TrimPrefix(reason, n.String()+": ")
	}
	i := slices.IndexFunc(list, func(o ops.Unsupported) bool {
		return n != nil && o.Domain == u.Domain && o.Op == u.Op && o.Reason == u.Reason
	})
	if i < 0 {
		return append(list, u)
	}
	list[i].Nodes = append(list[i].Nodes, u.Nodes...)
	return list
}
