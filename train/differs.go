package train

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// ErrConfigDiffers is what resuming a run under other flags is, or on another
// model or other data: it could not go on as the run that stopped.
var ErrConfigDiffers = errors.New("the run was started with other flags")

// setting is a part of a Config that has to stay the same.
type setting struct {
	flag string
	get  func(Config) any
}

// settings are what decides a run's numbers. What only says how it is watched
// (threads, metrics, checkpoint and evaluation intervals) may change; how long
// it is, is compared by length.
var settings = []setting{
	{"--task", func(c Config) any { return c.Task }},
	{"--logits", func(c Config) any { return c.Logits }},
	{"--loss-output", func(c Config) any { return c.LossOutput }},
	{"--label-smoothing", func(c Config) any { return c.LabelSmoothing }},
	{"--optimizer", func(c Config) any { return c.Optimizer }},
	{"--betas", func(c Config) any { return fmt.Sprintf("%g,%g", c.Beta1, c.Beta2) }},
	{"--eps", func(c Config) any { return c.Eps }},
	{"--weight-decay", func(c Config) any { return c.WeightDecay }},
	{"--momentum", func(c Config) any { return c.Momentum }},
	{"--clip", func(c Config) any { return c.Clip }},
	{"--batch-size", func(c Config) any { return c.BatchSize }},
	{"--accumulate", func(c Config) any { return c.Accumulate }},
	{"--lr", func(c Config) any { return c.LR }},
	{"--schedule", func(c Config) any { return c.Schedule }},
	{"--warmup", func(c Config) any { return c.Warmup }},
	{"--seed", func(c Config) any { return c.Seed }},
	{"--feed", func(c Config) any { return feedList(c.Feeds) }},
	{"--no-shuffle", func(c Config) any { return c.NoShuffle }},
}

// Diff lists the flags of now that differ from the recorded ones and would
// change the run's numbers. A run under the constant schedule may be made
// longer; under the others its length is part of every step's rate.
func Diff(recorded, now Config) []string {
	var out []string
	add := func(flag string, was, is any) {
		out = append(out, fmt.Sprintf("%s (was %v, is %v)", flag, shown(was), shown(is)))
	}
	for _, s := range settings {
		if was, is := s.get(recorded), s.get(now); was != is {
			add(s.flag, was, is)
		}
	}
	longer := recorded.Schedule == "constant" && now.Schedule == "constant"
	switch was, is := recorded, now; {
	case was.Steps > 0 || is.Steps > 0:
		if was.Steps != is.Steps && !(longer && (was.Steps == 0 || is.Steps > was.Steps)) {
			add("--steps", was.Steps, is.Steps)
		}
	case was.Epochs != is.Epochs && !(longer && is.Epochs > was.Epochs):
		add("--epochs", was.Epochs, is.Epochs)
	}
	was, is := slices.Sorted(slices.Values(recorded.Params)), slices.Sorted(slices.Values(now.Params))
	if !slices.Equal(was, is) {
		out = append(out, fmt.Sprintf("the trained parameters (were %d, are %d)", len(was), len(is)))
	}
	return out
}

// shown makes an empty string visible.
func shown(v any) any {
	if v == "" {
		return `""`
	}
	return v
}

// Same checks that a run started as the checkpoint says is the one that now
// would go on: config, fingerprint of the model, identities of the data. The
// error wraps ErrConfigDiffers and lists every difference.
func (c *Checkpoint) Same(now Config, base, data, evalData string) error {
	diff := Diff(c.Config, now)
	for _, d := range []struct{ what, was, is string }{
		{"the model", c.Base, base}, {"--data", c.Data, data}, {"the evaluation data", c.EvalData, evalData},
	} {
		if d.was != d.is {
			diff = append(diff, fmt.Sprintf("%s (was %v, is %v)", d.what, shown(d.was), shown(d.is)))
		}
	}
	if len(diff) == 0 {
		return nil
	}
	return &differs{diff}
}

type differs struct{ what []string }

func (d *differs) Error() string {
	s := ErrConfigDiffers.Error() + ": "
	for i, w := range d.what {
		if i > 0 {
			s += ", "
		}
		s += w
	}
	return s
}

func (d *differs) Unwrap() error { return ErrConfigDiffers }

// identityBytes bounds how much of a file FileIdentity reads.
const identityBytes = 64 << 20

// FileIdentity names a data file for Checkpoint: base name, size, and SHA-256
// of its first 64 MiB.
func FileIdentity(path string) (string, error) {
	if err := checkRegular(path); err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, identityBytes)); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return fmt.Sprintf("%s, %d bytes, sha256 %x", filepath.Base(path), st.Size(), h.Sum(nil)), nil
}
