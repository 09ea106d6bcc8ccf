package bonnx

import (
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/train"
)

// task is a training run on a small model whose exported step ONNX Runtime
// follows.
type task struct {
	file   string
	target string // "" for all-linear
	task   Task
	// batch and extents of the data, by input; a leading axis of batches and
	// samples is added.
	batch   int
	inputs  map[string][]int
	labels  []int
	bound   int64 // of ids and of class labels
	classes int64
}

var tasks = []task{
	{file: "structure/optimum_tiny_classifier_op11.onnx", task: train.Classification, batch: 4,
		inputs: map[string][]int{"input_ids": {9}, "attention_mask": {9}}, bound: 1000, classes: 2},
	{file: "structure/optimum_tiny_classifier_op11.onnx", task: train.Regression, batch: 3,
		inputs: map[string][]int{"input_ids": {5}, "attention_mask": {5}}, bound: 1000, labels: []int{2}},
	{file: "structure/dummy_transformer.onnx", task: train.Regression, batch: 3,
		inputs: map[string][]int{"input_ids": {7}, "attention_mask": {7}, "token_type_ids": {7}}, bound: 15, labels: []int{7, 16}},
	{file: "structure/dummy_transformer.onnx", task: train.Classification, batch: 3,
		inputs: map[string][]int{"input_ids": {7}, "attention_mask": {7}, "token_type_ids": {7}}, bound: 15, labels: []int{7}, classes: 16},
	{file: "structure/random_encoder.onnx", task: train.Regression, batch: 2,
		inputs: map[string][]int{"input_ids": {6}, "attention_mask": {6}}, bound: 1000, labels: []int{6, 8}},
	{file: "structure/random_decoder.onnx", task: train.Classification, batch: 4,
		inputs: map[string][]int{"input_ids": {4}, "encoder_attention_mask": {4}, "encoder_hidden_states": {4, 8}}, bound: 1000, labels: []int{4}, classes: 10000},
	{file: "structure/mnist-8.onnx", target: "Times212", task: train.Classification, batch: 1,
		inputs: map[string][]int{"Input3": {1, 28, 28}}, classes: 10},
}

// data is random batches of the task: steps*batch samples.
func (c task) data(t *testing.T, m onFile, steps int) map[string]*tensor.Tensor {
	t.Helper()
	n, arrays := steps*c.batch, map[string]*tensor.Tensor{}
	for i, name := range slices.Sorted(maps.Keys(c.inputs)) {
		shape := append([]int{n}, c.inputs[name]...)
		elem := m.graph.Graph.Index()[name].TensorType().Elem
		switch {
		case strings.Contains(name, "mask"):
			arrays[name] = cast(t, testutil.RandomInts(uint64(i), 1, 2, shape...), elem)
		case elem == tensor.Float32:
			arrays[name] = testutil.Random(uint64(i), shape...)
			for k := range tensor.Data[float32](arrays[name]) {
				tensor.Data[float32](arrays[name])[k] *= 0.1 // keeps softmax from saturating
			}
		case name == "token_type_ids":
			arrays[name] = testutil.RandomInts(uint64(i), 0, 2, shape...)
		default:
			arrays[name] = testutil.RandomInts(uint64(i), 0, c.bound, shape...)
		}
	}
	labels := append([]int{n}, c.labels...)
	if c.classes > 0 {
		arrays[train.LabelsInput] = testutil.RandomInts(77, 0, c.classes, labels...)
	} else {
		arrays[train.LabelsInput] = testutil.Random(77, labels...)
	}
	return arrays
}

func (c task) inject(t *testing.T, method adapter.Method, init adapter.Init) onFile {
	t.Helper()
	m := openShared(t, c.file)
	cfg := adapter.DefaultConfig()
	cfg.Method, cfg.Rank, cfg.Seed, cfg.Init = method, 2, 11, init
	if method == adapter.MiSSMini {
		cfg.MiniRank = 2 // of 1, it moves all outputs alike, which norms and softmax take out
	}
	if c.target != "" {
		cfg.Selection = adapter.Selection{Targets: adapter.Modules{List: []string{c.target}}}
	}
	m.inject(cfg, rewrite.Options{})
	return m
}

// trained is bonnx's losses over the data, and the model that came out.
func (c task) trained(t *testing.T, m onFile, cfg TrainConfig, arrays map[string]*tensor.Tensor) (onFile, []float64) {
	t.Helper()
	spec := train.Spec{Task: cfg.Task}
	for _, v := range m.graph.Graph.Inputs {
		if v.Data == nil {
			spec.Inputs = append(spec.Inputs, train.Port{Name: v.Name, Type: v.Type})
		}
	}
	d, err := train.FromTensors(arrays, spec)
	if err != nil {
		t.Fatal(err)
	}
	ours, l := onFile{m.with(m.graph.Clone()), t}, &losses{}
	cfg.NoShuffle = true
	ours.fit(d, cfg, l)
	return ours, l.got
}

// byStep gives arrays a leading axis of steps.
func byStep(arrays map[string]*tensor.Tensor, steps, batch int) map[string]*tensor.Tensor {
	out := map[string]*tensor.Tensor{}
	for name, a := range arrays {
		out[name] = a.Reshape(append([]int{steps, batch}, a.Shape()[1:]...)...)
	}
	return out
}

// optimizers are the rules whose exported form is run.
var optimizers = map[string]func(*TrainConfig){
	"adamw":            func(c *TrainConfig) { c.LR = 1e-2 },
	"adamw clip decay": func(c *TrainConfig) { c.LR, c.Clip, c.WeightDecay = 1e-2, 0.05, 0.1 },
	"sgd":              func(c *TrainConfig) { c.LR, c.Optimizer = 0.05, "sgd" },
	"sgd momentum": func(c *TrainConfig) {
		c.LR, c.Optimizer, c.Momentum, c.WeightDecay, c.Clip = 0.05, "sgd", 0.9, 0.01, 0.5
	},
}

// TestORTTasks trains small models of every kind, and ONNX Runtime runs their
// exported steps: the same losses and blocks.
func TestORTTasks(t *testing.T) {
	ort.Available(t)
	const steps = 6
	for i, c := range tasks {
		for j, name := range slices.Sorted(maps.Keys(optimizers)) {
			method := adapter.Methods()[(i+j)%len(adapter.Methods())]
			t.Run(fmt.Sprintf("%s/%s/%v/%s", filepath.Base(c.file), c.task, method, name), func(t *testing.T) {
				m := c.inject(t, method, adapter.InitRandom)
				cfg := train.Default()
				cfg.Task, cfg.BatchSize, cfg.Steps = c.task, c.batch, steps
				if c.task == train.Classification && j%2 == 0 {
					cfg.LabelSmoothing = 0.1
				}
				optimizers[name](&cfg)
				step := m.step(cfg, []int64{0, 18, 21}[j%3], false)
				arrays := c.data(t, m, steps)
				ours, want := c.trained(t, m, cfg, arrays)
				got, blocks := stepInORT(t, m, cfg, saveTo(t, step, "step.onnx"), byStep(arrays, steps, c.batch), steps)
				for k, x := range floatsOf(t, got) {
					if !(math.Abs(x-want[k]) <= 1e-4) {
						t.Errorf("step %d: ONNX Runtime's loss is %.6f, bonnx's %.6f", k+1, x, want[k])
					}
				}
				for _, name := range m.blocks() {
					w, err := ours.graphValue(name)
					if err != nil {
						t.Fatal(err)
					}
					// AdamW's first steps are as large as the rate whatever the
					// gradient, so what is nearly zero may go either way.
					testutil.Close(t, name, blocks[name], w, 2*cfg.LR*steps/100, 1e-3)
				}
			})
		}
	}
}

// stepInORT runs an exported step over batches; it returns losses and blocks.
func stepInORT(t *testing.T, m onFile, cfg TrainConfig, path string, batches map[string]*tensor.Tensor, steps int) (*tensor.Tensor, map[string]*tensor.Tensor) {
	t.Helper()
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
	batches = maps.Clone(batches)
	batches[train.StepInput] = tensor.New(tensor.Int64, steps)
	for i := range steps {
		tensor.Data[int64](batches[train.StepInput])[i] = int64(i + 1)
	}
	recorded, last := ort.RunSteps(t, ort.Steps{Model: path, State: state, Carry: carry, Record: []string{train.ExportLoss}, Batches: batches})
	return recorded[train.ExportLoss], last
}

// TestORTGradients compares the gradients of --grads-only, computed by ONNX
// Runtime, with what one step of plain descent at rate 1 takes off the blocks.
func TestORTGradients(t *testing.T) {
	ort.Available(t)
	for _, c := range tasks {
		for _, method := range adapter.Methods() {
			t.Run(fmt.Sprintf("%s/%s/%v", filepath.Base(c.file), c.task, method), func(t *testing.T) {
				m := c.inject(t, method, adapter.InitRandom)
				setRandom(t, m, 0.02)
				gradients(t, m, c.file, c.task, c.batch, c.data(t, m, 1), func(cfg TrainConfig, arrays map[string]*tensor.Tensor) (onFile, []float64) {
					return c.trained(t, m, cfg, arrays)
				})
			})
		}
	}
}

// TestORTStoriesGradients is TestORTGradients on the language models.
func TestORTStoriesGradients(t *testing.T) {
	ort.Available(t)
	for _, file := range append([]string{"babyllama/babyllama_op17.onnx"}, stories...) {
		for _, method := range adapter.Methods() {
			t.Run(filepath.Base(file)+"/"+method.String(), func(t *testing.T) {
				m := openShared(t, file)
				cfg := adapter.DefaultConfig()
				cfg.Method, cfg.Rank, cfg.Seed, cfg.Init = method, 4, 2, adapter.InitRandom
				if method == adapter.MiSSMini {
					cfg.MiniRank = 2
				}
				m.inject(cfg, rewrite.Options{})
				setRandom(t, m, 0.005)
				c := task{file: file, task: train.CausalLM, batch: 2, inputs: map[string][]int{"input_ids": {24}}, bound: 100, labels: []int{24}, classes: 100}
				arrays := c.data(t, m, 1)
				// Labels that do not count, and none of a whole row's end.
				for i := range 10 {
					tensor.Data[int64](arrays[train.LabelsInput])[20+i] = -100
				}
				gradients(t, m, c.file, c.task, c.batch, arrays, func(cfg TrainConfig, arrays map[string]*tensor.Tensor) (onFile, []float64) {
					return c.trained(t, m, cfg, arrays)
				})
			})
		}
	}
}

func gradients(t *testing.T, m onFile, file string, task Task, batch int, arrays map[string]*tensor.Tensor, run func(TrainConfig, map[string]*tensor.Tensor) (onFile, []float64)) {
	t.Helper()
	cfg := train.Default()
	cfg.Task, cfg.BatchSize, cfg.Steps, cfg.Optimizer, cfg.LR = task, batch, 1, "sgd", 1
	ours, want := run(cfg, arrays)
	step := m.step(cfg, 0, true)
	onlyStandard(t, step, openShared(t, file).Model)
	feeds := maps.Clone(arrays)
	before := map[string]*tensor.Tensor{}
	for _, name := range m.blocks() {
		var err error
		if before[name], err = m.graphValue(name); err != nil {
			t.Fatal(err)
		}
		feeds[name] = before[name]
	}
	got := ort.Run(t, saveTo(t, step, "grads.onnx"), feeds)
	if l := floatsOf(t, got[train.ExportLoss]); !(math.Abs(l[0]-want[0]) <= 1e-4) {
		t.Errorf("loss: ONNX Runtime's is %.6f, bonnx's %.6f", l[0], want[0])
	}
	worst, moved := 0.0, 0.0
	for _, name := range m.blocks() {
		after, err := ours.graphValue(name)
		if err != nil {
			t.Fatal(err)
		}
		g, a, b := floatsOf(t, got[name+".grad"]), floatsOf(t, after), floatsOf(t, before[name])
		if len(g) != len(a) {
			t.Fatalf("%s: %d gradients of %d values", name, len(g), len(a))
		}
		scale := 0.0
		for _, x := range g {
			scale = math.Max(scale, math.Abs(x))
		}
		moved = math.Max(moved, scale)
		for i := range g {
			d := math.Abs(g[i] - (b[i] - a[i]))
			worst = math.Max(worst, d)
			// Values of up to about one are taken off, in float32.
			if !(d <= 1e-4*scale+2e-6) {
				t.Errorf("%s, element %d: ONNX Runtime's gradient is %g, bonnx's %g", name, i, g[i], b[i]-a[i])
				break
			}
		}
	}
	if !(moved > 1e-6) {
		t.Errorf("the largest gradient is %g", moved)
	}
	t.Logf("gradients up to %.3g differ by up to %.2g", moved, worst)
}
