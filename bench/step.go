package main

import (
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"strconv"
	"time"

	"github.com/bonnx/bonnx"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/tensor"
)

// steps measures training steps against ONNX Runtime, which runs the step that
// bonnx exports in a process of its own.
func steps(ctx context.Context, p *page, o options, dir string) error {
	p.table("Training step against ONNX Runtime", "model", "adapter", "size", "threads", "ratio", "bonnx ms", "ORT ms", "bonnx MiB", "ORT MiB")
	return eachSubject(ctx, o, dir, trained, func(s subject, paths map[string]string) error {
		for _, threads := range o.threads {
			if err := s.step(ctx, p, o, paths["base"], dir, threads); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s subject) step(ctx context.Context, p *page, o options, base, dir string, threads int) error {
	exported := filepath.Join(dir, "step.onnx")
	if err := s.export(ctx, base, exported); err != nil {
		return err
	}
	j := job{Path: base, Vocab: s.vocab, Size: s.train, Threads: threads, Rank: s.rank}
	theirJob := j
	theirJob.Path = exported
	if err := o.pin(threads); err != nil {
		return err
	}
	theirs, err := o.startORTStep(ctx, theirJob)
	if err != nil {
		return err
	}
	defer theirs.stop()
	t, err := o.interleaveSteps(ctx, j, theirs.work)
	if err != nil {
		return err
	}
	p.row(s.name, fmt.Sprintf("bone r=%d", s.rank), fmt.Sprintf("%d x %d", s.train[0], s.train[1]), strconv.Itoa(threads), t.ratio(),
		milliseconds(median(t.ours)), milliseconds(median(t.theirs)), o.memory(ctx, j, "bonnx"), theirs.peak())
	return nil
}

// interleaveSteps is interleave for steps of one run of training. Every second
// step is timed, the one before it warms up.
func (o options) interleaveSteps(ctx context.Context, j job, theirs side) (pairing, error) {
	var t pairing
	began := o.now()
	err := j.trainingRun(ctx, 2*o.pairs+2, func(info bonnx.StepInfo) error {
		mine := o.now() - began
		if info.Step%2 == 0 {
			at, err := o.timed(ctx, 1, theirs)
			if err != nil {
				return err
			}
			if info.Step > 2 { // the first plans
				t.ours, t.theirs = append(t.ours, mine), append(t.theirs, at)
			}
			time.Sleep(rest)
		}
		began = o.now()
		return nil
	})
	return t, err
}

// config is how a step is trained.
func (j job) config(steps int) bonnx.TrainConfig {
	c := bonnx.TrainConfig{Steps: steps, LR: 1e-4, BatchSize: j.Size[0], Threads: j.Threads}
	c.Task = "causal-lm"
	return c
}

// export writes the step of a model with an adapter.
func (s subject) export(ctx context.Context, base, path string) error {
	bone, m, err := s.adapted(base)
	if err != nil {
		return err
	}
	defer m.Close()
	step, err := bone.ExportStep(job{Size: s.train}.config(1), 0, false)
	if err != nil {
		return err
	}
	return step.Save(ctx, path, bonnx.SaveOptions{Force: true})
}

// startORTStep starts the process in which ONNX Runtime does the job.
func (o options) startORTStep(ctx context.Context, j job) (*partner, error) {
	j.Side, j.Serve = "ort", true
	cmd, err := o.childCommand(ctx, j)
	if err != nil {
		return nil, err
	}
	return startPartner(cmd)
}

// ortStep is a step that was exported, run by ONNX Runtime on zero state.
func ortStep(j job) (side, error) {
	m, err := onnx.Load(j.Path)
	if err != nil {
		return nil, err
	}
	defer onnx.Close(m)
	batch := &ir.Model{Graph: ir.NewGraph("batch")}
	f := map[string]*tensor.Tensor{"learning_rate": tensor.Scalar(float32(1e-4)), "step": tensor.Scalar(int64(1))}
	for _, v := range m.Graph.Inputs {
		t, _ := v.Type.(*ir.TensorType)
		switch {
		case v.Name == "input_ids" || v.Name == "labels":
			batch.Graph.AddInput(v.Name, v.Type)
		case f[v.Name] == nil && t != nil:
			shape := make([]int, len(t.Dims))
			for i, d := range t.Dims {
				shape[i] = int(d.Value)
			}
			f[v.Name] = tensor.New(t.Elem, shape...)
		}
	}
	ids, err := feeds(batch, j.Vocab, j.Size)
	if err != nil {
		return nil, err
	}
	for name, t := range ids {
		f[name] = t
	}
	s, err := openORT(j.Path, j.Threads, f)
	if err != nil {
		return nil, err
	}
	return s.run, nil
}

// ourSteps is a run of training.
func ourSteps(j job) (side, error) {
	return func(ctx context.Context) error {
		return j.trainingRun(ctx, childRuns, func(bonnx.StepInfo) error { return nil })
	}, nil
}

// trainingRun trains for some steps on one batch, and calls after behind each.
func (j job) trainingRun(ctx context.Context, steps int, after func(bonnx.StepInfo) error) error {
	bone, m, err := subject{rank: j.Rank}.adapted(j.Path)
	if err != nil {
		return err
	}
	defer m.Close()
	f, err := feedsOf(j.Path, j.Vocab, j.Size)
	if err != nil {
		return err
	}
	f["labels"] = f["input_ids"]
	ctx, stop := context.WithCancelCause(ctx)
	c := j.config(steps)
	c.Watcher = &behind{func(i bonnx.StepInfo) {
		if err := after(i); err != nil {
			stop(err)
		}
	}}
	_, err = bone.Train(ctx, same(bonnx.Batch{Feeds: f}, steps), c)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// same is one batch n times.
func same(b bonnx.Batch, n int) iter.Seq2[bonnx.Batch, error] {
	return func(yield func(bonnx.Batch, error) bool) {
		for range n {
			if !yield(b, nil) {
				return
			}
		}
	}
}

// behind is a Watcher that waits for steps alone.
type behind struct{ step func(bonnx.StepInfo) }

func (*behind) Begin(string, int, int)  {}
func (b *behind) Step(i bonnx.StepInfo) { b.step(i) }
func (*behind) Eval(int, float64)       {}
func (*behind) Note(string)             {}

// feedsOf are inputs of the model of a file.
func feedsOf(path string, vocab int, size [2]int) (map[string]*tensor.Tensor, error) {
	m, err := onnx.Load(path)
	if err != nil {
		return nil, err
	}
	defer onnx.Close(m)
	return feeds(m, vocab, size)
}
