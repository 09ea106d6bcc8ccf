package fuse_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/autodiff"
	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
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

func isBlock(v *ir.Value) bool { return strings.HasSuffix(v.Name, "_block") }

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
