package testmodel_test

import (
	"math"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// What is published of the models: parameters, with a tied head once, and
// linear layers of all-linear.
var published = map[string]struct {
	millions float64
	layers   int
}{
	"gpt2":         {124.4, 4 * 12},
	"bert-base":    {109.5, 6*12 + 1},
	"vit-b16":      {86.6, 6 * 12},
	"whisper-tiny": {37.8, 6*4 + 10*4},
	// Qwen2.5-0.5B has 494.0; its biases of queries, keys and values are not
	// Llama's.
	"llama-0.5b-int4": {494.0, 7 * 24},
}

// Models of true size have the parameters that they are known for, take
// adapters on all layers, and cost no memory until a weight is read.
func TestSizes(t *testing.T) {
	for _, s := range testmodel.Sizes() {
		t.Run(s.Name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			m, err := s.Model()
			if err != nil {
				t.Fatal(err)
			}
			cfg := adapter.Config{Method: adapter.Bone, Rank: 64, Selection: adapter.Selection{Targets: adapter.Modules{Regex: adapter.AllLinear}}}
			base := m.Clone()
			r, err := rewrite.Inject(m, cfg, rewrite.Options{SkipUnfit: true})
			if err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			want := published[s.Name]
			if len(r.Targets) != want.layers {
				t.Errorf("%d layers, want %d", len(r.Targets), want.layers)
			}
			if got := parameters(base); math.Abs(got-want.millions) > 0.005*want.millions {
				t.Errorf("%.1f million parameters, want %.1f", got, want.millions)
			}
			// GPT-2's causal tables and the blocks are what is made at once.
			if got := float64(after.TotalAlloc-before.TotalAlloc) / 1e6; got > 0.3*4*want.millions {
				t.Errorf("%.0f MB were allocated for %.0f million parameters", got, want.millions)
			}
			hasInputs(t, m, s)
		})
	}
}

// tables are constants that are no parameters: masks, rotations, scales.
var tables = regexp.MustCompile(`\.attn\.bias$|_cache$|_scales$`)

// parameters counts floats and packed halves of bytes, in millions, a head that
// is its embedding turned once.
func parameters(m *ir.Model) float64 {
	n, embedding := 0, 0
	for _, v := range m.Graph.Initializers {
		size := v.Data.Shape().Size()
		if v.Data.DType() == tensor.Uint8 {
			size *= 2
		} else if v.Data.DType() != tensor.Float32 || tables.MatchString(v.Name) {
			continue
		}
		switch {
		case size < 15e6:
		case embedding == 0:
			embedding = size
		case size == embedding:
			continue
		}
		n += size
	}
	return float64(n) / 1e6
}

func hasInputs(t *testing.T, m *ir.Model, s testmodel.Size) {
	t.Helper()
	feeds, samples := s.Inputs(s.Batch), s.Samples(3)
	for _, v := range m.Graph.Inputs {
		x := feeds[v.Name]
		if x == nil || x.DType() != v.TensorType().Elem || x.Rank() != len(v.TensorType().Dims) || x.Shape()[0] != s.Batch {
			t.Errorf("input %q is fed %v", v.Name, x)
		}
	}
	for name, x := range samples {
		if x.Shape()[0] != 3 {
			t.Errorf("%v of %q for 3 samples", x, name)
		}
	}
}

// A weight that is made when it is read is the same each time, and in a file.
func TestMadeWeights(t *testing.T) {
	c := testmodel.SmallGPT2
	c.Dim, c.Vocab, c.Layers = 64, 5000, 1 // an embedding and a head of 320,000
	build := func() *ir.Model {
		m, err := c.Model()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := build()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := onnx.Save(path, m, onnx.SaveOptions{External: 1024}); err != nil {
		t.Fatal(err)
	}
	again, err := onnx.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	defer onnx.Close(again)
	big := 0
	for i, v := range build().Graph.Initializers {
		want := valueOf(t, v)
		if got := valueOf(t, m.Graph.Initializers[i]); !got.Equal(want) {
			t.Errorf("%s differs between two builds", v.Name)
		}
		if got := valueOf(t, again.Graph.Initializers[i]); !got.Equal(want) {
			t.Errorf("%s differs in the file", v.Name)
		}
		if want.Shape().Size() < 300_000 {
			continue
		}
		big++
		std := math.Sqrt(dot(tensor.Data[float32](want), tensor.Data[float32](want)) / float64(want.Shape().Size()))
		if meant := map[bool]float64{true: 0.5, false: 1 / math.Sqrt(64)}[want.Shape()[0] == c.Vocab]; math.Abs(std-meant) > 0.01*meant {
			t.Errorf("%s has a standard deviation of %g, want %g", v.Name, std, meant)
		}
	}
	if big != 2 {
		t.Errorf("%d weights are large, want 2", big)
	}
}

func valueOf(t *testing.T, v *ir.Value) *tensor.Tensor {
	t.Helper()
	x, err := v.Data.Tensor()
	if err != nil {
		t.Fatal(err)
	}
	return x
}
