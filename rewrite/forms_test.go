package rewrite_test

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

const (
	layerIn  = 12
	layerOut = 8
)

// wanted is relu(alpha x W' + beta b), the model's output, by package adapter.
func (l layer) wanted(t *testing.T, set *adapter.Set, x, w, bias *tensor.Tensor) *tensor.Tensor {
	t.Helper()
	y, err := set.Layer(set.Entries[0]).Forward(x, w, nil)
	if err != nil {
		t.Fatal(err)
	}
	v, err := y.Float64s()
	if err != nil {
		t.Fatal(err)
	}
	var b []float64
	if bias != nil {
		b, _ = bias.Float64s()
	}
	beta := 1.0
	if l.alpha() != 1 {
		beta = 2
	}
	for i := range v {
		v[i] *= l.alpha()
		if b != nil {
			v[i] += beta * b[i%len(b)]
		}
		v[i] = math.Max(0, v[i])
	}
	out, err := tensor.FromSlice(v, y.Shape()...).Cast(l.type_())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var ranks = map[adapter.Method][]int{
	adapter.Bone: {4, 5, 12}, adapter.MiSS: {3}, adapter.MiSSMini: {4, 5}, adapter.LoRA: {3}, adapter.Bat: {4},
}

// TestForms holds every method in every form at every kind of layer and
// opset to package adapter, then strips, merges, converts and carries it over.
func TestForms(t *testing.T) {
	for _, l := range layers {
		opsets := []int64{7, 11, 13, 17, 21}
		if l.x.Equal(tensor.Shape{2}) || l.x.Equal(tensor.Shape{4}) {
			opsets = []int64{17} // chains differ by what is behind the weight alone
		}
		for _, opset := range opsets {
			irVersion := int64(8)
			if opset == 7 {
				irVersion = 3
			}
			for method, rs := range ranks {
				for _, r := range rs {
					for _, form := range []rewrite.Form{rewrite.Activation, rewrite.Weighted} {
						if method == adapter.Bat && form == rewrite.Activation {
							continue
						}
						t.Run(fmt.Sprintf("%s/opset%d/%v%d/%v", l.name, opset, method, r, form), func(t *testing.T) {
							l.check(t, opset, irVersion, config(method, r), form)
						})
					}
				}
			}
		}
	}
}

func (l layer) check(t *testing.T, opset, irVersion int64, cfg adapter.Config, form rewrite.Form) {
	m, w, bias := l.build(opset, irVersion, layerIn, layerOut)
	_, base := save(t, m, "m.onnx")
	rep, err := rewrite.Inject(m, cfg, rewrite.Options{Form: form})
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Targets) != 1 || rep.Targets[0].Path != "net.lin" || rep.Targets[0].In != layerIn || rep.Targets[0].Out != layerOut {
		t.Fatalf("targets: %+v", rep.Targets)
	}
	if m.IRVersion != irVersion || m.Opset("") != opset {
		t.Errorf("IR %d, opset %d; want %d, %d", m.IRVersion, m.Opset(""), irVersion, opset)
	}
	set, err := rewrite.Extract(m, "")
	if err != nil {
		t.Fatal(err)
	}
	fed, x := l.feed(layerIn)
	feeds := map[string]*tensor.Tensor{"x": fed}
	want := l.wanted(t, set, x, w, bias)
	got := run(t, m, feeds)[0]
	testutil.Close(t, "adapted", got, want, 1e-5, 1e-5)

	l.checkStrip(t, m, base)
	l.checkApply(t, opset, irVersion, m, set, form, got, feeds)

	c := m.Clone()
	other := rewrite.Activation + rewrite.Weighted - form
	if cfg.Method == adapter.Bat {
		other = form
	}
	if err := rewrite.Convert(c, rewrite.Options{Form: other, Inputs: true}); err != nil {
		t.Fatal(err)
	}
	testutil.Close(t, "converted", run(t, c, feeds)[0], want, 1e-5, 1e-5)
	l.checkStrip(t, c, base)

	merged, err := rewrite.Merge(m)
	if err != nil {
		t.Fatal(err)
	}
	if len(merged.Merged) != 1 || len(merged.Notes) != 0 {
		t.Errorf("merged %+v", merged)
	}
	testutil.Close(t, "merged", run(t, m, feeds)[0], want, 1e-5, 1e-5)
	bm, _, _ := l.build(opset, irVersion, layerIn, layerOut)
	if got, want := len(m.Graph.Initializers), len(bm.Graph.Initializers); got != want || m.Graph.Len() != bm.Graph.Len() {
		t.Errorf("merged model has %d initializers and %d nodes, want %d and %d", got, m.Graph.Len(), want, bm.Graph.Len())
	}
}

// checkStrip strips a copy of m, and a copy that went through a file, and
// wants the base's bytes.
func (l layer) checkStrip(t *testing.T, m *ir.Model, base []byte) {
	t.Helper()
	path, _ := save(t, m, "m.onnx")
	for name, c := range map[string]*ir.Model{"stripped": m.Clone(), "loaded and stripped": load(t, path)} {
		if err := rewrite.Strip(c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, got := save(t, c, "m.onnx"); !bytes.Equal(got, base) {
			t.Errorf("%s model is not the base: %d bytes, want %d", name, len(got), len(base))
		}
	}
}

// checkApply puts the extracted adapter on the base again.
func (l layer) checkApply(t *testing.T, opset, irVersion int64, adapted *ir.Model, set *adapter.Set, form rewrite.Form, want *tensor.Tensor, feeds map[string]*tensor.Tensor) {
	t.Helper()
	m, _, _ := l.build(opset, irVersion, layerIn, layerOut)
	rep, err := rewrite.Apply(m, set, rewrite.Options{Form: form})
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Notes) != 0 {
		t.Errorf("notes %q", rep.Notes)
	}
	if got := run(t, m, feeds)[0]; !got.Equal(want) {
		t.Error("extracted and applied: other outputs than the adapted model's")
	}
	a, b := names(adapted), names(m)
	if a != b {
		t.Errorf("nodes %s\nwant %s", b, a)
	}
}

func names(m *ir.Model) string {
	var s string
	for n := range m.Graph.Nodes() {
		s += n.Name + " "
	}
	return s
}

// TestZeroStart wants the base's outputs exactly while blocks are zero.
func TestZeroStart(t *testing.T) {
	for _, l := range layers {
		for _, method := range adapter.Methods() {
			for _, form := range []rewrite.Form{rewrite.Auto, rewrite.Weighted} {
				m, _, _ := l.build(17, 8, layerIn, layerOut)
				fed, _ := l.feed(layerIn)
				feeds := map[string]*tensor.Tensor{"x": fed}
				want := run(t, m, feeds)[0]
				cfg := config(method, 4)
				cfg.Init = adapter.InitZero
				if _, err := rewrite.Inject(m, cfg, rewrite.Options{Form: form}); err != nil {
					t.Fatal(err)
				}
				testutil.Close(t, fmt.Sprintf("%s, %v, %v", l.name, method, form), run(t, m, feeds)[0], want, 0, 0)
			}
		}
	}
}
