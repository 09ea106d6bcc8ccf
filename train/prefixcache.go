package train

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// prefixCache computes a prefix once for each sample and feeds its values to
// the rest. A sample is known by what the prefix reads of it, padding
// included: not by its number, so that batches of any source, in any order,
// padded to any length, find what is right for them.
type prefixCache struct {
	unit   *unit
	values []keptValue
	inputs []prefixInput
	rows   bool // batches are of samples; else each is one for itself
	limit  int64
	full   func() // told once where the limit is reached

	held  map[sampleKey]*keptSample
	bytes int64 // that they take

	// Of the batch under way, used again for the next.
	keys    []sampleKey
	list    []*keptSample
	missing []int
	fed     map[string]*tensor.Tensor
	hash    hash.Hash
	word    [8]byte
	digest  []byte
}

// sampleKey is a digest of what the prefix reads of a sample.
type sampleKey [sha256.Size]byte

// keptValue is a value that the rest reads: its name in the model and its node, the
// input that is in its place, and its storage for a batch.
type keptValue struct {
	name, node, input string
	batch             *tensor.Tensor
	shape             tensor.Shape
	storage           []byte
}

// prefixInput is an input that the prefix reads: sample by sample, or as a whole.
type prefixInput struct {
	name string
	rows bool
}

// keptSample is what the prefix gives for one sample.
type keptSample struct {
	shapes []tensor.Shape // shared by the samples of a batch
	values [][]byte
}

// newPrefixCache splits the prefix off a graph, which then has inputs in its
// place. It runs once start has compiled it.
func newPrefixCache(g *graph, p *prefix, x *example) (*prefixCache, *ir.Model) {
	m := g.model.Clone()
	c := &prefixCache{rows: x.rows > 1, held: map[sampleKey]*keptSample{}, fed: map[string]*tensor.Tensor{}, hash: sha256.New()}
	byName := m.Graph.Index()
	m.Graph.Outputs = nil
	for _, v := range p.values {
		c.values = append(c.values, keptValue{name: v.Name, node: v.Producer().String(),
			input: g.b.Names().Fresh("prefix/" + v.Name), batch: tensor.Header(g.b.Fact(v).DType)})
		w := byName[v.Name]
		w.Type = g.b.Fact(v).Type()
		m.Graph.Outputs = append(m.Graph.Outputs, w)
	}
	m.Graph.Prune(true, nil)
	used := map[*ir.Value]bool{}
	for n := range m.Graph.Nodes() {
		reads(n, func(v *ir.Value) { used[v] = true })
	}
	for _, v := range m.Graph.Inputs {
		if used[v] && v.Data == nil {
			c.inputs = append(c.inputs, prefixInput{v.Name, c.rows && x.isRows(x.many.Feeds[v.Name])})
		}
	}
	c.replace(g)
	return c, m
}

// replace gives a graph inputs in the place of the prefix. Not ok, and the
// graph as it was, where it does not have all values.
func (c *prefixCache) replace(g *graph) bool {
	gr, byName := g.b.Graph, g.b.Graph.Index()
	for _, k := range c.values {
		if v := byName[k.name]; v == nil || v.Producer() == nil || g.b.Fact(v).DType != k.batch.DType() || byName[k.input] != nil {
			return false
		}
	}
	instead := map[*ir.Value]*ir.Value{}
	for _, k := range c.values {
		v := byName[k.name]
		w := gr.AddInput(k.input, g.b.Fact(v).Type())
		g.b.Analysis.Set(w, g.b.Fact(v))
		v.ReplaceUses(w)
		instead[v] = w
	}
	g.model.Graphs(func(sub *ir.Graph) bool {
		for i, v := range sub.Outputs {
			if w := instead[v]; w != nil {
				sub.Outputs[i] = w
			}
		}
		return true
	})
	if w := instead[g.loss.count]; w != nil {
		g.loss.count = w
	}
	g.setOutputs(g.loss.sum, g.loss.count)
	gr.Prune(false, nil)
	return true
}

// start compiles the prefix; with has the threads and weights.
func (c *prefixCache) start(m *ir.Model, set *ops.Set, with *unit) error {
	prog, err := runtime.Compile(m, runtime.Options{Set: set, Prepared: true, Share: with.prog})
	if err != nil {
		return err
	}
	s, err := prog.NewSession()
	if err != nil {
		prog.Close()
		return err
	}
	c.unit = &unit{prog: prog, session: s}
	return nil
}

// feeds are those of a batch and the values of its prefix, valid until the next
// call.
func (c *prefixCache) feeds(ctx context.Context, b Batch) (map[string]*tensor.Tensor, error) {
	n, err := c.identify(b.Feeds)
	if err != nil {
		return nil, err
	}
	c.list, c.missing = c.list[:0], c.missing[:0]
	for i, key := range c.keys {
		s := c.held[key]
		if c.list = append(c.list, s); s == nil {
			c.missing = append(c.missing, i)
		}
	}
	if len(c.missing) > 0 {
		made, err := c.compute(ctx, b.Feeds, c.missing, n)
		if err != nil {
			return nil, err
		}
		for k, i := range c.missing {
			c.list[i] = made[k]
			c.keep(c.keys[i], made[k])
		}
	}
	clear(c.fed)
	maps.Copy(c.fed, b.Feeds)
	for j := range c.values {
		c.fed[c.values[j].input] = c.join(j)
	}
	return c.fed, nil
}

// identify finds the keys of a batch's samples, and how many these are.
func (c *prefixCache) identify(feeds map[string]*tensor.Tensor) (int, error) {
	n := 1
	if c.rows {
		n = -1
	}
	for _, in := range c.inputs {
		t := feeds[in.name]
		switch {
		case t == nil:
			return 0, fmt.Errorf("input %q was not given", in.name)
		case in.rows && (t.Rank() == 0 || n >= 0 && t.Shape()[0] != n):
			return 0, fmt.Errorf("cache-prefix: input %q is %v in a batch of %d samples", in.name, t, n)
		case in.rows:
			n = t.Shape()[0]
		}
	}
	if n < 1 {
		return 0, errors.New("cache-prefix: what comes before the trained layers reads no samples; leave --cache-prefix out")
	}
	c.keys = c.keys[:0]
	for i := range n {
		c.hash.Reset()
		for _, in := range c.inputs {
			c.add(feeds[in.name], in.rows, i, n)
		}
		c.digest = c.hash.Sum(c.digest[:0])
		c.keys = append(c.keys, sampleKey(c.digest))
	}
	return n, nil
}

// add adds one sample of an input to the key, or all of it.
func (c *prefixCache) add(t *tensor.Tensor, rows bool, i, n int) {
	shape, lo, hi := t.Shape(), 0, 1
	if rows {
		shape, lo, hi = shape[1:], i, i+1
	} else {
		n = 1
	}
	c.number(len(shape))
	for _, d := range shape {
		c.number(d)
	}
	if t.DType() == tensor.String {
		each := t.Size() / n
		for _, s := range t.Strings()[lo*each : hi*each] {
			c.number(len(s))
			_, _ = io.WriteString(c.hash, s)
		}
		return
	}
	each := len(t.Bytes()) / n
	_, _ = c.hash.Write(t.Bytes()[lo*each : hi*each])
}

func (c *prefixCache) number(x int) {
	binary.LittleEndian.PutUint64(c.word[:], uint64(x))
	_, _ = c.hash.Write(c.word[:])
}

// compute runs the prefix on samples of a batch of n.
func (c *prefixCache) compute(ctx context.Context, feeds map[string]*tensor.Tensor, samples []int, n int) ([]*keptSample, error) {
	out, err := c.unit.session.Run(ctx, c.some(feeds, samples, n))
	if err != nil {
		return nil, err
	}
	made := make([]*keptSample, len(samples))
	shapes := make([]tensor.Shape, len(out))
	for i := range made {
		made[i] = &keptSample{shapes, make([][]byte, len(out))}
	}
	for j, t := range out {
		shapes[j] = t.Shape().Clone()
		if c.rows {
			if t.Rank() == 0 || t.Shape()[0]%len(samples) != 0 {
				return nil, fmt.Errorf("cache-prefix: value %q is %v for %d samples", c.values[j].name, t, len(samples))
			}
			shapes[j][0] /= len(samples)
		}
		each := len(t.Bytes()) / len(samples)
		for i := range made {
			made[i].values[j] = bytes.Clone(t.Bytes()[i*each : (i+1)*each])
		}
	}
	return made, nil
}

// some are the feeds of the prefix for samples of a batch of n.
func (c *prefixCache) some(feeds map[string]*tensor.Tensor, samples []int, n int) map[string]*tensor.Tensor {
	out := map[string]*tensor.Tensor{}
	for _, in := range c.inputs {
		t := feeds[in.name]
		if in.rows && len(samples) < n {
			t = gather(t, samples)
		}
		out[in.name] = t
	}
	return out
}

// keep holds a sample's values for later, while the limit allows.
func (c *prefixCache) keep(key sampleKey, s *keptSample) {
	size := int64(0)
	for _, b := range s.values {
		size += int64(len(b))
	}
	switch {
	case c.held[key] != nil: // twice in a batch
	case c.bytes+size <= c.limit:
		c.held[key] = s
		c.bytes += size
	case c.full != nil:
		c.full()
		c.full = nil
	}
}

// join is a value of the listed samples as a batch.
func (c *prefixCache) join(j int) *tensor.Tensor {
	k, n := &c.values[j], 0
	for _, s := range c.list {
		n += len(s.values[j])
	}
	if n > len(k.storage) {
		k.storage = tensor.New(tensor.Uint8, n).Bytes()
	}
	at := 0
	for _, s := range c.list {
		at += copy(k.storage[at:], s.values[j])
	}
	k.shape = append(k.shape[:0], c.list[0].shapes[j]...)
	if c.rows {
		k.shape[0] *= len(c.list)
	}
	k.batch.Reset(k.shape, k.storage[:n:n])
	return k.batch
}

// verify proves on a batch that a sample has the same prefix alone as among
// others, bit for bit.
func (c *prefixCache) verify(ctx context.Context, b Batch) error {
	if !c.rows {
		return nil
	}
	n, err := c.identify(b.Feeds)
	if err != nil {
		return err
	}
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	among, err := c.compute(ctx, b.Feeds, all, n)
	if err != nil {
		return err
	}
	for i := range n {
		alone, err := c.compute(ctx, b.Feeds, []int{i}, n)
		if err != nil {
			return fmt.Errorf("cache-prefix: a sample alone: %w", err)
		}
		for j, v := range among[i].values {
			if !bytes.Equal(v, alone[0].values[j]) {
				return fmt.Errorf("cache-prefix: value %q, computed by %v, of a sample depends on the other samples of its batch and cannot be kept; leave --cache-prefix out, or train with --batch-size 1",
					c.values[j].name, c.values[j].node)
			}
		}
	}
	return nil
}

// plan is the prefix's schedule for a batch, and its values as a step is fed
// them, without storage.
func (c *prefixCache) plan(b Batch) (*runtime.Plan, map[string]*tensor.Tensor, error) {
	feeds := map[string]*tensor.Tensor{}
	for _, in := range c.inputs {
		feeds[in.name] = b.Feeds[in.name]
	}
	plan, err := c.unit.prog.PlanFor(feeds)
	if err != nil {
		return nil, nil, err
	}
	values := maps.Clone(b.Feeds)
	for j, shape := range plan.OutputShapes() {
		t := tensor.Header(c.values[j].batch.DType())
		t.Reset(shape, nil)
		values[c.values[j].input] = t
	}
	return plan, values, nil
}

// sampleBytes is what is kept of a batch.
func (c *prefixCache) sampleBytes(b Batch) (int64, error) {
	_, values, err := c.plan(b)
	if err != nil {
		return 0, err
	}
	var sum int64
	for _, k := range c.values {
		t := values[k.input]
		sum += int64(t.DType().Size(t.Shape().Size()))
	}
	return sum, nil
}
