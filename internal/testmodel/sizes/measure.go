package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/bonnx/bonnx/internal/testmodel"
)

// result is what was measured of one model.
type result struct {
	Size      string   `json:"size"`
	Date      string   `json:"date"`
	Machine   machine  `json:"machine"`
	FileBytes int64    `json:"file_bytes"`
	Inject    usage    `json:"inject"`
	Targets   int      `json:"targets"`
	Trainable int      `json:"trainable_parameters"`
	Train     training `json:"train"`
	Forward   forward  `json:"forward"`
}

// training is a few steps; a usage's seconds are those of the median step.
type training struct {
	usage
	Steps []float64 `json:"steps"`
	Error string    `json:"error,omitempty"`
}

// forward is bonnx and ONNX Runtime in turns; ratios are those of the medians
// of a turn.
type forward struct {
	Bonnx  usage      `json:"bonnx"`
	ORT    usage      `json:"onnxruntime"`
	Ratios []float64  `json:"ratios"`
	Plan   float64    `json:"first_run_seconds"` // compiling, planning and the first run
	Ops    []operator `json:"operators"`
	Error  string     `json:"error,omitempty"`
}

// operator is one of bench's.
type operator struct {
	Op      string  `json:"op"`
	Nodes   int     `json:"nodes"`
	Seconds float64 `json:"seconds"`
}

const injections = 3

// measure measures one model. What fails of training or the forward pass is in
// the result; without an adapted model there is nothing to measure.
func measure(ctx context.Context, o options, s testmodel.Size) (*result, error) {
	at := func(file string) string { return filepath.Join(o.dir, s.Name, file) }
	if _, err := process(ctx, nil, o.gen, "size", s.Name, o.dir); err != nil {
		return nil, err
	}
	r := &result{Size: s.Name, Date: time.Now().UTC().Format(time.DateOnly)}
	var err error
	if r.Machine, err = thisMachine(ctx, o); err != nil {
		return nil, err
	}
	for _, file := range []string{"model.onnx", "model.onnx.data"} {
		st, err := os.Stat(at(file))
		if err != nil {
			return nil, err
		}
		r.FileBytes += st.Size()
	}
	defer func() {
		for _, file := range []string{"adapted.onnx", "adapted.onnx.data", "trained.onnx", "trained.onnx.data", "metrics.jsonl"} {
			_ = os.Remove(at(file)) // absent where something failed
		}
	}()
	if err := r.inject(ctx, o, at); err != nil {
		return nil, err
	}
	if err := r.train(ctx, o, s, at); err != nil {
		r.Train.Error = err.Error()
	}
	if err := r.pass(ctx, o, at); err != nil {
		r.Forward.Error = err.Error()
	}
	return r, ctx.Err()
}

func (r *result) inject(ctx context.Context, o options, at func(string) string) error {
	var seconds []float64
	var said struct {
		Targets   []any `json:"targets"`
		Trainable int   `json:"trainable_parameters"`
	}
	for range injections {
		u, err := process(ctx, &said, o.bonnx, "inject", at("model.onnx"), "-o", at("adapted.onnx"), "--force", "--json")
		if err != nil {
			return err
		}
		seconds = append(seconds, u.Seconds)
		r.Inject.Peak = max(r.Inject.Peak, u.Peak)
	}
	r.Inject.Seconds, r.Targets, r.Trainable = median(seconds), len(said.Targets), said.Trainable
	return nil
}

func (r *result) train(ctx context.Context, o options, s testmodel.Size, at func(string) string) error {
	u, err := process(ctx, nil, o.bonnx, "train", at("adapted.onnx"), "--data", at("samples.npz"), "--batch-size", strconv.Itoa(s.Batch),
		"--steps", strconv.Itoa(o.steps), "--lr", "1e-5", "--threads", strconv.Itoa(o.threads), "--metrics", at("metrics.jsonl"),
		"-o", at("trained.onnx"), "--force", "--quiet")
	if err != nil {
		return err
	}
	f, err := os.Open(at("metrics.jsonl"))
	if err != nil {
		return err
	}
	defer f.Close()
	for d := json.NewDecoder(f); d.More(); {
		var line struct {
			Step    int     `json:"step"`
			Seconds float64 `json:"seconds"`
		}
		if err := d.Decode(&line); err != nil {
			return err
		}
		if line.Step > 1 { // the first plans and packs
			r.Train.Steps = append(r.Train.Steps, line.Seconds)
		}
	}
	if len(r.Train.Steps) == 0 {
		return fmt.Errorf("no step to count of %d", o.steps)
	}
	r.Train.Peak, r.Train.Seconds = u.Peak, median(r.Train.Steps)
	return nil
}

// pass lets bonnx and ONNX Runtime take turns.
func (r *result) pass(ctx context.Context, o options, at func(string) string) error {
	var bonnx, other []float64
	f := &r.Forward
	runs, threads := strconv.Itoa(o.runs), strconv.Itoa(o.threads)
	for range o.rounds {
		var b struct {
			Median    float64    `json:"median_seconds"`
			Compile   float64    `json:"compile_seconds"`
			First     float64    `json:"first_run_seconds"`
			Operators []operator `json:"operators"`
		}
		u, err := process(ctx, &b, o.bonnx, "bench", at("model.onnx"), "--input", at("inputs.npz"), "--runs", runs, "--threads", threads, "--json")
		if err != nil {
			return err
		}
		bonnx = append(bonnx, b.Median)
		f.Bonnx.Peak, f.Plan, f.Ops = max(f.Bonnx.Peak, u.Peak), b.Compile+b.First, b.Operators
		f.Bonnx.Seconds = median(bonnx)
		if o.ort == "" {
			continue
		}
		var t struct {
			Seconds []float64 `json:"seconds"`
		}
		if u, err = process(ctx, &t, "node", o.ort, "--time", at("model.onnx"), at("inputs.npz"), runs, threads); err != nil {
			return err
		}
		other = append(other, median(t.Seconds))
		f.ORT = usage{median(other), max(f.ORT.Peak, u.Peak)}
		f.Ratios = append(f.Ratios, b.Median/median(t.Seconds))
	}
	return nil
}

// save writes the result beside the model.
func (r *result) save(dir string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, r.Size, "result.json"), append(b, '\n'), 0o644)
}

// load reads the results that are there, in the order of sizes.
func load(dir string, sizes []testmodel.Size) ([]*result, error) {
	var out []*result
	for _, s := range sizes {
		b, err := os.ReadFile(filepath.Join(dir, s.Name, "result.json"))
		if os.IsNotExist(err) {
			continue
		}
		r := &result{}
		if err == nil {
			err = json.Unmarshal(b, r)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		out = append(out, r)
	}
	return out, nil
}
