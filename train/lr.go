package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// LRPick is what a learning-rate range test found.
type LRPick struct {
	LR    float64
	Found bool // else the test could not tell, and LR is 1e-3
	// Reason is why, for people.
	Reason string
	// Rates and Changes are the steps of the test: the rate, and by how much
	// the loss had changed before it, smoothed.
	Rates, Changes []float64
}

const (
	rangeSteps   = 100  // at most
	rangeBatches = 8    // portions that the test goes round in
	rangeSmooth  = 0.8  // weight of what came before in the smoothed change
	rangeLeast   = 0.01 // of the loss: what the test must have gained to tell
	rangeNear    = 0.98 // of the largest gain: what is as good as the lowest loss
	fallbackLR   = 1e-3
)

// FindLR looks for a learning rate by a range test (Smith 2015,
// https://arxiv.org/abs/1506.01186, section 3.3): on a copy of the parameters
// the rate rises geometrically, step by step, until the loss turns. The pick
// is, with AdamW, a tenth of the lowest rate at which the smoothed loss was as
// good as lowest; half of it with SGD, whose steps the rate alone does not set.
//
// The test goes round in the first few batches of the run and follows by how
// much the loss on each has changed since its first visit, so that their being
// hard or easy does not count. It is deterministic for a seed, and changes
// nothing of m. c.LR does not count.
func FindLR(ctx context.Context, m *ir.Model, set *ops.Set, data Source, c Config) (LRPick, error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return LRPick{}, err
	}
	l := &loop{given: c, c: c, data: data, w: follow(c), sum: &Summary{}}
	defer l.close()
	if _, err := l.prepare(ctx, m, set); err != nil {
		return LRPick{}, err
	}
	return l.findRate(ctx)
}

// chooseRate finds the learning rate where it was not given, and leaves the
// engine as it was.
func (l *loop) chooseRate(ctx context.Context) error {
	if l.c.LR > 0 {
		return nil
	}
	state := map[string]*tensor.Tensor{}
	for name, t := range l.e.State() {
		state[name] = t.Clone()
	}
	pick, err := l.findRate(ctx)
	if err != nil {
		return err
	}
	for name, t := range l.e.State() {
		copy(t.Bytes(), state[name].Bytes())
	}
	l.c.LR, l.sum.Picked.LR = pick.LR, pick.LR
	l.w.Note(fmt.Sprintf("learning rate %g: %s", pick.LR, pick.Reason))
	return l.seed()
}

// findRate is the range test on the engine's own parameters.
func (l *loop) findRate(ctx context.Context) (LRPick, error) {
	portions, err := l.firstPortions(rangeBatches)
	if err != nil {
		return LRPick{}, err
	}
	o := optimizers[l.c.Optimizer]
	t := rangeTest{below: o.below, base: make([]float64, len(portions))}
	for i := range rangeSteps {
		k := i % len(portions)
		lr := o.lowest * math.Pow(o.highest/o.lowest, float64(i)/(rangeSteps-1))
		r, err := l.e.Step(ctx, portions[k], lr, i+1)
		if bad := (*NonFiniteError)(nil); errors.As(err, &bad) {
			break
		}
		if err != nil {
			return LRPick{}, err
		}
		if i < len(portions) {
			t.base[k] = r.Loss()
		}
		if t.add(lr, r.Loss()-t.base[k]) {
			break
		}
	}
	return t.pick(len(portions)), nil
}

// firstPortions are the batches of the first steps of the first epoch, no more
// than four of each.
func (l *loop) firstPortions(n int) ([][]Batch, error) {
	c := l.c
	c.Steps, c.Epochs = 0, 1
	f, err := l.data.feed(c, place{})
	if err != nil {
		return nil, err
	}
	defer f.close()
	var list [][]Batch
	for len(list) < n {
		p, err := f.next()
		if err != nil {
			return nil, err
		}
		if len(p.batches) == 0 || p.epoch > 0 {
			break
		}
		var batches []Batch
		for _, b := range p.batches[:min(len(p.batches), 4)] {
			batches = append(batches, b.clone())
		}
		list = append(list, batches)
	}
	return list, nil
}

// rangeTest is the course of a range test.
type rangeTest struct {
	LRPick
	below       float64   // the best rate is divided by this
	base        []float64 // first loss of each portion
	sum, weight float64   // of the smoothed change
	best        int       // step with the lowest change
}

// add takes in a step, and tells that the test is over: half of what was
// gained is lost again, or the loss has doubled.
func (t *rangeTest) add(lr, change float64) (over bool) {
	t.sum = rangeSmooth*t.sum + (1-rangeSmooth)*change
	t.weight = rangeSmooth*t.weight + (1 - rangeSmooth)
	now, i := t.sum/t.weight, len(t.Rates)
	t.Rates, t.Changes = append(t.Rates, lr), append(t.Changes, now)
	if now < t.Changes[t.best] {
		t.best = i
	}
	low := t.Changes[t.best]
	return t.gained(low) && now > low/2 || now > t.loss()
}

// loss is the mean loss that the test began with.
func (t *rangeTest) loss() float64 {
	sum := 0.0
	for _, b := range t.base {
		sum += math.Abs(b)
	}
	return sum / float64(len(t.base))
}

func (t *rangeTest) gained(change float64) bool { return -change > rangeLeast*t.loss() }

// pick draws the conclusion.
func (t *rangeTest) pick(portions int) LRPick {
	p := t.LRPick
	if len(p.Rates) == 0 || !t.gained(p.Changes[t.best]) {
		p.LR, p.Reason = fallbackLR, fmt.Sprintf("the usual one, as %d steps at rising rates did not lower the loss", len(p.Rates))
		return p
	}
	near := slices.IndexFunc(p.Changes, func(c float64) bool { return c <= rangeNear*p.Changes[t.best] })
	best := p.Rates[near]
	p.Found = true
	p.LR, _ = strconv.ParseFloat(fmt.Sprintf("%.1e", best/t.below), 64) // two digits are more than it knows
	p.Reason = fmt.Sprintf("1/%g of %.1e, the lowest of the rates at which the loss on %d batches fell most (%d steps at rising rates)", t.below, best, portions, len(p.Rates))
	return p
}
