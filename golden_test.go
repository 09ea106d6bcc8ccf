package bonnx

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
	"github.com/bonnx/bonnx/train"
)

// golden is a case computed with PEFT; see the README of the golden folder.
type golden struct {
	File string `json:"file"`
	Meta struct {
		Kind  string `json:"kind"`
		In    int    `json:"in_features"`
		Rank  int    `json:"r"`
		Mini  *int   `json:"mini_r"`
		Steps int    `json:"steps"`
		Act   string `json:"act"`
		Opt   struct {
			LR          float64 `json:"lr"`
			WeightDecay float64 `json:"weight_decay"`
		} `json:"opt"`
	} `json:"meta"`
}

var goldenMethods = map[string]adapter.Method{
	"bone": adapter.Bone, "bat": adapter.Bat, "miss": adapter.MiSS, "miss_bat": adapter.Bat, "miss_mini": adapter.MiSSMini,
}

func goldenCases(t *testing.T, prefix func(string) bool) (dir string, cases []golden) {
	dir = testutil.Shared(t, "golden")
	b, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for _, one := range all {
		var name struct{ File string }
		if err := json.Unmarshal(one, &name); err != nil {
			t.Fatal(err)
		}
		if !prefix(name.File) {
			continue
		}
		var c golden
		if err := json.Unmarshal(one, &c); err != nil {
			t.Fatalf("%s: %v", name.File, err)
		}
		cases = append(cases, c)
	}
	return dir, cases
}

func (g golden) config() adapter.Config {
	c := adapter.DefaultConfig()
	c.Method, c.Rank = goldenMethods[g.Meta.Kind], g.Meta.Rank
	if c.Method == adapter.MiSSMini {
		c.MiniRank = *g.Meta.Mini
	}
	c.Targets = adapter.Modules{List: []string{"lin0", "lin1"}}
	return c
}

// linear adds x W [+ b] under the name of a module.
func linear(b *ir.Builder, name string, x *ir.Value, w, bias *tensor.Tensor) *ir.Value {
	b.Prefix = "/" + name + "/"
	y := b.Op("MatMul", ir.In(x, b.Graph.AddInitializer(name+".weight", ir.Dense(w))))
	if bias != nil {
		y = b.Op("Add", ir.In(y, b.Graph.AddInitializer(name+".bias", ir.Dense(bias))))
	}
	return y
}

// layerModel is one linear layer over x of any rank.
func layerModel(t testing.TB, x, w, bias *tensor.Tensor) onFile {
	m := &ir.Model{IRVersion: 8, Graph: ir.NewGraph("layer")}
	m.SetOpset("", 17)
	dims := make([]ir.Dim, x.Rank())
	for i := range dims {
		dims[i] = ir.Symbol(fmt.Sprintf("d%d", i))
	}
	dims[len(dims)-1] = ir.Fixed(int64(w.Shape()[0]))
	in := m.Graph.AddInput("x", ir.Tensor(tensor.Float32, dims...))
	b := ir.NewBuilder(m.Graph, ir.NewNames(m))
	y := linear(b, "lin0", in, w, bias)
	y.Name, y.Type = "y", &ir.TensorType{Elem: tensor.Float32}
	m.Graph.Outputs = []*ir.Value{y}
	return onFile{newModel(m, "layer"), t}
}

// setBlock gives the adapter at a path its block.
func setBlock(t *testing.T, m onFile, values map[string]*tensor.Tensor) {
	t.Helper()
	adapters, err := rewrite.Adapters(m.graph)
	if err != nil || len(adapters) != 1 {
		t.Fatalf("%d adapters: %v", len(adapters), err)
	}
	blocks := map[string]*tensor.Tensor{}
	for _, target := range adapters[0].Targets {
		blocks[target.Blocks[0].Name] = values[target.Path]
	}
	if err := rewrite.SetBlocks(m.graph, blocks); err != nil {
		t.Fatal(err)
	}
}

// TestGoldenLayersAsGraphs runs PEFT's layer cases as injected graphs: forward
// in every form, fused and not, gradients of the block, and the merged weight.
func TestGoldenLayersAsGraphs(t *testing.T) {
	dir, cases := goldenCases(t, func(f string) bool {
		return !strings.HasPrefix(f, "train_") && !strings.HasPrefix(f, "multi_") && !strings.HasPrefix(f, "rwkv")
	})
	ran := 0
	for _, c := range cases {
		t.Run(strings.TrimSuffix(c.File, ".npz"), func(t *testing.T) {
			f, err := npz.ReadFile(filepath.Join(dir, c.File), npz.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, form := range []rewrite.Form{rewrite.Activation, rewrite.Weighted} {
				m := layerModel(t, f.Get("x"), f.Get("W"), f.Get("bias"))
				err := m.tryInject(c.config(), rewrite.Options{Form: form})
				if strings.Contains(c.File, "rgtin") {
					if err == nil || !strings.Contains(err.Error(), "rank") {
						t.Errorf("a rank above in_features gives %v", err)
					}
					return
				}
				if c.Meta.Kind == "bat" || c.Meta.Kind == "miss_bat" {
					if form == rewrite.Activation && err != nil {
						continue // bat has the weight form alone
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				setBlock(t, m, map[string]*tensor.Tensor{"lin0": f.Get("block")})
				goldenLayer(t, m, f)
			}
		})
		ran++
	}
	if ran < 30 {
		t.Errorf("%d cases, want at least 30", ran)
	}
}

func goldenLayer(t *testing.T, m onFile, f *npz.File) {
	t.Helper()
	feeds := map[string]*tensor.Tensor{"x": f.Get("x")}
	for _, plain := range []bool{false, true} {
		p, err := runtime.Compile(m.graph, runtime.Options{NoFusion: plain})
		if err != nil {
			t.Fatal(err)
		}
		s, err := p.NewSession()
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.Run(context.Background(), feeds)
		if err != nil {
			t.Fatal(err)
		}
		testutil.Close(t, fmt.Sprintf("y (unfused %v)", plain), out[0], f.Get("y"), 1e-5, 1e-5)
		p.Close()
	}
	block := m.blocks()[0]
	step, err := train.ExportStep(m.graph, m.set, []string{block}, train.LossConfig{Task: train.Regression}, train.OptimConfig{Optimizer: "sgd"}, 0, true)
	if err != nil {
		t.Fatal(err)
	}
	// loss = mean((y-labels)^2), so labels = y - n/2*g gives the upstream gradient g.
	y, g := f.Get("y"), f.Get("g")
	labels := tensor.New(tensor.Float32, y.Shape()...)
	for i := range tensor.Data[float32](labels) {
		tensor.Data[float32](labels)[i] = tensor.Data[float32](y)[i] - float32(y.Size())/2*tensor.Data[float32](g)[i]
	}
	blocks, err := m.graphValue(block)
	if err != nil {
		t.Fatal(err)
	}
	sm := newModel(step, "step")
	res, err := sm.Run(context.Background(), map[string]*tensor.Tensor{"x": f.Get("x"), "labels": labels, block: blocks}, 1)
	if err != nil {
		t.Fatal(err)
	}
	testutil.Close(t, "gradient of the block", res[block+".grad"], f.Get("grad_block"), 1e-4, 1e-4)
	m.merge()
	w, err := m.graphValue("lin0.weight")
	if err != nil {
		t.Fatal(err)
	}
	testutil.Close(t, "merged weight", w, f.Get("W_merged"), 1e-5, 1e-5)
}

// graphValue reads an initializer.
func (m *Model) graphValue(name string) (*tensor.Tensor, error) {
	v := m.graph.Graph.Index()[name]
	if v == nil || v.Data == nil {
		return nil, fmt.Errorf("no initializer %q", name)
	}
	return v.Data.Tensor()
}

// twoLayers is X W0 + b0, gelu, W1 + b1: the network of the training traces.
func twoLayers(t testing.TB, f *npz.File, tanh bool) onFile {
	m := &ir.Model{IRVersion: 9, Graph: ir.NewGraph("net")}
	m.SetOpset("", 20)
	in := m.Graph.AddInput("x", ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(int64(f.Get("W0").Shape()[0]))))
	b := ir.NewBuilder(m.Graph, ir.NewNames(m))
	h := linear(b, "lin0", in, f.Get("W0"), f.Get("b0"))
	b.Prefix = "/act/"
	approximate := "none"
	if tanh {
		approximate = "tanh"
	}
	h = b.Op("Gelu", ir.In(h), ir.A("approximate", ir.String(approximate)))
	y := linear(b, "lin1", h, f.Get("W1"), f.Get("b1"))
	y.Name, y.Type = "y", ir.Tensor(tensor.Float32, ir.Symbol("n"), ir.Fixed(int64(f.Get("W1").Shape()[1])))
	m.Graph.Outputs = []*ir.Value{y}
	return onFile{newModel(m, "net"), t}
}

// losses notes each step's loss.
type losses struct{ got []float64 }

func (*losses) Begin(string, int, int) {}
func (*losses) Note(string)            {}
func (*losses) Eval(int, float64)      {}
func (l *losses) Step(s StepInfo)      { l.got = append(l.got, s.Loss) }

// TestGoldenAdamW follows PEFT's training traces step by step: losses, blocks
// after every step, and the merged weights at the end.
func TestGoldenAdamW(t *testing.T) {
	dir, cases := goldenCases(t, func(f string) bool { return strings.HasPrefix(f, "train_") })
	if len(cases) != 8 {
		t.Errorf("%d traces, want 8", len(cases))
	}
	for _, c := range cases {
		t.Run(strings.TrimSuffix(c.File, ".npz"), func(t *testing.T) {
			f, err := npz.ReadFile(filepath.Join(dir, c.File), npz.Options{})
			if err != nil {
				t.Fatal(err)
			}
			goldenTrace(t, c, f)
		})
	}
}

func goldenTrace(t *testing.T, c golden, f *npz.File) {
	start := func() onFile {
		m := twoLayers(t, f, c.Meta.Act == "gelu_tanh")
		m.inject(c.config(), rewrite.Options{})
		setBlock(t, m, map[string]*tensor.Tensor{"lin0": f.Get("block0_init"), "lin1": f.Get("block1_init")})
		return m
	}
	cfg := train.Default()
	cfg.Task, cfg.LR, cfg.WeightDecay = train.Regression, c.Meta.Opt.LR, c.Meta.Opt.WeightDecay
	cfg.BatchSize, cfg.NoShuffle = f.Get("X").Shape()[0], true
	for _, steps := range []int{1, 7, c.Meta.Steps} {
		m := start()
		spec := train.Spec{Task: train.Regression, Inputs: []train.Port{{Name: "x", Type: m.graph.Graph.Inputs[0].Type}}}
		d, err := train.FromTensors(map[string]*tensor.Tensor{"x": f.Get("X"), "labels": f.Get("Y")}, spec)
		if err != nil {
			t.Fatal(err)
		}
		l := &losses{}
		cfg.Steps = steps
		m.fit(d, cfg, l)
		want := tensor.Data[float32](f.Get("loss"))
		for i, got := range l.got {
			if math.Abs(got-float64(want[i])) > 5e-5*(1+math.Abs(float64(want[i]))) {
				t.Errorf("loss of step %d is %.7f, PEFT's %.7f", i+1, got, want[i])
			}
		}
		for k := range 2 {
			path := fmt.Sprintf("lin%d", k)
			traj := f.Get(fmt.Sprintf("block%d_traj", k))
			at := traj.Rows(steps-1, steps)
			got, err := m.graphValue(m.blocks()[k])
			if err != nil {
				t.Fatal(err)
			}
			testutil.Close(t, fmt.Sprintf("%s after %d steps", path, steps), got, at.Reshape(got.Shape()...), 5e-5, 5e-5)
		}
		if steps < c.Meta.Steps {
			continue
		}
		m.merge()
		for k := range 2 {
			w, err := m.graphValue(fmt.Sprintf("lin%d.weight", k))
			if err != nil {
				t.Fatal(err)
			}
			testutil.Close(t, fmt.Sprintf("merged weight %d", k), w, f.Get(fmt.Sprintf("W%d_merged", k)), 5e-5, 5e-5)
		}
	}
}

// writeArrays writes an .npz.
func writeArrays(t *testing.T, path string, arrays map[string]*tensor.Tensor) {
	t.Helper()
	f, err := npz.FromMap(arrays)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.WriteFile(path); err != nil {
		t.Fatal(err)
	}
}
