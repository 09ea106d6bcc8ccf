package train

import (
	"bytes"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// deep is a language model of many layers, its weights' names, and a batch.
func deep(t *testing.T, layers int) (*ir.Model, []string, Batch) {
	t.Helper()
	c := testmodel.Tiny
	c.Layers = layers
	m, err := c.Model()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, v := range testmodel.Weights(m) {
		names = append(names, v.Name)
	}
	ids := testutil.RandomInts(1, 0, int64(c.Vocab), 3, 20)
	return m, names, Batch{Feeds: map[string]*tensor.Tensor{"input_ids": ids, LabelsInput: testutil.RandomInts(2, 0, int64(c.Vocab), 3, 20)}}
}

// trained is the state after steps on batches, and the memory of values.
func trained(t *testing.T, m *ir.Model, change func(c *Config), batches ...Batch) (state map[string]*tensor.Tensor, arena int) {
	t.Helper()
	e := testEngine(t, m, change)
	for step := range 3 {
		mustStep(t, e, step+1, batches...)
	}
	return e.State(), e.stepUnit().session.ArenaBytes()
}

// TestRecompute: recomputing changes no bit of what is trained, and takes less
// memory.
func TestRecompute(t *testing.T) {
	m, names, batch := deep(t, 8)
	for name, change := range map[string]func(c *Config){
		"whole":       func(*Config) {},
		"accumulated": func(c *Config) { c.Accumulate = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			setup := func(again bool) func(c *Config) {
				return func(c *Config) {
					c.Task, c.Params, c.Recompute = CausalLM, names, again
					change(c)
				}
			}
			batches := []Batch{batch}
			if name == "accumulated" {
				batches = append(batches, batch)
			}
			want, all := trained(t, m, setup(false), batches...)
			got, some := trained(t, m, setup(true), batches...)
			if 2*some > all {
				t.Errorf("values take %d bytes, and %d where they are recomputed", all, some)
			}
			for name, w := range want {
				if !bytes.Equal(got[name].Bytes(), w.Bytes()) {
					t.Errorf("%s differs", name)
				}
			}
		})
	}
}

// TestRecomputeBone: of layers whose result is kept the sums alone are computed
// again.
func TestRecomputeBone(t *testing.T) {
	m, _, batch := deep(t, 8)
	cfg := adapter.DefaultConfig()
	cfg.Rank, cfg.Init = 4, adapter.InitRandom
	if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	adapters, err := rewrite.Adapters(m)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, target := range adapters[0].Targets {
		names = append(names, target.Blocks[0].Name)
	}
	want, all := trained(t, m, func(c *Config) { c.Task, c.Params = CausalLM, names }, batch)
	got, some := trained(t, m, func(c *Config) { c.Task, c.Params, c.Recompute = CausalLM, names, true }, batch)
	if 2*some > all {
		t.Errorf("values take %d bytes, and %d where they are recomputed", all, some)
	}
	for name, w := range want {
		if !bytes.Equal(got[name].Bytes(), w.Bytes()) {
			t.Errorf("%s differs", name)
		}
	}
}

// dropping is a chain of layers with a Dropout in each.
func dropping(layers int) *ir.Model {
	m := &ir.Model{IRVersion: 8, Graph: ir.NewGraph("dropping")}
	m.SetOpset("", 18)
	b := ir.NewBuilder(m.Graph, ir.NewNames(m))
	y := m.Graph.AddInput("x", ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(3)))
	training := b.Const("training", tensor.FromSlice([]bool{true}).Reshape())
	for i := range layers {
		w := "w"
		if i > 0 {
			w = "w" + string(rune('a'+i))
		}
		y = b.Op("MatMul", ir.In(y, m.Graph.AddInitializer(w, ir.Dense(testutil.Random(uint64(i), 3, 3)))))
		y = b.Op("Tanh", ir.In(b.Op("Sin", ir.In(y))))
		y = b.Op("Dropout", ir.In(y, b.Const("ratio", tensor.Scalar(float32(0.3))), training))
	}
	y.Name, y.Type = "y", ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(3))
	m.Graph.Outputs = ir.In(y)
	return m
}

// TestRecomputeDropsAlike: what draws random numbers is not run again.
func TestRecomputeDropsAlike(t *testing.T) {
	m := dropping(8)
	batch := classes(5, 0, 2, 1, 1)
	want, _ := trained(t, m, func(*Config) {}, batch)
	got, _ := trained(t, m, func(c *Config) { c.Recompute = true }, batch)
	for name, w := range want {
		if !bytes.Equal(got[name].Bytes(), w.Bytes()) {
			t.Errorf("%s differs", name)
		}
	}
}

// TestRecomputedNodes: segments but the last are computed again, their random
// nodes and what only crosses are not.
func TestRecomputedNodes(t *testing.T) {
	g, err := newGraph(dropping(8), ops.Standard(), []string{"w"}, LossConfig{Task: Classification})
	if err != nil {
		t.Fatal(err)
	}
	before, forward := map[string]int{}, g.b.Graph.Len()
	for n := range g.b.Graph.Nodes() {
		before[n.OpType]++
	}
	g.recompute = true
	if err := g.differentiate(g.loss.mean(g.b)); err != nil {
		t.Fatal(err)
	}
	if err := ir.Verify(g.model); err != nil {
		t.Fatal(err)
	}
	again, tags := map[string]int{}, map[string]bool{}
	for n := range g.b.Graph.Nodes() {
		if n.Tag != "" {
			again[n.OpType]++
			tags[n.Tag] = true
		}
	}
	if again["Dropout"] != 0 || again["Sin"] == 0 || again["Sin"] >= before["Sin"] || len(tags) < 2 || len(tags) > forward/4 {
		t.Errorf("computed again: %v of %v in %d segments", again, before, len(tags))
	}
}

// TestFrozenPrefix: what lies before the first trained parameter is not kept.
func TestFrozenPrefix(t *testing.T) {
	m, names, batch := deep(t, 8)
	last := names[len(names)-1:]
	_, all := trained(t, m, func(c *Config) { c.Task, c.Params = CausalLM, names }, batch)
	_, some := trained(t, m, func(c *Config) { c.Task, c.Params = CausalLM, last }, batch)
	if 4*some > all {
		t.Errorf("values take %d bytes where %v alone is trained, %d where all are", some, last, all)
	}
}
