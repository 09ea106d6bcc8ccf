package fuse_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/autodiff"
	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// TestInjectedModels holds the patterns to what adapters are really written
// as: every target of every form becomes a composite, and output and
// gradients of the blocks stay.
func TestInjectedModels(t *testing.T) {
	for _, c := range []struct {
		method adapter.Method
		rank   int
		form   rewrite.Form
		op     string
	}{
		{adapter.Bone, 8, rewrite.Activation, "Bone"},
		{adapter.Bone, 8, rewrite.Weighted, "Bone"},
		{adapter.Bone, 5, rewrite.Activation, "Bone"}, // 5 divides neither 16 nor 24
		{adapter.MiSS, 5, rewrite.Weighted, "Bone"},
		{adapter.MiSSMini, 8, rewrite.Activation, "Bone"},
		{adapter.MiSSMini, 8, rewrite.Weighted, "Bone"},
		{adapter.Bat, 4, rewrite.Auto, "BatWeight"},
	} {
		t.Run(fmt.Sprint(c.method, c.rank, c.form), func(t *testing.T) {
			m, err := testmodel.Tiny.Model()
			if err != nil {
				t.Fatal(err)
			}
			cfg := adapter.DefaultConfig()
			cfg.Method, cfg.Rank, cfg.Init, cfg.Seed = c.method, c.rank, adapter.InitRandom, 7
			if c.method == adapter.MiSSMini {
				cfg.MiniRank = 4
			}
			report, err := rewrite.Inject(m, cfg, rewrite.Options{Form: c.form})
			if err != nil {
				t.Fatal(err)
			}
			plain, err := ops.Canonical(m)
			if err != nil {
				t.Fatal(err)
			}
			fused := plain.Clone()
			if err := fuse.Raise(fused, ops.Standard(), fuse.Options{Mutable: isBlock}); err != nil {
				t.Fatal(err)
			}
			wantOps(t, fused, map[string]int{"ai.bonnx:" + c.op: len(report.Targets)})
			want, got := blockGradients(t, plain), blockGradients(t, fused)
			if len(want) != len(report.Targets)+1 || len(got) != len(want) {
				t.Fatalf("%d and %d results of %d targets", len(got), len(want), len(report.Targets))
			}
			for name, w := range want {
				testutil.Close(t, name, got[name], w, 2e-5, 2e-5)
			}
		})
	}
}

// A pile is two adapters on all layers.
type pile struct {
	ranks  [2]int
	forms  [2]rewrite.Form
	second adapter.Method
}

var piles = []pile{
	{[2]int{8, 8}, [2]rewrite.Form{}, adapter.Bone},
	{[2]int{4, 8}, [2]rewrite.Form{}, adapter.MiSS},
	{[2]int{8, 4}, [2]rewrite.Form{rewrite.Weighted, rewrite.Weighted}, adapter.MiSSMini},
	{[2]int{5, 5}, [2]rewrite.Form{rewrite.Weighted, rewrite.Activation}, adapter.Bone},
}

// models are the file's, what Canonical makes of it, and that raised; targets is
// how many layers there are.
func (p pile) models(t *testing.T) (file, plain, fused *ir.Model, targets int) {
	t.Helper()
	file, err := testmodel.Tiny.Model()
	if err != nil {
		t.Fatal(err)
	}
	for i, method := range []adapter.Method{adapter.Bone, p.second} {
		cfg := adapter.DefaultConfig()
		cfg.Method, cfg.Rank, cfg.Init, cfg.Seed, cfg.Name = method, p.ranks[i], adapter.InitRandom, uint64(i), string(rune('a'+i))
		if method == adapter.MiSSMini {
			cfg.MiniRank = 4
		}
		report, err := rewrite.Inject(file, cfg, rewrite.Options{Form: p.forms[i]})
		if err != nil {
			t.Fatal(err)
		}
		targets = len(report.Targets)
	}
	if plain, err = ops.Canonical(file); err != nil {
		t.Fatal(err)
	}
	fused = plain.Clone()
	if err := fuse.Raise(fused, ops.Standard(), fuse.Options{Mutable: isBlock}); err != nil {
		t.Fatal(err)
	}
	return file, plain, fused, targets
}

// TestInjectedPiles: of two adapters there is one Bone a layer, with the
// gradients of both.
func TestInjectedPiles(t *testing.T) {
	for _, p := range piles {
		t.Run(fmt.Sprint(p), func(t *testing.T) {
			_, plain, fused, targets := p.models(t)
			wantOps(t, fused, map[string]int{"ai.bonnx:Bone": targets, ":ReduceSum": 0})
			want, got := blockGradients(t, plain), blockGradients(t, fused)
			if len(want) != 2*targets+1 || len(got) != len(want) {
				t.Fatalf("%d and %d results of %d targets", len(got), len(want), targets)
			}
			for name, w := range want {
				testutil.Close(t, name, got[name], w, 2e-5, 2e-5)
			}
		})
	}
}

// TestORTPiles: what is run of them, with blocks that change and with such that
// do not, is what ONNX Runtime makes of the file.
func TestORTPiles(t *testing.T) {
	ort.Available(t)
	ids := testutil.RandomInts(2, 0, int64(testmodel.Tiny.Vocab), 2, 7)
	for _, p := range piles {
		file, _, fused, targets := p.models(t)
		path := filepath.Join(t.TempDir(), "m.onnx")
		if err := onnx.Save(path, file, onnx.SaveOptions{}); err != nil {
			t.Fatal(err)
		}
		want := ort.Run(t, path, map[string]*tensor.Tensor{file.Graph.Inputs[0].Name: ids})[file.Graph.Outputs[0].Name]
		for _, c := range []struct {
			what    string
			mutable func(*ir.Value) bool
			bones   int
		}{{"that change", isBlock, targets}, {"that do not", nil, 0}} {
			m := fused.Clone()
			if err := fuse.Late(m, ops.Standard(), fuse.Options{Mutable: c.mutable}); err != nil {
				t.Fatal(err)
			}
			wantOps(t, m, map[string]int{"ai.bonnx:Bone": c.bones})
			testutil.Close(t, fmt.Sprint(p, " with blocks ", c.what), run(t, m, ids), want, 1e-5, 1e-5)
		}
	}
}

func isBlock(v *ir.Value) bool { return strings.Contains(v.Name, "_block") }

// blockGradients are the sum of squares of the output and its gradients for
// all blocks.
func blockGradients(t *testing.T, m *ir.Model) map[string]*tensor.Tensor {
	t.Helper()
	an, err := ops.Standard().Analyze(m, ops.AnalyzeOptions{Mutable: isBlock})
	if err != nil {
		t.Fatal(err)
	}
	b := ops.NewBuilder(an, m.Graph, ir.NewNames(m))
	y := m.Graph.Outputs[0]
	loss := b.Op("ReduceMean", ir.In(b.Mul(y, y)), ir.A("keepdims", ir.Int(0)))
	var blocks []*ir.Value
	for _, v := range m.Graph.Initializers {
		if isBlock(v) {
			blocks = append(blocks, v)
		}
	}
	grads, err := autodiff.Gradient(b, loss, blocks)
	if err != nil {
		t.Fatal(err)
	}
	ids := testutil.RandomInts(1, 0, int64(testmodel.Tiny.Vocab), 3, 9)
	out, err := opcheck.Run(ops.Standard(), m, map[*ir.Value]*tensor.Tensor{m.Graph.Inputs[0]: ids}, append(grads, loss))
	if err != nil {
		t.Fatal(err)
	}
	res := map[string]*tensor.Tensor{"loss": out[len(grads)]}
	for i, v := range blocks {
		res[v.Name] = out[i]
	}
	return res
}
