// Package train trains chosen initializers of a graph: it appends the loss,
// the gradients and the optimizer to the graph, runs the step over data, and
// keeps metrics and checkpoints.
package train

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
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
	Task           Task    // "" to find it by DetectTask
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

// Config is a training run. WithDefaults gives every zero field its meaning.
type Config struct {
	LossConfig
	OptimConfig
	// Params names the initializers to train. Every other initializer stays
	// as it is, those that are also graph inputs included.
	Params []string

	Epochs     int     // over the data; Steps, where positive, wins
	Steps      int     // needed by schedules over a Stream
	BatchSize  int     // 0 for the largest up to 8 that fits Memory
	Accumulate int     // batches per step
	LR         float64 // 0 to find it by FindLR
	Schedule   string  // "constant", "linear" or "cosine", the latter two to zero
	Warmup     int     // steps over which the rate rises from LR/Warmup to LR
	Seed       uint64  // of shuffling and dropout
	NoShuffle  bool
	EvalEvery  int // steps between evaluations; 0 means only before and after

	// Feeds say how inputs are made that the data does not hold; a rule here
	// wins over the standing ones (masks of ones, positions that count, zeros
	// for token types, no past) and over the data.
	Feeds map[string]FeedRule `json:",omitempty"`

	// Memory is how many bytes a step may take where BatchSize is to be
	// chosen; 0 is half of what the system has free.
	Memory int64

	Checkpoint      string // directory, "" for none
	CheckpointEvery int    // steps; 0 means only when interrupted and at the end
	Resume          bool
	Metrics         string // file for JSON lines, "" for none
	Overwrite       bool   // another run's metrics and checkpoints may go
	Threads         int

	// Recompute has the backward pass compute most of what it reads of the
	// forward pass once more: less memory for more time, the same gradients.
	Recompute bool `json:",omitempty"`

	// CachePrefix computes the part of the forward pass that depends on nothing
	// trained and on nothing random once for each sample, and keeps in memory
	// what the rest reads of it; the results are the same. A sample is known
	// again by its content, padding included. CachePrefixLimit is how many
	// bytes may be kept; 0 is half of what the system has free.
	CachePrefix      bool  `json:",omitempty"`
	CachePrefixLimit int64 `json:",omitempty"`

	// Watcher follows the run, and Logger is told what a Watcher is told; nil
	// for none.
	Watcher Watcher      `json:"-"`
	Logger  *slog.Logger `json:"-"`
}

// Feed adds a rule to Feeds, as ParseFeed reads it.
func (c *Config) Feed(rule string) error {
	name, r, err := ParseFeed(rule)
	if err != nil {
		return err
	}
	if c.Feeds == nil {
		c.Feeds = map[string]FeedRule{}
	}
	c.Feeds[name] = r
	return nil
}

// Default is PEFT's and torch's usual configuration: one epoch of AdamW at
// 1e-3 in batches of 8, of a language model.
func Default() Config {
	c := Config{LossConfig: LossConfig{Task: CausalLM}, BatchSize: 8, LR: 1e-3}
	return c.WithDefaults()
}

// WithDefaults is c with its zero fields filled: one epoch of AdamW with betas
// 0.9 and 0.999 (where both are 0) and eps 1e-8 at a constant rate. Task,
// BatchSize and LR stay: zero there has Run choose.
func (c Config) WithDefaults() Config {
	c.Optimizer = cmp.Or(c.Optimizer, "adamw")
	if c.Beta1 == 0 && c.Beta2 == 0 {
		c.Beta1, c.Beta2 = 0.9, 0.999
	}
	c.Eps = cmp.Or(c.Eps, 1e-8)
	c.Epochs = cmp.Or(c.Epochs, 1)
	c.Accumulate = cmp.Or(c.Accumulate, 1)
	c.Schedule = cmp.Or(c.Schedule, "constant")
	return c
}

// Validate checks what does not depend on the model.
func (c Config) Validate() error {
	type rule struct {
		bad  bool
		text string
	}
	const most = 1 << 30 // so that products stay below 64 bits
	known := c.Task == "" || slices.Contains(Tasks(), c.Task)
	rules := []rule{
		{!known, fmt.Sprintf("task %q is not one of causal-lm, classification, regression, custom", c.Task)},
		{c.Optimizer != "adamw" && c.Optimizer != "sgd", fmt.Sprintf("optimizer %q is not one of adamw, sgd", c.Optimizer)},
		{schedules[c.Schedule] == nil, fmt.Sprintf("schedule %q is not one of constant, linear, cosine", c.Schedule)},
		{c.BatchSize < 0 || c.BatchSize > most, fmt.Sprintf("batch size is %d", c.BatchSize)},
		{c.Accumulate < 1 || c.Accumulate > most, fmt.Sprintf("accumulate is %d", c.Accumulate)},
		{c.Steps <= 0 && c.Epochs < 1 || c.Epochs > most, fmt.Sprintf("epochs is %d", c.Epochs)},
		{c.Steps < 0 || c.Steps > 1<<40, fmt.Sprintf("steps is %d", c.Steps)},
		{!(c.LR >= 0) || c.LR > 1e6, fmt.Sprintf("learning rate is %g", c.LR)},
		{c.Warmup < 0, fmt.Sprintf("warmup is %d", c.Warmup)},
		{!(c.WeightDecay >= 0), fmt.Sprintf("weight decay is %g", c.WeightDecay)},
		{!(c.Clip >= 0), fmt.Sprintf("clip is %g", c.Clip)},
		{!(c.Beta1 >= 0 && c.Beta1 < 1 && c.Beta2 >= 0 && c.Beta2 < 1), fmt.Sprintf("betas are %g,%g", c.Beta1, c.Beta2)},
		{!(c.Eps > 0), fmt.Sprintf("eps is %g", c.Eps)},
		{!(c.Momentum >= 0 && c.Momentum < 1), fmt.Sprintf("momentum is %g", c.Momentum)},
		{!(c.LabelSmoothing >= 0 && c.LabelSmoothing < 1), fmt.Sprintf("label smoothing is %g", c.LabelSmoothing)},
		{c.LabelSmoothing > 0 && (c.Task == Regression || c.Task == Custom), "label smoothing needs class labels"},
		{c.CheckpointEvery < 0 || c.EvalEvery < 0, "an interval is negative"},
		{c.CachePrefixLimit > 0 && !c.CachePrefix, "cache-prefix-limit needs cache-prefix"},
		{c.CachePrefixLimit < 0, fmt.Sprintf("cache-prefix-limit is %d bytes", c.CachePrefixLimit)},
		{c.Memory < 0, fmt.Sprintf("memory is %d bytes", c.Memory)},
		{c.Resume && c.Checkpoint == "", "resume needs a checkpoint directory"},
		{c.CheckpointEvery > 0 && c.Checkpoint == "", "checkpoint-every needs a checkpoint directory"},
		{len(c.Params) == 0, "no parameter to train"},
	}
	for _, r := range rules {
		if r.bad {
			return errors.New(r.text)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Feeds)) {
		if err := c.Feeds[name].validate(); err != nil {
			return fmt.Errorf("feed of %q: %w", name, err)
		}
	}
	return nil
}
