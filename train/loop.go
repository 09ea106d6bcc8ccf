package train

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"
)

type loop struct {
	given   Config // as the caller has it: what checkpoints record
	c       Config // with what was chosen
	e       Engine
	data    Source
	eval    Source // nil for none
	id      Identity
	w       Watcher
	metrics *Metrics
	began   time.Time
	sum     *Summary
	cache   *prefixCache // the engine's, nil for none

	total     int // steps of the run, 0 where only its end tells
	feeder    feeder
	step      int   // steps done
	at        place // behind them
	losses    history
	tokens    int64
	before    float64 // seconds that earlier processes took
	resumed   bool
	saved     int     // step of the newest checkpoint, -1 for none
	evaluated int     // step of the newest evaluation, -1 for none
	evalLoss  float64 // its result
}

func (l *loop) close() {
	if l.feeder != nil {
		l.feeder.close()
	}
	if l.e != nil {
		l.e.Close()
	}
}

// checkSchedule refuses a schedule that would have to know where the run ends.
func (l *loop) checkSchedule() error {
	n, err := l.data.epochSteps(l.c)
	if err == nil && n == 0 && l.c.Steps == 0 && l.c.Schedule != "constant" {
		err = fmt.Errorf("schedule %s needs the number of steps, which a stream does not tell: give Steps (--steps), or schedule constant", l.c.Schedule)
	}
	return err
}

// start counts steps, opens the metrics, and begins where the run is.
func (l *loop) start(from string) error {
	l.total = l.c.Steps
	if l.total == 0 {
		n, err := l.data.epochSteps(l.c)
		if err != nil {
			return err
		}
		l.total = l.c.Epochs * n
	}
	var err error
	if l.metrics, err = l.openMetrics(); err != nil {
		return err
	}
	l.w.Begin(from, l.step+1, l.total)
	if l.feeder, err = l.data.feed(l.c, l.at); err != nil {
		return errors.Join(err, l.metrics.Close())
	}
	return nil
}

// openMetrics starts the metrics file, or goes on behind the checkpoint's step.
func (l *loop) openMetrics() (*Metrics, error) {
	switch {
	case l.c.Metrics == "":
		return nil, nil
	case !l.c.Resume:
		return CreateMetrics(l.c.Metrics, l.c.Overwrite)
	case !l.resumed: // there was no checkpoint
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
	for l.total == 0 || l.step < l.total {
		if err := ctx.Err(); err != nil {
			return l.leave(err)
		}
		more, err := l.one(ctx)
		if err != nil {
			return l.leave(err)
		}
		if !more {
			break
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
	l.sum.Improved = l.improved()
	return l.checkpoint()
}

// leave saves what there is before a run ends early.
func (l *loop) leave(err error) error {
	if serr := l.checkpoint(); serr != nil {
		return errors.Join(err, serr)
	}
	return err
}

// improved compares what the run knows of its beginning and its end.
func (l *loop) improved() bool {
	if l.eval != nil {
		return *l.sum.EvalLossAfter < *l.sum.EvalLossBefore
	}
	first, last, ok := l.losses.tenths()
	return !ok || last < first
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

// one does the next step, if there is one.
func (l *loop) one(ctx context.Context) (more bool, err error) {
	began := time.Now()
	p, err := l.feeder.next()
	if err != nil || len(p.batches) == 0 {
		return false, err
	}
	tokens := 0
	for _, b := range p.batches {
		tokens += b.Tokens
	}
	lr := l.c.rate(l.step+1, l.total)
	r, err := l.e.Step(ctx, p.batches, lr, l.step+1)
	if err != nil {
		return false, err
	}
	l.step++
	l.at = p.after
	l.tokens += int64(tokens)
	info := StepInfo{l.step, l.total, p.epoch + 1, r.Loss(), lr, r.GradNorm, tokens, time.Since(began)}
	if l.step == 1 {
		l.sum.LossFirst = info.Loss
	}
	l.sum.LossLast, l.sum.Steps = info.Loss, l.step
	l.losses.add(info.Loss)
	l.w.Step(info)
	return true, l.metrics.Step(StepLine{info.Step, info.Epoch, info.Loss, lr, r.GradNorm, tokens, info.Duration.Seconds()})
}

// between evaluates and saves when it is time to.
func (l *loop) between(ctx context.Context) error {
	if l.eval != nil && l.c.EvalEvery > 0 && l.step%l.c.EvalEvery == 0 {
		if _, err := l.evaluate(ctx); err != nil {
			return err
		}
	}
	if l.c.CheckpointEvery > 0 && l.step%l.c.CheckpointEvery == 0 {
		return l.checkpoint()
	}
	return nil
}

// evaluate is the mean loss over all that counts in the evaluation data,
// computed once after a step.
func (l *loop) evaluate(ctx context.Context) (float64, error) {
	if l.evaluated == l.step {
		return l.evalLoss, nil
	}
	sum, err := evaluate(ctx, l.e, l.eval.once(l.c))
	if err != nil {
		return 0, err
	}
	l.evalLoss, l.evaluated = sum.Loss(), l.step
	l.w.Eval(l.step, l.evalLoss)
	return l.evalLoss, l.metrics.Eval(EvalLine{l.step, l.evalLoss})
}

func evaluate(ctx context.Context, e Engine, batches iter.Seq2[Batch, error]) (Result, error) {
	var sum Result
	for b, err := range batches {
		if err == nil {
			err = ctx.Err()
		}
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

// seconds is how long the run took, earlier processes included.
func (l *loop) seconds() float64 { return l.before + time.Since(l.began).Seconds() }
