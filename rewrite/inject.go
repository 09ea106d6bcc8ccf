package rewrite

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Options are how Inject and Apply write an adapter into a graph.
type Options struct {
	Form Form
	// Inputs makes the blocks graph inputs whose defaults are the
	// initializers, so that a runtime can be fed others. IR version 3 is
	// raised to 4 for that.
	Inputs bool
	// SkipUnfit leaves out layers that are named but cannot take the method or
	// rank, instead of failing.
	SkipUnfit bool
}

// minOpset is the first operator set whose Add broadcasts as new nodes need it.
const minOpset = 7

// Inject puts a new adapter on the layers of m that cfg selects, with the
// blocks' initial values. It reads no weight.
func Inject(m *ir.Model, cfg adapter.Config, o Options) (*Report, error) {
	found, sel, err := choose(m, cfg, o)
	if err != nil {
		return nil, err
	}
	var rep *Report
	err = edit(m, func(c *ir.Model) error {
		in, err := newInjection(c, cfg, o)
		if err != nil {
			return err
		}
		calls := modules(sel.Targets)
		blocks := make([][]ir.Data, len(calls))
		for i, g := range calls {
			blocks[i] = dense(cfg.Method.Init(cfg.Dims(g[0].In, g[0].Out), cfg.Init, cfg.Seed, g[0].Path))
		}
		if err := in.modules(calls, blocks, twins(m, c)); err != nil {
			return err
		}
		rep = in.report(m, found, sel)
		return in.finish("")
	})
	return rep, err
}

// choose finds and selects the layers of a model without adapters.
func choose(m *ir.Model, cfg adapter.Config, o Options) (*Layers, *Selected, error) {
	if err := plain(m); err != nil {
		return nil, nil, err
	}
	if cfg.Bias != "" && cfg.Bias != "none" {
		return nil, nil, fmt.Errorf("bias %q: biases stay as they are in a graph; use none", cfg.Bias)
	}
	if len(cfg.Save) > 0 {
		return nil, nil, fmt.Errorf("modules_to_save %s: modules cannot be trained whole in a graph", strings.Join(cfg.Save, ", "))
	}
	found, err := Find(m)
	if err != nil {
		return nil, nil, err
	}
	sel, err := Select(found, cfg, o.SkipUnfit)
	return found, sel, err
}

// plain refuses models that carry adapters already.
func plain(m *ir.Model) error {
	all, err := Adapters(m)
	if err != nil {
		return err
	}
	if len(all) > 0 {
		return fmt.Errorf("the model has adapter %q already; merge or strip it first", all[0].Config.DisplayName())
	}
	return nil
}

// injection is one adapter being written into c.
type injection struct {
	c      *ir.Model
	names  *ir.Names
	opset  int64
	cfg    adapter.Config
	form   Form
	inputs bool
	record record
	shared map[string]*ir.Value
	params int
}

// newInjection prepares c, which is changed in place.
func newInjection(c *ir.Model, cfg adapter.Config, o Options) (*injection, error) {
	form, err := o.Form.of(cfg.Method)
	if err != nil {
		return nil, err
	}
	in := &injection{c: c, names: ir.NewNames(c), opset: c.Opset(""), cfg: cfg, form: form, inputs: o.Inputs,
		record: record{Version: recordVersion}, shared: map[string]*ir.Value{}}
	if in.opset < minOpset {
		return nil, fmt.Errorf("the model is of operator set %d; adapters need %d or newer", in.opset, minOpset)
	}
	if o.Inputs && c.IRVersion < 4 {
		in.record.IRVersion = c.IRVersion
		c.IRVersion = 4
	}
	in.record.Adapters = []adapterRecord{{Config: cfg, Form: form, Inputs: o.Inputs, Targets: []targetRecord{}}}
	return in, nil
}

// modules groups layers that are calls of one module, in order.
func modules(layers []*Linear) [][]*Linear {
	var out [][]*Linear
	at := map[string]int{}
	for _, l := range layers {
		i, ok := at[l.Path]
		if !ok {
			i = len(out)
			at[l.Path] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], l)
	}
	return out
}

func dense(ts []*tensor.Tensor) []ir.Data {
	out := make([]ir.Data, len(ts))
	for i, t := range ts {
		out[i] = ir.Dense(t)
	}
	return out
}

// twins maps the nodes of m to those of its copy c.
func twins(m, c *ir.Model) map[*ir.Node]*ir.Node {
	var of []*ir.Node
	c.Graphs(func(g *ir.Graph) bool {
		for n := range g.Nodes() {
			of = append(of, n)
		}
		return true
	})
	out, i := make(map[*ir.Node]*ir.Node, len(of)), 0
	m.Graphs(func(g *ir.Graph) bool {
		for n := range g.Nodes() {
			out[n] = of[i]
			i++
		}
		return true
	})
	return out
}

// modules puts the adapter on modules, each with its blocks.
func (in *injection) modules(calls [][]*Linear, blocks [][]ir.Data, twin map[*ir.Node]*ir.Node) error {
	for i, g := range calls {
		if err := in.module(g, blocks[i], twin); err != nil {
			return err
		}
	}
	return nil
}

// module puts the adapter on all calls of one module.
func (in *injection) module(calls []*Linear, blocks []ir.Data, twin map[*ir.Node]*ir.Node) error {
	first := calls[0]
	t := targetRecord{Path: first.Path, In: first.In, Out: first.Out}
	var values []*ir.Value
	for i, suffix := range in.cfg.Method.Suffixes() {
		name := first.Path + "." + suffix
		if n := in.cfg.DisplayName(); n != adapter.DefaultName {
			name += "." + n
		}
		v := addInitializer(in.c, in.names, name, blocks[i], in.inputs)
		values = append(values, v)
		t.Blocks = append(t.Blocks, v.Name)
		in.params += v.Data.Shape().Size()
	}
	for _, l := range calls {
		s, err := in.site(l, values, twin[l.Node])
		if err != nil {
			return err
		}
		t.Sites = append(t.Sites, *s)
	}
	a := &in.record.Adapters[0]
	a.Targets = append(a.Targets, t)
	return nil
}

// site writes the nodes at one layer, whose node in the copy is n.
func (in *injection) site(l *Linear, blocks []*ir.Value, n *ir.Node) (*siteRecord, error) {
	here := *l
	here.Node = n
	v, transposed, err := kinds[n.OpType](&here, n)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", n, err)
	}
	if here.Weight, err = traceWeight(v, transposed); err != nil {
		return nil, fmt.Errorf("%v: %w", n, err)
	}
	w := &writer{injection: in, p: ir.NewPatch(n.Graph(), in.names), prefix: in.prefix(&here), l: &here,
		dims: in.cfg.Dims(l.In, l.Out), blocks: blocks, scale: 1}
	if in.cfg.Method == adapter.LoRA && in.cfg.Alpha != 0 {
		w.scale = in.cfg.Alpha / float64(in.cfg.Rank)
	}
	if in.form == Activation {
		w.activation(in.cfg.Method)
	} else {
		w.weight(in.cfg.Method)
	}
	if err := w.p.Apply(); err != nil {
		return nil, fmt.Errorf("%v: %w", n, err)
	}
	s := &siteRecord{Node: l.Label(), Kind: l.Kind}
	for _, x := range w.nodes {
		s.Nodes = append(s.Nodes, x.Name)
	}
	return s, nil
}

// prefix starts the names of new nodes: "/layers.0/q_proj/bone/".
func (in *injection) prefix(l *Linear) string {
	base := "/" + l.Path
	if i := strings.LastIndexByte(l.Node.Name, '/'); i > 0 {
		base = l.Node.Name[:i]
	}
	name := in.cfg.Method.String()
	if n := in.cfg.DisplayName(); n != adapter.DefaultName {
		name += "." + n
	}
	return base + "/" + name + "/"
}

// constant is an initializer that all targets share, made on first use.
func (in *injection) constant(name string, make func() *tensor.Tensor) *ir.Value {
	if v := in.shared[name]; v != nil {
		return v
	}
	v := addInitializer(in.c, in.names, "bonnx/"+name, ir.Dense(make()), false)
	in.shared[name] = v
	in.record.Constants = append(in.record.Constants, v.Name)
	return v
}

// ints is a constant vector.
func (in *injection) ints(v ...int) *ir.Value {
	name := "ints"
	for _, x := range v {
		name += "_" + strconv.Itoa(x)
	}
	return in.constant(name, func() *tensor.Tensor { return tensor.Ints(v...) })
}

// finish writes the record into the model's metadata.
func (in *injection) finish(fingerprint string) error {
	in.record.Adapters[0].Fingerprint = fingerprint
	return in.record.store(in.c)
}

func (r *record) store(m *ir.Model) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	m.Metadata.Set(MetadataKey, string(b))
	return nil
}
