package bonnx

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/train"
)

// TrainConfig is a training run; see DefaultTrainConfig.
type TrainConfig = train.Config

// LossConfig says where a loss attaches.
type LossConfig = train.LossConfig

// Task says what a loss compares.
type Task = train.Task

// Watcher follows a training run.
type Watcher = train.Watcher

// StepInfo is what is known after a training step.
type StepInfo = train.StepInfo

// Summary is what a training run amounts to.
type Summary = train.Summary

// NonFiniteError says that a loss or gradient was not finite.
type NonFiniteError = train.NonFiniteError

// DefaultTrainConfig is one epoch of AdamW at 1e-3 in batches of 8.
func DefaultTrainConfig() TrainConfig { return train.Default() }

// DataOptions say how a data file is read.
type DataOptions struct {
	Task Task
	// SeqLen is the most positions of a sample; 0 leaves samples as they are
	// and cuts text into windows of 128.
	SeqLen int
	// Tokenizer makes ids of text: "bytes", or "" for none.
	Tokenizer string
}

// Validate reports what is wrong with o whatever the model.
func (o DataOptions) Validate() error {
	return train.Spec{Task: o.Task, SeqLen: o.SeqLen, Tokenizer: o.Tokenizer}.Validate()
}

// Data is a set of samples read for a model.
type Data struct {
	samples  train.Data
	identity string
}

// Len is the number of samples.
func (d *Data) Len() int { return d.samples.Len() }

// Notes are remarks on what reading changed or left out.
func (d *Data) Notes() []string { return train.Notes(d.samples) }

// Split keeps the last fraction of the samples, at least one, for evaluation.
func (d *Data) Split(fraction float64) (first, last *Data, err error) {
	a, b, err := train.Split(d.samples, fraction)
	if err != nil {
		return nil, nil, err
	}
	id := fmt.Sprintf("%s split %g", d.identity, fraction)
	return &Data{a, id}, &Data{b, id}, nil
}

// OpenData reads a data file for the model: .npz with arrays named by graph
// input, .jsonl, or .txt.
func (m *Model) OpenData(path string, o DataOptions) (*Data, error) {
	spec := train.Spec{Task: o.Task, SeqLen: o.SeqLen, Tokenizer: o.Tokenizer}
	for _, v := range m.graph.Graph.Inputs {
		if v.Data == nil {
			spec.Inputs = append(spec.Inputs, train.Port{Name: v.Name, Type: v.Type})
		}
	}
	d, err := train.Open(path, spec)
	if err != nil {
		return nil, err
	}
	id, err := train.FileIdentity(path)
	if err != nil {
		return nil, err
	}
	return &Data{d, fmt.Sprintf("%s seq-len %d tokenizer %q", id, o.SeqLen, o.Tokenizer)}, nil
}

// Train trains c.Params, or where that is empty the blocks of the model's
// adapters, and puts the trained values into the model; eval may be nil. A
// cancelled ctx and a non-finite loss save a checkpoint, where c names a
// directory, put what there is into the model and return the error.
func (m *Model) Train(ctx context.Context, data, eval *Data, c TrainConfig, w Watcher) (*Summary, error) {
	if len(c.Params) == 0 {
		c.Params = m.Blocks()
	}
	if len(c.Params) == 0 {
		return nil, m.wrap(invalidModel(errors.New("the model has no adapter to train; inject one first")))
	}
	id := train.Identity{Data: data.identity}
	var evalSource train.Source
	if eval != nil {
		evalSource, id.EvalData = train.Samples(eval.samples), eval.identity
	}
	if c.Checkpoint != "" {
		var err error
		if id.Model, err = digest(m.Files()...); err != nil {
			return nil, err
		}
	}
	s, err := train.Run(ctx, m.graph, m.set, train.Samples(data.samples), evalSource, c, id, w)
	if s == nil {
		return nil, m.wrap(err)
	}
	for _, v := range m.graph.Graph.Initializers {
		if t := s.Trained[v.Name]; t != nil {
			v.Data = ir.Dense(t)
		}
	}
	return s, m.wrap(err)
}

// Evaluation is what Eval measured.
type Evaluation struct {
	Loss  float64 // mean over Count
	Count float64 // tokens, samples or elements
	// Accuracy is the share of labels that are the class of the largest logit;
	// nil where the task has no classes.
	Accuracy *float64
}

// Eval is the loss over data, and what else the task measures.
func (m *Model) Eval(ctx context.Context, d *Data, c LossConfig, batchSize, threads int) (Evaluation, error) {
	r, err := train.Evaluate(ctx, m.graph, m.set, train.Samples(d.samples), train.Config{LossConfig: c, BatchSize: batchSize, Threads: threads}, nil)
	e := Evaluation{Loss: r.Loss(), Count: r.Count}
	if r.Correct != nil {
		share := *r.Correct / max(1, r.Count)
		e.Accuracy = &share
	}
	return e, m.wrap(err)
}

// ExportStep is the training step of the model's adapters as one ONNX model of
// standard operators.
func (m *Model) ExportStep(c TrainConfig, opset int64, gradsOnly bool) (*Model, error) {
	if len(c.Params) == 0 {
		c.Params = m.Blocks()
	}
	if len(c.Params) == 0 {
		return nil, m.wrap(invalidModel(errors.New("the model has no adapter to train; inject one first")))
	}
	g, err := train.ExportStep(m.graph, m.set, c.Params, c.LossConfig, c.OptimConfig, opset, gradsOnly)
	if err != nil {
		return nil, m.wrap(err)
	}
	return &Model{graph: g, path: m.path, set: m.set}, nil
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
