package train

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// late is a model with random Bone blocks on some layers, and the blocks' names.
func late(t *testing.T, m *ir.Model, err error, layers ...int) (*ir.Model, []string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	cfg := adapter.DefaultConfig()
	cfg.Rank, cfg.Init, cfg.Layers = 4, adapter.InitRandom, layers
	if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	adapters, err := rewrite.Adapters(m)
	if err != nil {
		t.Fatal(err)
	}
	return m, adapters[0].TrainableNames()
}

// lateLlama trains the last of 6 layers.
func lateLlama(t *testing.T) (*ir.Model, []string) {
	c := testmodel.Tiny
	c.Layers = 6
	m, err := c.Model()
	return late(t, m, err, 5)
}

// lateEncoder trains the last of 4 layers of a classifier.
func lateEncoder(t *testing.T) (*ir.Model, []string) {
	c := testmodel.SmallEncoder
	c.Layers, c.Head = 4, testmodel.Linear
	m, err := c.Model()
	return late(t, m, err, 3)
}

// windows are n samples of 12 ids; ragged ones have between 5 and 12, and labels.
func windowData(t *testing.T, m *ir.Model, n int) Data {
	t.Helper()
	d, err := FromTensors(map[string]*tensor.Tensor{"input_ids": testutil.RandomInts(3, 0, 40, n, 13)}, Spec{Task: CausalLM, Inputs: fedPorts(m)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func raggedData(t *testing.T, m *ir.Model, n int) Data {
	t.Helper()
	var b strings.Builder
	for i := range n {
		ids := tensor.Data[int64](testutil.RandomInts(uint64(i), 0, 40, 5+3*i%8))
		fmt.Fprintf(&b, "{\"input_ids\": %s, \"label\": %d}\n", strings.ReplaceAll(fmt.Sprint(ids), " ", ","), i%3)
	}
	d, err := Open(write(t, "ragged.jsonl", b.String()), Spec{Task: Classification, Inputs: fedPorts(m)})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// runBoth runs with and without the cache, which changes no bit of what is
// trained, of no loss and of no evaluation, and returns what the run with it told.
func runBoth(t *testing.T, m *ir.Model, data, eval Source, c Config) *recorder {
	t.Helper()
	var runs [2]*Summary
	var told [2]*recorder
	for i, cached := range []bool{false, true} {
		told[i] = &recorder{}
		c.CachePrefix, c.Watcher = cached, told[i]
		var err error
		if runs[i], err = Run(context.Background(), m, ops.Standard(), data, eval, c, Identity{}); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(told[0].steps, told[1].steps) {
		t.Errorf("steps are %v, and %v with the cache", told[0].steps, told[1].steps)
	}
	for step, want := range told[0].evals {
		if got := told[1].evals[step]; got != want {
			t.Errorf("evaluation after step %d is %v, and %v with the cache", step, want, got)
		}
	}
	for name, want := range runs[0].Trained {
		if !bytes.Equal(runs[1].Trained[name].Bytes(), want.Bytes()) {
			t.Errorf("%s differs", name)
		}
	}
	return told[1]
}

// note is the note on the cache.
func note(t *testing.T, r *recorder) string {
	t.Helper()
	for _, s := range r.notes {
		if strings.HasPrefix(s, "cache-prefix: ") {
			return s
		}
	}
	t.Fatalf("no note on the cache in %q", r.notes)
	return ""
}

// TestCachePrefixChangesNothing: over epochs in random order, with batches of
// other members, the last of them short, evaluation between.
func TestCachePrefixChangesNothing(t *testing.T) {
	llama, blocks := lateLlama(t)
	encoder, classifierBlocks := lateEncoder(t)
	for _, k := range []struct {
		name   string
		m      *ir.Model
		params []string
		task   Task
		data   Data
		change func(c *Config)
	}{
		{"language model", llama, blocks, CausalLM, windowData(t, llama, 11), func(*Config) {}},
		{"accumulated", llama, blocks, CausalLM, windowData(t, llama, 11), func(c *Config) { c.Accumulate = 2 }},
		{"recomputed", llama, blocks, CausalLM, windowData(t, llama, 11), func(c *Config) { c.Recompute = true }},
		{"one by one", llama, blocks, CausalLM, windowData(t, llama, 5), func(c *Config) { c.BatchSize = 1 }},
		{"little room", llama, blocks, CausalLM, windowData(t, llama, 11), func(c *Config) { c.CachePrefixLimit = 1 << 20 }},
		{"classifier of ragged samples", encoder, classifierBlocks, Classification, raggedData(t, encoder, 14), func(*Config) {}},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := Config{BatchSize: 4, Epochs: 3, LR: 0.02, Params: k.params, Threads: 1, EvalEvery: 2}
			c.Task = k.task
			k.change(&c)
			r := runBoth(t, k.m, Samples(k.data), Samples(subset{k.data, []int{0, 2, 4}}), c)
			t.Log(note(t, r))
			if n := note(t, r); !strings.Contains(n, "computed once for a sample") {
				t.Error(n)
			}
		})
	}
}
