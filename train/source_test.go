package train

import (
	"context"
	"errors"
	"iter"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/tensor"
)

// points are n samples for classifier.
func points(t *testing.T, n int) Data {
	t.Helper()
	m := classifier(0, "")
	d, err := FromTensors(map[string]*tensor.Tensor{"x": testutil.Random(5, n, 3), LabelsInput: testutil.RandomInts(6, 0, 4, n)},
		Spec{Task: Classification, Inputs: []Port{{"x", m.Graph.Inputs[0].Type}}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// streamed is the batches of data in order. Leaving is counted.
func streamed(data Data, size int, left *int) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		defer func() { *left++ }()
		samples{data}.once(Config{BatchSize: size})(yield)
	}
}

func pointConfig() Config {
	c := Config{LR: 0.05, BatchSize: 4, NoShuffle: true, Threads: 1, Params: []string{"w"}}
	c.Task = Classification
	return c
}

// recorder keeps what a run tells.
type recorder struct {
	steps []StepInfo
	evals map[int]float64
	notes []string
	total int
	after func(StepInfo)
}

func (r *recorder) Begin(_ string, _, steps int) { r.total = steps }
func (r *recorder) Note(s string)                { r.notes = append(r.notes, s) }

func (r *recorder) Step(s StepInfo) {
	s.Duration = 0
	r.steps = append(r.steps, s)
	if r.after != nil {
		r.after(s)
	}
}

func (r *recorder) Eval(step int, loss float64) {
	if r.evals == nil {
		r.evals = map[int]float64{}
	}
	r.evals[step] = loss
}

// runPoints runs c over the classifier, with dropout so that random state counts.
func runPoints(ctx context.Context, data, eval Source, c Config) (*Summary, *recorder, error) {
	r := &recorder{}
	c.Watcher = r
	s, err := Run(ctx, classifier(0.3, ""), ops.Standard(), data, eval, c, Identity{Model: "m", Data: "d"})
	return s, r, err
}

func sameRun(t *testing.T, what string, got, want *Summary) {
	t.Helper()
	if got == nil || want == nil {
		t.Fatalf("%s: no summary", what)
	}
	for name, w := range want.Trained {
		if !got.Trained[name].Equal(w) {
			t.Errorf("%s: %s is not the same to the bit", what, name)
		}
	}
	if got.LossFirst != want.LossFirst || got.LossLast != want.LossLast || got.Steps != want.Steps {
		t.Errorf("%s: got %+v, want %+v", what, got, want)
	}
}

// TestStreamTrainsAsData: a stream of the batches that samples in order make
// is the same run, but for the number of steps, which it cannot tell.
func TestStreamTrainsAsData(t *testing.T) {
	data := points(t, 10) // 3 batches of 4, 4, 2
	for name, change := range map[string]func(*Config){
		"epochs":                              func(c *Config) { c.Epochs = 3 },
		"steps":                               func(c *Config) { c.Steps = 7 },
		"accumulated":                         func(c *Config) { c.Epochs, c.Accumulate = 2, 2 },
		"accumulated to the end of the epoch": func(c *Config) { c.Epochs, c.Accumulate = 2, 3 },
		"evaluated often":                     func(c *Config) { c.Steps, c.EvalEvery = 4, 2 },
		"scheduled":                           func(c *Config) { c.Steps, c.Schedule, c.Warmup = 5, "cosine", 2 },
	} {
		t.Run(name, func(t *testing.T) {
			c := pointConfig()
			change(&c)
			want, wr, err := runPoints(context.Background(), Samples(data), Samples(points(t, 5)), c)
			if err != nil {
				t.Fatal(err)
			}
			left, evals := 0, 0
			c.BatchSize = 0
			got, gr, err := runPoints(context.Background(), Stream(streamed(data, 4, &left)), Stream(streamed(points(t, 5), 4, &evals)), c)
			if err != nil {
				t.Fatal(err)
			}
			sameRun(t, "stream", got, want)
			for i := range gr.steps {
				if c.Steps == 0 {
					gr.steps[i].Steps = wr.total
				}
			}
			if !slices.Equal(gr.steps, wr.steps) || !maps.Equal(gr.evals, wr.evals) {
				t.Errorf("got steps %+v evaluations %v\nwant %+v %v", gr.steps, gr.evals, wr.steps, wr.evals)
			}
			if gr.total != c.Steps {
				t.Errorf("begins with %d steps, want %d", gr.total, c.Steps)
			}
			last := wr.steps[len(wr.steps)-1].Epoch
			if left != last || evals != len(wr.evals) {
				t.Errorf("%d ranges over the data and %d over the evaluation data ended, want %d and %d", left, evals, last, len(wr.evals))
			}
		})
	}
}

// TestResumedRuns stop after every possible step, by a cancelled context, and
// go on to what a run that never stopped gives.
func TestResumedRuns(t *testing.T) {
	data, left := points(t, 10), 0
	for name, src := range map[string]Source{"samples": Samples(data), "stream": Stream(streamed(data, 4, &left))} {
		for _, accumulate := range []int{1, 2} {
			c := pointConfig()
			c.NoShuffle, c.Epochs, c.Accumulate = false, 3, accumulate
			want, _, err := runPoints(context.Background(), src, nil, c)
			if err != nil {
				t.Fatal(err)
			}
			for stop := range want.Steps {
				c.Checkpoint, c.Resume = filepath.Join(t.TempDir(), "ck"), true
				ctx, cancel := context.WithCancel(context.Background())
				r := &recorder{after: func(s StepInfo) {
					if s.Step == stop {
						cancel()
					}
				}}
				if stop == 0 {
					cancel()
				}
				c.Watcher = r
				part, err := Run(ctx, classifier(0.3, ""), ops.Standard(), src, nil, c, Identity{Model: "m", Data: "d"})
				cancel()
				if !errors.Is(err, context.Canceled) || part.Steps != stop {
					t.Fatalf("%s: stopped at %d of %d with error %v", name, part.Steps, stop, err)
				}
				got, gr, err := runPoints(context.Background(), src, nil, c)
				if err != nil {
					t.Fatal(err)
				}
				sameRun(t, name, got, want)
				if len(gr.steps) != want.Steps-stop || got.Improved != want.Improved {
					t.Errorf("%s, stopped at %d: %d steps more, improved %v, want %d, %v", name, stop, len(gr.steps), got.Improved, want.Steps-stop, want.Improved)
				}
			}
		}
	}
}

func TestStreamErrors(t *testing.T) {
	data, left := points(t, 10), 0
	broken := errors.New("the tape broke")
	breaks := func(at int) Source {
		return Stream(func(yield func(Batch, error) bool) {
			i := 0
			for b := range streamed(data, 4, &left) {
				if i == at {
					yield(Batch{}, broken)
					return
				}
				if !yield(b, nil) {
					return
				}
				i++
			}
		})
	}
	c := pointConfig()
	c.Checkpoint = filepath.Join(t.TempDir(), "ck")
	s, _, err := runPoints(context.Background(), breaks(2), nil, c)
	if !errors.Is(err, broken) || s == nil || s.Steps != 2 {
		t.Errorf("a stream that breaks: got %+v, error %v", s, err)
	}
	if ck, _, err := Latest(c.Checkpoint); err != nil || ck.Step != 2 || ck.Epoch != 1 || ck.NextSample != 2 {
		t.Errorf("a stream that breaks leaves the checkpoint %+v (%v)", ck, err)
	}
	c.Resume = true
	short := Stream(streamed(points(t, 4), 4, &left))
	_, _, err = runPoints(context.Background(), short, nil, c)
	wantError(t, err, "ended after 1 batches", "had used 2")

	c = pointConfig()
	_, _, err = runPoints(context.Background(), Stream(func(func(Batch, error) bool) {}), nil, c)
	wantError(t, err, "epoch 1: the stream gave no batch")
	c.Schedule = "linear"
	_, _, err = runPoints(context.Background(), Stream(streamed(data, 4, &left)), nil, c)
	wantError(t, err, "schedule linear", "--steps")
	if _, _, err := runPoints(context.Background(), Samples(data), nil, c); err != nil {
		t.Errorf("samples tell how many there are: %v", err)
	}
	c = pointConfig()
	s, _, err = runPoints(context.Background(), Samples(data), breaks(1), c)
	if !errors.Is(err, broken) || s == nil || s.Steps != 0 {
		t.Errorf("evaluation data that breaks: got %+v, error %v", s, err)
	}
}

// TestStreamBatches: what a stream gives is taken as data files are, windows
// cut and types converted, and what it does not count is counted.
func TestStreamBatches(t *testing.T) {
	f := &filler{spec: lm(maskPort), note: func(string) {}}
	ids := tensor.FromSlice([]int32{1, 2, 3, 4, 5, 0}, 2, 3)
	b, err := f.fill(Batch{Feeds: map[string]*tensor.Tensor{"input_ids": ids, "attention_mask": tensor.FromSlice([]bool{true, true, true, true, true, false}, 2, 3)}})
	if err == nil {
		err = errors.New("there is no labels port")
	}
	wantError(t, err, "labels")
	f.spec.Inputs = append(f.spec.Inputs, Port{LabelsInput, idsPort.Type})
	b, err = f.fill(Batch{Feeds: map[string]*tensor.Tensor{"input_ids": ids, "attention_mask": tensor.FromSlice([]bool{true, true, true, true, true, false}, 2, 3)}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]*tensor.Tensor{
		"input_ids": tensor.FromSlice([]int64{1, 2, 4, 5}, 2, 2), "attention_mask": tensor.FromSlice([]int64{1, 1, 1, 1}, 2, 2),
		LabelsInput: tensor.FromSlice([]int64{2, 3, 5, ignoreIndex}, 2, 2),
	} {
		if got := b.Feeds[name]; got == nil || !got.Equal(want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if b.Tokens != 4 {
		t.Errorf("%d tokens, want 4", b.Tokens)
	}
	if b, err = f.fill(Batch{Tokens: 7, Feeds: map[string]*tensor.Tensor{"input_ids": ids}}); err != nil || b.Tokens != 7 {
		t.Errorf("tokens that were given are %d (%v), want 7", b.Tokens, err)
	}
	if ids.DType() != tensor.Int32 || ids.Shape()[1] != 3 {
		t.Errorf("the stream's own array became %v", ids)
	}
	_, err = f.fill(Batch{Feeds: map[string]*tensor.Tensor{"input_ids": testutil.Random(1, 2, 3)}})
	wantError(t, err, "input_ids", "float32")
}

// TestOneShotStream: a sequence that cannot be ranged over again is told so.
func TestOneShotStream(t *testing.T) {
	data, left, used := points(t, 10), 0, false
	once := Stream(func(yield func(Batch, error) bool) {
		if !used {
			used = true
			streamed(data, 4, &left)(yield)
		}
	})
	c := pointConfig()
	c.Epochs = 2
	s, _, err := runPoints(context.Background(), once, nil, c)
	wantError(t, err, "epoch 2")
	if s.Steps != 3 {
		t.Errorf("%d steps, want the 3 that there were", s.Steps)
	}
}

// TestImproved: a run says whether it did.
func TestImproved(t *testing.T) {
	data := points(t, 12)
	for _, c := range []struct {
		name string
		lr   float64
		eval bool
		want bool
	}{{"learns", 0.1, false, true}, {"learns, evaluated", 0.1, true, true}, {"diverges", 1e4, false, false}, {"diverges, evaluated", 1e4, true, false}} {
		cfg := pointConfig()
		cfg.Epochs, cfg.LR, cfg.Optimizer = 8, c.lr, "sgd"
		var eval Source
		if c.eval {
			eval = Samples(data)
		}
		s, err := Run(context.Background(), classifier(0, ""), ops.Standard(), Samples(data), eval, cfg, Identity{})
		if err != nil || s.Improved != c.want {
			t.Errorf("%s: improved %v (%v, %v -> %v), want %v", c.name, s.Improved, err, s.LossFirst, s.LossLast, c.want)
		}
	}
}

func TestHistory(t *testing.T) {
	for _, c := range []struct {
		losses      int
		first, last float64 // of the losses 0, 1, 2, ...
		ok          bool
	}{{0, 0, 0, false}, {1, 0, 0, false}, {2, 0, 1, true}, {19, 0, 18, true}, {20, 0.5, 18.5, true}, {256, 12, 243, true}, {1000, 49.5, 949.5, true}, {1001, 49.5, 952, true}} {
		var h history
		for i := range c.losses {
			h.add(float64(i))
			if !h.fits() {
				t.Fatalf("after %d: %+v", i+1, h)
			}
		}
		first, last, ok := h.tenths()
		if first != c.first || last != c.last || ok != c.ok {
			t.Errorf("%d losses: got %v %v %v in %d stretches of %d, want %v %v %v", c.losses, first, last, ok, len(h.Sums), h.Width, c.first, c.last, c.ok)
		}
	}
}

// TestZeroConfig: what a Config leaves out has a meaning.
func TestZeroConfig(t *testing.T) {
	c := Config{Params: []string{"w"}}.WithDefaults()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	d := Default()
	d.Task, d.BatchSize, d.LR, d.Params = "", 0, 0, c.Params
	if diff := Diff(d, c); len(diff) > 0 {
		t.Errorf("zero is not the default: %s", strings.Join(diff, ", "))
	}
	given := Config{Epochs: 2, Accumulate: 3, Schedule: "linear", OptimConfig: OptimConfig{Optimizer: "sgd", Beta2: 0.5, Eps: 1}}
	if got := given.WithDefaults(); len(Diff(got, given)) > 0 {
		t.Errorf("what was given changed: %v", Diff(given, got))
	}
}
