package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/bonnx/bonnx"
)

// dataFlags say how data is read; train and eval have them.
func dataFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "data", Usage: "samples: `DATA`.npz (arrays named by graph input, labels), .jsonl or .txt (required)"},
		&cli.IntFlag{Name: "seq-len", Usage: "samples have at most `N` positions; text is cut into windows of N (0: no limit, 128 for text)"},
		&cli.StringFlag{Name: "tokenizer", Usage: "make ids of text with `NAME`: bytes"},
		&cli.StringFlag{Name: "task", DefaultText: "from labels and outputs", Usage: "causal-lm, classification, regression or custom"},
		&cli.StringFlag{Name: "logits", Usage: "attach the loss to output `NAME`"},
		&cli.StringFlag{Name: "loss-output", Usage: "with --task custom: the model's own loss, output `NAME`"},
		&cli.Float64Flag{Name: "label-smoothing", Usage: "mix labels with this much of the uniform distribution"},
		&cli.StringSliceFlag{Name: "feed", Usage: "make an input that the data lacks, as `NAME=ones`, zeros, arange, empty or FILE.npz:KEY; repeats"},
		&cli.IntFlag{Name: "batch-size", DefaultText: "8, fewer where memory is short", Usage: "samples in a batch"},
	}
}

// optimFlags are the optimizer's; train and export have them.
func optimFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "optimizer", Value: "adamw", Usage: "adamw or sgd"},
		&cli.StringFlag{Name: "betas", Value: "0.9,0.999", Usage: "adamw: `B1,B2`"},
		&cli.Float64Flag{Name: "eps", Value: 1e-8, Usage: "adamw: added to the denominator"},
		&cli.Float64Flag{Name: "momentum", Usage: "sgd: momentum"},
		&cli.Float64Flag{Name: "weight-decay", Usage: "decoupled for adamw, in the gradient for sgd"},
		&cli.Float64Flag{Name: "clip", Usage: "largest global norm of the gradients (0: no limit)"},
	}
}

func loopFlags() []cli.Flag {
	return []cli.Flag{
		&cli.IntFlag{Name: "epochs", Value: 1, Usage: "passes over the data"},
		&cli.IntFlag{Name: "steps", Usage: "updates; wins over --epochs"},
		&cli.StringFlag{Name: "lr", Value: "auto", Usage: "learning rate; auto finds one by a short test on copies of the blocks"},
		&cli.StringFlag{Name: "schedule", Value: "constant", Usage: "constant, linear or cosine"},
		&cli.IntFlag{Name: "warmup", Usage: "updates over which the learning rate rises"},
		&cli.IntFlag{Name: "accumulate", Value: 1, Usage: "batches per update"},
		&cli.BoolFlag{Name: "recompute", Usage: "take less memory and more time: parts of the forward pass are computed again for the backward pass"},
		&cli.BoolFlag{Name: "cache-prefix", Usage: "compute the layers before the first that is trained once for each sample, and keep the result in memory"},
		&cli.IntFlag{Name: "cache-prefix-limit", DefaultText: "half of what is free", Usage: "with --cache-prefix: keep at most `N` MiB"},
		&cli.BoolFlag{Name: "no-shuffle", Usage: "take samples in the file's order"},
		&cli.StringFlag{Name: "eval-data", Usage: "evaluate on `FILE`"},
		&cli.Float64Flag{Name: "eval-split", Usage: "evaluate on the last `FRACTION` of the data"},
		&cli.IntFlag{Name: "eval-every", Usage: "also evaluate every `N` updates"},
		&cli.StringFlag{Name: "checkpoint", Usage: "keep checkpoints in `DIR`"},
		&cli.IntFlag{Name: "checkpoint-every", Usage: "save one every `N` updates"},
		&cli.BoolFlag{Name: "resume", Usage: "continue from the newest checkpoint"},
		&cli.StringFlag{Name: "metrics", Usage: "write JSON lines to `FILE`"},
		&cli.StringSliceFlag{Name: "adapter", Usage: "of a model with several, train the adapter called `NAME` alone; repeats (none: all)"},
	}
}

func (e *env) trainCommand() *cli.Command {
	flags := append(dataFlags(), loopFlags()...)
	flags = append(flags, optimFlags()...)
	flags = append(flags, adapterFlags()...)
	return &cli.Command{
		Name:      "train",
		Usage:     "train a model's adapters; put one on first where it has none",
		ArgsUsage: "MODEL",
		Description: `The step updates the adapter's blocks alone. Ctrl-C and SIGTERM save a checkpoint, where
--checkpoint names a directory, and --resume continues from it to the same bits.

EXAMPLE: bonnx train model.onnx --data samples.npz -o trained.onnx
EXAMPLE: bonnx train adapted.onnx --data windows.npz --epochs 2 --lr 3e-3 -o trained.onnx
EXAMPLE: bonnx train base.onnx --method bone --rank 16 --data notes.txt --tokenizer bytes -o trained.onnx`,
		Flags:  append(flags, dynamicBatchFlag(), inlineFlag(), outputFlag(), forceFlag(), threadsFlag(), quietFlag(), jsonFlag()),
		Action: e.train,
	}
}

// lossConfig reads the flags that say where the loss attaches.
func lossConfig(c *cli.Context, t *bonnx.TrainConfig) {
	t.Task = bonnx.Task(c.String("task"))
	t.Logits, t.LossOutput, t.LabelSmoothing = c.String("logits"), c.String("loss-output"), c.Float64("label-smoothing")
}

// optimConfig reads the optimizer's flags into t.
func optimConfig(c *cli.Context, t *bonnx.TrainConfig) error {
	t.Optimizer, t.Eps, t.Momentum = c.String("optimizer"), c.Float64("eps"), c.Float64("momentum")
	t.WeightDecay, t.Clip = c.Float64("weight-decay"), c.Float64("clip")
	b1, b2, ok := strings.Cut(c.String("betas"), ",")
	var err1, err2 error
	t.Beta1, err1 = strconv.ParseFloat(strings.TrimSpace(b1), 64)
	t.Beta2, err2 = strconv.ParseFloat(strings.TrimSpace(b2), 64)
	if !ok || err1 != nil || err2 != nil {
		return usagef("--betas %q is not B1,B2", c.String("betas"))
	}
	return nil
}

func trainConfig(c *cli.Context) (bonnx.TrainConfig, error) {
	var t bonnx.TrainConfig
	lossConfig(c, &t)
	if err := errors.Join(optimConfig(c, &t), feedConfig(c, &t)); err != nil {
		return t, err
	}
	if lr := c.String("lr"); lr != "auto" {
		var err error
		if t.LR, err = strconv.ParseFloat(lr, 64); err != nil || !(t.LR > 0) {
			return t, usagef("--lr %q is neither auto nor a number above 0", lr)
		}
	}
	t.Epochs, t.Steps, t.BatchSize, t.Accumulate = c.Int("epochs"), c.Int("steps"), c.Int("batch-size"), c.Int("accumulate")
	t.Schedule, t.Warmup = c.String("schedule"), c.Int("warmup")
	t.Seed, t.NoShuffle, t.EvalEvery = c.Uint64("seed"), c.Bool("no-shuffle"), c.Int("eval-every")
	t.Checkpoint, t.CheckpointEvery, t.Resume = c.String("checkpoint"), c.Int("checkpoint-every"), c.Bool("resume")
	t.Metrics, t.Overwrite, t.Recompute = c.String("metrics"), c.Bool("force"), c.Bool("recompute")
	t.CachePrefix, t.CachePrefixLimit = c.Bool("cache-prefix"), int64(c.Int("cache-prefix-limit"))<<20
	var err error
	if t.Threads, err = threads(c); err != nil {
		return t, err
	}
	for _, name := range []string{"batch-size", "accumulate", "epochs", "cache-prefix-limit"} {
		if c.IsSet(name) && c.Int(name) < 1 {
			return t, usagef("--%s is %d", name, c.Int(name))
		}
	}
	if err := validate(t); err != nil {
		return t, err
	}
	if f := c.Float64("eval-split"); c.IsSet("eval-split") && !(f > 0 && f < 1) {
		return t, usagef("--eval-split %g is not between 0 and 1", f)
	}
	if c.String("eval-data") != "" && c.IsSet("eval-split") {
		return t, usagef("--eval-data and --eval-split exclude each other")
	}
	return t, nil
}

// feedConfig reads --feed.
func feedConfig(c *cli.Context, t *bonnx.TrainConfig) error {
	for _, rule := range c.StringSlice("feed") {
		if err := t.Feed(rule); err != nil {
			return &usageError{"--" + err.Error()}
		}
	}
	return nil
}

// validate checks what does not depend on the model, which is not open yet.
func validate(t bonnx.TrainConfig) error {
	t = t.WithDefaults()
	t.Params = []string{"any"}
	if err := t.Validate(); err != nil {
		return &usageError{err.Error()}
	}
	return nil
}

// trainJSON is the last line of train --json.
type trainJSON struct {
	Steps          int      `json:"steps"`
	Seconds        float64  `json:"seconds"`
	LossFirst      float64  `json:"loss_first"`
	LossLast       float64  `json:"loss_last"`
	EvalLossBefore *float64 `json:"eval_loss_before"`
	EvalLossAfter  *float64 `json:"eval_loss_after"`
	Trainable      int      `json:"trainable_parameters"`
	PrefixShare    float64  `json:"prefix_share,omitempty"`
	PrefixBytes    int64    `json:"prefix_bytes,omitempty"`
	PeakRSS        int64    `json:"peak_rss_bytes"`
}

func (e *env) train(c *cli.Context) error {
	a, err := args(c, "MODEL")
	if err != nil {
		return err
	}
	t, err := trainConfig(c)
	if err != nil {
		return err
	}
	if err := needData(c); err != nil {
		return err
	}
	inputs := []string{a[0], c.String("data"), c.String("eval-data"), c.String("config")}
	out, err := output(c, inputs...)
	if err != nil {
		return err
	}
	if err := checkMetrics(t, append(inputs, out)); err != nil {
		return err
	}
	o, err := saveOptions(c)
	if err != nil {
		return err
	}
	o.Keep = inputs
	m, err := e.adapted(c, a[0])
	if err != nil {
		return err
	}
	defer m.Base().Close()
	if err := e.injectFirst(c, m); err != nil {
		return err
	}
	data, eval, err := e.openData(c, m.Base())
	if err != nil {
		return err
	}
	if err := chooseAdapters(c, m); err != nil {
		return err
	}
	bar := &progress{w: e.err, quiet: c.Bool("quiet")}
	t.Watcher = bar
	s, err := m.TrainOn(c.Context, data, eval, t)
	if err != nil {
		bar.End()
		return e.trainingEnded(t, err)
	}
	if err := m.Save(c.Context, out, o); err != nil {
		return err
	}
	return e.reportTraining(c, s)
}

// checkMetrics finds out whether the metrics file may be written; a resumed
// run goes on in the one that is there.
func checkMetrics(t bonnx.TrainConfig, others []string) error {
	if t.Metrics == "" {
		return nil
	}
	if err := (bonnx.SaveOptions{Force: t.Overwrite || t.Resume, Keep: others}).Check(t.Metrics); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	if filepath.Clean(t.Metrics) == filepath.Clean(others[len(others)-1]) {
		return usagef("--metrics and -o name the same file")
	}
	return nil
}

// injectFirst puts an adapter on a model that has none, or where a flag says
// which. On a model that has some, only the new one is trained then.
func (e *env) injectFirst(c *cli.Context, m *bonnx.BoneModel) error {
	before := m.Adapters()
	given := false
	for _, f := range adapterFlags() {
		name := f.Names()[0]
		given = given || c.IsSet(name) && !slices.Contains(anyModelFlags, name)
	}
	if len(before) > 0 && !given {
		return nil
	}
	r, err := e.inject(c, m)
	if err != nil {
		return err
	}
	if !c.Bool("quiet") {
		e.say("%s", r.TrainableLine())
	}
	if len(before) > 0 {
		return m.SetRequiresGrad(false, before...)
	}
	return nil
}

// chooseAdapters reads --adapter: the adapters to train, where not all.
func chooseAdapters(c *cli.Context, m *bonnx.BoneModel) error {
	names := c.StringSlice("adapter")
	if len(names) == 0 {
		return nil
	}
	if err := m.SetRequiresGrad(false); err != nil {
		return err
	}
	return m.SetRequiresGrad(true, names...)
}

// anyModelFlags are those of inject's flags that say something of a model that
// has adapters, too.
var anyModelFlags = []string{"seed", "form", "inputs", "model-type"}

// dataOptions reads the flags that say how data is read.
func dataOptions(c *cli.Context) (bonnx.DataOptions, error) {
	var t bonnx.TrainConfig
	lossConfig(c, &t)
	o := bonnx.DataOptions{Task: t.Task, Logits: t.Logits, LossOutput: t.LossOutput, SeqLen: c.Int("seq-len"), Tokenizer: c.String("tokenizer")}
	err := feedConfig(c, &t)
	o.Feeds = t.Feeds
	if err == nil {
		if err = o.Validate(); err != nil {
			err = &usageError{err.Error()}
		}
	}
	return o, err
}

// needData checks --data and the flags that go with it.
func needData(c *cli.Context) error {
	if c.String("data") == "" {
		return usagef("--data DATA is required")
	}
	_, err := dataOptions(c)
	return err
}

func (e *env) openData(c *cli.Context, m *bonnx.Model) (data, eval *bonnx.Dataset, err error) {
	o, err := dataOptions(c)
	if err != nil {
		return nil, nil, err
	}
	open := func(path string) (*bonnx.Dataset, error) {
		d, err := m.OpenData(path, o)
		if err != nil {
			return nil, err
		}
		for _, n := range d.Notes() {
			if !c.Bool("quiet") {
				e.say("%s: %s", path, n)
			}
		}
		return d, nil
	}
	if data, err = open(c.String("data")); err != nil {
		return nil, nil, err
	}
	switch {
	case c.String("eval-data") != "":
		eval, err = open(c.String("eval-data"))
	case c.IsSet("eval-split"):
		data, eval, err = data.Split(c.Float64("eval-split"))
	}
	return data, eval, err
}

// trainingEnded adds to an early end where its checkpoint is.
func (e *env) trainingEnded(t bonnx.TrainConfig, err error) error {
	var bad *bonnx.NonFiniteError
	if !errors.Is(err, context.Canceled) && !errors.As(err, &bad) {
		return err
	}
	if t.Checkpoint == "" {
		return fmt.Errorf("%w; nothing was kept (--checkpoint DIR keeps what a run has learned)", err)
	}
	return fmt.Errorf("%w; the last good state is in %s; continue with --resume", err, t.Checkpoint)
}

func (e *env) reportTraining(c *cli.Context, s *bonnx.Summary) error {
	if c.Bool("json") {
		return e.printJSON(trainJSON{s.Steps, s.Duration.Seconds(), s.LossFirst, s.LossLast, s.EvalLossBefore, s.EvalLossAfter, s.Parameters, s.PrefixShare, s.PrefixBytes, peakRSS()})
	}
	if err := e.printf("%d steps in %s: loss %.4f -> %.4f\n", s.Steps, clock(s.Duration), s.LossFirst, s.LossLast); err != nil {
		return err
	}
	if s.EvalLossBefore != nil && s.EvalLossAfter != nil {
		if err := e.printf("evaluation loss %.4f -> %.4f\n", *s.EvalLossBefore, *s.EvalLossAfter); err != nil {
			return err
		}
	}
	if !s.Improved {
		return e.printf("the run did not improve the model: try another --lr, more --steps, a higher --rank, or more data\n")
	}
	return nil
}

func (e *env) evalCommand() *cli.Command {
	return &cli.Command{
		Name:        "eval",
		Usage:       "compute a model's loss on data",
		ArgsUsage:   "MODEL",
		Description: `EXAMPLE: bonnx eval merged.onnx --data windows.npz --json`,
		Flags:       append(dataFlags(), threadsFlag(), quietFlag(), jsonFlag()),
		Action:      e.eval,
	}
}

// evalJSON is what eval --json prints.
type evalJSON struct {
	Loss       float64  `json:"loss"`
	Perplexity *float64 `json:"perplexity,omitempty"`
	Accuracy   *float64 `json:"accuracy,omitempty"`
	Count      float64  `json:"count"`
	Samples    int      `json:"samples"`
}
