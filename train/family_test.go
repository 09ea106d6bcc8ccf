package train

import (
	"context"
	"maps"
	"math"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// TestFamiliesTrain: graphs as exporters leave them train on ids and labels
// alone, all else made by rule or found; what a run prints names where the loss
// attached.
func TestFamiliesTrain(t *testing.T) {
	decoder, merged, gpt2 := testmodel.SmallDecoder, testmodel.SmallDecoder, testmodel.SmallGPT2
	merged.Merged = true
	gpt2.Batch = 1
	head := func(h testmodel.Head, batch, seq int) func() (*ir.Model, error) {
		c := testmodel.SmallEncoder
		c.Head, c.Batch, c.Seq = h, batch, seq
		return c.Model
	}
	windows := map[string]*tensor.Tensor{"input_ids": testutil.RandomInts(1, 0, 40, 6, 9)}
	classes := map[string]*tensor.Tensor{"input_ids": testutil.RandomInts(2, 0, 50, 6, 8), LabelsInput: testutil.RandomInts(3, 0, 3, 6)}
	numbers := map[string]*tensor.Tensor{"input_ids": classes["input_ids"], LabelsInput: testutil.Random(4, 6, 3)}
	for _, c := range []struct {
		name   string
		model  func() (*ir.Model, error)
		arrays map[string]*tensor.Tensor
		task   Task
		size   int // of the batches that are chosen
	}{
		{"decoder with past", decoder.Model, windows, CausalLM, 8},
		{"merged decoder", merged.Model, windows, CausalLM, 8},
		{"GenAI", testmodel.SmallGenAI.Model, windows, CausalLM, 8},
		{"GPT-2, batch of 1", gpt2.Model, windows, CausalLM, 1},
		{"classifier with Softmax", head(testmodel.Softmax, 0, 0), classes, Classification, 8},
		{"classifier, batch of 2", head(testmodel.Softmax, 2, 8), classes, Classification, 2},
		{"regression", head(testmodel.Linear, 0, 0), numbers, Regression, 8},
		{"probabilities", head(testmodel.Sigmoid, 0, 0), numbers, Regression, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := c.model()
			if err != nil {
				t.Fatal(err)
			}
			cfg := adapter.DefaultConfig()
			cfg.Rank = 4
			if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
				t.Fatal(err)
			}
			adapters, err := rewrite.Adapters(m)
			if err != nil {
				t.Fatal(err)
			}
			d, err := FromTensors(c.arrays, Spec{Inputs: fedPorts(m), Detect: func(held map[string]ops.Fact) (Task, error) {
				task, _, err := DetectTask(m, ops.Standard(), LossConfig{}, held)
				return task, err
			}})
			if err != nil {
				t.Fatal(err)
			}
			r := &recorder{}
			s, err := Run(context.Background(), m, ops.Standard(), Samples(d), Samples(d), Config{Params: adapters[0].BlockNames(), Epochs: 12, LR: 5e-3, Threads: 1, Watcher: r}, Identity{})
			if err != nil {
				t.Fatal(err)
			}
			if s.Picked.Task != c.task || s.Picked.BatchSize != c.size {
				t.Errorf("picked %+v, want %s, %d", s.Picked, c.task, c.size)
			}
			if !s.Improved || math.IsNaN(*s.EvalLossAfter) || !(*s.EvalLossAfter < 0.95**s.EvalLossBefore) {
				t.Errorf("evaluation loss %v -> %v", *s.EvalLossBefore, *s.EvalLossAfter)
			}
			t.Logf("evaluation loss %.4f -> %.4f; %q", *s.EvalLossBefore, *s.EvalLossAfter, r.notes)
		})
	}
}

// TestMergedDecoder: with no past and use_cache_branch false, the branches of a
// merged decoder give the loss of the decoder that it was merged from.
func TestMergedDecoder(t *testing.T) {
	loss := func(c testmodel.Decoder, batches Source) float64 {
		m, err := c.Model()
		if err != nil {
			t.Fatal(err)
		}
		r, err := Evaluate(context.Background(), m, ops.Standard(), batches, Config{BatchSize: 3})
		if err != nil {
			t.Fatal(err)
		}
		return r.Loss()
	}
	one := Stream(func(yield func(Batch, error) bool) {
		yield(Batch{Feeds: map[string]*tensor.Tensor{"input_ids": testutil.RandomInts(1, 0, 40, 3, 9)}}, nil)
	})
	plain, merged := testmodel.SmallDecoder, testmodel.SmallDecoder
	merged.Merged = true
	if a, b := loss(plain, one), loss(merged, one); math.Abs(a-b) > 1e-6 || a < 3 || a > 5 {
		t.Errorf("the decoder's loss is %v, the merged one's %v, about ln 40 is to be expected", a, b)
	}
}

// TestDecidedFlags: what a rule sets and the data does not hold decides an If
// before anything is compiled; what the data holds is left to it.
func TestDecidedFlags(t *testing.T) {
	c := testmodel.SmallDecoder
	c.Merged = true
	ids := testutil.RandomInts(1, 0, 40, 3, 9)
	given := map[string]FeedRule{"use_cache_branch": feedOnes}
	for _, k := range []struct {
		name    string
		feeds   map[string]FeedRule
		batch   map[string]*tensor.Tensor
		ifs     bool
		without bool // the branch without a past
	}{
		{"by the standing rule", nil, map[string]*tensor.Tensor{"input_ids": ids}, false, true},
		{"by a rule that was given", given, map[string]*tensor.Tensor{"input_ids": ids}, false, false},
		{"by the data", nil, map[string]*tensor.Tensor{"input_ids": ids, "use_cache_branch": tensor.FromSlice([]bool{true}, 1)}, true, false},
	} {
		m, err := c.Model()
		if err != nil {
			t.Fatal(err)
		}
		inputs := len(m.Graph.Inputs)
		l := &loop{c: Config{Feeds: k.feeds, Params: []string{testmodel.Weights(m)[0].Name}, Threads: 1, BatchSize: 3}.WithDefaults(), w: watchers{}, sum: &Summary{}, data: Stream(func(yield func(Batch, error) bool) {
			yield(Batch{Feeds: k.batch}, nil)
		})}
		if _, err := l.prepare(context.Background(), m, ops.Standard()); err != nil {
			t.Fatalf("%s: %v", k.name, err)
		}
		b, err := l.data.largest(1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.e.Step(context.Background(), []Batch{b}, 0, 1); err != nil {
			t.Fatalf("%s: %v", k.name, err)
		}
		e := l.e.(*engine)
		ifs := false
		feeds := maps.Clone(b.Feeds)
		maps.Copy(feeds, hyper(0, 1))
		if _, err := e.whole.session.RunObserved(context.Background(), feeds, func(n *ir.Node, _ []*tensor.Tensor) { ifs = ifs || n.Is("If") }); err != nil {
			t.Fatal(err)
		}
		if ifs != k.ifs || e.unused["past_key_values.0.key"] != k.without {
			t.Errorf("%s: an If runs: %v, the past is not needed: %v; want %v, %v", k.name, ifs, e.unused["past_key_values.0.key"], k.ifs, k.without)
		}
		if len(m.Graph.Inputs) != inputs || k.feeds != nil && len(given) != 1 {
			t.Errorf("%s: the caller's model or rules changed", k.name)
		}
		l.close()
	}
}
