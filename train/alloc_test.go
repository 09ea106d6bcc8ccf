package train

import (
	"context"
	"fmt"
	"maps"
	goruntime "runtime"
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

// steady is a model with adapters on its layers, and data for it.
type steady struct {
	name   string
	model  func() (*ir.Model, error)
	task   Task
	arrays map[string]*tensor.Tensor
	method adapter.Method
}

// steadyModels are of each family: decoders, an encoder, an image classifier
// that begins with a convolution, a network of convolutions, weights of 16 bits.
func steadyModels() []steady {
	ids := testutil.RandomInts(1, 0, 40, 6, 9)
	unet := testmodel.SmallUNet
	unet.ConvProjection = true
	large := testmodel.Llama{Vocab: 300, Dim: 64, Heads: 4, Hidden: 176, Layers: 2, Context: 64}
	return []steady{
		{"llama", testmodel.Tiny.Model, CausalLM, map[string]*tensor.Tensor{"input_ids": ids}, adapter.Bone},
		{"llama, loops that are cut", large.Model, CausalLM, map[string]*tensor.Tensor{"input_ids": testutil.RandomInts(1, 0, 300, 6, 65)}, adapter.Bone},
		{"gpt2", testmodel.SmallGPT2.Model, CausalLM, map[string]*tensor.Tensor{"input_ids": ids}, adapter.Bone},
		{"decoder", testmodel.SmallDecoder.Model, CausalLM, map[string]*tensor.Tensor{"input_ids": ids}, adapter.Bone},
		{"bert", testmodel.SmallEncoder.Model, Classification, map[string]*tensor.Tensor{"input_ids": ids, LabelsInput: testutil.RandomInts(3, 0, 3, 6)}, adapter.Bone},
		{"vit", testmodel.SmallViT.Model, Classification, map[string]*tensor.Tensor{"pixel_values": testutil.Random(4, 6, 3, 8, 8), LabelsInput: testutil.RandomInts(5, 0, 3, 6)}, adapter.Bone},
		{"unet", unet.Model, Regression, map[string]*tensor.Tensor{"sample": testutil.Random(6, 6, 4, 8, 8), "timestep": testutil.Random(7, 6),
			"encoder_hidden_states": testutil.Random(8, 6, 5, 12), LabelsInput: testutil.Random(9, 6, 4, 8, 8)}, adapter.Bone},
		{"llama of 16 bits", func() (*ir.Model, error) {
			m, err := testmodel.Tiny.Model()
			if err != nil {
				return nil, err
			}
			return testmodel.Half(m)
		}, CausalLM, map[string]*tensor.Tensor{"input_ids": ids}, adapter.Bone},
		{"bat", testmodel.Tiny.Model, CausalLM, map[string]*tensor.Tensor{"input_ids": ids}, adapter.Bat},
		{"miss", testmodel.Tiny.Model, CausalLM, map[string]*tensor.Tensor{"input_ids": ids}, adapter.MiSS},
		{"lora", testmodel.Tiny.Model, CausalLM, map[string]*tensor.Tensor{"input_ids": ids}, adapter.LoRA},
	}
}

// injected is the model with adapters of rank 4, and the names of its blocks.
func (s steady) injected(t testing.TB) (*ir.Model, []string) {
	t.Helper()
	m, err := s.model()
	if err != nil {
		t.Fatal(err)
	}
	c := adapter.DefaultConfig()
	c.Rank, c.Method = 4, s.method
	if _, err := rewrite.Inject(m, c, rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	all, err := rewrite.Adapters(m)
	if err != nil {
		t.Fatal(err)
	}
	return m, all[0].BlockNames()
}

// TestSteadyStepAllocatesNothing: a step with batches of the shapes of the last
// allocates nothing, in the loop, the data, the engine and the kernels.
func TestSteadyStepAllocatesNothing(t *testing.T) {
	for _, s := range steadyModels() {
		for name, change := range map[string]func(c *Config){
			"adamw":       func(*Config) {},
			"sgd":         func(c *Config) { c.Optimizer, c.Momentum, c.WeightDecay = "sgd", 0.9, 0.1 },
			"clipped":     func(c *Config) { c.Clip = 0.1 },
			"accumulated": func(c *Config) { c.Accumulate = 2 },
			"recomputed":  func(c *Config) { c.Recompute = true },
			"2 threads":   func(c *Config) { c.Threads = 2 },
		} {
			t.Run(s.name+" "+name, func(t *testing.T) {
				l := s.loop(t, change)
				step := func() {
					if more, err := l.one(context.Background()); err != nil || !more {
						t.Fatalf("step %d: %v %v", l.step, more, err)
					}
				}
				for range 5 { // two epochs
					step()
				}
				if got := testing.AllocsPerRun(10, step); got != 0 {
					t.Errorf("%v allocations a step, want 0%s", got, l.allocating(t))
				}
			})
		}
	}
}

// TestSteadyDataAllocatesNothing: the batches of a run, from data of every form,
// with inputs made by rule.
func TestSteadyDataAllocatesNothing(t *testing.T) {
	ports := decoderPorts(t)
	c := Config{BatchSize: 2, Accumulate: 2, Steps: 1 << 30, Seed: 1}
	c.Task = CausalLM
	sources := map[string]Source{}
	for name, d := range someData(t, ports) {
		if name == "lines" {
			continue // of other lengths in each batch
		}
		sources[name] = Samples(subset{d, []int{0, 1, 0, 1}}) // a step is an epoch
	}
	b, err := someData(t, ports)["arrays"].Batch([]int{0, 3})
	if err != nil {
		t.Fatal(err)
	}
	sources["stream"] = Stream(func(yield func(Batch, error) bool) {
		for yield(b, nil) {
		}
	})
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			f, err := filledLoop(t, source, ports, c).data.feed(c, place{})
			if err != nil {
				t.Fatal(err)
			}
			defer f.close()
			next := func() {
				if p, err := f.next(); err != nil || len(p.batches) != 2 {
					t.Fatalf("%d batches: %v", len(p.batches), err)
				}
			}
			next()
			if got := testing.AllocsPerRun(20, next); got != 0 {
				t.Errorf("%v allocations a step, want 0", got)
			}
		})
	}
}

// loop is a run without end that has begun.
func (s steady) loop(t *testing.T, change func(c *Config)) *loop {
	t.Helper()
	m, blocks := s.injected(t)
	c := Default()
	c.Task, c.Params, c.Threads, c.BatchSize, c.Steps = s.task, blocks, 1, 2, 1<<30
	change(&c)
	data, err := FromTensors(s.arrays, Spec{Inputs: fedPorts(m), Task: s.task})
	if err != nil {
		t.Fatal(err)
	}
	l := &loop{given: c, c: c, data: Samples(data), w: follow(c), sum: &Summary{}}
	t.Cleanup(l.close)
	if err := l.open(context.Background(), m, ops.Standard()); err != nil {
		t.Fatal(err)
	}
	return l
}

// allocating lists the nodes that allocate when they run.
func (l *loop) allocating(t *testing.T) string {
	t.Helper()
	p, err := l.feeder.next()
	if err != nil {
		t.Fatal(err)
	}
	feeds := maps.Clone(p.batches[0].Feeds)
	u := l.e.(*engine).stepUnit()
	if u == l.e.(*engine).whole {
		maps.Copy(feeds, hyper(0, 1))
	}
	counts := map[string]uint64{}
	var before, now goruntime.MemStats
	observe := func(n *ir.Node, _ []*tensor.Tensor) {
		goruntime.ReadMemStats(&now)
		if d := now.Mallocs - before.Mallocs; d > 0 {
			counts[n.OpType] += d
		}
		goruntime.ReadMemStats(&before)
	}
	for range 2 { // the observer itself
		clear(counts)
		goruntime.ReadMemStats(&before)
		if _, err := u.session.RunObserved(context.Background(), feeds, observe); err != nil {
			t.Fatal(err)
		}
	}
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(&b, "; %s %d", k, counts[k])
	}
	return b.String()
}
