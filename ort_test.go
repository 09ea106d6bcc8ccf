package bonnx

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/train"
)

// ortModels are models that bonnx must run as ONNX Runtime does, each with the
// shapes of its inputs to try; no shapes means those that Feeds makes up.
var ortModels = []struct {
	file   string
	shapes []map[string][]int
}{
	{"babyllama/babyllama_op17.onnx", []map[string][]int{{"input_ids": {1, 7}}, {"input_ids": {3, 40}}}},
	{"stories260k/stories260K_op14.onnx", []map[string][]int{{"input_ids": {1, 1}}, {"input_ids": {3, 50}}}},
	{"structure/random_encoder.onnx", []map[string][]int{nil, {"input_ids": {1, 5}, "attention_mask": {1, 5}, "token_type_ids": {1, 5}}, {"input_ids": {3, 17}, "attention_mask": {3, 17}, "token_type_ids": {3, 17}}}},
	// Its mask mixes up batch and positions: it runs where these agree or are 1.
	{"structure/random_decoder.onnx", []map[string][]int{decoderShapes(1, 4, 7), decoderShapes(1, 9, 2), decoderShapes(3, 3, 3), decoderShapes(8, 8, 8)}},
	{"structure/dummy_transformer.onnx", []map[string][]int{nil, {"input_ids": {1, 5}, "attention_mask": {1, 5}, "token_type_ids": {1, 5}}, {"input_ids": {3, 17}, "attention_mask": {3, 17}, "token_type_ids": {3, 17}}}},
	{"structure/optimum_tiny_classifier_op11.onnx", []map[string][]int{nil, {"input_ids": {1, 5}, "attention_mask": {1, 5}}, {"input_ids": {3, 17}, "attention_mask": {3, 17}}}},
	{"structure/mnist-8.onnx", []map[string][]int{nil}},
}

func decoderShapes(batch, target, source int) map[string][]int {
	return map[string][]int{"input_ids": {batch, target}, "encoder_attention_mask": {batch, source}, "encoder_hidden_states": {batch, source, 8}}
}

func openShared(t testing.TB, file string) onFile {
	t.Helper()
	m, err := Open(testutil.Shared(t, filepath.Join("models", file)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return onFile{m, t}
}

func saveTo(t testing.TB, m *Model, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := m.Save(context.Background(), path, SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	return path
}

// sameOutputs holds bonnx's outputs to ONNX Runtime's.
func sameOutputs(t *testing.T, what string, m *Model, feeds, want map[string]*tensor.Tensor) {
	t.Helper()
	got, err := m.Run(context.Background(), feeds, 0)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for name, w := range want {
		if got[name] == nil {
			t.Errorf("%s: no output %q", what, name)
			continue
		}
		testutil.Close(t, what+": "+name, got[name], w, 1e-4, 1e-4)
	}
}

func TestORTModels(t *testing.T) {
	ort.Available(t)
	for _, c := range ortModels {
		for i, shapes := range c.shapes {
			t.Run(fmt.Sprintf("%s/%d", filepath.Base(c.file), i), func(t *testing.T) {
				m := openShared(t, c.file)
				known := map[string][]int{}
				for _, name := range m.InputNames() {
					if s := shapes[name]; s != nil {
						known[name] = s
					}
				}
				feeds, err := m.Feeds(nil, known, uint64(i))
				if err != nil {
					t.Fatal(err)
				}
				sameOutputs(t, "outputs", m.Model, feeds, ort.Run(t, m.Path(), feeds))
			})
		}
	}
}

// injected opens stories260k with an adapter.
func injected(t testing.TB, file, method string, rank int, form rewrite.Form) onFile {
	t.Helper()
	m := openShared(t, file)
	cfg := adapter.DefaultConfig()
	cfg.Rank, cfg.Seed = rank, 5
	if err := cfg.Method.UnmarshalText([]byte(method)); err != nil {
		t.Fatal(err)
	}
	if cfg.Method == adapter.LoRA {
		cfg.Alpha = 2 * float64(rank)
	}
	m.inject(cfg, rewrite.Options{Form: form})
	return m
}

var stories = []string{"stories260k/stories260K_op14.onnx", "stories260k/stories260K_op17.onnx"}

// randomWindows are token windows as causal-lm data of the given shape, one
// batch a step.
func randomWindows(steps, batch, seq int) *tensor.Tensor {
	return testutil.RandomInts(uint64(seq), 0, 512, steps*batch, seq+1)
}

func windowData(t testing.TB, m *Model, w *tensor.Tensor) train.Data {
	t.Helper()
	spec := train.Spec{Task: train.CausalLM, Inputs: []train.Port{{Name: "input_ids", Type: m.graph.Graph.Inputs[0].Type}}}
	d, err := train.FromTensors(map[string]*tensor.Tensor{"input_ids": w}, spec)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestORTTrained trains for some steps and wants adapted, reformed, merged,
// extracted and reapplied models to agree in bonnx and in ONNX Runtime.
func TestORTTrained(t *testing.T) {
	ort.Available(t)
	for _, file := range stories {
		for _, c := range []struct {
			method string
			rank   int
		}{{"bone", 16}, {"bat", 4}, {"lora", 8}} {
			t.Run(filepath.Base(file)+"/"+c.method, func(t *testing.T) {
				m := injected(t, file, c.method, c.rank, rewrite.Auto)
				cfg := train.Default()
				cfg.LR, cfg.BatchSize = 5e-3, 4
				m.fit(windowData(t, m.Model, randomWindows(6, 4, 32)), cfg, &losses{})
				everyForm(t, m, file)
			})
		}
	}
}

// everyForm checks what becomes of a trained model.
func everyForm(t *testing.T, m onFile, file string) {
	feeds := map[string]*tensor.Tensor{"input_ids": testutil.RandomInts(3, 0, 512, 2, 33)}
	trained := saveTo(t, m.Model, "trained.onnx")
	want := ort.Run(t, trained, feeds)
	sameOutputs(t, "adapted", m.Model, feeds, want)
	base := ort.Run(t, testutil.Shared(t, filepath.Join("models", file)), feeds)
	if worst, _ := apart(floatsOf(t, base["logits"]), floatsOf(t, want["logits"])); worst < 0.01 {
		t.Errorf("training moved the logits by no more than %g", worst)
	}
	weight := reopen(t, trained)
	weight.reform(rewrite.Weighted)
	testutil.Close(t, "weight form", ort.Run(t, saveTo(t, weight.Model, "weight.onnx"), feeds)["logits"], want["logits"], 1e-4, 1e-4)
	merged := reopen(t, trained)
	merged.merge()
	mergedPath := saveTo(t, merged.Model, "merged.onnx")
	testutil.Close(t, "merged", ort.Run(t, mergedPath, feeds)["logits"], want["logits"], 1e-4, 1e-4)
	sameOutputs(t, "merged", merged.Model, feeds, want)
	sameInitializers(t, reopen(t, trained), file)
	adapterPath := filepath.Join(t.TempDir(), "adapter.npz")
	if err := m.bone().SaveAdapter(adapterPath, "", SaveOptions{}); err != nil {
		t.Fatal(err)
	}
	again := openShared(t, file)
	again.apply(adapterPath)
	exactly(t, "extract and apply", again.Model, m.Model, feeds)
}

func floatsOf(t *testing.T, x *tensor.Tensor) []float64 {
	t.Helper()
	f, err := x.Float64s()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// exactly wants the same outputs of two models, bit for bit.
func exactly(t *testing.T, what string, a, b *Model, feeds map[string]*tensor.Tensor) {
	t.Helper()
	x, err := a.Run(context.Background(), feeds, 0)
	if err != nil {
		t.Fatal(err)
	}
	y, err := b.Run(context.Background(), feeds, 0)
	if err != nil {
		t.Fatal(err)
	}
	for name := range x {
		if !x[name].Equal(y[name]) {
			t.Errorf("%s: output %q differs", what, name)
		}
	}
}

// sameInitializers strips m and compares every tensor with the base, bit for
// bit.
func sameInitializers(t *testing.T, m onFile, file string) {
	t.Helper()
	m.strip()
	base := openShared(t, file)
	if a, b := len(m.graph.Graph.Initializers), len(base.graph.Graph.Initializers); a != b {
		t.Errorf("stripped model has %d initializers, the base %d", a, b)
	}
	got := m.graph.Graph.Index()
	for _, v := range base.graph.Graph.Initializers {
		want, err := v.Data.Tensor()
		if err != nil {
			t.Fatal(err)
		}
		have, err := got[v.Name].Data.Tensor()
		if err != nil || !have.Equal(want) {
			t.Errorf("initializer %q changed (%v)", v.Name, err)
		}
	}
}

// TestORTStep runs the exported training step in ONNX Runtime for fifty steps,
// at two shapes from the same file, and wants bonnx's losses; the blocks that
// come out go back onto the adapted model.
func TestORTStep(t *testing.T) {
	ort.Available(t)
	const steps = 50
	for _, c := range []struct {
		method, file string
		rank         int
		opset        int64
	}{
		{"bone", stories[1], 16, 0}, {"bat", stories[1], 4, 21}, {"lora", stories[1], 8, 0}, {"bone", stories[0], 16, 18},
	} {
		t.Run(fmt.Sprintf("%s/%s", c.method, filepath.Base(c.file)), func(t *testing.T) {
			m := injected(t, c.file, c.method, c.rank, rewrite.Auto)
			cfg := train.Default()
			cfg.LR, cfg.WeightDecay, cfg.Clip = 3e-3, 0.01, 1
			step := m.step(cfg, c.opset, false)
			onlyStandard(t, step, openShared(t, c.file).Model)
			path := saveTo(t, step, "step.onnx")
			for _, shape := range [][2]int{{4, 32}, {2, 48}} {
				follows(t, m, cfg, path, steps, shape[0], shape[1])
			}
		})
	}
}

// onlyStandard wants operators of the standard domain alone, and extents that
// the base leaves open to be open.
func onlyStandard(t *testing.T, m, base *Model) {
	t.Helper()
	m.graph.Graphs(func(g *ir.Graph) bool {
		for n := range g.Nodes() {
			if ir.CanonicalDomain(n.Domain) != "" {
				t.Errorf("%v is not standard", n)
			}
		}
		return true
	})
	for i, v := range base.graph.Graph.Inputs {
		if v.Data != nil {
			continue
		}
		got := m.graph.Graph.Inputs[i]
		if got.Name != v.Name || got.Type.String() != v.Type.String() {
			t.Errorf("input %q is %v, the base's %q is %v", got.Name, got.Type, v.Name, v.Type)
		}
	}
}

// follows compares losses step by step and brings the blocks back.
func follows(t *testing.T, m onFile, cfg TrainConfig, path string, steps, batch, seq int) {
	t.Helper()
	w := randomWindows(steps, batch, seq)
	ours := onFile{m.with(m.graph.Clone()), t}
	cfg.Steps, cfg.BatchSize, cfg.NoShuffle = steps, batch, true
	l := &losses{}
	ours.fit(windowData(t, m.Model, w), cfg, l)
	losses, blocks := inORT(t, m, cfg, path, w, steps, batch, seq)
	worst := 0.0
	for i, x := range floatsOf(t, losses) {
		d := math.Abs(x - l.got[i])
		worst = math.Max(worst, d)
		if !(d <= 1e-4) {
			t.Errorf("%dx%d, step %d: ONNX Runtime's loss is %.6f, bonnx's %.6f", batch, seq, i+1, x, l.got[i])
		}
	}
	t.Logf("%dx%d: %d losses from %.4f to %.4f differ by up to %.2g", batch, seq, steps, l.got[0], l.got[steps-1], worst)
	back := onFile{m.with(m.graph.Clone()), t}
	f := filepath.Join(t.TempDir(), "blocks.npz")
	writeArrays(t, f, blocks)
	back.apply(f)
	feeds := map[string]*tensor.Tensor{"input_ids": testutil.RandomInts(3, 0, 512, 2, 21)}
	x, err := back.Run(context.Background(), feeds, 0)
	if err != nil {
		t.Fatal(err)
	}
	y, err := ours.Run(context.Background(), feeds, 0)
	if err != nil {
		t.Fatal(err)
	}
	testutil.Close(t, "logits with ONNX Runtime's blocks", x["logits"], y["logits"], 2e-2, 2e-2)
}

// inORT runs the exported step and returns the losses and the last blocks.
func inORT(t *testing.T, m onFile, cfg TrainConfig, path string, w *tensor.Tensor, steps, batch, seq int) (*tensor.Tensor, map[string]*tensor.Tensor) {
	t.Helper()
	in, labels := tensor.New(tensor.Int64, steps, batch, seq), tensor.New(tensor.Int64, steps, batch, seq)
	numbers := tensor.New(tensor.Int64, steps)
	src := tensor.Data[int64](w)
	for i := range steps * batch {
		copy(tensor.Data[int64](in)[i*seq:(i+1)*seq], src[i*(seq+1):])
		copy(tensor.Data[int64](labels)[i*seq:(i+1)*seq], src[i*(seq+1)+1:])
	}
	for i := range steps {
		tensor.Data[int64](numbers)[i] = int64(i + 1)
	}
	state := train.StateNames(m.graph, m.blocks(), cfg.OptimConfig)
	carry := map[string]string{}
	for _, name := range m.blocks() {
		b, err := m.graphValue(name)
		if err != nil {
			t.Fatal(err)
		}
		state[name] = b
	}
	for name := range state {
		carry[name+train.NewSuffix] = name
	}
	state[train.LearningRateInput] = tensor.Scalar(float32(cfg.LR))
	recorded, last := ort.RunSteps(t, ort.Steps{Model: path, State: state, Carry: carry, Record: []string{train.ExportLoss},
		Batches: map[string]*tensor.Tensor{"input_ids": in, train.LabelsInput: labels, train.StepInput: numbers}})
	blocks := map[string]*tensor.Tensor{}
	for _, name := range m.blocks() {
		blocks[name+train.NewSuffix] = last[name]
	}
	return recorded[train.ExportLoss], blocks
}
