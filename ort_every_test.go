package bonnx

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

// everyLinear are the models on whose layers adapters are put, with where
// the outputs of two equal computations may differ (half precision).
var everyLinear = []struct {
	file string
	tol  float64
	// target picks the layers where all-linear would leave none.
	target string
	rank   int
}{
	{"babyllama/babyllama_op17.onnx", 1e-4, "", 8},
	{"stories260k/stories260K_op14.onnx", 1e-4, "", 4},
	{"structure/random_encoder.onnx", 1e-4, "", 4},
	{"structure/random_decoder.onnx", 1e-4, "", 4},
	{"structure/dummy_transformer.onnx", 1e-4, "", 4},
	{"structure/optimum_tiny_classifier_op11.onnx", 1e-4, "", 2},
	{"structure/mnist-8.onnx", 1e-3, "Times212", 2},
	{"structure/ort_lora_inputs_example.onnx", 1e-4, "", 2},
	{"structure/genai_tiny_gpt2_fp32.onnx", 1e-4, "", 4},
	{"structure/genai_tiny_gpt2_fp16.onnx", 2e-2, "", 4},
	{"structure/genai_tiny_qwen_gqa_fp16.onnx", 2e-2, "", 4},
}

// cached are the extents of the models with a cache, which Feeds would not let
// agree. GroupQueryAttention takes a single sequence with a cache.
var cached = map[string]map[string]int{
	"past_0":                {"batch_size": 2, "seq_len": 4, "past_seq_len": 3, "total_seq_len": 7},
	"past_key_values.0.key": {"batch_size": 1, "seq_len": 4, "past_seq_len": 3, "total_seq_len": 7},
}

// feedsFor makes inputs for any of the models: a cache goes with a mask of ones
// that covers it.
func feedsFor(t *testing.T, m onFile) map[string]*tensor.Tensor {
	t.Helper()
	index := m.graph.Graph.Index()
	given, shapes := map[string]*tensor.Tensor{}, map[string][]int{}
	for sign, extents := range cached {
		for i, v := range m.graph.Graph.Inputs {
			if index[sign] == nil || v.Data != nil {
				continue
			}
			shape := extentsOf(v, extents)
			switch elem := v.TensorType().Elem; {
			case strings.Contains(v.Name, "mask"):
				given[v.Name] = cast(t, testutil.RandomInts(1, 1, 2, shape...), elem)
			case elem == tensor.Float16:
				given[v.Name] = cast(t, testutil.Random(uint64(i), shape...), elem)
			default:
				shapes[v.Name] = shape
			}
		}
	}
	if index["encoder_hidden_states"] != nil {
		shapes = decoderShapes(4, 4, 4)
	}
	feeds, err := m.Feeds(given, shapes, 3)
	if err != nil {
		t.Fatal(err)
	}
	return feeds
}

func extentsOf(v *ir.Value, symbols map[string]int) []int {
	var shape []int
	for _, d := range v.TensorType().Dims {
		n := symbols[d.Sym]
		if d.Known {
			n = int(d.Value)
		}
		shape = append(shape, n)
	}
	return shape
}

func cast(t *testing.T, x *tensor.Tensor, d tensor.DType) *tensor.Tensor {
	t.Helper()
	y, err := x.Cast(d)
	if err != nil {
		t.Fatal(err)
	}
	return y
}

// TestORTEveryModel puts every method in both forms on every model with linear
// layers. Adapted models load at the base's own IR version and opsets; at a
// zero start they give the base's outputs (==, where ONNX Runtime fuses nothing
// onto the base layer); with other blocks both forms, the merged model, and
// bonnx agree; what is left after Strip is the base file.
func TestORTEveryModel(t *testing.T) {
	ort.Available(t)
	for _, c := range everyLinear {
		for _, method := range adapter.Methods() {
			t.Run(filepath.Base(c.file)+"/"+method.String(), func(t *testing.T) {
				cfg := adapter.DefaultConfig()
				cfg.Method, cfg.Rank, cfg.Init = method, c.rank, adapter.InitZero
				if method == adapter.MiSSMini {
					cfg.MiniRank = 2
				}
				if c.target != "" {
					cfg.Selection = adapter.Selection{Targets: adapter.Modules{List: []string{c.target}}}
				}
				for _, form := range []rewrite.Form{rewrite.Auto, rewrite.Weighted} {
					throughForm(t, c.file, cfg, form, c.tol)
				}
			})
		}
	}
}

func throughForm(t *testing.T, file string, cfg adapter.Config, form rewrite.Form, tol float64) {
	t.Helper()
	what := cfg.Method.String() + ", " + form.String()
	m := openShared(t, file)
	feeds := feedsFor(t, m)
	base := ort.Run(t, m.Path(), feeds)
	basePath := saveTo(t, m.Model, "base.onnx")
	irVersion, opset := m.graph.IRVersion, m.graph.Opset("")
	m.inject(cfg, rewrite.Options{Form: form})
	if m.graph.IRVersion != irVersion || m.graph.Opset("") != opset {
		t.Errorf("%s: IR %d and opset %d became %d and %d", what, irVersion, opset, m.graph.IRVersion, m.graph.Opset(""))
	}
	zero := ort.Run(t, saveTo(t, m.Model, "zero.onnx"), feeds)
	limit := 0.0 // in weight form nothing may change
	if form == rewrite.Auto && cfg.Method != adapter.Bat {
		limit = tol / 10
	}
	for name := range base {
		testutil.Close(t, what+", zero start: "+name, zero[name], base[name], limit, limit)
	}
	setRandom(t, m, 0.02)
	adaptedPath := saveTo(t, m.Model, "adapted.onnx")
	adapted := ort.Run(t, adaptedPath, feeds)
	if same(adapted, base) {
		t.Errorf("%s: the blocks change nothing", what)
	}
	agree(t, what, m.Model, feeds, adapted, tol)
	merged := reopen(t, adaptedPath)
	merged.merge()
	got := ort.Run(t, saveTo(t, merged.Model, "merged.onnx"), feeds)
	for name := range adapted {
		testutil.Close(t, what+", merged: "+name, got[name], adapted[name], tol, tol)
	}
	agree(t, what+", merged", merged.Model, feeds, got, tol)
	stripped := reopen(t, adaptedPath)
	stripped.strip()
	sameFiles(t, what, saveTo(t, stripped.Model, "stripped.onnx"), basePath)
}

func reopen(t *testing.T, path string) onFile {
	t.Helper()
	m, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return onFile{m, t}
}

func same(a, b map[string]*tensor.Tensor) bool {
	for name := range a {
		if !a[name].Equal(b[name]) {
			return false
		}
	}
	return true
}

// agree is sameOutputs where bonnx has the model's operators.
func agree(t *testing.T, what string, m *Model, feeds, want map[string]*tensor.Tensor, tol float64) {
	t.Helper()
	got, err := m.Run(context.Background(), feeds, 0)
	var unknown *UnsupportedOpError
	if errors.As(err, &unknown) {
		return
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for name, w := range want {
		testutil.Close(t, what+", bonnx: "+name, got[name], w, tol, tol)
	}
}

// setRandom gives blocks small random values, like those of a trained one.
func setRandom(t *testing.T, m onFile, scale float32) map[string]*tensor.Tensor {
	t.Helper()
	values := map[string]*tensor.Tensor{}
	for i, name := range m.blocks() {
		b, err := m.graphValue(name)
		if err != nil {
			t.Fatal(err)
		}
		values[name] = testutil.Random(uint64(100+i), b.Shape()...)
		for k := range tensor.Data[float32](values[name]) {
			tensor.Data[float32](values[name])[k] *= scale
		}
	}
	if err := rewrite.SetBlocks(m.graph, values); err != nil {
		t.Fatal(err)
	}
	return values
}

func sameFiles(t *testing.T, what, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if string(x) != string(y) {
		t.Errorf("%s: the stripped model's file is not the base's", what)
	}
}

// withoutDefaults makes the blocks inputs that have to be fed. ONNX Runtime
// feeds those with a default too, but its binding for node drops them without
// a word: it knows the required inputs only.
func withoutDefaults(m onFile) *Model {
	g := m.graph.Graph
	for _, name := range m.blocks() {
		v := g.Index()[name]
		g.Initializers = slices.DeleteFunc(g.Initializers, func(w *ir.Value) bool { return w == v })
		v.Data = nil
	}
	return m.Model
}

// TestORTInputs feeds blocks to a model that has them as inputs: what comes
// out is what a model with those blocks gives, and without them the default.
func TestORTInputs(t *testing.T) {
	ort.Available(t)
	for _, file := range append([]string{"structure/mnist-8.onnx"}, stories...) {
		for _, method := range []adapter.Method{adapter.Bone, adapter.Bat, adapter.LoRA} {
			t.Run(filepath.Base(file)+"/"+method.String(), func(t *testing.T) {
				cfg := adapter.DefaultConfig()
				cfg.Method, cfg.Rank, cfg.Init = method, 2, adapter.InitZero
				if strings.Contains(file, "mnist") {
					cfg.Selection = adapter.Selection{Targets: adapter.Modules{List: []string{"Times212"}}}
				}
				m := openShared(t, file)
				feeds := feedsFor(t, m)
				irVersion := m.graph.IRVersion
				base := ort.Run(t, m.Path(), feeds)
				m.inject(cfg, rewrite.Options{Inputs: true})
				if want := max(4, irVersion); m.graph.IRVersion != want {
					t.Errorf("IR version %d, want %d", m.graph.IRVersion, want)
				}
				path := saveTo(t, m.Model, "inputs.onnx")
				for name, w := range ort.Run(t, path, feeds) {
					testutil.Close(t, "default blocks: "+name, w, base[name], 1e-5, 1e-5)
				}
				blocks := setRandom(t, m, 0.02)
				maps.Copy(feeds, blocks)
				fed := ort.Run(t, saveTo(t, withoutDefaults(reopen(t, path)), "required.onnx"), feeds)
				if same(fed, base) {
					t.Error("feeding blocks changes nothing")
				}
				agree(t, "fed", reopen(t, path).Model, feeds, fed, 1e-3)
				for name := range blocks {
					delete(feeds, name)
				}
				for name, w := range ort.Run(t, saveTo(t, m.Model, "set.onnx"), feeds) {
					testutil.Close(t, "set blocks: "+name, fed[name], w, 1e-4, 1e-4)
				}
				m.strip()
				if m.graph.IRVersion != irVersion {
					t.Errorf("stripped: IR version %d, want %d", m.graph.IRVersion, irVersion)
				}
			})
		}
	}
}

// TestORTUnfused runs every model without fusions, against ONNX Runtime
// without optimizations, and with fusions.
func TestORTUnfused(t *testing.T) {
	ort.Available(t)
	for _, c := range ortModels {
		t.Run(filepath.Base(c.file), func(t *testing.T) {
			m := openShared(t, c.file)
			p, err := runtime.Compile(m.graph, runtime.Options{Set: m.set, NoFusion: true})
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			s, err := p.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			// One session for all shapes: no plan may spoil another.
			for i, shapes := range c.shapes {
				known := map[string][]int{}
				for _, name := range m.InputNames() {
					if shapes[name] != nil {
						known[name] = shapes[name]
					}
				}
				feeds, err := m.Feeds(nil, known, uint64(50+i))
				if err != nil {
					t.Fatal(err)
				}
				want, err := ort.TryRun(t, m.Path(), feeds, ort.Options{Level: ort.Disabled})
				if err != nil {
					t.Fatal(err)
				}
				got, err := s.Run(context.Background(), feeds)
				if err != nil {
					t.Fatal(err)
				}
				for j, port := range p.Outputs() {
					testutil.Close(t, "unfused: "+port.Name, got[j], want[port.Name], 1e-4, 1e-4)
				}
				sameOutputs(t, "fused", m.Model, feeds, want)
			}
		})
	}
}
