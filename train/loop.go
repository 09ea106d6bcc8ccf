package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// StepInfo is what is known after a step.
type StepInfo struct {
	Step, Steps  int // counted from 1
	Epoch        int // counted from 1
	Loss         float64
	LR, GradNorm float64
	Tokens       int
	Duration     time.Duration
}

// Watcher follows a run. Its methods are called from the run's goroutine.
type Watcher interface {
	// Begin says what is about to happen: where the loss attaches, how many
	// steps there are.
	Begin(from string, first, steps int)
	Step(StepInfo)
	Eval(step int, loss float64)
	// Note is a remark for people.
	Note(text string)
}

// Summary is what a run amounts to.
type Summary struct {
	Steps          int
	Duration       time.Duration
	LossFirst      float64
	LossLast       float64
	EvalLossBefore *float64 // nil without evaluation data
	EvalLossAfter  *float64
	Parameters     int
	Trained        map[string]*tensor.Tensor // parameters by name
}

// Identity ties checkpoints to the model and data that they came from.
type Identity struct{ Model, Data, EvalData string }

// Run trains c.Params of m on data, evaluates on eval (which may be nil), and
// returns the trained values; m itself stays. A cancelled ctx saves a
// checkpoint, where there is a directory for it, and returns ctx.Err(); the
// Summary then holds what there is. A non-finite loss ends the run with a
// *NonFiniteError in the same way.
func Run(ctx context.Context, m *ir.Model, set *ops.Set, data, eval Data, c Config, id Identity, w Watcher) (*Summary, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if data.Len() == 0 {
		return nil, errors.New("the training data has no sample")
	}
	e, from, err := newEngine(m, set, c)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	l := &loop{c: c, e: e, data: data, eval: eval, id: id, w: w, began: time.Now(), sum: &Summary{}}
	for _, p := range c.Params {
		l.sum.Parameters += e.State()[p].Size()
	}
	if err := l.start(from); err != nil {
		return nil, err
	}
	err = l.run(ctx)
	l.sum.Duration = time.Since(l.began)
	l.sum.Trained = map[string]*tensor.Tensor{}
	for _, p := range c.Params {
		l.sum.Trained[p] = e.State()[p].Clone()
	}
	if cerr := l.metrics.Close(); err == nil {
		err = cerr
	}
	return l.sum, err
}

type loop struct {
	c       Config
	e       Engine
	data    Data
	eval    Data
	id      Identity
	w       Watcher
	metrics *Metrics
	began   time.Time
	sum     *Summary

	step     int // steps done
	saved    int // step of the newest checkpoint, -1 for none
	perEpoch int // steps in an epoch
	total    int
	order    []int // samples of the epoch under way
	tokens   int64
	before   float64 // seconds that earlier processes took
	epoch    int     // counted from 0; -1 before the first
}

// start counts steps, resumes where asked to, and opens the metrics.
func (l *loop) start(from string) error {
	perStep := l.c.BatchSize * l.c.Accumulate
	l.perEpoch = (l.data.Len() + perStep - 1) / perStep
	l.total = l.c.Steps
	if l.total == 0 {
		l.total = l.c.Epochs * l.perEpoch
	}
	l.epoch, l.saved = -1, -1
	if err := l.seed(); err != nil {
		return err
	}
	var err error
	switch {
	case l.c.Resume:
		err = l.resume()
	case l.c.Checkpoint != "" && !l.c.Overwrite:
		err = CheckNew(l.c.Checkpoint)
	}
	if err != nil {
		return err
	}
	if l.metrics, err = l.openMetrics(); err != nil {
		return err
	}
	l.w.Begin(from, l.step+1, l.total)
	return nil
}

// openMetrics starts the metrics file, or goes on behind the checkpoint's step.
func (l *loop) openMetrics() (*Metrics, error) {
	switch {
	case l.c.Metrics == "":
		return nil, nil
	case !l.c.Resume:
		return CreateMetrics(l.c.Metrics, l.c.Overwrite)
	case l.saved < 0: // resume found no checkpoint
		return ResumeMetrics(l.c.Metrics, -1)
	}
	return ResumeMetrics(l.c.Metrics, l.step)
}

// seed starts the engine's random stream from the run's seed.
func (l *loop) seed() error {
	state, err := rand.NewPCG(l.c.Seed, 0xb0e).MarshalBinary()
	if err != nil {
		return err
	}
	return l.e.SetRandomState(state)
}

func (l *loop) run(ctx context.Context) error {
	if err := l.evaluateFirst(ctx); err != nil {
		return l.leave(err)
	}
	for l.step < l.total {
		if err := ctx.Err(); err != nil {
			return l.leave(err)
		}
		if err := l.one(ctx); err != nil {
			return l.leave(err)
		}
		if err := l.between(ctx); err != nil {
			return l.leave(err)
		}
	}
	if l.eval != nil {
		loss, err := l.evaluate(ctx)
		if err != nil {
			return l.leave(err)
		}
		l.sum.EvalLossAfter = &loss
	}
	return l.checkpoint()
}

// leave saves what there is before a run ends early.
func (l *loop) leave(err error) error {
	if serr := l.checkpoint(); serr != nil {
		return errors.Join(err, serr)
	}
	return err
}

func (l *loop) evaluateFirst(ctx context.Context) error {
	if l.eval == nil || l.sum.EvalLossBefore != nil {
		return nil
	}
	loss, err := l.evaluate(ctx)
	if err != nil {
		return err
	}
	l.sum.EvalLossBefore = &loss
	return nil
}

// one does the next step.
func (l *loop) one(ctx context.Context) error {
	began := time.Now()
	epoch, at := l.step/l.perEpoch, l.step%l.perEpoch
	l.shuffle(epoch)
	batches, tokens, err := l.batches(at)
	if err != nil {
		return err
	}
	lr := l.c.rate(l.step+1, l.total)
	r, err := l.e.Step(ctx, batches, lr, l.step+1)
	if err != nil {
		return err
	}
	l.step++
	l.tokens += int64(tokens)
	info := StepInfo{l.step, l.total, epoch + 1, r.Loss(), lr, r.GradNorm, tokens, time.Since(began)}
	if l.step == 1 {
		l.sum.LossFirst = info.Loss
	}
	l.sum.LossLast, l.sum.Steps = info.Loss, l.step
	l.w.Step(info)
	return l.metrics.Step(StepLine{info.Step, info.Epoch, info.Loss, lr, r.GradNorm, tokens, info.Duration.Seconds()})
}

// shuffle orders the samples of an epoch: by the seed and the epoch alone, so
// that a resumed run sees the same order.
func (l *loop) shuffle(epoch int) {
	if epoch == l.epoch {
		return
	}
	l.epoch = epoch
	l.order = make([]int, l.data.Len())
	for i := range l.order {
		l.order[i] = i
	}
	if !l.c.NoShuffle {
		r := rand.New(rand.NewPCG(l.c.Seed, uint64(epoch)))
		r.Shuffle(len(l.order), func(i, j int) { l.order[i], l.order[j] = l.order[j], l.order[i] })
	}
}

// batches cuts the at-th step of the epoch into batches; the last of an epoch
// may be short.
func (l *loop) batches(at int) (list []Batch, tokens int, err error) {
	perStep := l.c.BatchSize * l.c.Accumulate
	hi := min((at+1)*perStep, len(l.order))
	for lo := at * perStep; lo < hi; lo += l.c.BatchSize {
		b, err := l.data.Batch(l.order[lo:min(lo+l.c.BatchSize, hi)])
		if err != nil {
			return nil, 0, err
		}
		list = append(list, b)
		tokens += b.Tokens
	}
	return list, tokens, nil
}

// between evaluates and saves when it is time to.
func (l *loop) between(ctx context.Context) error {
	if l.eval != nil && l.c.EvalEvery > 0 && l.step%l.c.EvalEvery == 0 && l.step < l.total {
		if _, err := l.evaluate(ctx); err != nil {
			return err
		}
	}
	if l.c.CheckpointEvery > 0 && l.step%l.c.CheckpointEvery == 0 {
		return l.checkpoint()
	}
	return nil
}

// evaluate is the mean loss over all that counts in the evaluation data.
func (l *loop) evaluate(ctx context.Context) (float64, error) {
	sum, err := evaluate(ctx, l.e, l.eval, l.c.BatchSize)
	if err != nil {
		return 0, err
	}
	loss := sum.Loss()
	l.w.Eval(l.step, loss)
	return loss, l.metrics.Eval(EvalLine{l.step, loss})
}

func evaluate(ctx context.Context, e Engine, d Data, batchSize int) (Result, error) {
	var sum Result
	for lo := 0; lo < d.Len(); lo += min(batchSize, d.Len()) {
		if err := ctx.Err(); err != nil {
			return sum, err
		}
		idx := make([]int, 0, min(batchSize, d.Len()-lo))
		for i := lo; i < d.Len() && i-lo < batchSize; i++ {
			idx = append(idx, i)
		}
		b, err := d.Batch(idx)
		if err != nil {
			return sum, err
		}
		r, err := e.Eval(ctx, b)
		if err != nil {
			return sum, err
		}
		sum.LossSum += r.LossSum
		sum.Count += r.Count
		if r.Correct != nil {
			if sum.Correct == nil {
				sum.Correct = new(float64)
			}
			*sum.Correct += *r.Correct
		}
	}
	return sum, nil
}

// checkpoint saves the state between two steps, once per step.
func (l *loop) checkpoint() error {
	if l.c.Checkpoint == "" || l.saved == l.step {
		return nil
	}
	random, err := l.e.RandomState()
	if err != nil {
		return err
	}
	c := &Checkpoint{
		Tensors: l.e.State(), Step: l.step, Epoch: l.step/l.perEpoch + 1, NextSample: l.step % l.perEpoch * l.c.BatchSize * l.c.Accumulate,
		Random: random, Kernels: kernels(), Base: l.id.Model, Data: l.id.Data, EvalData: l.id.EvalData, Config: l.c,
		EvalBefore: l.sum.EvalLossBefore, Tokens: l.tokens, Seconds: l.seconds(),
	}
	if l.step > 0 {
		c.LossFirst, c.LossLast = &l.sum.LossFirst, &l.sum.LossLast
	}
	if err := c.Save(l.c.Checkpoint); err != nil {
		return err
	}
	l.saved = l.step
	return nil
}

// seconds is how long the run took, earlier processes included.
func (l *loop) seconds() float64 { return l.before + time.Since(l.began).Seconds() }

// resume continues from the newest checkpoint, or says that there is none.
func (l *loop) resume() error {
	ck, notes, err := Latest(l.c.Checkpoint)
	for _, n := range notes {
		l.w.Note(n)
	}
	if errors.Is(err, ErrNoCheckpoint) {
		l.w.Note(fmt.Sprintf("no checkpoint in %s: starting anew", l.c.Checkpoint))
		return nil
	}
	if err != nil {
		return err
	}
	if err := ck.Same(l.c, l.id.Model, l.id.Data, l.id.EvalData); err != nil {
		return err
	}
	if k := kernels(); ck.Kernels != k {
		l.w.Note(fmt.Sprintf("the checkpoint was written with kernels %q, these are %q: results agree within rounding, not bit for bit", ck.Kernels, k))
	}
	state := l.e.State()
	if err := ck.Fits(state); err != nil {
		return err
	}
	for name, t := range state {
		copy(t.Bytes(), ck.Tensors[name].Bytes())
	}
	if err := l.e.SetRandomState(ck.Random); err != nil {
		return err
	}
	l.step, l.saved, l.tokens, l.before = ck.Step, ck.Step, ck.Tokens, ck.Seconds
	l.sum.Steps, l.sum.EvalLossBefore = ck.Step, ck.EvalBefore
	if ck.LossFirst != nil && ck.LossLast != nil {
		l.sum.LossFirst, l.sum.LossLast = *ck.LossFirst, *ck.LossLast
	}
	l.w.Note(fmt.Sprintf("resumed at step %d", ck.Step))
	return nil
}

// Evaluate is the mean loss of a model over data.
func Evaluate(ctx context.Context, m *ir.Model, set *ops.Set, d Data, c LossConfig, batchSize, threads int) (Result, error) {
	e, err := newEvaluator(m, set, c, threads)
	if err != nil {
		return Result{}, err
	}
	defer e.Close()
	r, err := evaluate(ctx, e, d, batchSize)
	if err == nil && (math.IsNaN(r.LossSum) || math.IsInf(r.LossSum, 0)) {
		err = errors.New("the loss is not finite")
	}
	return r, err
}
