package bonnx

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/train"
)

// TrainConfig is a training run. Its zero value is a run of one epoch of AdamW
// whose task, learning rate and batch size are found out.
type TrainConfig = train.Config

// Task says what a loss compares: causal-lm, classification, regression or
// custom, "" to find it out.
type Task = train.Task

// Batch is what one step is fed: arrays by graph input, "labels" among them.
type Batch = train.Batch

// Watcher follows a training run.
type Watcher = train.Watcher

// StepInfo is what is known after a training step.
type StepInfo = train.StepInfo

// Summary is what a training run amounts to.
type Summary = train.Summary

// NonFiniteError says that a loss or gradient was not finite.
type NonFiniteError = train.NonFiniteError

// Train trains the active adapters on batches: one range over data is an epoch,
// and another is made where a task or a learning rate is to be found out first.
// Nothing is evaluated; TrainOn does that, and shuffles.
//
// When ctx ends, a checkpoint is saved where c names a directory, the adapters
// keep what they have learned, and the error is ctx.Err(); a non-finite loss is a
// *NonFiniteError in the same way.
func (m *BoneModel) Train(ctx context.Context, data iter.Seq2[Batch, error], c TrainConfig) (*Summary, error) {
	return m.train(ctx, train.Stream(data), nil, c, train.Identity{})
}

// TrainOn is Train on a data set, whose order c.Seed decides, with evaluation on
// another where eval is not nil.
func (m *BoneModel) TrainOn(ctx context.Context, data, eval *Dataset, c TrainConfig) (*Summary, error) {
	id := train.Identity{Data: data.identity}
	var evaluation train.Source
	if err := m.base.takesBatches(c.BatchSize); err != nil {
		return nil, err
	}
	if eval != nil {
		evaluation, id.EvalData = train.Samples(eval.samples), eval.identity
	}
	return m.train(ctx, train.Samples(data.samples), evaluation, c, id)
}

func (m *BoneModel) train(ctx context.Context, data, eval train.Source, c TrainConfig, id train.Identity) (*Summary, error) {
	g, names, err := m.forTraining(&c)
	if err != nil {
		return nil, err
	}
	if c.Checkpoint != "" {
		if id.Model, err = digest(m.base.Files()...); err != nil {
			return nil, err
		}
	}
	if c.Logger == nil && c.Watcher == nil {
		c.Logger = m.base.log
	}
	s, err := train.Run(ctx, g, m.base.set, data, eval, c, id)
	if s == nil {
		return nil, m.base.wrap(err)
	}
	for _, v := range g.Graph.Initializers {
		if t := s.Trained[v.Name]; t != nil {
			v.Data = ir.Dense(t)
		}
	}
	m.layouts = nil // programs of other blocks
	return s, m.base.wrap(errors.Join(err, m.take(g, names)))
}

// dropoutOpset is the first operator set whose Dropout can be told to train.
const dropoutOpset = 12

// forTraining is the graph of the active adapters, whose names it returns, and
// names in c what of it is trained.
func (m *BoneModel) forTraining(c *TrainConfig) (*ir.Model, []string, error) {
	names := m.applied()
	g := m.current().Clone()
	if g.Opset("") < dropoutOpset && slices.ContainsFunc(names, func(n string) bool { return m.find(n).set.Config.Dropout > 0 }) {
		var err error
		if g, err = ops.Canonical(g); err != nil {
			return nil, nil, m.base.wrap(err)
		}
	}
	if err := m.apply(g, names, rewrite.Options{Training: true}); err != nil {
		return nil, nil, err
	}
	all, err := rewrite.Adapters(g)
	if err != nil {
		return nil, nil, m.base.wrap(err)
	}
	c.Params = nil
	for i, a := range all {
		if m.find(names[i]).frozen {
			continue
		}
		c.Params = append(c.Params, a.TrainableNames()...)
	}
	if len(c.Params) == 0 {
		return nil, nil, m.base.wrap(invalidModel(errNothingTrains))
	}
	return g, names, nil
}

// trainable are the names of all that the adapters of g train.
func trainable(g *ir.Model) ([]string, error) {
	all, err := rewrite.Adapters(g)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, a := range all {
		names = append(names, a.TrainableNames()...)
	}
	return names, nil
}

// ExportStep is the training step of the active adapters as one ONNX model of
// standard operators, at an operator set of 18 or newer (0 for the oldest
// possible). With gradsOnly it gives gradients instead of updated blocks.
func (m *BoneModel) ExportStep(c TrainConfig, opset int64, gradsOnly bool) (*Model, error) {
	g, _, err := m.forTraining(&c)
	if err != nil {
		return nil, err
	}
	c = c.WithDefaults()
	if c.Task == "" {
		if c.Task, _, err = train.DetectTask(g, m.base.set, c.LossConfig, nil); err != nil {
			return nil, m.base.wrap(err)
		}
	}
	step, err := train.ExportStep(g, m.base.set, c.Params, c.LossConfig, c.OptimConfig, opset, gradsOnly)
	if err != nil {
		return nil, m.base.wrap(err)
	}
	return m.base.with(step), nil
}

// Evaluation is what Eval measured.
type Evaluation struct {
	Loss  float64 // mean over Count
	Count float64 // tokens, samples or elements
	// Accuracy is the share of labels that are the class of the largest logit;
	// nil where the task has no classes.
	Accuracy *float64
	Task     Task // as given or found out
}

// Eval is the loss over data, and what else the task measures. Of c it is the
// loss, the batch size, the feeds and the threads that count.
func (m *Model) Eval(ctx context.Context, d *Dataset, c TrainConfig) (Evaluation, error) {
	if c.Logger == nil && c.Watcher == nil {
		c.Logger = m.log
	}
	r, err := train.Evaluate(ctx, m.graph, m.set, train.Samples(d.samples), c)
	e := Evaluation{Loss: r.Loss(), Count: r.Count, Task: r.Task}
	if r.Correct != nil {
		share := *r.Correct / max(1, r.Count)
		e.Accuracy = &share
	}
	return e, m.wrap(err)
}

// digest identifies the content of files.
func digest(paths ...string) (string, error) {
	h := sha256.New()
	for _, p := range paths {
		if p == "" {
			continue
		}
		f, err := os.Open(p)
		if err != nil {
			return "", err
		}
		n, err := io.Copy(h, f)
		_ = f.Close()
		if err != nil {
			return "", err
		}
		_, _ = fmt.Fprintf(h, "\x00%d\x00", n)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
