package rewrite_test

import (
	"bytes"
	"context"
	"math"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/runtime"
	"github.com/bonnx/bonnx/tensor"
)

func dropouts(m *ir.Model) (found []*ir.Node) {
	for n := range m.Graph.Nodes() {
		if n.Is("Dropout") {
			found = append(found, n)
		}
	}
	return found
}

func dropping(method adapter.Method) adapter.Config {
	cfg := config(method, 4)
	cfg.Dropout = 0.25
	cfg.Targets = adapter.Modules{List: []string{"q_proj"}}
	return cfg
}

// TestDropout: a graph to train has a Dropout on the input of the blocks alone,
// any other graph and bat have none, and it comes off with the adapter.
func TestDropout(t *testing.T) {
	_, base := save(t, tower(17, 8).m, "m.onnx")
	for _, method := range adapter.Methods() {
		for _, form := range []rewrite.Form{rewrite.Auto, rewrite.Weighted} {
			plain, m := tower(17, 8).m, tower(17, 8).m
			if _, err := rewrite.Inject(plain, dropping(method), rewrite.Options{}); err != nil {
				t.Fatal(err)
			}
			if _, err := rewrite.Inject(m, dropping(method), rewrite.Options{Training: true, Form: form}); err != nil {
				t.Fatal(err)
			}
			if n := dropouts(plain); len(n) > 0 {
				t.Errorf("%v: %v in a graph that is kept", method, n[0])
			}
			found := dropouts(m)
			if want := method.Additive(); len(found) != map[bool]int{true: 1}[want] {
				t.Errorf("%v: %d nodes of dropout", method, len(found))
				continue
			}
			if len(found) > 0 {
				n := found[0]
				ratio, err := n.Input(1).Data.Tensor()
				if err != nil || n.Input(0).Name != "x" || tensor.Data[float32](ratio)[0] != 0.25 || len(n.Output(0).Uses()) != 1 {
					t.Errorf("%v: %v reads %q, ratio %v (%v)", method, n, n.Input(0).Name, ratio, err)
				}
				if q := m.Graph.First(); q.Input(0).Name != "x" {
					t.Errorf("%v: the base reads %q", method, q.Input(0).Name)
				}
			}
			if err := rewrite.Convert(m, rewrite.Options{}); err != nil {
				t.Fatal(err)
			}
			_, a := save(t, plain, "m.onnx")
			if _, b := save(t, m, "m.onnx"); !bytes.Equal(a, b) {
				t.Errorf("%v: converted to be kept, the graph is another than one written so", method)
			}
			if err := rewrite.Strip(m); err != nil {
				t.Fatal(err)
			}
			if _, got := save(t, m, "m.onnx"); !bytes.Equal(got, base) {
				t.Errorf("%v: stripped model is not the base", method)
			}
		}
	}
}

func TestDropoutLimits(t *testing.T) {
	for _, opset := range []int64{11, 12} {
		m := tower(opset, 7).m
		_, err := rewrite.Inject(m, dropping(adapter.Bone), rewrite.Options{Training: true})
		if opset < 12 && (err == nil || !strings.Contains(err.Error(), "dropout needs 12")) || opset == 12 && err != nil {
			t.Errorf("opset %d: %v", opset, err)
		}
	}
	// Below a bat the blocks are part of a weight.
	m := tower(17, 8).m
	for _, method := range []adapter.Method{adapter.Bone, adapter.Bat, adapter.LoRA} {
		cfg := dropping(method)
		cfg.Name = strings.ToLower(method.String())
		if _, err := rewrite.Inject(m, cfg, rewrite.Options{Training: true}); err != nil {
			t.Fatal(err)
		}
	}
	if found := dropouts(m); len(found) != 1 || !strings.Contains(found[0].Name, "lora") {
		t.Errorf("dropout nodes %v, want that of the uppermost", found)
	}
}

// seeded runs m with a random stream from seed.
func seeded(t *testing.T, m *ir.Model, seed uint64, feeds map[string]*tensor.Tensor) *tensor.Tensor {
	t.Helper()
	m, err := ops.Canonical(m)
	if err != nil {
		t.Fatal(err)
	}
	p, err := runtime.Compile(m, runtime.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s, err := p.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	s.Seed(seed)
	out, err := s.Run(context.Background(), feeds)
	if err != nil {
		t.Fatal(err)
	}
	return out[0].Clone()
}

// TestDropoutRuns: the same seed drops the same elements, and over many seeds
// the mean is the result without dropout: in bonnx, and in ONNX Runtime over
// many rows.
func TestDropoutRuns(t *testing.T) {
	const rows = 4000
	build := func(o rewrite.Options) *ir.Model {
		b := newModel(17, 8)
		b.output(b.op("/q_proj/MatMul", "MatMul", "y", ir.In(b.input("x", tensor.Float32, ir.Symbol("n"), ir.Fixed(8)), b.init("w", testutil.Random(1, 8, 6)))),
			tensor.Float32, ir.Symbol("n"), ir.Fixed(6))
		if _, err := rewrite.Inject(b.m, dropping(adapter.Bone), o); err != nil {
			t.Fatal(err)
		}
		return b.m
	}
	m := build(rewrite.Options{Training: true})
	x := tensor.New(tensor.Float32, rows, 8)
	for i := range tensor.Data[float32](x) {
		tensor.Data[float32](x)[i] = float32(1 + i%8)
	}
	feeds := map[string]*tensor.Tensor{"x": x}
	want := tensor.Data[float32](run(t, build(rewrite.Options{}), feeds)[0])[:6]
	a := seeded(t, m, 1, feeds)
	if !a.Equal(seeded(t, m, 1, feeds)) || a.Equal(seeded(t, m, 2, feeds)) {
		t.Error("the seed does not decide what is dropped")
	}
	results := map[string]*tensor.Tensor{"bonnx": a}
	t.Run("ort", func(t *testing.T) {
		ort.Available(t)
		path, _ := save(t, m, "m.onnx")
		results["ONNX Runtime"] = ort.Run(t, path, feeds)["y"]
	})
	for where, y := range results {
		var mean, spread [6]float64
		for i, v := range tensor.Data[float32](y) {
			mean[i%6] += float64(v) / rows
			spread[i%6] += math.Abs(float64(v-want[i%6])) / rows
		}
		for j := range mean {
			if spread[j] < 0.05 || math.Abs(mean[j]-float64(want[j])) > spread[j]/8 {
				t.Errorf("%s, output %d: mean %v with spread %v, want %v", where, j, mean[j], spread[j], want[j])
			}
		}
	}
}
