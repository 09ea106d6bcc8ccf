package train

import (
	"bytes"
	"context"
	"errors"
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
	limit := c.CachePrefixLimit
	for i, cached := range []bool{false, true} {
		told[i] = &recorder{}
		c.CachePrefix, c.CachePrefixLimit, c.Watcher = cached, 0, told[i]
		if cached {
			c.CachePrefixLimit = limit
		}
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
		{"accumulated, two threads", llama, blocks, CausalLM, windowData(t, llama, 11), func(c *Config) { c.Accumulate, c.Threads = 2, 2 }},
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

// chain is a classifier of x (n,3,4): something first, layers, something
// between, and a trained layer "w" with what is behind it.
func chain(batch ir.Dim, first, between, behind func(b *ir.Builder, y *ir.Value) *ir.Value) *ir.Model {
	m := &ir.Model{IRVersion: 8, Graph: ir.NewGraph("chain")}
	m.SetOpset("", 18)
	b := ir.NewBuilder(m.Graph, ir.NewNames(m))
	y := m.Graph.AddInput("x", ir.Tensor(tensor.Float32, batch, ir.Fixed(3), ir.Fixed(4)))
	y = first(b, y)
	layer := func(name string, seed uint64) {
		y = b.Op("Tanh", ir.In(b.Op("MatMul", ir.In(y, m.Graph.AddInitializer(name, ir.Dense(testutil.Random(seed, 4, 4)))))))
	}
	for i := range 6 {
		layer(fmt.Sprintf("w%d", i), uint64(i))
	}
	y.Name = "early"
	y = between(b, y)
	y.Name = "late"
	layer("w", 9)
	y = b.Op("ReduceMean", ir.In(behind(b, y), b.Const("axes", tensor.Ints(1))), ir.A("keepdims", ir.Int(0)))
	y.Name, y.Type = "y", ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
	m.Graph.Outputs = ir.In(y)
	return m
}

func same(_ *ir.Builder, y *ir.Value) *ir.Value { return y }

func turned(b *ir.Builder, y *ir.Value) *ir.Value {
	return b.Op("Transpose", ir.In(y), ir.A("perm", ir.Ints{1, 0, 2}))
}

func dropped(b *ir.Builder, y *ir.Value) *ir.Value {
	return b.Op("Dropout", ir.In(y, b.Const("ratio", tensor.Scalar(float32(0.3))), b.Const("training", tensor.FromSlice([]bool{true}).Reshape())))
}

func chainData(t *testing.T, n int) Data {
	t.Helper()
	d, err := FromTensors(map[string]*tensor.Tensor{"x": testutil.Random(5, n, 3, 4), LabelsInput: testutil.RandomInts(6, 0, 4, n)},
		Spec{Task: Classification, Inputs: fedPorts(chain(ir.Symbol("n"), same, same, same))})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func chainConfig() Config {
	c := Config{LR: 0.05, BatchSize: 3, Epochs: 2, Threads: 1, Params: []string{"w"}}
	c.Task = Classification
	return c
}

// TestCachePrefixEndsWhereItMust: before what is random, and before values
// that do not lie sample by sample.
func TestCachePrefixEndsWhereItMust(t *testing.T) {
	for _, k := range []struct {
		name            string
		between, behind func(*ir.Builder, *ir.Value) *ir.Value
		want            string
	}{
		{"all", same, same, "late"},
		{"dropout", dropped, same, "early"},
		{"another axis", turned, turned, "early"},
	} {
		t.Run(k.name, func(t *testing.T) {
			m, data := chain(ir.Symbol("n"), same, k.between, k.behind), chainData(t, 10)
			runBoth(t, m, Samples(data), Samples(subset{data, []int{1, 2}}), chainConfig())
			c := chainConfig().WithDefaults()
			c.CachePrefix = true
			l := &loop{c: c, w: watchers{}, sum: &Summary{}, data: Samples(data)}
			defer l.close()
			if _, err := l.prepare(context.Background(), m, ops.Standard()); err != nil {
				t.Fatal(err)
			}
			if v := l.cache.values; len(v) != 1 || v[0].name != k.want {
				t.Errorf("%v are kept, want %s", v, k.want)
			}
		})
	}
}

// TestCachePrefixRefuses: what cannot be kept, and what does not fit.
func TestCachePrefixRefuses(t *testing.T) {
	centered := func(b *ir.Builder, y *ir.Value) *ir.Value {
		return b.Op("Sub", ir.In(y, b.Op("ReduceMean", ir.In(y, b.Const("axes", tensor.Ints(0))))))
	}
	for _, k := range []struct {
		name  string
		m     *ir.Model
		limit int64
		want  []string
	}{
		{"samples meet", chain(ir.Symbol("n"), same, centered, same), 0, []string{`value "late"`, "Sub", "depends on the other samples", "--cache-prefix", "--batch-size 1"}},
		{"another axis from the start", chain(ir.Symbol("n"), turned, same, turned), 0, []string{`value "late"`, "float32[3 4 4] for 4 samples", "--batch-size 1"}},
		{"fixed batch", chain(ir.Fixed(2), same, same, same), 0, []string{`"x"`, "batches of 2", "--dynamic-batch"}},
		{"too large", chain(ir.Symbol("n"), same, same, same), 400, []string{"10 samples", "48 bytes", "--cache-prefix-limit"}},
	} {
		t.Run(k.name, func(t *testing.T) {
			c := chainConfig()
			c.CachePrefix, c.CachePrefixLimit = true, k.limit
			_, err := Run(context.Background(), k.m, ops.Standard(), Samples(chainData(t, 10)), nil, c, Identity{})
			wantError(t, err, k.want...)
			if strings.Contains(err.Error(), "--batch-size 1") { // the way out that it names
				c.BatchSize = 1
				runBoth(t, k.m, Samples(chainData(t, 5)), nil, c)
			}
		})
	}
}

// TestCachePrefixOnce: a second epoch does not run the prefix; one sample that
// is new has it run on that sample alone.
func TestCachePrefixOnce(t *testing.T) {
	m, params := lateLlama(t)
	data := windowData(t, m, 6)
	c := Config{BatchSize: 3, LR: 0.02, Params: params, Threads: 1, CachePrefix: true}.WithDefaults()
	c.Task = CausalLM
	l := &loop{c: c, w: watchers{}, sum: &Summary{}, data: Samples(data)}
	defer l.close()
	if _, err := l.prepare(context.Background(), m, ops.Standard()); err != nil {
		t.Fatal(err)
	}
	step := func(pick ...int) error {
		b, err := data.Batch(pick)
		if err == nil {
			_, err = l.e.Step(context.Background(), []Batch{b}, 0.01, 1)
		}
		return err
	}
	for _, pick := range [][]int{{0, 1, 2}, {3, 4, 2}} {
		if err := step(pick...); err != nil {
			t.Fatal(err)
		}
	}
	unit := l.cache.unit
	l.cache.unit = nil // to run it panics
	if err := step(4, 0, 3); err != nil {
		t.Fatal(err)
	}
	b, err := data.Batch([]int{1, 0, 2})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = l.cache.feeds(context.Background(), b) }); n > 0 {
		t.Errorf("feeding a batch that is kept allocates %v times", n)
	}
	l.cache.unit = unit
	if err := step(5, 0, 3); err != nil {
		t.Fatal(err)
	}
	if want := int64(6 * 12 * testmodel.Tiny.Dim * 4); l.cache.bytes != want || len(l.cache.held) != 6 {
		t.Errorf("%d samples take %d bytes, want 6 and %d", len(l.cache.held), l.cache.bytes, want)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	l.cache.held, l.cache.bytes = map[sampleKey]*keptSample{}, 0
	if _, err := l.e.Step(ctx, []Batch{b}, 0.01, 2); !errors.Is(err, context.Canceled) || len(l.cache.held) != 0 {
		t.Errorf("a cancelled step gives %v and keeps %d samples", err, len(l.cache.held))
	}
}

// TestCachePrefixOfStream: a stream's samples are known by their content; what
// does not fit is computed each time, and said once.
func TestCachePrefixOfStream(t *testing.T) {
	m, params := lateLlama(t)
	data, left := windowData(t, m, 7), 0
	c := Config{Epochs: 3, LR: 0.02, Params: params, Threads: 1, CachePrefixLimit: 2000}
	c.Task = CausalLM
	r := runBoth(t, m, Stream(streamed(data, 3, &left)), Samples(data), func() Config { c := c; c.BatchSize, c.CachePrefixLimit = 3, 0; return c }())
	if n := note(t, r); !strings.Contains(n, "for 7") {
		t.Error(n)
	}
	r = runBoth(t, m, Stream(streamed(data, 3, &left)), nil, c)
	full := 0
	for _, n := range r.notes {
		if strings.Contains(n, "2.0 KiB are full") {
			full++
		}
	}
	if full != 1 {
		t.Errorf("%d notes say that the cache is full: %q", full, r.notes)
	}
}

// TestCachePrefixGainsNothing: with every layer trained the run goes on without.
func TestCachePrefixGainsNothing(t *testing.T) {
	m, err := testmodel.Tiny.Model()
	m, params := late(t, m, err)
	c := Config{BatchSize: 3, Epochs: 2, LR: 0.02, Params: params, Threads: 1}
	c.Task = CausalLM
	r := runBoth(t, m, Samples(windowData(t, m, 5)), nil, c)
	if n := note(t, r); !strings.Contains(n, "nothing is gained") {
		t.Error(n)
	}
}

// TestCachePrefixChoosesBatchSize: planning a batch needs no prefix computed.
func TestCachePrefixChoosesBatchSize(t *testing.T) {
	m, params := lateLlama(t)
	c := Config{Epochs: 1, LR: 0.02, Params: params, Threads: 1, Accumulate: 2, Memory: 1 << 30}
	c.Task = CausalLM
	runBoth(t, m, Samples(windowData(t, m, 9)), nil, c)
}

// TestCachePrefixResumes: a run that is resumed makes its cache again and ends
// as one without a cache that never stopped.
func TestCachePrefixResumes(t *testing.T) {
	m, params := lateLlama(t)
	data := Samples(windowData(t, m, 7))
	c := Config{BatchSize: 3, Steps: 7, LR: 0.02, Params: params, Threads: 1}
	c.Task = CausalLM
	want, err := Run(context.Background(), m, ops.Standard(), data, nil, c, Identity{})
	if err != nil {
		t.Fatal(err)
	}
	c.CachePrefix, c.Checkpoint = true, t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	c.Watcher = &recorder{after: func(s StepInfo) {
		if s.Step == 4 {
			cancel()
		}
	}}
	if _, err := Run(ctx, m, ops.Standard(), data, nil, c, Identity{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	c.Resume, c.Watcher = true, nil
	got, err := Run(context.Background(), m, ops.Standard(), data, nil, c, Identity{})
	if err != nil {
		t.Fatal(err)
	}
	sameRun(t, "resumed with a cache", got, want)
	if got.PrefixShare < 0.5 || got.PrefixBytes == 0 {
		t.Errorf("the summary has a share of %v and %d bytes", got.PrefixShare, got.PrefixBytes)
	}
}

// TestPrefixOfOneProjection: where of a layer only the value projection is
// trained, queries and keys of that layer are computed again rather than kept:
// their share of the work is not worth three times the bytes.
func TestPrefixOfOneProjection(t *testing.T) {
	c := testmodel.Tiny
	c.Layers = 8
	m, err := c.Model()
	if err != nil {
		t.Fatal(err)
	}
	cfg := adapter.DefaultConfig()
	cfg.Rank, cfg.Layers, cfg.Targets = 4, []int{7}, adapter.Modules{List: []string{"v_proj"}}
	if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	adapters, err := rewrite.Adapters(m)
	if err != nil {
		t.Fatal(err)
	}
	g, err := newGraph(m, ops.Standard(), adapters[0].TrainableNames(), LossConfig{Task: CausalLM})
	if err != nil {
		t.Fatal(err)
	}
	ids := testutil.RandomInts(1, 0, 40, 3, 20)
	x := newExample(Batch{Feeds: map[string]*tensor.Tensor{"input_ids": ids, LabelsInput: ids}}, 3)
	p, err := findPrefix(g, ops.Standard(), x)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.values) != 1 || p.saved < 0.7 || p.saved >= p.open {
		t.Errorf("%d values are kept, for %.2f of the forward pass; %.2f is frozen", len(p.values), p.saved, p.open)
	}
}

// quantizedTiny builds testmodel.Tiny with quantized weights.
func quantizedTiny(how testmodel.Quantization) func() (*ir.Model, error) {
	return func() (*ir.Model, error) {
		c := testmodel.Tiny
		c.Hidden = 32 // whole blocks
		m, err := c.Model()
		if err != nil {
			return nil, err
		}
		return testmodel.Quantize(m, how)
	}
}

// TestCachePrefixOfFamilies: the cut is found in graphs as exporters leave
// them, with inputs that are made by rule.
func TestCachePrefixOfFamilies(t *testing.T) {
	decoder, merged, gpt2, one := testmodel.SmallDecoder, testmodel.SmallDecoder, testmodel.SmallGPT2, testmodel.SmallGPT2
	merged.Merged, one.Batch = true, 1
	ids := map[string]*tensor.Tensor{"input_ids": testutil.RandomInts(1, 0, 40, 7, 9)}
	images := map[string]*tensor.Tensor{"pixel_values": testutil.Random(3, 7, 3, 8, 8), LabelsInput: testutil.RandomInts(4, 0, 3, 7)}
	for _, k := range []struct {
		name   string
		model  func() (*ir.Model, error)
		arrays map[string]*tensor.Tensor
		batch  int
	}{
		{"decoder with past", decoder.Model, ids, 3},
		{"merged decoder", merged.Model, ids, 3},
		{"GenAI", testmodel.SmallGenAI.Model, ids, 3},
		{"GPT-2", gpt2.Model, ids, 3},
		{"GPT-2, batch of 1", one.Model, ids, 1},
		{"ViT", testmodel.SmallViT.Model, images, 3},
		{"int8 weights", quantizedTiny(testmodel.WeightInt8), ids, 3},
		{"int4 blocks", quantizedTiny(testmodel.BlockInt4), ids, 3},
	} {
		t.Run(k.name, func(t *testing.T) {
			m, err := k.model()
			m, params := late(t, m, err, 1)
			var task Task
			d, err := FromTensors(k.arrays, Spec{Inputs: fedPorts(m), Detect: func(held map[string]ops.Fact) (Task, error) {
				var err error
				task, _, err = DetectTask(m, ops.Standard(), LossConfig{}, held)
				return task, err
			}})
			if err != nil {
				t.Fatal(err)
			}
			c := Config{BatchSize: k.batch, Epochs: 2, LR: 0.02, Params: params, Threads: 1}
			c.Task = task
			r := runBoth(t, m, Samples(d), nil, c)
			if n := note(t, r); !strings.Contains(n, "computed once for a sample") {
				t.Error(n)
			}
			t.Log(note(t, r))
		})
	}
}

// TestCachePrefixOfDynamicInt8: a scale that is taken over the whole batch makes
// samples depend on each other, however they lie.
func TestCachePrefixOfDynamicInt8(t *testing.T) {
	m, err := quantizedTiny(testmodel.DynamicInt8)()
	m, params := late(t, m, err, 1)
	c := Config{BatchSize: 3, LR: 0.02, Params: params, Threads: 1, CachePrefix: true}
	c.Task = CausalLM
	_, err = Run(context.Background(), m, ops.Standard(), Samples(windowData(t, m, 7)), nil, c, Identity{})
	wantError(t, err, "depends on the other samples", "--batch-size 1")
}

// either is an If on whether any element of x is above a limit; its branches are
// made by what reads x from outside of them.
func either(b *ir.Builder, x *ir.Value, limit float32, then, otherwise func(b *ir.Builder) *ir.Value) *ir.Value {
	body := func(name string, make func(b *ir.Builder) *ir.Value) ir.GraphAttr {
		g := ir.NewGraph(name)
		in := ir.NewBuilder(g, b.Names())
		in.Prefix = name + "/"
		g.Outputs = ir.In(make(in))
		return ir.GraphAttr{Graph: g}
	}
	most := b.Op("ReduceMax", ir.In(x), ir.A("keepdims", ir.Int(0)))
	above := b.Op("Greater", ir.In(most, b.Const("limit", tensor.Scalar(limit))))
	return b.Op("If", ir.In(above), ir.A("then_branch", body("then", then)), ir.A("else_branch", body("else", otherwise)))
}

// TestCachePrefixReadByBranches: branches of the rest read kept values from
// around them.
func TestCachePrefixReadByBranches(t *testing.T) {
	data := Samples(chainData(t, 10))
	for _, limit := range []float32{-2, 2} { // tanh is always and never above
		behind := func(b *ir.Builder, y *ir.Value) *ir.Value {
			kept := b.Graph.Index()["late"]
			branch := either(b, kept, limit,
				func(in *ir.Builder) *ir.Value { return in.Op("Add", ir.In(y, kept)) },
				func(in *ir.Builder) *ir.Value { return in.Op("Identity", ir.In(kept)) })
			return b.Op("Add", ir.In(y, branch))
		}
		between := func(b *ir.Builder, y *ir.Value) *ir.Value {
			return either(b, y, limit,
				func(in *ir.Builder) *ir.Value { return in.Op("Sin", ir.In(y)) },
				func(in *ir.Builder) *ir.Value { return in.Op("Identity", ir.In(y)) })
		}
		for _, m := range []*ir.Model{chain(ir.Symbol("n"), same, same, behind), chain(ir.Symbol("n"), same, between, same)} {
			r := runBoth(t, m, data, data, chainConfig())
			if n := note(t, r); !strings.Contains(n, "computed once for a sample") {
				t.Error(n)
			}
		}
	}
}

// TestCachePrefixOfAnotherGraph: a graph for evaluation that has fused a kept
// value away stays as it is, and reads no cache.
func TestCachePrefixOfAnotherGraph(t *testing.T) {
	build := func(between func(*ir.Builder, *ir.Value) *ir.Value) *graph {
		g, err := newGraph(chain(ir.Symbol("n"), same, between, same), ops.Standard(), []string{"w"}, LossConfig{Task: Classification})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	b, err := chainData(t, 3).Batch([]int{0, 1, 2})
	if err != nil {
		t.Fatal(err)
	}
	x, g := newExample(b, 3), build(same)
	p, err := findPrefix(g, ops.Standard(), x)
	if err != nil {
		t.Fatal(err)
	}
	c, _ := newPrefixCache(g, p, x)
	if err := ir.Verify(g.model); err != nil {
		t.Error(err)
	}
	other := build(same)
	other.index["late"].Name = "fused"
	before, inputs := other.b.Graph.Len(), len(other.b.Graph.Inputs)
	if c.replace(other) || other.b.Graph.Len() != before || len(other.b.Graph.Inputs) != inputs {
		t.Error("a graph without the kept value was changed")
	}
	if fit := build(same); !c.replace(fit) || fit.b.Graph.Len() >= before {
		t.Error("a graph with the kept value was not changed")
	}
}
