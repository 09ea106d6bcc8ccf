package train

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/onnx"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// stories is the real model of the shared folder with an adapter, and windows
// of text that it was not trained on: to train on and to evaluate.
func stories(t *testing.T, method string, rank int) (m *ir.Model, params []string, data, eval Data) {
	t.Helper()
	dir := testutil.Shared(t, "models/stories260k")
	m, err := onnx.Load(filepath.Join(dir, "stories260K_op17.onnx"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = onnx.Close(m) })
	cfg := adapter.DefaultConfig()
	cfg.Rank = rank
	if err := cfg.Method.UnmarshalText([]byte(method)); err != nil {
		t.Fatal(err)
	}
	if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	adapters, err := rewrite.Adapters(m)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "tinyshakespeare_first60k_tok512.i32"))
	if err != nil {
		t.Fatal(err)
	}
	windows := func(lo, hi int) Data {
		x := tensor.New(tensor.Int64, hi-lo, 33)
		for i := range tensor.Data[int64](x) {
			at := 4 * (lo*33 + i)
			tensor.Data[int64](x)[i] = int64(raw[at]) | int64(raw[at+1])<<8 // below 512
		}
		name := m.Graph.Inputs[0].Name
		d, err := FromTensors(map[string]*tensor.Tensor{name: x}, Spec{Task: CausalLM, Inputs: []Port{{name, m.Graph.Inputs[0].Type}}})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	return m, adapters[0].BlockNames(), windows(0, 228), windows(228, 260)
}

// TestFoundRatesTrainWell: after 30 steps the rate that was found is as good as
// the best of a grid over four orders of magnitude, within 2 %.
func TestFoundRatesTrainWell(t *testing.T) {
	if testing.Short() {
		t.Skip("short: 300 steps of a real model")
	}
	for _, c := range []struct {
		optimizer string
		grid      []float64
	}{{"adamw", []float64{1e-4, 1e-3, 1e-2, 1e-1}}, {"sgd", []float64{1e-3, 1e-2, 1e-1, 1}}} {
		m, params, data, eval := stories(t, "bone", 16)
		cfg := Config{Params: params, Steps: 30, BatchSize: 8, OptimConfig: OptimConfig{Optimizer: c.optimizer}}
		loss := func(lr float64) (float64, Picks) {
			cfg.LR = lr
			s, err := Run(context.Background(), m, ops.Standard(), Samples(data), Samples(eval), cfg, Identity{})
			if err != nil {
				t.Fatal(err)
			}
			return *s.EvalLossAfter, s.Picked
		}
		got, picked := loss(0)
		report := fmt.Sprintf("%s: %.2g was found: %.4f; grid", c.optimizer, picked.LR, got)
		for _, lr := range c.grid {
			other, _ := loss(lr)
			report += fmt.Sprintf(" %g: %.4f", lr, other)
			if !(got < 1.02*other) {
				t.Errorf("%s: the rate found, %g, ends at %.4f, rate %g at %.4f", c.optimizer, picked.LR, got, lr, other)
			}
		}
		t.Log(report)
	}
}

// TestAutoRateChangesNothingElse: a run that finds its rate is, to the bit,
// one that was given it, resumed or not; random numbers that the test draws do
// not count.
func TestAutoRateChangesNothingElse(t *testing.T) {
	data, m := points(t, 10), classifier(0.3, "")
	before, err := m.Graph.Index()["w"].Data.Tensor()
	if err != nil {
		t.Fatal(err)
	}
	before = before.Clone()
	for _, accumulate := range []int{1, 2} {
		c := pointConfig()
		c.Epochs, c.Accumulate, c.LR = 4, accumulate, 0
		p, err := FindLR(context.Background(), m, ops.Standard(), Samples(data), c)
		if err != nil || !p.Found || p.LR <= 0 || len(p.Rates) != len(p.Changes) || len(p.Rates) > rangeSteps {
			t.Fatalf("found %+v (%v)", p, err)
		}
		auto, r, err := runPoints(context.Background(), Samples(data), nil, c)
		if err != nil {
			t.Fatal(err)
		}
		if auto.Picked.LR != p.LR || !strings.Contains(strings.Join(r.notes, "\n"), fmt.Sprintf("learning rate %g: ", p.LR)) {
			t.Errorf("picked %+v, said %q, want %g", auto.Picked, r.notes, p.LR)
		}
		given := c
		given.LR = p.LR
		want, _, err := runPoints(context.Background(), Samples(data), nil, given)
		if err != nil {
			t.Fatal(err)
		}
		sameRun(t, "auto", auto, want)
		c.Checkpoint, c.Resume = t.TempDir(), true
		for _, steps := range []int{2, want.Steps} {
			c.Steps = steps
			if auto, r, err = runPoints(context.Background(), Samples(data), nil, c); err != nil {
				t.Fatal(err)
			}
		}
		sameRun(t, "resumed", auto, want)
		if auto.Picked.LR != p.LR || slices.ContainsFunc(r.notes, func(s string) bool { return strings.Contains(s, "learning rate") }) {
			t.Errorf("the resumed run picked %+v and said %q", auto.Picked, r.notes)
		}
		c.LR = p.LR
		_, _, err = runPoints(context.Background(), Samples(data), nil, c)
		wantError(t, err, "--lr")
	}
	if after, err := m.Graph.Index()["w"].Data.Tensor(); err != nil || !after.Equal(before) {
		t.Errorf("the model's own parameter changed (%v)", err)
	}
}

// TestRateThatCannotBeFound: without a gradient the usual rate is taken.
func TestRateThatCannotBeFound(t *testing.T) {
	m := classifier(0, "")
	d, err := FromTensors(map[string]*tensor.Tensor{"x": tensor.New(tensor.Float32, 6, 3), LabelsInput: tensor.New(tensor.Int64, 6)},
		Spec{Task: Classification, Inputs: []Port{{"x", m.Graph.Inputs[0].Type}}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := FindLR(context.Background(), m, ops.Standard(), Samples(d), pointConfig())
	if err != nil || p.Found || p.LR != fallbackLR || !strings.Contains(p.Reason, "did not lower the loss") {
		t.Errorf("found %+v (%v)", p, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := FindLR(ctx, m, ops.Standard(), Samples(d), pointConfig()); err != context.Canceled {
		t.Errorf("cancelled: got error %v", err)
	}
}

// TestFlatLoss: where many rates are as good, one of the lowest is taken: what a
// long plateau ends at would be as large as the test goes.
func TestFlatLoss(t *testing.T) {
	r := rangeTest{below: 10, base: []float64{25}}
	for i := range rangeSteps {
		lr := math.Pow(10, float64(i)/10-6) // ten steps a decade
		if r.add(lr, -20*math.Min(1, lr/1e-4)-1e-4*float64(i)) {
			t.Fatalf("ended at rate %g", lr)
		}
	}
	if p := r.pick(1); !p.Found || p.LR < 1e-5 || p.LR > 1e-3 {
		t.Errorf("picked %g of a plateau that begins at 1e-4", p.LR)
	}
}

// TestRangeTestEnds where the loss turned, whatever numbers follow.
func TestRangeTestEnds(t *testing.T) {
	for _, c := range []struct {
		name    string
		changes []float64 // of the loss 4, at rates 1e-4, 2e-4, 4e-4, ...
		steps   int
		lr      float64 // 0 where none is found
	}{
		{"falls and rises", []float64{0, -1, -2, -3, -3, 4, 4, 4}, 6, 1.6e-4}, // lowest at 16e-4
		{"falls to the end", []float64{0, -1, -2, -3}, 4, 8e-5},
		{"rises at once", []float64{0, 30, 30}, 2, 0},
		{"noise", []float64{0, 0.01, -0.01, 0.01}, 4, 0},
	} {
		r := rangeTest{below: 10, base: []float64{4}}
		n := 0
		for i, d := range c.changes {
			n++
			if r.add(1e-4*float64(int(1)<<i), d) {
				break
			}
		}
		p := r.pick(1)
		want := c.lr
		if want == 0 {
			want = fallbackLR
		}
		if n != c.steps || p.Found != (c.lr > 0) || p.LR < 0.99*want || p.LR > 1.01*want {
			t.Errorf("%s: %d steps, found %v %g %v; want %d, %g", c.name, n, p.Found, p.LR, p.Changes, c.steps, want)
		}
	}
}
