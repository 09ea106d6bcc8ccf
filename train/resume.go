package train

import (
	"errors"
	"fmt"
)

// recorded is the newest checkpoint of the run that is to go on, nil where a
// new one starts. What that run chose holds for this one.
func (l *loop) recorded() (*Checkpoint, error) {
	l.saved, l.evaluated = -1, -1
	if l.c.Checkpoint == "" {
		return nil, nil
	}
	if !l.c.Resume {
		if l.c.Overwrite {
			return nil, nil
		}
		return nil, CheckNew(l.c.Checkpoint)
	}
	ck, notes, err := Latest(l.c.Checkpoint)
	for _, n := range notes {
		l.w.Note(n)
	}
	if errors.Is(err, ErrNoCheckpoint) {
		l.w.Note(fmt.Sprintf("no checkpoint in %s: starting anew", l.c.Checkpoint))
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := ck.Same(l.given, l.id.Model, l.id.Data, l.id.EvalData); err != nil {
		return nil, err
	}
	l.sum.Picked = ck.Picked
	l.c = ck.Picked.Config(l.given)
	return ck, nil
}

// restore puts the run where the checkpoint, if there is one, left it.
func (l *loop) restore(ck *Checkpoint) error {
	if ck == nil {
		return nil
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
	l.resumed, l.saved = true, ck.Step
	l.step, l.at, l.tokens, l.before, l.losses = ck.Step, place{max(ck.Epoch, 1) - 1, ck.NextSample}, ck.Tokens, ck.Seconds, ck.Losses
	l.sum.Steps, l.sum.EvalLossBefore = ck.Step, ck.EvalBefore
	if ck.LossFirst != nil && ck.LossLast != nil {
		l.sum.LossFirst, l.sum.LossLast = *ck.LossFirst, *ck.LossLast
	}
	l.w.Note(fmt.Sprintf("resumed at step %d", ck.Step))
	return nil
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
		Tensors: l.e.State(), Step: l.step, Epoch: l.at.epoch + 1, NextSample: l.at.used,
		Random: random, Kernels: kernels(), Base: l.id.Model, Data: l.id.Data, EvalData: l.id.EvalData, Config: l.given, Picked: l.sum.Picked,
		EvalBefore: l.sum.EvalLossBefore, Tokens: l.tokens, Seconds: l.seconds(), Losses: l.losses,
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
