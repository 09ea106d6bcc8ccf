package train

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

// ErrNoCheckpoint is what Latest gives for a directory without checkpoints,
// or none at all.
var ErrNoCheckpoint = errors.New("no checkpoint")

// errNewer is a checkpoint that only a later version can read: falling back
// to an older one would lose work.
var errNewer = errors.New("written by a newer version")

const (
	checkpointVersion = 2 // since 2: picked, losses
	manifestEntry     = "bonnx.json"
	keptCheckpoints   = 2
)

// Checkpoint is everything that a training run needs to go on as if it had
// never stopped.
type Checkpoint struct {
	// Tensors are the trained parameters and the optimizer's state by name.
	Tensors map[string]*tensor.Tensor `json:"-"`

	Step       int    `json:"step"`        // steps done
	Epoch      int    `json:"epoch"`       // of the next sample, from 1
	NextSample int    `json:"next_sample"` // its place in the epoch's order; of a stream, how many batches were used
	Random     []byte `json:"random"`      // state of the random source
	Kernels    string `json:"kernels"`     // set of kernels that ran

	Base     string `json:"base"`                // fingerprint of the model trained
	Data     string `json:"data"`                // identity of the data (FileIdentity)
	EvalData string `json:"eval_data,omitempty"` // of the evaluation data, if there was any
	Config   Config `json:"config"`              // as it was given
	Picked   Picks  `json:"picked"`              // what the run chose where that left the choice

	LossFirst  *float64 `json:"loss_first,omitempty"` // nil where there is none yet
	LossLast   *float64 `json:"loss_last,omitempty"`
	EvalBefore *float64 `json:"eval_before,omitempty"`
	Losses     history  `json:"losses"`  // of the steps so far
	Tokens     int64    `json:"tokens"`  // trained on so far
	Seconds    float64  `json:"seconds"` // trained so far
}

// manifest is the entry bonnx.json.
type manifest struct {
	Version    int         `json:"bonnx_checkpoint"`
	Checkpoint *Checkpoint `json:"checkpoint"`
}

// CheckpointPath is where Save puts the checkpoint of a step.
func CheckpointPath(dir string, step int) string {
	return filepath.Join(dir, fmt.Sprintf("checkpoint-%08d.npz", step))
}

// Save writes the checkpoint into dir, which is made if need be, whole or not
// at all. Once it is safe, all others but the one before it are removed: older
// ones, and those of later steps, which belong to a run that this one left.
func (c *Checkpoint) Save(dir string) error {
	f, err := npz.FromMap(c.Tensors)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	text, err := json.MarshalIndent(manifest{checkpointVersion, c}, "", " ")
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := f.AddExtra(manifestEntry, append(text, '\n')); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := f.WriteFile(CheckpointPath(dir, c.Step)); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return prune(dir, c.Step)
}

// prune removes the checkpoints that are not kept once step is safe, and what
// killed runs left.
func prune(dir string, step int) error {
	steps, err := checkpointSteps(dir)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	at := slices.Index(steps, step) // newest first
	for i, s := range steps {
		if i >= at && i < at+keptCheckpoints {
			continue
		}
		if err := os.Remove(CheckpointPath(dir, s)); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
	}
	return removeStale(dir)
}

// removeStale removes what a killed run left of a file it was writing.
func removeStale(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".checkpoint-") || !strings.HasSuffix(e.Name(), ".bonnx-tmp") {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
	}
	return nil
}

// checkpointSteps are the steps that dir has checkpoints of, newest first.
func checkpointSteps(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var steps []int
	for _, e := range entries {
		name, ok1 := strings.CutPrefix(e.Name(), "checkpoint-")
		name, ok2 := strings.CutSuffix(name, ".npz")
		step, err := strconv.Atoi(name)
		if ok1 && ok2 && err == nil && step >= 0 && filepath.Base(CheckpointPath(dir, step)) == e.Name() {
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	slices.Reverse(steps)
	return steps, nil
}

// Latest reads the newest checkpoint in dir that can be read. A damaged one is
// passed over with a note. Without any checkpoint the error is
// ErrNoCheckpoint; when all are damaged it is another.
func Latest(dir string) (c *Checkpoint, notes []string, err error) {
	steps, err := checkpointSteps(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%s: %w", dir, ErrNoCheckpoint)
	}
	if err != nil {
		return nil, nil, err
	}
	if len(steps) == 0 {
		return nil, nil, fmt.Errorf("%s: %w", dir, ErrNoCheckpoint)
	}
	for _, step := range steps {
		c, err := ReadCheckpoint(CheckpointPath(dir, step))
		var pe *fs.PathError
		if errors.Is(err, errNewer) || errors.As(err, &pe) {
			return nil, nil, err
		}
		if err == nil && c.Step != step {
			err = fmt.Errorf("%s: is of step %d", CheckpointPath(dir, step), c.Step)
		}
		if err == nil {
			return c, notes, nil
		}
		notes = append(notes, fmt.Sprintf("passed over a damaged checkpoint: %v", err))
	}
	return nil, nil, fmt.Errorf("%s: every checkpoint is damaged: %s", dir, strings.Join(notes, "; "))
}

// CheckNew reports whether a new run may keep checkpoints in dir: it holds
// none of another run.
func CheckNew(dir string) error {
	steps, err := checkpointSteps(dir)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && len(steps) == 0) {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%s holds checkpoints of another run (%s); resume it, or name another directory",
		dir, filepath.Base(CheckpointPath(dir, steps[0])))
}

// ReadCheckpoint reads one checkpoint.
func ReadCheckpoint(path string) (*Checkpoint, error) {
	if err := checkRegular(path); err != nil {
		return nil, err
	}
	f, err := npz.ReadFile(path, npz.Options{})
	if err != nil {
		return nil, err
	}
	c, err := fromArchive(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func fromArchive(f *npz.File) (*Checkpoint, error) {
	text, ok := f.Extra(manifestEntry)
	if !ok {
		return nil, fmt.Errorf("is no checkpoint: it has no entry %s", manifestEntry)
	}
	var v struct {
		Version int `json:"bonnx_checkpoint"`
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return nil, fmt.Errorf("entry %s: %w", manifestEntry, err)
	}
	if v.Version > checkpointVersion {
		return nil, fmt.Errorf("checkpoint version %d: %w", v.Version, errNewer)
	}
	if v.Version < 1 {
		return nil, fmt.Errorf("is no checkpoint: entry %s has no version", manifestEntry)
	}
	m := manifest{Checkpoint: &Checkpoint{}}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("entry %s: %w", manifestEntry, err)
	}
	c := m.Checkpoint
	if c == nil || c.Step < 0 || c.Epoch < 0 || c.NextSample < 0 || c.Tokens < 0 {
		return nil, fmt.Errorf("entry %s: a position is missing or negative", manifestEntry)
	}
	if !c.Losses.fits() {
		return nil, fmt.Errorf("entry %s: the losses do not fit together", manifestEntry)
	}
	c.Tensors = f.Map()
	return c, nil
}

// Fits holds the checkpoint's tensors to a session's state: the same names,
// types and shapes.
func (c *Checkpoint) Fits(state map[string]*tensor.Tensor) error {
	for _, name := range sortedKeys(state) {
		want, got := state[name], c.Tensors[name]
		if got == nil {
			return fmt.Errorf("checkpoint of step %d has no tensor %q", c.Step, name)
		}
		if got.DType() != want.DType() || !got.Shape().Equal(want.Shape()) {
			return fmt.Errorf("checkpoint of step %d: tensor %q is %v, the model's is %v", c.Step, name, got, want)
		}
	}
	for _, name := range sortedKeys(c.Tensors) {
		if state[name] == nil {
			return fmt.Errorf("checkpoint of step %d: the model has no tensor %q", c.Step, name)
		}
	}
	return nil
}
