package rewrite_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/autodiff"
	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

// goldenLayer is one of PEFT's layers.
type goldenLayer struct {
	file   string
	method adapter.Method
	f      *npz.File
}

// composites are what the forms are raised to.
var composites = map[adapter.Method]string{adapter.Bone: "Bone", adapter.MiSS: "Bone", adapter.MiSSMini: "Bone", adapter.Bat: "BatWeight"}

func goldenLayers(t *testing.T) []goldenLayer {
	t.Helper()
	b, err := os.ReadFile(testutil.Shared(t, "golden/index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var index []struct {
		File string
		Meta struct{ Kind string }
	}
	if err := json.Unmarshal(b, &index); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]adapter.Method{"bone": adapter.Bone, "bat": adapter.Bat, "miss": adapter.MiSS, "miss_bat": adapter.Bat, "miss_mini": adapter.MiSSMini}
	var out []goldenLayer
	for _, c := range index {
		m, ok := kinds[c.Meta.Kind]
		if !ok || strings.HasPrefix(c.File, "train_") || strings.HasPrefix(c.File, "multi_") || strings.HasPrefix(c.File, "rwkv") {
			continue
		}
		f, err := npz.ReadFile(testutil.Shared(t, "golden/"+c.File), npz.Options{})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, goldenLayer{c.File, m, f})
	}
	return out
}

// model is x -> MatMul [-> Add bias] -> y.
func (c goldenLayer) model() *ir.Model {
	b := newModel(17, 8)
	w, x := c.f.Get("W"), c.f.Get("x")
	dims := make([]ir.Dim, x.Rank())
	for i := range dims {
		dims[i] = ir.Symbol("b" + string(rune('0'+i)))
	}
	dims[len(dims)-1] = ir.Fixed(int64(w.Shape()[0]))
	y := b.op("/lin/MatMul", "MatMul", "h", ir.In(b.input("x", tensor.Float32, dims...), b.init("w", w)))
	if bias := c.f.Get("bias"); bias != nil {
		y = b.op("/lin/Add", "Add", "y", ir.In(b.init("lin.bias", bias), y))
	}
	dims = slices.Clone(dims)
	dims[len(dims)-1] = ir.Fixed(int64(w.Shape()[1]))
	b.output(y, tensor.Float32, dims...)
	return b.m
}

// set is the case's block as an adapter.
func (c goldenLayer) set(t *testing.T) *adapter.Set {
	t.Helper()
	block, w := c.f.Get("block"), c.f.Get("W").Shape()
	d, err := c.method.DimsOf(w[0], w[1], block.Shape())
	if err != nil {
		t.Fatal(err)
	}
	cfg := adapter.DefaultConfig()
	cfg.Method, cfg.Rank, cfg.MiniRank = c.method, d.Rank, d.MiniRank
	return &adapter.Set{Config: cfg, Entries: []adapter.Entry{{Path: "lin", Blocks: []*tensor.Tensor{block}}}}
}

// TestGoldenLayers runs PEFT's layers as injected graphs: forward, backward of
// the graph as written and as raised, merged and stripped.
func TestGoldenLayers(t *testing.T) {
	refused := 0
	for _, c := range goldenLayers(t) {
		for _, form := range []rewrite.Form{rewrite.Activation, rewrite.Weighted} {
			if c.method == adapter.Bat && form == rewrite.Activation {
				continue
			}
			t.Run(c.file+"/"+form.String(), func(t *testing.T) {
				m := c.model()
				_, err := rewrite.Apply(m, c.set(t), rewrite.Options{Form: form})
				if strings.Contains(c.file, "rgtin") {
					if refused++; err == nil || !strings.Contains(err.Error(), "rank of at most 6") {
						t.Errorf("a rank above in: %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				c.check(t, m)
			})
		}
	}
	if refused != 4 {
		t.Errorf("%d refusals, want 4", refused)
	}
}

const goldenTol = 1e-5

func (c goldenLayer) check(t *testing.T, m *ir.Model) {
	feeds := map[string]*tensor.Tensor{"x": c.f.Get("x")}
	testutil.Close(t, "y", run(t, m, feeds)[0], c.f.Get("y"), goldenTol, goldenTol)
	c.checkGrads(t, m, false)
	c.checkGrads(t, m, true)

	merged := m.Clone()
	if _, err := rewrite.Merge(merged); err != nil {
		t.Fatal(err)
	}
	testutil.Close(t, "W_merged", value(t, merged, "w"), c.f.Get("W_merged"), goldenTol, goldenTol)
	testutil.Close(t, "y, merged", run(t, merged, feeds)[0], c.f.Get("y"), goldenTol, goldenTol)
	if err := rewrite.Strip(m); err != nil {
		t.Fatal(err)
	}
	testutil.Close(t, "y_base", run(t, m, feeds)[0], c.f.Get("y_base"), goldenTol, goldenTol)
	if !value(t, m, "w").Equal(c.f.Get("W")) {
		t.Error("the stripped weight is not the base's")
	}
}

// checkGrads holds the gradients of sum(y * g) to PEFT's.
func (c goldenLayer) checkGrads(t *testing.T, m *ir.Model, raise bool) {
	t.Helper()
	m, err := ops.Canonical(m)
	if err != nil {
		t.Fatal(err)
	}
	suffix := c.method.Suffixes()[0]
	isBlock := func(v *ir.Value) bool { return v.Name == "lin."+suffix }
	set := ops.Standard()
	name := "grad"
	if raise {
		name = "raised grad"
		if err := fuse.Raise(m, set, fuse.Options{Mutable: isBlock}); err != nil {
			t.Fatal(err)
		}
		if got := count(m, composites[c.method]); got != 1 {
			t.Errorf("%d nodes %s after raising, want 1", got, composites[c.method])
		}
	}
	an, err := set.Analyze(m, ops.AnalyzeOptions{Mutable: isBlock})
	if err != nil {
		t.Fatal(err)
	}
	b := ops.NewBuilder(an, m.Graph, ir.NewNames(m))
	loss := b.Op("ReduceSum", ir.In(b.Mul(m.Graph.Outputs[0], b.Const("g", c.f.Get("g")))), ir.A("keepdims", ir.Int(0)))
	index := m.Graph.Index()
	grads, err := autodiff.Gradient(b, loss, ir.In(index["x"], index["lin."+suffix]))
	if err != nil {
		t.Fatal(err)
	}
	got, err := opcheck.Run(set, m, map[*ir.Value]*tensor.Tensor{index["x"]: c.f.Get("x")}, grads)
	if err != nil {
		t.Fatal(err)
	}
	testutil.Close(t, name+"_x", got[0], c.f.Get("grad_x"), goldenTol, goldenTol)
	testutil.Close(t, name+"_block", got[1], c.f.Get("grad_block"), goldenTol, goldenTol)
}

func count(m *ir.Model, op string) int {
	n := 0
	for x := range m.Graph.Nodes() {
		if x.OpType == op && x.Domain == ops.Domain {
			n++
		}
	}
	return n
}
