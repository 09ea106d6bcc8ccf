package rewrite_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// TestKinds holds every method at every kind of layer to package adapter, then
// strips, converts and merges.
func TestKinds(t *testing.T) {
	for _, k := range kindCases {
		k.each(func(name string, cfg adapter.Config, form rewrite.Form) {
			t.Run(name, func(t *testing.T) { k.check(t, cfg, form) })
		})
	}
}

func (k kindCase) check(t *testing.T, cfg adapter.Config, form rewrite.Form) {
	m, w := k.model()
	x := testutil.Random(3, 12, kindIn)
	feeds := map[string]*tensor.Tensor{"x": k.fed(x)}
	_, plain := save(t, m, "m.onnx")
	rows := func(m *ir.Model) *tensor.Tensor { return k.back(run(t, m, feeds)[0]) }
	var base *tensor.Tensor
	if !k.noRun {
		base = rows(m)
	}
	rep, err := rewrite.Inject(m, cfg, rewrite.Options{Form: form})
	if err != nil {
		t.Fatal(err)
	}
	if got := rep.Targets[0]; len(rep.Targets) != 1 || got.Path != "net.lin" || got.Kind != k.kind || got.In != kindIn || got.Out != kindOut {
		t.Fatalf("targets %+v", rep.Targets)
	}
	all, err := rewrite.Adapters(m)
	if err != nil {
		t.Fatal(err)
	}
	if got := all[0].Targets[0].Form; k.only != rewrite.Auto && got != k.only {
		t.Errorf("form is %v, want %v", got, k.only)
	}
	stripped := m.Clone()
	if err := rewrite.Strip(stripped); err != nil {
		t.Fatal(err)
	}
	if _, got := save(t, stripped, "m.onnx"); !bytes.Equal(got, plain) {
		t.Error("stripped is not the base")
	}
	if k.noRun {
		return
	}
	set, err := rewrite.Extract(m, "")
	if err != nil {
		t.Fatal(err)
	}
	want := k.wanted(t, set, x, w, base)
	got := rows(m)
	testutil.Close(t, "adapted", got, want, 2e-5, 1e-5)
	if testutil.Compare(got, base, 1e-3, 0) == nil {
		t.Error("the adapter changes nothing")
	}
	k.checkMerge(t, m, set, x, w, want, rows)
}

// checkMerge merges into floats: a layer that rounded x does not any more.
func (k kindCase) checkMerge(t *testing.T, m *ir.Model, set *adapter.Set, x, w, want *tensor.Tensor, rows func(*ir.Model) *tensor.Tensor) {
	t.Helper()
	rep, err := rewrite.Merge(m)
	if err != nil {
		t.Fatal(err)
	}
	if k.quantized() != (len(rep.Dequantized) == 1) {
		t.Errorf("dequantized %q", rep.Dequantized)
	}
	if k.rounds {
		y, err := set.Layer(set.Entries[0]).Forward(x, w, nil)
		if err != nil {
			t.Fatal(err)
		}
		want = scaled(y, -1)
	}
	testutil.Close(t, "merged", rows(m), want, 2e-5, 1e-5)
	for n := range m.Graph.Nodes() {
		if strings.Contains(n.OpType, "uanti") || strings.Contains(n.OpType, "Integer") || n.OpType == "MatMulNBits" {
			t.Errorf("%v is left", n)
		}
	}
	found, err := rewrite.Find(m)
	if err != nil || len(found.Linear) != 1 || found.Linear[0].Path != "net.lin" {
		t.Errorf("merged: %+v, %v", found, err)
	}
}

// TestKindsZeroStart wants the base's outputs exactly while blocks are zero.
func TestKindsZeroStart(t *testing.T) {
	for _, k := range kindCases {
		if k.noRun {
			continue
		}
		k.each(func(name string, cfg adapter.Config, form rewrite.Form) {
			m, _ := k.model()
			feeds := map[string]*tensor.Tensor{"x": k.fed(testutil.Random(3, 12, kindIn))}
			want := run(t, m, feeds)[0]
			cfg.Init = adapter.InitZero
			if _, err := rewrite.Inject(m, cfg, rewrite.Options{Form: form}); err != nil {
				t.Fatal(err)
			}
			testutil.Close(t, name, run(t, m, feeds)[0], want, 0, 0)
		})
	}
}

// TestKindsRequantize: a merge that keeps the integers is off by what it
// reports, about a step, and a merge of nothing changes no bit of the weight.
func TestKindsRequantize(t *testing.T) {
	for _, k := range kindCases {
		if !k.quantized() {
			continue
		}
		for _, init := range []adapter.Init{adapter.InitRandom, adapter.InitZero} {
			m, w := k.model()
			_, plain := save(t, m, "m.onnx")
			cfg := config(adapter.Bone, 4)
			cfg.Init, cfg.Targets = init, adapter.Modules{List: []string{"lin"}}
			if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
				t.Fatal(err)
			}
			set, err := rewrite.Extract(m, "")
			if err != nil {
				t.Fatal(err)
			}
			rep, err := rewrite.MergeWith(m, rewrite.MergeOptions{Requantize: true})
			if err != nil {
				t.Fatalf("%s: %v", k.name, err)
			}
			if len(rep.Requantized) != 1 || len(rep.Dequantized) != 0 || len(rep.Notes) != 1 {
				t.Fatalf("%s: %+v", k.name, rep)
			}
			cost := rep.Requantized[0]
			if init == adapter.InitZero {
				if _, got := save(t, m, "m.onnx"); !bytes.Equal(got, plain) || cost.Max > 1e-6 {
					t.Errorf("%s: a merge of zero blocks changes the model; cost %+v", k.name, cost)
				}
				continue
			}
			after, err := set.Layer(set.Entries[0]).Merge(w)
			if err != nil {
				t.Fatal(err)
			}
			found, err := rewrite.Find(m)
			if err != nil || len(found.Linear) != 1 || found.Linear[0].Kind != k.kind {
				t.Fatalf("%s: %+v, %v", k.name, found, err)
			}
			is, err := found.Linear[0].Weight.Read()
			if err != nil {
				t.Fatal(err)
			}
			limit := map[bool]float64{true: 0.35, false: 0.03}[strings.HasPrefix(k.name, "4")]
			if strings.HasPrefix(k.name, "2") {
				limit = 1.5
			}
			if cost.Max == 0 || cost.Max > limit {
				t.Errorf("%s: cost %+v", k.name, cost)
			}
			testutil.Close(t, k.name, is, after, cost.Max*1.0001, 1e-6)
		}
	}
}

// TestBatNeedsFloats: a bat at a quantized product is refused by name, and
// skipped under all-linear.
func TestBatNeedsFloats(t *testing.T) {
	for _, k := range kindCases {
		if k.only != rewrite.Activation {
			continue
		}
		m, _ := k.model()
		cfg := config(adapter.Bat, 4)
		cfg.Targets = adapter.Modules{List: []string{"lin"}}
		if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err == nil || !strings.Contains(err.Error(), "bat changes the weight itself") {
			t.Errorf("%s: error %v", k.name, err)
		}
	}
}

// TestAttention: the packed weight of query, key and value is one target; the
// adapted model computes what a model with the merged weight does.
func TestAttention(t *testing.T) {
	const hidden = 8
	build := func(w *tensor.Tensor) *ir.Model {
		b := newModel(17, 8)
		dims := []ir.Dim{ir.Symbol("b"), ir.Symbol("s"), ir.Fixed(hidden)}
		x := b.input("x", tensor.Float32, dims...)
		h := b.contrib("Attention_0", "Attention", "h", ir.In(x, b.init("h.0.attn.c_attn.weight", w), b.init("h.0.attn.c_attn.bias", testutil.Random(2, 3*hidden))),
			ir.A("num_heads", ir.Int(2)), ir.A("unidirectional", ir.Int(1)))
		b.output(b.op("neg", "Neg", "y", ir.In(h)), tensor.Float32, dims...)
		return b.m
	}
	feeds := map[string]*tensor.Tensor{"x": testutil.Random(3, 2, 5, hidden)}
	w := testutil.Random(1, hidden, 3*hidden)
	for _, method := range adapter.Methods() {
		for _, form := range []rewrite.Form{rewrite.Auto, rewrite.Weighted} {
			m := build(w)
			_, plain := save(t, m, "m.onnx")
			rep, err := rewrite.Inject(m, config(method, 4), rewrite.Options{Form: form})
			if err != nil {
				t.Fatal(err)
			}
			if got := targets(rep); got != "h.0.attn.c_attn" || rep.Targets[0].Out != 3*hidden {
				t.Errorf("targets %+v", rep.Targets)
			}
			set, err := rewrite.Extract(m, "")
			if err != nil {
				t.Fatal(err)
			}
			merged, err := set.Layer(set.Entries[0]).Merge(w)
			if err != nil {
				t.Fatal(err)
			}
			want := run(t, build(merged), feeds)[0]
			testutil.Close(t, fmt.Sprint(method, form), run(t, m, feeds)[0], want, 1e-5, 1e-5)
			stripped := m.Clone()
			if err := rewrite.Strip(stripped); err != nil {
				t.Fatal(err)
			}
			if _, got := save(t, stripped, "m.onnx"); !bytes.Equal(got, plain) {
				t.Error("stripped is not the base")
			}
			if _, err := rewrite.Merge(m); err != nil {
				t.Fatal(err)
			}
			testutil.Close(t, "merged", run(t, m, feeds)[0], want, 1e-5, 1e-5)
		}
	}
}

// TestConvolutionsAreNamed: all-linear is PEFT's, which leaves convolutions out.
func TestConvolutionsAreNamed(t *testing.T) {
	k := kindCases[1]
	m, _ := k.model()
	found, err := rewrite.Find(m)
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(adapter.Bone, 4)
	var none *adapter.NoMatchError
	if _, err := rewrite.Select(found, cfg, false); !errors.As(err, &none) || !strings.Contains(err.Error(), "name it") {
		t.Errorf("all-linear: %v", err)
	}
	cfg.Targets = adapter.Modules{List: []string{"lin"}}
	if s, err := rewrite.Select(found, cfg, false); err != nil || len(s.Targets) != 1 {
		t.Errorf("named: %+v, %v", s, err)
	}
}

// TestORTKinds holds the adapted and the merged model of every kind in ONNX
// Runtime to its base there, and to bonnx.
func TestORTKinds(t *testing.T) {
	ort.Available(t)
	for _, k := range kindCases {
		t.Run(k.name, func(t *testing.T) {
			x := testutil.Random(3, 12, kindIn)
			feeds := map[string]*tensor.Tensor{"x": k.fed(x)}
			level := ort.All
			if k.ints {
				level = ort.Basic // from Extended on, it rounds x too
			}
			rows := func(m *ir.Model) *tensor.Tensor {
				path, _ := save(t, m, "m.onnx")
				y, err := ort.TryRun(t, path, feeds, ort.Options{Level: level})
				if err != nil {
					t.Fatal(err)
				}
				return k.back(y["y"])
			}
			plain, w := k.model()
			base := rows(plain)
			k.each(func(name string, cfg adapter.Config, form rewrite.Form) {
				m, _ := k.model()
				if _, err := rewrite.Inject(m, cfg, rewrite.Options{Form: form}); err != nil {
					t.Fatal(err)
				}
				set, err := rewrite.Extract(m, "")
				if err != nil {
					t.Fatal(err)
				}
				want := k.wanted(t, set, x, w, base)
				testutil.Close(t, name, rows(m), want, 5e-5, 1e-5)
				if _, err := rewrite.Merge(m); err != nil {
					t.Fatal(err)
				}
				if k.rounds {
					y, err := set.Layer(set.Entries[0]).Forward(x, w, nil)
					if err != nil {
						t.Fatal(err)
					}
					want = scaled(y, -1)
				}
				testutil.Close(t, name+", merged", rows(m), want, 5e-5, 1e-5)
			})
		})
	}
}

// TestKindsAreDocumented: docs/targets.md lists every kind.
func TestKindsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join(testutil.ModuleRoot(t), "docs", "targets.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kindCases {
		if !strings.Contains(string(doc), "`"+k.kind+"`") {
			t.Errorf("%s is not in docs/targets.md", k.kind)
		}
	}
}

// TestLayersInARow: an adapter reads what the layer below gives with its own
// adapter, though nothing stands between the two.
func TestLayersInARow(t *testing.T) {
	b := newModel(17, 8)
	h := b.input("x", tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
	for i, name := range []string{"/a/MatMul", "/b/MatMul", "/c/MatMul"} {
		h = b.op(name, "MatMul", fmt.Sprint("h", i), ir.In(h, b.init(fmt.Sprint("w", i), testutil.Random(uint64(i), 4, 4))))
	}
	b.output(b.op("relu", "Relu", "y", ir.In(h)), tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
	feeds := map[string]*tensor.Tensor{"x": testutil.Random(3, 5, 4)}
	if _, err := rewrite.Inject(b.m, config(adapter.Bone, 2), rewrite.Options{Form: rewrite.Activation}); err != nil {
		t.Fatal(err)
	}
	adapted := run(t, b.m, feeds)[0]
	if _, err := rewrite.Merge(b.m); err != nil {
		t.Fatal(err)
	}
	testutil.Close(t, "merged", run(t, b.m, feeds)[0], adapted, 1e-4, 1e-4)
}
