package train

import (
	"context"
	"errors"
	"fmt"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// split takes the prefix off a graph, where it pays, and returns its model.
func (e *engine) split(g *graph, set *ops.Set, x *example) (*ir.Model, error) {
	if e.example = x; x == nil {
		return nil, nil
	}
	var err error
	if e.prefix, err = findPrefix(g, set, x); err != nil {
		return nil, err
	}
	if !e.prefix.pays() {
		return nil, e.prefix.refusal()
	}
	cache, m := newPrefixCache(g, e.prefix, x)
	e.cache = cache
	return m, nil
}

// pays reports whether keeping the prefix is worth it.
func (p *prefix) pays() bool { return p.saved >= worthwhile && len(p.values) > 0 }

// refusal is why a prefix that would have paid cannot be kept, nil where there
// would have been none.
func (p *prefix) refusal() error {
	if p.open < worthwhile {
		return nil
	}
	return fmt.Errorf("cache-prefix: %.0f %% of the forward pass comes before what is trained, but cannot be kept sample by sample%s; leave --cache-prefix out, or train with --batch-size 1",
		100*p.open, p.why)
}

// feeds are what a step of the batch is fed.
func (e *engine) feeds(ctx context.Context, b Batch) (map[string]*tensor.Tensor, error) {
	if e.cache == nil {
		return b.Feeds, nil
	}
	return e.cache.feeds(ctx, b)
}

func (e *engine) cacheUnit() *unit {
	if e.cache == nil {
		return nil
	}
	return e.cache.unit
}

// exampleSamples is how many samples the prefix is looked for and tried with.
const exampleSamples = 4

// readied completes batches from now on, and gives the example that a prefix is
// looked for by, where one is to be cached.
func (l *loop) readied(inputs []Port, unused map[string]bool) (*example, error) {
	if err := l.fillIn(inputs, unused); err != nil || !l.c.CachePrefix {
		return nil, err
	}
	c := l.c
	c.BatchSize = exampleSamples
	fixed, err := fixedBatch(inputs)
	if err != nil {
		return nil, err
	}
	if fixed || l.c.BatchSize == 1 {
		c.BatchSize = 1
	}
	for b, err := range l.data.once(c) {
		if err != nil {
			return nil, err
		}
		for _, p := range inputs {
			if t := b.Feeds[p.Name]; t != nil && t.Rank() > 0 {
				return newExample(b, t.Shape()[0]), nil
			}
		}
		return nil, errors.New("cache-prefix: no input has an axis of samples; leave --cache-prefix out")
	}
	return nil, errEmptyStream
}

// fixedBatch reports whether the model takes one sample at a time. The first
// input decides, as it does for the number of samples.
func fixedBatch(inputs []Port) (bool, error) {
	if len(inputs) == 0 {
		return false, nil
	}
	d, ok := inputs[0].dim(0)
	if !ok || !d.Known || d.Value < 1 {
		return false, nil
	}
	if d.Value > 1 {
		return false, fmt.Errorf("cache-prefix: input %q takes batches of %d and no single sample: make the batch dynamic (--dynamic-batch), or leave --cache-prefix out",
			inputs[0].Name, d.Value)
	}
	return true, nil
}

// cachePrefix readies the cache that the engine has for a run, and says what it
// will take.
func (l *loop) cachePrefix(ctx context.Context, e *engine) error {
	if e.prefix == nil {
		return nil
	}
	if e.cache == nil {
		l.w.Note(fmt.Sprintf("cache-prefix: nothing is gained: %.0f %% of the forward pass comes before what is trained; going on without", 100*e.prefix.open))
		return nil
	}
	if err := e.cache.verify(ctx, e.example.many); err != nil {
		return err
	}
	l.cache, l.sum.PrefixShare = e.cache, e.prefix.saved
	e.cache.limit = memoryBudget(l.c.CachePrefixLimit)
	e.cache.full = func() {
		l.w.Note(fmt.Sprintf("cache-prefix: %s are full; what is not in them is computed each time", readable(e.cache.limit)))
	}
	each, samples, all, err := l.cacheSize(e.cache)
	if err != nil {
		return err
	}
	if all > e.cache.limit {
		return fmt.Errorf("cache-prefix: %d samples of up to %s take up to %s, more than the %s that they may (--cache-prefix-limit); shorter samples (--seq-len) take less",
			samples, readable(each), readable(all), readable(e.cache.limit))
	}
	total := ""
	if samples > 0 {
		total = fmt.Sprintf(", %s for %d", readable(all), samples)
	}
	l.w.Note(fmt.Sprintf("cache-prefix: %.0f %% of the forward pass (%d of %d nodes) is computed once for a sample: up to %s each%s",
		100*e.prefix.saved, e.prefix.nodes, e.prefix.all, readable(each), total))
	return nil
}

// cacheSize is what the longest sample takes in the cache, how many samples
// there are (0 of a stream), and what all take if each is as long.
func (l *loop) cacheSize(c *prefixCache) (each int64, samples int, all int64, err error) {
	for _, s := range []Source{l.data, l.eval} {
		if s == nil {
			continue
		}
		b, err := s.largest(1)
		if err != nil {
			return 0, 0, 0, err
		}
		size, err := c.sampleBytes(b)
		if err != nil {
			return 0, 0, 0, err
		}
		n, err := s.epochSteps(Config{BatchSize: 1, Accumulate: 1})
		if err != nil {
			return 0, 0, 0, err
		}
		each, samples, all = max(each, size), samples+n, all+int64(n)*size
	}
	return each, samples, all, nil
}

// readable is a number of bytes for people.
func readable(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return mebibytes(n)
}
