package rewrite_test

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// tower makes x -> q -> Relu -> k -> Relu -> head -> y, of sizes 8 8 6 4.
func tower(opset, irVersion int64) *gb {
	b := newModel(opset, irVersion)
	n := ir.Symbol("n")
	x := b.input("x", tensor.Float32, n, ir.Fixed(8))
	q := b.op("/layers.0/q_proj/MatMul", "MatMul", "q", ir.In(x, b.init("onnx::MatMul_1", testutil.Random(1, 8, 8))))
	q = b.op("", "Relu", "qr", ir.In(q))
	k := b.op("/layers.1/k_proj/MatMul", "MatMul", "k", ir.In(q, b.init("onnx::MatMul_2", testutil.Random(2, 8, 6))))
	k = b.op("", "Relu", "kr", ir.In(k))
	h := b.op("/head/MatMul", "MatMul", "h", ir.In(k, b.init("onnx::MatMul_3", testutil.Random(3, 6, 4))))
	y := b.op("/head/Add", "Add", "y", ir.In(h, b.init("head.bias", testutil.Random(4, 4))))
	b.output(y, tensor.Float32, n, ir.Fixed(4))
	return b
}

func targets(rep *rewrite.Report) string {
	var s []string
	for _, t := range rep.Targets {
		s = append(s, t.Path)
	}
	return strings.Join(s, " ")
}

func TestSelect(t *testing.T) {
	list := func(s ...string) adapter.Modules { return adapter.Modules{List: s} }
	for _, c := range []struct {
		name    string
		edit    func(c *adapter.Config)
		skip    bool
		want    string // targets
		skipped string // in the reasons
		err     string
	}{
		{"everything", func(*adapter.Config) {}, false, "layers.0.q_proj layers.1.k_proj", "it is the head", ""},
		{"none named", func(c *adapter.Config) { c.Targets = adapter.Modules{} }, false, "", "", "Please specify `target_modules` in `peft_config`"},
		{"head too", func(c *adapter.Config) { c.IncludeHead = true }, false, "layers.0.q_proj layers.1.k_proj head", "", ""},
		{"no such layer", func(c *adapter.Config) { c.Layers = []int{9} }, false, "", "", "the model has no layer 9; it has 0, 1."},
		{"no such layer of a named one", func(c *adapter.Config) { c.Layers, c.Targets = []int{1}, list("q_proj") }, false, "", "", "layers.0.q_proj: not in layers_to_transform"},
		{"head by name", func(c *adapter.Config) { c.Targets = list("head", "q_proj") }, false, "layers.0.q_proj head", "", ""},
		{"expression", func(c *adapter.Config) { c.Targets.Regex = `layers\.\d\..*` }, false, "layers.0.q_proj layers.1.k_proj", "", ""},
		{"excluded", func(c *adapter.Config) { c.Exclude = list("k_proj") }, false, "layers.0.q_proj", "excluded by exclude_modules", ""},
		{"layer filter without wrapper", func(c *adapter.Config) { c.Layers = []int{1} }, false, "layers.1.k_proj", "not in layers_to_transform", ""},
		{"rank does not fit one of all", func(c *adapter.Config) { c.Method, c.Rank = adapter.Bat, 4 }, false, "layers.0.q_proj", "bat needs a rank that divides 8 and 6; got 4", ""},
		{"rank does not fit a named one", func(c *adapter.Config) { c.Method, c.Rank, c.Targets = adapter.Bat, 4, list("q_proj", "k_proj") }, false, "", "",
			`node "/layers.1/k_proj/MatMul": bat needs a rank that divides 8 and 6; got 4`},
		{"unfit skipped", func(c *adapter.Config) { c.Method, c.Rank, c.Targets = adapter.Bat, 4, list("q_proj", "k_proj") }, true, "layers.0.q_proj", "bat needs", ""},
		{"no rank fits", func(c *adapter.Config) { c.Rank = 9 }, false, "", "", "Ranks that fit all targets: 1 to 8"},
		{"misspelt", func(c *adapter.Config) { c.Targets = list("q_porj") }, false, "", "", "Did you mean q_proj"},
		{"rank 0", func(c *adapter.Config) { c.Rank = 0 }, false, "", "", "`r` should be a positive integer"},
	} {
		cfg := config(adapter.Bone, 4)
		c.edit(&cfg)
		m := tower(17, 8).m
		rep, err := rewrite.Inject(m, cfg, rewrite.Options{SkipUnfit: c.skip})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: error %v, want %q", c.name, err, c.err)
			}
			if m.Graph.Len() != 6 || len(m.Metadata) != 0 {
				t.Errorf("%s: the model changed", c.name)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := targets(rep); got != c.want {
			t.Errorf("%s: targets %q, want %q", c.name, got, c.want)
		}
		has := slices.ContainsFunc(rep.Skipped, func(s rewrite.Skip) bool { return strings.Contains(s.Reason, c.skipped) })
		if c.skipped != "" && !has || c.skipped == "" && len(rep.Skipped) > 0 {
			t.Errorf("%s: skipped %+v, want %q", c.name, rep.Skipped, c.skipped)
		}
	}
}

func TestNothingMatched(t *testing.T) {
	cfg := config(adapter.Bone, 4)
	cfg.Targets = adapter.Modules{List: []string{"v_proj"}}
	_, err := rewrite.Inject(tower(17, 8).m, cfg, rewrite.Options{})
	if !errors.Is(err, adapter.ErrNoMatch) || !strings.Contains(err.Error(), "q_proj") {
		t.Errorf("got %v", err)
	}
	cfg.Targets.List = append(cfg.Targets.List, "q_proj")
	rep, err := rewrite.Inject(tower(17, 8).m, cfg, rewrite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Notes) != 1 || !strings.Contains(rep.Notes[0], `"v_proj" names no linear layer; did you mean q_proj, k_proj?`) {
		t.Errorf("notes %q", rep.Notes)
	}
}

func TestInputs(t *testing.T) {
	for _, irVersion := range []int64{3, 4, 8} {
		b := tower(11, irVersion)
		_, base := save(t, b.m, "m.onnx")
		inputs := len(b.g.Inputs)
		if _, err := rewrite.Inject(b.m, config(adapter.Bone, 4), rewrite.Options{Inputs: true}); err != nil {
			t.Fatal(err)
		}
		if want := max(irVersion, 4); b.m.IRVersion != want {
			t.Errorf("IR %d became %d, want %d", irVersion, b.m.IRVersion, want)
		}
		if got := len(b.m.Graph.Inputs); got != inputs+2 {
			t.Errorf("IR %d: %d inputs, want %d", irVersion, got, inputs+2)
		}
		x := testutil.Random(9, 3, 8)
		fed := map[string]*tensor.Tensor{"x": x}
		before := run(t, b.m, fed)[0]
		fed["layers.0.q_proj.bone_block"] = tensor.New(tensor.Float32, 4, 8)
		fed["layers.1.k_proj.bone_block"] = tensor.New(tensor.Float32, 4, 6)
		plain := run(t, tower(11, irVersion).m, map[string]*tensor.Tensor{"x": x})[0]
		testutil.Close(t, "zeros fed", run(t, b.m, fed)[0], plain, 0, 0)
		if testutil.Compare(before, plain, 1e-3, 0) == nil {
			t.Error("the default blocks change nothing")
		}
		if err := rewrite.Strip(b.m); err != nil {
			t.Fatal(err)
		}
		if _, got := save(t, b.m, "m.onnx"); !bytes.Equal(got, base) {
			t.Errorf("IR %d: stripped model is not the base", irVersion)
		}
	}
}

// tied makes two layers of one weight: by two paths, or twice the same module.
func tied(path string) *gb {
	b := newModel(17, 8)
	n := ir.Symbol("n")
	x := b.input("x", tensor.Float32, n, ir.Fixed(6))
	w := b.init("w", testutil.Random(1, 6, 6))
	h := b.op("/a/MatMul", "MatMul", "h", ir.In(x, w))
	h = b.op("", "Relu", "hr", ir.In(h))
	y := b.op(path, "MatMul", "ym", ir.In(h, w))
	b.output(b.op("", "Relu", "y", ir.In(y)), tensor.Float32, n, ir.Fixed(6))
	return b
}

func TestTiedWeights(t *testing.T) {
	x := map[string]*tensor.Tensor{"x": testutil.Random(5, 2, 6)}
	for _, c := range []struct {
		second  string
		name    string
		params  int
		targets string
		inits   int // after merging
		notes   int
	}{
		{"/b/MatMul", "a", 12, "a", 2, 1},
		{"/b/MatMul", "", 24, "a b", 2, 1},
		{"/a/MatMul_1", "", 12, "a", 1, 0},
	} {
		m := tied(c.second).m
		cfg := config(adapter.Bone, 2)
		if c.name != "" {
			cfg.Targets = adapter.Modules{List: []string{c.name}}
		}
		rep, err := rewrite.Inject(m, cfg, rewrite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := targets(rep); got != c.targets || rep.Trainable != c.params {
			t.Errorf("%s: targets %q, %d parameters; want %q, %d", c.second, got, rep.Trainable, c.targets, c.params)
		}
		want := run(t, m, x)[0]
		merged, err := rewrite.Merge(m)
		if err != nil {
			t.Fatal(err)
		}
		testutil.Close(t, c.second, run(t, m, x)[0], want, 1e-5, 1e-5)
		if len(merged.Notes) != c.notes || len(m.Graph.Initializers) != c.inits {
			t.Errorf("%s: notes %q, %d initializers; want %d, %d", c.second, merged.Notes, len(m.Graph.Initializers), c.notes, c.inits)
		}
	}
}

func TestMergeRefusesBrokenAdapter(t *testing.T) {
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
		m := tower(17, 8).m
		if _, err := rewrite.Inject(m, config(adapter.Bone, 4), rewrite.Options{}); err != nil {
			t.Fatal(err)
		}
		block := tensor.New(tensor.Float32, 4, 8)
		tensor.Data[float32](block)[3] = bad
		if err := rewrite.SetBlocks(m, map[string]*tensor.Tensor{"layers.0.q_proj.bone_block": block}); err != nil {
			t.Fatal(err)
		}
		nodes := m.Graph.Len()
		_, err := rewrite.Merge(m)
		if err == nil || !strings.Contains(err.Error(), "NaNs detected in the merged weights. The adapter default seems to be broken") {
			t.Errorf("error %v", err)
		}
		if list, err := rewrite.Adapters(m); err != nil || len(list) != 1 || m.Graph.Len() != nodes {
			t.Errorf("the model changed: %v", err)
		}
	}
}

func TestMergeIntoNarrowWeightOverflows(t *testing.T) {
	b := newModel(17, 8)
	x := b.input("x", tensor.Float32, ir.Fixed(2))
	half, err := tensor.FromSlice([]float32{60000, 1, 1, 1}, 2, 2).Cast(tensor.Float16)
	if err != nil {
		t.Fatal(err)
	}
	w := b.op("c", "Cast", "wc", ir.In(b.init("w", half)), ir.A("to", ir.Int(tensor.Float32)))
	b.output(b.op("", "Relu", "y", ir.In(b.op("/l/MatMul", "MatMul", "h", ir.In(x, w)))), tensor.Float32, ir.Fixed(2))
	if _, err := rewrite.Inject(b.m, config(adapter.Bone, 1), rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := rewrite.SetBlocks(b.m, map[string]*tensor.Tensor{"l.bone_block": tensor.FromSlice([]float32{9000, 0}, 1, 2)}); err != nil {
		t.Fatal(err)
	}
	if _, err := rewrite.Merge(b.m); err == nil || !strings.Contains(err.Error(), "does not fit float16") {
		t.Errorf("error %v", err)
	}
}

func TestQuantizedBase(t *testing.T) {
	b := newModel(17, 8)
	x := b.input("x", tensor.Float32, ir.Fixed(4))
	q := b.init("q", tensor.FromSlice([]int8{1, 2, 3, 4, 5, 6, 7, 8}, 4, 2))
	w := b.op("dq", "DequantizeLinear", "w", ir.In(q, b.init("s", tensor.Scalar(float32(0.5)))))
	b.output(b.op("", "Relu", "y", ir.In(b.op("/l/MatMul", "MatMul", "h", ir.In(x, w)))), tensor.Float32, ir.Fixed(2))
	found, err := rewrite.Find(b.m)
	if err != nil || len(found.Linear) != 1 {
		t.Fatalf("%v, %+v", err, found)
	}
	got, err := found.Linear[0].Weight.Read()
	if err != nil || !got.Equal(tensor.FromSlice([]float32{.5, 1, 1.5, 2, 2.5, 3, 3.5, 4}, 4, 2)) {
		t.Errorf("read %v, %v", got, err)
	}
	if _, err := rewrite.Inject(b.m, config(adapter.Bone, 2), rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	rep, err := rewrite.Merge(b.m)
	if err != nil || len(rep.Dequantized) != 1 || len(rep.Notes) != 1 || !strings.Contains(rep.Notes[0], "floats now") {
		t.Errorf("merge: %+v, %v", rep, err)
	}
}

func TestAdaptedTwice(t *testing.T) {
	m := tower(17, 8).m
	if _, err := rewrite.Inject(m, config(adapter.Bone, 4), rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := rewrite.Inject(m, config(adapter.Bone, 4), rewrite.Options{}); err == nil || !strings.Contains(err.Error(), `has adapter "default" already`) {
		t.Errorf("second injection: %v", err)
	}
	found, err := rewrite.Find(m)
	if err != nil || len(found.Linear) != 3 || len(found.Others) != 0 {
		t.Errorf("layers of the adapted model: %+v, %v", found, err)
	}
}

func TestNoAdapter(t *testing.T) {
	m := tower(17, 8).m
	for name, err := range map[string]error{
		"strip": rewrite.Strip(m), "convert": rewrite.Convert(m, rewrite.Options{}),
		"merge":   func() error { _, err := rewrite.Merge(m); return err }(),
		"extract": func() error { _, err := rewrite.Extract(m, ""); return err }(),
	} {
		if !errors.Is(err, rewrite.ErrNoAdapter) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := rewrite.Inject(m, config(adapter.Bone, 4), rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	if err := rewrite.Strip(m, "other"); !errors.Is(err, rewrite.ErrNoAdapter) || !strings.Contains(err.Error(), "it has default") {
		t.Errorf("strip of another: %v", err)
	}
}

func TestConvertBat(t *testing.T) {
	m := tower(17, 8).m
	if _, err := rewrite.Inject(m, config(adapter.Bat, 2), rewrite.Options{Form: rewrite.Activation}); err == nil || !strings.Contains(err.Error(), "bat has the form weight alone") {
		t.Errorf("error %v", err)
	}
}

func TestOldOpset(t *testing.T) {
	if _, err := rewrite.Inject(tower(6, 3).m, config(adapter.Bone, 4), rewrite.Options{}); err == nil || !strings.Contains(err.Error(), "operator set 6") {
		t.Errorf("error %v", err)
	}
}
