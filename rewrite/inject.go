package rewrite

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

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
	// Training puts the Dropout of the configuration between a layer's input and
	// the blocks, for a graph that is trained; it needs operator set 12, and the
	// form is activation then. Below a bat, where the blocks are part of a
	// weight, and in bat itself there is none. Models that are kept are written
	// without.
	Training bool
	// Trusted says that the fingerprint of a set to apply is known to be that of
	// the model's base: it is recorded as it is, and no weight is read.
	Trusted bool
	// AnyBase has Apply take an adapter that was made for another base, such as
	// the float original of a quantized model, with a note.
	AnyBase bool
}

// minOpset is the first operator set whose Add broadcasts as new nodes need it.
const minOpset = 7

// minDropout is the first operator set whose Dropout is told by an input that it
// is in training.
const minDropout = 12

// Inject puts a new adapter on the layers of m that cfg selects, with the
// blocks' initial values. Where m carries adapters under other names the new
// one goes on top of them. It reads no weight.
func Inject(m *ir.Model, cfg adapter.Config, o Options) (*Report, error) {
	var rep *Report
	err := edit(m, func(c *ir.Model) error {
		list, found, err := takeOff(c)
		if err != nil {
			return err
		}
		if list.named(cfg.DisplayName()) != nil {
			return fmt.Errorf("the model has adapter %q already; merge or strip it first, or give the new one another name", cfg.DisplayName())
		}
		sel, err := Select(found, cfg, o.SkipUnfit)
		if err != nil {
			return err
		}
		a, err := newCarried(cfg, o)
		if err != nil {
			return err
		}
		for _, calls := range modules(sel.Targets) {
			l := calls[0]
			a.targets = append(a.targets, &mounted{calls, dense(cfg.Method.Init(cfg.Dims(l.In, l.Out), cfg.Init, cfg.Seed, l.Path))})
		}
		if err := a.train(c, found, sel.Targets); err != nil {
			return err
		}
		list = append(list, a)
		rep = list.report(c, sel)
		return list.putOn(c)
	})
	if err != nil {
		return nil, err
	}
	return rep, nil
}

// injection is a stack of adapters being written into the base model c.
type injection struct {
	c      *ir.Model
	names  *ir.Names
	opset  int64
	record record
	shared map[string]*ir.Value
	// results are what layers with an adapter in activation form give now.
	results map[*ir.Node]*ir.Value
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

// module puts a on all calls of one module, in the given form.
func (in *injection) module(a *carried, t *mounted, form Form) (*targetRecord, error) {
	first := t.calls[0]
	rec := &targetRecord{Path: first.Path, In: first.In, Out: first.Out}
	if form != a.form {
		rec.Form = form
	}
	var values []*ir.Value
	for i, suffix := range a.cfg.Method.Suffixes() {
		v := addInitializer(in.c, in.names, a.suffixed(first.Path+"."+suffix), t.blocks[i], a.inputs)
		values = append(values, v)
		rec.Blocks = append(rec.Blocks, v.Name)
	}
	for _, l := range t.calls {
		s, err := in.site(a, l, values, form)
		if err != nil {
			return nil, err
		}
		rec.Sites = append(rec.Sites, *s)
	}
	return rec, nil
}

// site writes the nodes at one layer.
func (in *injection) site(a *carried, l *Linear, blocks []*ir.Value, form Form) (*siteRecord, error) {
	s := &siteRecord{Node: l.Label(), Kind: l.Kind}
	w := &writer{injection: in, p: ir.NewPatch(l.Node.Graph(), in.names), prefix: a.prefix(l), l: l,
		dims: a.cfg.Dims(l.In, l.Out), blocks: blocks, scale: 1, dropout: a.dropout()}
	if a.cfg.Method == adapter.LoRA && a.cfg.Alpha != 0 {
		w.scale = a.cfg.Alpha / float64(a.cfg.Rank)
	}
	if form == Activation {
		in.results[l.Node] = w.activation(a.cfg.Method)
	} else {
		w.weight(a.cfg.Method)
	}
	if err := w.p.Apply(); err != nil {
		return nil, fmt.Errorf("%v: %w", l.Node, err)
	}
	for _, x := range w.nodes {
		s.Nodes = append(s.Nodes, x.Name)
	}
	return s, nil
}

// result is what the layer gives with the adapters written so far.
func (in *injection) result(l *Linear) *ir.Value {
	if v := in.results[l.Node]; v != nil {
		return v
	}
	return l.result
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

// store writes the record into the model's metadata.
func (r *record) store(m *ir.Model) error {
	r.Version = 1
	if slices.ContainsFunc(r.Adapters, func(a adapterRecord) bool { return len(a.Whole) > 0 }) {
		r.Version = 2
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	m.Metadata.Set(MetadataKey, string(b))
	return nil
}
