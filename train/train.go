// Package train trains chosen initializers of a graph: it appends the loss,
// the gradients and the optimizer to the graph, runs the step over data, and
// keeps metrics and checkpoints.
package train

import (
	"errors"
	"fmt"
)

// Task says what the loss compares.
type Task string

// The tasks. Labels of CausalLM and Classification are class numbers (int64),
// -100 where a position does not count; of Regression, floats of the output's
// shape. Custom takes its loss from a scalar output of the model.
const (
	CausalLM       Task = "causal-lm"
	Classification Task = "classification"
	Regression     Task = "regression"
	Custom         Task = "custom"
)

// Tasks lists the tasks.
func Tasks() []Task { return []Task{CausalLM, Classification, Regression, Custom} }

// LossConfig says where the loss attaches.
type LossConfig struct {
	Task           Task
	Logits         string  // output, "" to find it
	LossOutput     string  // Custom: the scalar output, "" for the only one
	LabelSmoothing float64 // in [0, 1)
}

// OptimConfig says how parameters are updated.
type OptimConfig struct {
	Optimizer   string  // "adamw" (torch.optim.AdamW) or "sgd" (torch.optim.SGD)
	Beta1       float64 // AdamW
	Beta2       float64 // AdamW
	Eps         float64 // AdamW
	WeightDecay float64 // decoupled for AdamW, added to the gradient for SGD
	Momentum    float64 // SGD
	Clip        float64 // largest global norm of the gradients, 0 for no limit
}

// Config is a training run.
type Config struct {
	LossConfig
	OptimConfig
	// Params names the initializers to train.
	Params []string

	Epochs     int // over the data; Steps, where positive, wins
	Steps      int
	BatchSize  int
	Accumulate int // batches per step
	LR         float64
	Schedule   string // "constant", "linear" or "cosine", the latter two to zero
	Warmup     int    // steps over which the rate rises from LR/Warmup to LR
	Seed       uint64 // of shuffling and dropout
	NoShuffle  bool
	EvalEvery  int // steps between evaluations; 0 means only before and after

	Checkpoint      string // directory, "" for none
	CheckpointEvery int    // steps; 0 means only when interrupted and at the end
	Resume          bool
	Metrics         string // file for JSON lines, "" for none
	Overwrite       bool   // another run's metrics and checkpoints may go
	Threads         int
}

// Default is PEFT's and torch's usual configuration: one epoch of AdamW at
// 1e-3 in batches of 8.
func Default() Config {
	return Config{
		LossConfig:  LossConfig{Task: CausalLM},
		OptimConfig: OptimConfig{Optimizer: "adamw", Beta1: 0.9, Beta2: 0.999, Eps: 1e-8},
		Epochs:      1, BatchSize: 8, Accumulate: 1, LR: 1e-3, Schedule: "constant",
	}
}

// Validate checks what does not depend on the model.
func (c Config) Validate() error {
	type rule struct {
		bad  bool
		text string
	}
	const most = 1 << 30 // so that products stay below 64 bits
	known := false
	for _, t := range Tasks() {
		known = known || c.Task == t
	}
	rules := []rule{
		{!known, fmt.Sprintf("task %q is not one of causal-lm, classification, regression, custom", c.Task)},
		{c.Optimizer != "adamw" && c.Optimizer != "sgd", fmt.Sprintf("optimizer %q is not one of adamw, sgd", c.Optimizer)},
		{schedules[c.Schedule] == nil, fmt.Sprintf("schedule %q is not one of constant, linear, cosine", c.Schedule)},
		{c.BatchSize < 1 || c.BatchSize > most, fmt.Sprintf("batch size is %d", c.BatchSize)},
		{c.Accumulate < 1 || c.Accumulate > most, fmt.Sprintf("accumulate is %d", c.Accumulate)},
		{c.Steps <= 0 && c.Epochs < 1 || c.Epochs > most, fmt.Sprintf("epochs is %d", c.Epochs)},
		{c.Steps < 0 || c.Steps > 1<<40, fmt.Sprintf("steps is %d", c.Steps)},
		{!(c.LR > 0) || c.LR > 1e6, fmt.Sprintf("learning rate is %g", c.LR)},
		{c.Warmup < 0, fmt.Sprintf("warmup is %d", c.Warmup)},
		{!(c.WeightDecay >= 0), fmt.Sprintf("weight decay is %g", c.WeightDecay)},
		{!(c.Clip >= 0), fmt.Sprintf("clip is %g", c.Clip)},
		{!(c.Beta1 >= 0 && c.Beta1 < 1 && c.Beta2 >= 0 && c.Beta2 < 1), fmt.Sprintf("betas are %g,%g", c.Beta1, c.Beta2)},
		{!(c.Eps > 0), fmt.Sprintf("eps is %g", c.Eps)},
		{!(c.Momentum >= 0 && c.Momentum < 1), fmt.Sprintf("momentum is %g", c.Momentum)},
		{!(c.LabelSmoothing >= 0 && c.LabelSmoothing < 1), fmt.Sprintf("label smoothing is %g", c.LabelSmoothing)},
		{c.LabelSmoothing > 0 && (c.Task == Regression || c.Task == Custom), "label smoothing needs class labels"},
		{c.CheckpointEvery < 0 || c.EvalEvery < 0, "an interval is negative"},
		{c.Resume && c.Checkpoint == "", "resume needs a checkpoint directory"},
		{c.CheckpointEvery > 0 && c.Checkpoint == "", "checkpoint-every needs a checkpoint directory"},
		{len(c.Params) == 0, "no parameter to train"},
	}
	for _, r := range rules {
		if r.bad {
			return errors.New(r.text)
		}
	}
	return nil
}
