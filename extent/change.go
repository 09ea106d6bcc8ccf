package extent

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/tensor"
)

// An entry is a change of one element of a shape: to a number, or to the
// number of samples times one.
type entry struct {
	at      int
	n       int64
	samples bool
}

// whereOpset is the first operator set with Where for any type.
const whereOpset = 9

// change makes input i of a node what build makes of it, in both worlds. build
// gets a builder before the node and the value that is there now.
func (t *tracer) change(n *ir.Node, i int, build func(w *world, b *ir.Builder, old *ir.Value) *ir.Value) error {
	twin := t.nodes[n]
	if twin == nil || i >= len(twin.Inputs()) {
		return errors.New("the batch is in its operands, and it stands for something else in the file (a function, or an older operator)")
	}
	for _, side := range []struct {
		w *world
		n *ir.Node
	}{{t.traced, n}, {t.original, twin}} {
		b := ir.NewBuilder(side.n.Graph(), side.w.names)
		b.Before, b.OnNode, b.Prefix = side.n, side.w.visit, "batch/"
		old := side.n.Input(i)
		v := build(side.w, b, old)
		if err := b.Err(); err != nil {
			return err
		}
		side.n.SetInput(i, v)
		side.w.drop(old)
	}
	if name := label(twin); !slices.Contains(t.changed, name) {
		t.changed = append(t.changed, name)
	}
	return nil
}

// drop removes a constant that nothing reads any more.
func (w *world) drop(v *ir.Value) {
	switch {
	case v == nil || !v.Unused() || v.IsInput():
	case v.IsInitializer():
		v.Graph().RemoveInitializer(v)
	case v.Producer().Is("Constant"):
		v.Graph().Remove(v.Producer())
	}
}

// vector is a constant of int64, one for all nodes that need the same.
func (w *world) vector(v ...int) *ir.Value {
	key := fmt.Sprint(v)
	if w.ints[key] == nil {
		w.ints[key] = w.constant(tensor.Ints(v...))
	}
	return w.ints[key]
}

// constant is an initializer of the main graph; up to IR version 3 it has to
// be an input too.
func (w *world) constant(x *tensor.Tensor) *ir.Value {
	v := w.model.Graph.AddInitializer(w.names.Fresh("batch/constant"), ir.Dense(x))
	if w.model.IRVersion < 4 {
		v.Type = ir.TensorOf(x.DType(), x.Shape())
		w.model.Graph.Inputs = append(w.model.Graph.Inputs, v)
	}
	return v
}

// samples is a multiple of the number of samples as a vector of one element:
// from the first extent of the first input that has it.
func (c *call) samples(w *world, b *ir.Builder, times int64) *ir.Value {
	if w.number == nil {
		first := slices.IndexFunc(c.traced.model.Graph.Inputs, func(v *ir.Value) bool { return c.places[v].kind == rows })
		name, g := c.traced.model.Graph.Inputs[first].Name, w.model.Graph
		x := g.Inputs[slices.IndexFunc(g.Inputs, func(v *ir.Value) bool { return v.Name == name })]
		top := ir.NewBuilder(g, w.names)
		top.Before, top.OnNode, top.Prefix = g.First(), w.visit, "batch/"
		w.number = top.Op("Gather", ir.In(top.Op("Shape", ir.In(x)), w.vector(0)), ir.A("axis", ir.Int(0)))
		b.Fail(top.Err())
	}
	if times == 1 {
		return w.number
	}
	return b.Op("Mul", ir.In(w.number, w.vector(int(times))))
}

// retarget changes elements of the shape in input i of the node.
func (c *call) retarget(i int, entries ...entry) error {
	now, ok := c.fact(i).Extents()
	if !ok {
		return errors.New("its shape is not known")
	}
	return c.change(c.n, i, func(w *world, b *ir.Builder, old *ir.Value) *ir.Value {
		return c.shape(w, b, now, old, entries)
	})
}

// shape is the vector old, whose elements are now, with entries changed: a
// constant where all is known, else chosen element by element.
func (c *call) shape(w *world, b *ir.Builder, now []ir.Dim, old *ir.Value, entries []entry) *ir.Value {
	fixed, known, masked := make([]int, len(now)), true, make([]bool, len(now))
	for j, d := range now {
		fixed[j] = int(d.Value)
		known = known && d.Known
	}
	for _, e := range entries {
		if !e.samples {
			fixed[e.at], masked[e.at] = int(e.n), true
		}
	}
	v := old
	switch {
	case known:
		v = w.vector(fixed...)
	case slices.Contains(masked, true):
		v = w.choose(b, masked, w.vector(fixed...), old)
	}
	for _, e := range entries {
		if e.samples {
			mask := make([]bool, len(now))
			mask[e.at] = true
			v = w.choose(b, mask, c.samples(w, b, e.n), v)
		}
	}
	return v
}

// choose is x where the mask holds, else y.
func (w *world) choose(b *ir.Builder, mask []bool, x, y *ir.Value) *ir.Value {
	if w.model.Opset("") < whereOpset {
		b.Fail(fmt.Errorf("the batch is in a shape; changing it needs operator set %d or newer", whereOpset))
	}
	return b.Op("Where", ir.In(w.constant(tensor.FromSlice(mask, len(mask))), x, y))
}

// spread repeats input i, which is one along the axis, for each sample.
func (c *call) spread(i, axis int) error {
	rank := c.fact(i).Rank()
	ones := make([]ir.Dim, rank)
	for j := range ones {
		ones[j] = ir.Fixed(1)
	}
	return c.change(c.n, i, func(w *world, b *ir.Builder, old *ir.Value) *ir.Value {
		return b.Op("Expand", ir.In(old, c.shape(w, b, ones, nil, []entry{{at: axis, n: 1, samples: true}})))
	})
}

// fixReshape frees the entry of a shape that is the batch.
func fixReshape(c *call) error {
	x, p := c.fact(0), c.place(0)
	want, ok := c.fact(1).Extents()
	if p.kind != rows || !ok || slices.ContainsFunc(want, mentions) {
		return nil // traced, or for the rule to refuse
	}
	zeros := c.int("allowzero", 0) == 0
	out, open, ok := c.fixedShape(x.Dims, want, zeros)
	if !ok {
		return nil
	}
	before, ok := product(x.Dims[:p.axis]...)
	at := c.startsAt(out, before, p.axis)
	if !ok || at < 0 {
		return fmt.Errorf("it makes %v of %v: no axis begins where the samples do", dims(want), x)
	}
	m := out[at]
	if m.n%c.was == 0 {
		m.n /= c.was
	}
	per, _ := perSample(x.Dims[p.axis])
	copies := zeros && at == p.axis && m.equal(per)
	switch e := want[at]; {
	case at == open || copies && e.Known && e.Value == 0:
		return nil
	case open < 0:
		return c.retarget(1, entry{at: at, n: -1})
	case len(out[open].syms) == 0:
		return c.retarget(1, entry{at: at, n: -1}, entry{at: open, n: out[open].n})
	case copies:
		return c.retarget(1, entry{at: at, n: 0})
	case len(m.syms) == 0:
		return c.retarget(1, entry{at: at, n: m.n, samples: true})
	}
	return fmt.Errorf("it makes %v of %v: the batch is in an extent that varies", dims(want), x)
}

// fixedShape is the shape that Reshape made in the file, of x with its samples
// replaced by the file's batch, and the entry that is open: -1, or -1 where
// there is none.
func (c *call) fixedShape(x, want []ir.Dim, zeros bool) (out []monomial, open int, ok bool) {
	open = -1
	out = make([]monomial, len(want))
	total, ok := c.fixed(x)
	for i, d := range want {
		switch {
		case d.Known && d.Value == 0 && zeros:
			if i >= len(x) {
				return nil, 0, false
			}
			var known bool
			out[i], known = c.fixed(x[i : i+1])
			ok = ok && known
		case d.Known && d.Value == -1 || !d.Known && d.Sym == "":
			if open >= 0 {
				return nil, 0, false
			}
			open = i
			continue
		default:
			out[i], _ = product(d)
		}
	}
	rest := number(1)
	for i, m := range out {
		if i != open {
			rest = rest.times(m)
		}
	}
	if open >= 0 && ok {
		out[open], ok = total.over(rest)
	}
	return out, open, ok
}

// fixed is the product of extents with the batch that the file has.
func (c *call) fixed(dims []ir.Dim) (monomial, bool) {
	p, ok := product(dims...)
	for slices.Contains(p.syms, samples) {
		p, _ = p.over(monomial{1, []string{samples}})
		p.n *= c.was
	}
	return p, ok
}

// startsAt is the axis of out before which there are as many elements as
// before the samples: the same axis where that is one, else the first.
func (c *call) startsAt(out []monomial, before monomial, same int) int {
	at, sum := -1, number(1)
	for i, m := range out {
		if sum.equal(before) && m.n%c.was == 0 && (at < 0 || i == same) {
			at = i
		}
		sum = sum.times(m)
	}
	return at
}

// dims prints extents.
func dims(list []ir.Dim) string { return fmt.Sprint(list) }

// fixExpand leaves the samples of what is expanded as they are.
func fixExpand(c *call) error {
	want, ok := c.fact(1).Extents()
	if c.place(0).kind != rows || !ok {
		return nil
	}
	at := c.place(0).axis + len(want) - c.fact(0).Rank()
	if at < 0 || !want[at].Known || want[at].Value == 1 {
		return nil
	}
	return c.retarget(1, entry{at: at, n: 1})
}

// copy makes a shape whose first entry is the batch that the file has, of
// something that is expanded, have one for each sample.
func (c *call) copy(shape int) error {
	want, ok := c.intsOf(shape)
	if !ok || len(want) == 0 || int64(want[0]) != c.was || c.place(0).kind == rows {
		return nil
	}
	if shape > 0 && c.fact(0).Rank() == len(want) && c.fact(0).Dim(0) != ir.Fixed(1) {
		return nil
	}
	return c.retarget(shape, entry{at: 0, n: 1, samples: true})
}

// fixConcat repeats what is the same for all samples, as tokens are that stand
// before each sequence.
func fixConcat(c *call) error {
	i := slices.IndexFunc(c.n.Inputs(), func(v *ir.Value) bool { return c.places[v].kind == rows })
	axis := c.place(i).axis
	if !c.perElement(i) {
		return nil
	}
	for j := range c.n.Inputs() {
		if d := c.fact(j).Dim(axis); c.place(j).kind == free && d.Known && d.Value == 1 {
			if err := c.spread(j, axis); err != nil {
				return err
			}
		}
	}
	return nil
}

// fixResize frees the batch in the sizes of the result.
func fixResize(c *call) error {
	if c.n.Input(3) == nil || c.place(0).axis != 0 || c.n.Attr("axes") != nil {
		return nil
	}
	return c.retarget(3, entry{at: 0, n: 1, samples: true})
}

// fixSlice takes all samples where the file took all that it knew of.
func fixSlice(c *call) error {
	k, rank, err := c.of(0)
	if err != nil {
		return nil
	}
	ends, ok := c.fact(2).Extents()
	axes, given := c.intsOf(3)
	at := k
	if given {
		at = slices.Index(absolute(axes, rank), k)
	}
	m, single := perSample(c.fact(0).Dims[k])
	if !ok || at < 0 || at >= len(ends) || !single || len(m.syms) > 0 || !ends[at].Known || ends[at].Value != c.was*m.n {
		return nil
	}
	return c.retarget(2, entry{at: at, n: math.MaxInt64})
}

// fixGatherND turns x[arange(B), i], whose arange is [0] in a file of batch 1,
// into a lookup sample by sample.
func fixGatherND(c *call) error {
	p, last := place{rows, 0}, c.fact(1).Rank()-1
	if c.place(0) != p || c.place(1) != p || !c.perElement(0) || !c.perElement(1) || last < 1 || c.int("batch_dims", 0) != 0 || !c.firstIsSample(c.n.Input(1)) {
		return nil
	}
	if v := c.original.model.Opset(""); v < 12 {
		return fmt.Errorf("it looks up the first sample, and in operator set %d cannot do so for each", v)
	}
	err := c.change(c.n, 1, func(w *world, b *ir.Builder, old *ir.Value) *ir.Value {
		return b.Op("Slice", ir.In(old, w.vector(1), w.vector(math.MaxInt64), w.vector(last)))
	})
	if err == nil {
		c.n.SetAttr("batch_dims", ir.Int(1))
		c.nodes[c.n].SetAttr("batch_dims", ir.Int(1))
	}
	return err
}

// perElement reports whether each sample of input i is one element of its axis.
func (c *call) perElement(i int) bool {
	m, ok := perSample(c.fact(i).Dims[c.place(i).axis])
	return ok && m.equal(number(1))
}

// firstIsSample reports whether the first of the indices along the last axis
// is 0 in a file of batch 1: that sample itself.
func (c *call) firstIsSample(indices *ir.Value) bool {
	n := indices.Producer()
	if c.was != 1 || !n.Is("Concat") {
		return false
	}
	join := call{tracer: c.tracer, n: n}
	if join.axis("axis", 0, join.out().Rank()) != join.out().Rank()-1 {
		return false
	}
	first := n.Input(0)
	if e := first.Producer(); e.Is("Expand") {
		first = e.Input(0) // fixConcat has repeated it
	}
	f := c.an.Fact(first)
	zeros, ok := f.Ints()
	return ok && f.Dim(-1) == ir.Fixed(1) && !slices.ContainsFunc(zeros, func(i int) bool { return i != 0 })
}
