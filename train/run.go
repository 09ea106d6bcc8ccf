package train

import (
	"cmp"
	"context"
	"errors"
	"math"
	"time"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// Summary is what a run amounts to.
type Summary struct {
	Steps          int
	Duration       time.Duration
	LossFirst      float64
	LossLast       float64
	EvalLossBefore *float64 // nil without evaluation data
	EvalLossAfter  *float64
	// Improved tells, of a run that came to its end, that the loss fell: the
	// evaluation's, or without one the mean of the last tenth of the steps
	// against that of the first. It is true where there is nothing to compare.
	Improved bool
	// PrefixShare is how much of the forward pass CachePrefix had computed once
	// for each sample, 0 for nothing; PrefixBytes is what it kept.
	PrefixShare float64
	PrefixBytes int64
	Parameters  int
	Picked      Picks                     // what the Config left open
	Trained     map[string]*tensor.Tensor // parameters by name
}

// Picks is what a run chose where its Config left the choice; the zero value
// of a field means that it was given.
type Picks struct {
	Task      Task    `json:"task,omitempty"`
	BatchSize int     `json:"batch_size,omitempty"`
	LR        float64 `json:"lr,omitempty"`
}

// Config is c with what it left open filled in.
func (p Picks) Config(c Config) Config {
	c.Task, c.BatchSize, c.LR = cmp.Or(c.Task, p.Task), cmp.Or(c.BatchSize, p.BatchSize), cmp.Or(c.LR, p.LR)
	return c
}

// Identity ties checkpoints to the model and data that they came from.
type Identity struct{ Model, Data, EvalData string }

// Run trains c.Params of m on data, evaluates on eval (which may be nil), and
// returns the trained values; m itself stays. What c leaves open is chosen
// first: see Config and Picks. Inputs that the data does not hold are made as
// Config.Feeds says.
//
// A cancelled ctx saves a checkpoint, where there is a directory for it, and
// returns ctx.Err(); the Summary then holds what there is. A non-finite loss
// ends the run with a *NonFiniteError, an error of a stream with that error,
// in the same way.
func Run(ctx context.Context, m *ir.Model, set *ops.Set, data, eval Source, c Config, id Identity) (*Summary, error) {
	c = c.WithDefaults()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	l := &loop{given: c, c: c, data: data, eval: eval, id: id, w: follow(c), began: time.Now(), sum: &Summary{}}
	defer l.close()
	if err := l.open(ctx, m, set); err != nil {
		return nil, err
	}
	state := l.e.State()
	for _, p := range c.Params {
		l.sum.Parameters += state[p].Size()
	}
	err := l.run(ctx)
	if l.cache != nil {
		l.sum.PrefixBytes = l.cache.bytes
	}
	l.sum.Duration = time.Since(l.began)
	l.sum.Trained = map[string]*tensor.Tensor{}
	for _, p := range c.Params {
		l.sum.Trained[p] = state[p].Clone()
	}
	if cerr := l.metrics.Close(); err == nil {
		err = cerr
	}
	return l.sum, err
}

// open readies a run: what is recorded of it, what is to be chosen, the
// engine, the metrics.
func (l *loop) open(ctx context.Context, m *ir.Model, set *ops.Set) error {
	if err := l.checkSchedule(); err != nil {
		return err
	}
	ck, err := l.recorded()
	if err != nil {
		return err
	}
	from, err := l.prepare(ctx, m, set)
	if err != nil {
		return err
	}
	if err := l.chooseRate(ctx); err != nil {
		return err
	}
	if err := l.restore(ck); err != nil {
		return err
	}
	return l.start(from)
}

// prepare finds the task, compiles the engine and cuts the batches; it returns
// where the loss attached.
func (l *loop) prepare(ctx context.Context, m *ir.Model, set *ops.Set) (from string, err error) {
	if m, err = l.decided(m); err != nil {
		return "", err
	}
	if err := l.chooseTask(m, set); err != nil {
		return "", err
	}
	e := &engine{}
	l.e = e
	if from, err = e.compile(m, set, l.c, l.readied); err != nil {
		return "", err
	}
	if err := l.cachePrefix(ctx, e); err != nil {
		return "", err
	}
	if err := l.chooseBatchSize(); err != nil {
		return "", err
	}
	return from, l.seed()
}

// Evaluate is the mean loss of a model over data. Of c it is the loss, the
// batch size, the feeds and the threads that count, and who is told what is
// chosen and fed by rule.
func Evaluate(ctx context.Context, m *ir.Model, set *ops.Set, d Source, c Config) (Result, error) {
	c = c.WithDefaults()
	check := c
	check.Params = []string{"none"}
	if err := check.Validate(); err != nil {
		return Result{}, err
	}
	l := &loop{c: c, data: d, w: follow(c), sum: &Summary{}}
	defer l.close()
	m, err := l.decided(m)
	if err != nil {
		return Result{}, err
	}
	if err := l.chooseTask(m, set); err != nil {
		return Result{}, err
	}
	e, err := newEvaluator(m, set, l.c.LossConfig, l.c.Threads)
	if err != nil {
		return Result{}, err
	}
	l.e = e
	if err := l.fillIn(e.inputs, e.unused); err != nil {
		return Result{}, err
	}
	if err := l.chooseBatchSize(); err != nil {
		return Result{}, err
	}
	r, err := evaluate(ctx, e, l.data.once(l.c))
	r.Task = l.c.Task
	if err == nil && (math.IsNaN(r.LossSum) || math.IsInf(r.LossSum, 0)) {
		err = errors.New("the loss is not finite")
	}
	return r, err
}
