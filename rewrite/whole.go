package rewrite

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// Whole is a parameter of the base that an adapter trains whole: a weight or
// bias of modules_to_save, or a bias. A trained copy stands where the module's
// nodes read the original, which stays in the graph as it is.
type Whole struct {
	// Key is module path and parameter, as in adapter.Set.Saved.
	Key string
	// Value is the initializer with the trained values, as the module's first
	// node reads them.
	Value *ir.Value
	// Turned says that Value is the transpose of PyTorch's layout.
	Turned bool

	reads []read
	off   *whole // once it was removed
}

// read is a group of nodes that read the copy instead of one value of the base,
// through nodes that turn or cast it.
type read struct {
	from  *ir.Value
	nodes []*ir.Node
}

// wholeRecord is a Whole in the model's metadata.
type wholeRecord struct {
	Key    string       `json:"key"`
	Value  string       `json:"value"`
	Turned bool         `json:"turned,omitempty"`
	Reads  []readRecord `json:"reads"`
}

type readRecord struct {
	From  string   `json:"from"`
	Nodes []string `json:"nodes,omitempty"`
}

// whole is a Whole apart from the graph; data is in the layout of the first
// slot.
type whole struct {
	key   string
	data  ir.Data
	slots []slot
}

// seen is a constant as the node at the end of a chain reads it, of another
// type, read on demand.
type seen struct {
	root  ir.Data
	links []link
	as    info
}

func (s *seen) DType() tensor.DType { return s.as.dtype }
func (s *seen) Shape() tensor.Shape { return s.as.shape }
func (s *seen) Tensor() (*tensor.Tensor, error) {
	t, err := through(s.root, s.links)
	if err != nil {
		return nil, err
	}
	return t.Cast(s.as.dtype)
}

// trainedType is the type of the trained copy of a parameter: like blocks
// float32, but for a base of float64.
func trainedType(d tensor.DType) tensor.DType {
	if d == tensor.Float64 {
		return d
	}
	return tensor.Float32
}

// start is p with the base's values.
func (p *param) start() *whole {
	d := p.trace.rootData()
	if t := trainedType(p.at.dtype); len(p.trace.links) > 0 || d.DType() != t {
		d = &seen{d, p.trace.links, info{t, p.at.shape}}
	}
	return &whole{p.key(), d, p.slots}
}

// with is p with the values t, in PyTorch's layout, as a file has them.
func (p *param) with(t *tensor.Tensor) (*whole, error) {
	want := p.layout()
	if !t.DType().IsFloat() || !squeezed(t.Shape()).Equal(squeezed(want)) {
		return nil, fmt.Errorf("%s: %v does not fit the model's, which is %v", p.key(), t, want)
	}
	t, err := graphLayout(t.Reshape(want...), p.slots[0].turned, trainedType(p.at.dtype))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.key(), err)
	}
	return &whole{p.key(), ir.Dense(t), p.slots}, nil
}

// squeezed is s without the extents of 1 that graphs put in for broadcasting.
func squeezed(s tensor.Shape) tensor.Shape {
	return slices.DeleteFunc(s.Clone(), func(n int) bool { return n == 1 })
}

// graphLayout turns t from PyTorch's layout into the graph's, or back.
func graphLayout(t *tensor.Tensor, turned bool, d tensor.DType) (*tensor.Tensor, error) {
	if turned {
		var err error
		if t, err = t.Transpose(1, 0); err != nil {
			return nil, err
		}
	}
	return t.Cast(d)
}

// oneOwner refuses parameters that two adapters train whole: only one copy can
// stand in the base's place.
func (s stack) oneOwner() error {
	owner := map[ir.Use]string{}
	for _, a := range s {
		for _, w := range a.whole {
			for _, x := range w.slots {
				u := ir.Use{Node: x.node, Index: x.index}
				if o, ok := owner[u]; ok && o != a.cfg.DisplayName() {
					return fmt.Errorf("%s is trained whole by adapter %q and by %q; only one of them can be on the model at a time", w.key, o, a.cfg.DisplayName())
				}
				owner[u] = a.cfg.DisplayName()
			}
		}
	}
	return nil
}

// groups are the slots that read one value of the base in one graph, in order.
func (w *whole) groups() [][]slot {
	type place struct {
		v *ir.Value
		g *ir.Graph
	}
	var out [][]slot
	at := map[place]int{}
	for _, x := range w.slots {
		p := place{x.node.Input(x.index), x.node.Graph()}
		i, ok := at[p]
		if !ok {
			i = len(out)
			at[p] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], x)
	}
	return out
}

// whole puts the trained copy of a parameter in the base's place.
func (in *injection) whole(a *carried, w *whole) (*wholeRecord, error) {
	v := addInitializer(in.c, in.names, a.suffixed(w.key), w.data, a.inputs)
	rec := &wholeRecord{Key: w.key, Value: v.Name, Turned: w.slots[0].turned}
	direct := false // whether a group reads v without nodes between
	for _, g := range w.groups() {
		from, graph := g[0].node.Input(g[0].index), g[0].node.Graph()
		_, at, err := traceConstant(from)
		if err != nil {
			return nil, err
		}
		p := ir.NewPatch(graph, in.names)
		p.Before(graph.First())
		r, last := readRecord{From: from.Name}, v
		op := func(opType string, attrs ...*ir.Attr) {
			last = p.Node(a.suffixed("/"+w.key)+"/"+opType, opType, ir.In(last), nil, attrs...)
			r.Nodes = append(r.Nodes, last.Producer().Name)
		}
		if g[0].turned != rec.Turned {
			op("Transpose", ir.A("perm", ir.Ints{1, 0}))
		}
		if at.dtype != w.data.DType() {
			op("Cast", ir.A("to", ir.Int(at.dtype)))
		}
		if last == v && direct {
			op("Identity")
		}
		direct = direct || last == v
		for _, x := range g {
			p.SetInput(x.node, x.index, last)
		}
		if err := p.Apply(); err != nil {
			return nil, err
		}
		rec.Reads = append(rec.Reads, r)
	}
	return rec, nil
}

// passOn are the operators of nodes between a trained copy and its readers.
var passOn = []string{"Transpose", "Cast", "Identity"}

// whole finds what a record of a Whole names.
func (r *resolved) whole(rec *wholeRecord) (*Whole, error) {
	w := &Whole{Key: rec.Key, Value: r.values[rec.Value], Turned: rec.Turned}
	if w.Value == nil {
		return nil, missing("initializer", rec.Value)
	}
	d := w.Value.Data
	if d.DType() != trainedType(d.DType()) || rec.Turned && len(d.Shape()) != 2 || w.Value.IsOutput() {
		return nil, fmt.Errorf("initializer %q is no trained parameter", rec.Value)
	}
	if len(rec.Reads) == 0 {
		return nil, errors.New("no readers are recorded")
	}
	for i := range rec.Reads {
		x, err := r.read(w, &rec.Reads[i])
		if err != nil {
			return nil, err
		}
		w.reads = append(w.reads, *x)
	}
	for _, x := range w.reads {
		if len(w.readers(x)) == 0 {
			return nil, fmt.Errorf("nothing reads it in the place of %q", x.from.Name)
		}
	}
	return w, nil
}

func (r *resolved) read(w *Whole, rec *readRecord) (*read, error) {
	x := &read{}
	last := w.Value
	for _, name := range rec.Nodes {
		n := r.nodes[name]
		if n == nil {
			return nil, missing("node", name)
		}
		if !slices.ContainsFunc(passOn, n.Is) || n.Input(0) != last || len(n.Outputs()) != 1 || n.Output(0) == nil || n.Output(0).IsOutput() {
			return nil, fmt.Errorf("%v does not pass on %q", n, w.Value.Name)
		}
		x.nodes = append(x.nodes, n)
		last = n.Output(0)
	}
	if len(last.Uses()) == 0 {
		return nil, fmt.Errorf("nothing reads %q", last.Name)
	}
	if x.from = r.visible(last.Uses()[0].Node.Graph(), rec.From); x.from == nil {
		return nil, missing("value", rec.From)
	}
	was, err := shapeOf(x.from)
	if err != nil {
		return nil, fmt.Errorf("%q: %w", rec.From, err)
	}
	is, err := shapeOf(last)
	if err != nil {
		return nil, err
	}
	if x.from == last || !was.Equal(is) {
		return nil, fmt.Errorf("%q of shape %v does not stand for %q of %v", w.Value.Name, is, rec.From, was)
	}
	r.standIn[last] = x.from
	return x, nil
}

func shapeOf(v *ir.Value) (tensor.Shape, error) {
	_, at, err := traceConstant(v)
	return at.shape, err
}

// visible is the value of that name that a node in g can read.
func (r *resolved) visible(g *ir.Graph, name string) *ir.Value {
	for g != nil {
		if r.indexes[g] == nil {
			r.indexes[g] = g.Index()
		}
		if v := r.indexes[g][name]; v != nil {
			return v
		}
		if g.Parent() == nil {
			return nil
		}
		g = g.Parent().Graph()
	}
	return nil
}

// readers are the uses of the copy in x but those by nodes of the adapter.
func (w *Whole) readers(x read) []ir.Use {
	last := w.Value
	if k := len(x.nodes); k > 0 {
		last = x.nodes[k-1].Output(0)
	}
	own := func(u ir.Use) bool {
		return slices.ContainsFunc(w.reads, func(x read) bool { return slices.Contains(x.nodes, u.Node) })
	}
	return slices.DeleteFunc(slices.Clone(last.Uses()), own)
}

// remove gives every reader the base's value back and takes the copy out of c.
func (w *Whole) remove(c *ir.Model) error {
	w.off = &whole{key: w.Key, data: w.Value.Data}
	for _, x := range w.reads {
		turned := w.Turned != slices.ContainsFunc(x.nodes, func(n *ir.Node) bool { return n.Is("Transpose") })
		for _, u := range w.readers(x) {
			u.Node.SetInput(u.Index, x.from)
			w.off.slots = append(w.off.slots, slot{u.Node, u.Index, turned})
		}
		for _, n := range slices.Backward(x.nodes) {
			if !n.Output(0).Unused() {
				return fmt.Errorf("%v is used elsewhere", n)
			}
			n.Graph().Remove(n)
		}
	}
	return removeInitializers(c.Graph, []*ir.Value{w.Value})
}

// tensor is the trained value in PyTorch's layout.
func (w *Whole) tensor() (*tensor.Tensor, error) {
	t, err := w.Value.Data.Tensor()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", w.Value.Name, err)
	}
	return graphLayout(t, w.Turned, t.DType())
}

// modulePathOf is the module of a parameter's key.
func modulePathOf(key string) string {
	return key[:max(0, strings.LastIndexByte(key, '.'))]
}

// narrows refuses values that are not finite as type d.
func narrows(t *tensor.Tensor, d tensor.DType) error {
	for _, x := range []struct {
		as  tensor.DType
		err error
	}{
		{t.DType(), errors.New("the trained value is infinite or NaN")},
		{d, fmt.Errorf("the trained value does not fit %v, the type of the base", d)},
	} {
		y, err := t.Cast(x.as)
		if err != nil {
			return err
		}
		if ok, err := finite(y); err != nil || !ok {
			return errors.Join(err, x.err)
		}
	}
	return nil
}

// fold writes the trained value into the base c: into the constant where
// nothing else reads that, else as a constant of its own.
func (w *whole) fold(c *ir.Model, fresh *ir.Names) error {
	t, err := w.data.Tensor()
	if err != nil {
		return err
	}
	readers := map[*ir.Node]bool{}
	var traces []*Weight
	for _, x := range w.slots {
		k, _, err := traceConstant(x.node.Input(x.index))
		if err != nil {
			return err
		}
		if err := narrows(t, k.dtype); err != nil {
			return err
		}
		traces = append(traces, k)
		readers[x.node] = true
		for _, l := range k.links {
			readers[l.node] = true
		}
	}
	own := func(k *Weight) bool { return k.same(traces[0]) && k.own(readers) && !k.quantized() }
	if !slices.ContainsFunc(traces, func(k *Weight) bool { return !own(k) }) {
		t, err := t.Cast(traces[0].dtype)
		if err != nil {
			return err
		}
		return traces[0].replace(t)
	}
	type form struct {
		turned bool
		dtype  tensor.DType
	}
	copies := map[form]*ir.Value{}
	for i, x := range w.slots {
		f := form{x.turned, traces[i].dtype}
		if copies[f] == nil {
			t, err := graphLayout(t, x.turned != w.slots[0].turned, f.dtype)
			if err != nil {
				return err
			}
			copies[f] = addInitializer(c, fresh, w.key, ir.Dense(t), false)
		}
		x.node.SetInput(x.index, copies[f])
	}
	return nil
}
