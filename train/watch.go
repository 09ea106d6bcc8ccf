package train

import (
	"context"
	"log/slog"
	"time"
)

// StepInfo is what is known after a step.
type StepInfo struct {
	Step         int // counted from 1
	Steps        int // of the run, 0 where only its end tells
	Epoch        int // counted from 1
	Loss         float64
	LR, GradNorm float64
	Tokens       int
	Duration     time.Duration
}

// Watcher follows a run. Its methods are called from the run's goroutine.
type Watcher interface {
	// Begin says what is about to happen: where the loss attaches, which step
	// is the first, how many there are (0 where only the end tells).
	Begin(from string, first, steps int)
	Step(StepInfo)
	Eval(step int, loss float64)
	// Note is a remark for people.
	Note(text string)
}

// watchers are several that follow one run.
type watchers []Watcher

// follow is who follows a run: its watcher and its logger, where it has them.
func follow(c Config) Watcher {
	var all watchers
	if c.Watcher != nil {
		all = append(all, c.Watcher)
	}
	if c.Logger != nil {
		all = append(all, logged{c.Logger})
	}
	return all
}

func (l watchers) Begin(from string, first, steps int) {
	for _, w := range l {
		w.Begin(from, first, steps)
	}
}

func (l watchers) Step(s StepInfo) {
	for _, w := range l {
		w.Step(s)
	}
}

func (l watchers) Eval(step int, loss float64) {
	for _, w := range l {
		w.Eval(step, loss)
	}
}

func (l watchers) Note(text string) {
	for _, w := range l {
		w.Note(text)
	}
}

// logged writes a run to a logger: steps at level debug, the rest at info.
type logged struct{ log *slog.Logger }

func (l logged) Begin(from string, first, steps int) {
	l.log.Info("training", "loss", from, "first_step", first, "steps", steps)
}

func (l logged) Step(s StepInfo) {
	if !l.log.Enabled(context.Background(), slog.LevelDebug) {
		return // what follows would be allocated all the same
	}
	l.log.Debug("step", "step", s.Step, "steps", s.Steps, "epoch", s.Epoch, "loss", s.Loss, "lr", s.LR,
		"grad_norm", s.GradNorm, "tokens", s.Tokens, "duration", s.Duration)
}

func (l logged) Eval(step int, loss float64) {
	l.log.Info("evaluation", "step", step, "eval_loss", loss)
}

func (l logged) Note(text string) { l.log.Info(text) }
