package rewrite_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/adapter/peft"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// zooKeys are the parameters of the zoo, as PyTorch would call them, with their
// shapes there.
var zooKeys = map[string]tensor.Shape{
	"embed.weight": {11, 8}, "norm.weight": {8}, "norm.bias": {8}, "enc.layers.0.q.weight": {6, 8}, "enc.layers.0.q.bias": {6},
	"enc.layers.0.up.weight": {8, 6}, "conv.weight": {4, 8, 1}, "conv.bias": {4}, "rms.weight": {8},
	"classifier.weight": {3, 8}, "classifier.bias": {3}, "head.weight": {11, 8},
}

// zoo is a model with an embedding, norms, linear layers, a convolution, a
// classifier and a head that shares the embedding's weight. over has values
// for parameters, in PyTorch's layout; the head's copy is of its own then.
func zoo(over map[string]*tensor.Tensor) *gb {
	b := newModel(17, 8)
	seed := uint64(30)
	value := func(key string) *tensor.Tensor {
		seed++
		if t := over[key]; t != nil {
			return t
		}
		return testutil.Random(seed, zooKeys[key]...)
	}
	n, s, d := ir.Symbol("n"), ir.Symbol("s"), ir.Fixed(8)
	ids := b.input("ids", tensor.Int64, n, s)
	embed := b.init("embed.weight", value("embed.weight"))
	x := b.op("/embed/Gather", "Gather", "e", ir.In(embed, ids))
	x = b.op("/norm/LayerNormalization", "LayerNormalization", "ln", ir.In(x, b.init("norm.weight", value("norm.weight")), b.init("norm.bias", value("norm.bias"))))
	q := b.op("/enc/layers.0/q/MatMul", "MatMul", "q", ir.In(x, b.init("onnx::MatMul_7", turned(value("enc.layers.0.q.weight")))))
	q = b.op("/enc/layers.0/q/Add", "Add", "qb", ir.In(b.init("enc.layers.0.q.bias", value("enc.layers.0.q.bias")), q))
	q = b.op("/enc/layers.0/up/MatMul", "MatMul", "up", ir.In(b.op("", "Relu", "qr", ir.In(q)), b.init("onnx::MatMul_8", turned(value("enc.layers.0.up.weight")))))
	x = b.op("/enc/layers.0/Add", "Add", "res", ir.In(x, q))
	x = b.op("/rms/Mul", "Mul", "rms", ir.In(b.init("onnx::Mul_9", value("rms.weight")), x))
	table := embed
	if t := over["head.weight"]; t != nil || over["embed.weight"] != nil {
		if t == nil {
			t = testutil.Random(31, zooKeys["embed.weight"]...)
		}
		table = b.init("head.table", t)
	}
	logits := b.op("/head/MatMul", "MatMul", "logits", ir.In(x, b.op("/head/Transpose", "Transpose", "ht", ir.In(table), ir.A("perm", ir.Ints{1, 0}))))
	b.output(logits, tensor.Float32, n, s, ir.Fixed(11))
	c := b.op("/conv/Transpose", "Transpose", "ct", ir.In(x), ir.A("perm", ir.Ints{0, 2, 1}))
	c = b.op("/conv/Conv", "Conv", "feat", ir.In(c, b.init("conv.weight", value("conv.weight")), b.init("conv.bias", value("conv.bias"))))
	b.output(c, tensor.Float32, n, ir.Fixed(4), s)
	p := b.op("/ReduceMean", "ReduceMean", "mean", ir.In(x), ir.A("axes", ir.Ints{1}), ir.A("keepdims", ir.Int(0)))
	p.Type = ir.Tensor(tensor.Float32, n, d)
	p = b.op("/classifier/Gemm", "Gemm", "scores", ir.In(p, b.init("classifier.weight", value("classifier.weight")), b.init("classifier.bias", value("classifier.bias"))),
		ir.A("transB", ir.Int(1)))
	b.output(p, tensor.Float32, n, ir.Fixed(3))
	return b
}

func zooFeeds() map[string]*tensor.Tensor {
	return map[string]*tensor.Tensor{"ids": testutil.RandomInts(6, 0, 11, 2, 5)}
}

// saving is a configuration on q_proj that trains modules whole.
func saving(bias string, modules ...string) adapter.Config {
	cfg := config(adapter.Bone, 4)
	cfg.Init, cfg.Bias, cfg.Save = adapter.InitZero, bias, modules
	cfg.Targets = adapter.Modules{List: []string{"q", "classifier"}}
	return cfg
}

var wholeCases = []struct {
	name string
	cfg  adapter.Config
	want string // keys of what is trained whole, in the order of the graph
}{
	{"linear", saving("none", "classifier"), "classifier.weight classifier.bias"},
	{"head that shares the embedding", saving("none", "head"), "head.weight"},
	{"embedding that the head shares", saving("none", "embed"), "embed.weight"},
	{"norms", saving("none", "norm", "rms"), "norm.weight norm.bias rms.weight"},
	{"convolution", saving("none", "conv"), "conv.weight conv.bias"},
	{"all below a module", saving("none", "layers", "classifier"), "enc.layers.0.q.weight enc.layers.0.q.bias enc.layers.0.up.weight classifier.weight classifier.bias"},
	{"biases of targets", saving("bone_only"), "enc.layers.0.q.bias classifier.bias"},
	{"all biases", saving("all"), "norm.bias enc.layers.0.q.bias conv.bias classifier.bias"},
	{"biases and a module", saving("all", "conv"), "norm.bias enc.layers.0.q.bias conv.weight conv.bias classifier.bias"},
}

// TestWhole runs the life of parameters that are trained whole: written, at the
// base's outputs exactly; trained; taken out and put on again, through a PEFT
// folder too; merged; and taken off.
func TestWhole(t *testing.T) {
	_, base := save(t, zoo(nil).m, "m.onnx")
	start := run(t, zoo(nil).m, zooFeeds())
	for _, c := range wholeCases {
		cfg := c.cfg
		if slices.Contains(cfg.Save, "layers") {
			cfg.Targets.List = []string{"head"}
		}
		m := zoo(nil).m
		seal(m)
		rep, err := rewrite.Inject(m, cfg, rewrite.Options{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		m = zoo(nil).m
		if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
			t.Fatal(err)
		}
		for i, y := range run(t, m, zooFeeds()) {
			testutil.Close(t, c.name+", start", y, start[i], 0, 0)
		}
		over := train(t, m)
		var keys []string
		params := 0
		for _, s := range rep.Saved {
			keys = append(keys, s.Key)
			params += s.Parameters
			if want := zooKeys[s.Key]; over[s.Key] == nil || !over[s.Key].Shape().Equal(want) {
				t.Errorf("%s: %s is %v, want %v", c.name, s.Key, over[s.Key], want)
			}
		}
		if got := strings.Join(keys, " "); got != c.want {
			t.Errorf("%s: trained whole %s, want %s", c.name, got, c.want)
		}
		for _, x := range rep.Targets {
			params += x.Parameters
		}
		all := rewrite.Params(zoo(nil).m) + params
		if cfg.Bias != "none" {
			for _, s := range rep.Saved {
				if !strings.HasPrefix(s.Key, "conv") || len(cfg.Save) == 0 {
					all -= s.Parameters
				}
			}
		}
		if rep.All != all {
			t.Errorf("%s: %d parameters in all, want %d", c.name, rep.All, all)
		}
		if rep.Trainable != params {
			t.Errorf("%s: %d trainable parameters, want %d", c.name, rep.Trainable, params)
		}
		want := run(t, zoo(over).m, zooFeeds())
		got := run(t, m, zooFeeds())
		for i := range want {
			testutil.Close(t, c.name+", trained", got[i], want[i], 1e-5, 1e-5)
		}
		checkCarried(t, c.name, m, got)
		merged := m.Clone()
		if _, err := rewrite.Merge(merged); err != nil {
			t.Fatal(err)
		}
		for i, y := range run(t, merged, zooFeeds()) {
			testutil.Close(t, c.name+", merged", y, want[i], 1e-5, 1e-5)
		}
		path, _ := save(t, m, "m.onnx")
		for _, s := range []*ir.Model{m, load(t, path)} {
			if err := rewrite.Strip(s); err != nil {
				t.Fatal(err)
			}
			if _, got := save(t, s, "m.onnx"); !bytes.Equal(got, base) {
				t.Errorf("%s: stripped model is not the base", c.name)
			}
		}
	}
}

// train gives what is trained whole new values, and returns them by key.
func train(t *testing.T, m *ir.Model) map[string]*tensor.Tensor {
	t.Helper()
	list, err := rewrite.Adapters(m)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]*tensor.Tensor{}
	for i, name := range list[0].TrainableNames()[len(list[0].BlockNames()):] {
		values[name] = testutil.Random(uint64(60+i), m.Graph.Index()[name].Data.Shape()...)
	}
	if err := rewrite.SetBlocks(m, values); err != nil {
		t.Fatal(err)
	}
	sets, err := rewrite.Sets(m)
	if err != nil {
		t.Fatal(err)
	}
	over := map[string]*tensor.Tensor{}
	for _, s := range sets[0].Saved {
		over[s.Key] = s.Tensor
	}
	return over
}

// checkCarried takes the adapter of m out and puts it on a base, as it is and
// through a PEFT folder, and on the untrained adapter.
func checkCarried(t *testing.T, name string, m *ir.Model, want []*tensor.Tensor) {
	t.Helper()
	set, err := rewrite.Extract(m, "")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "adapter")
	if err := peft.WriteDir(dir, set, peft.Options{}); err != nil {
		t.Fatal(err)
	}
	read, err := peft.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for how, s := range map[string]*adapter.Set{"applied": set, "through PEFT": read.Set} {
		onBase, onUntrained := zoo(nil).m, zoo(nil).m
		if _, err := rewrite.Inject(onUntrained, set.Config, rewrite.Options{}); err != nil {
			t.Fatal(err)
		}
		for where, b := range map[string]*ir.Model{"base": onBase, "untrained adapter": onUntrained} {
			if _, err := rewrite.Apply(b, s, rewrite.Options{}); err != nil {
				t.Fatalf("%s, %s on %s: %v", name, how, where, err)
			}
			for i, y := range run(t, b, zooFeeds()) {
				testutil.Close(t, name+", "+how+" on "+where, y, want[i], 0, 0)
			}
		}
	}
}

// TestWholeNames: the trained copies of several adapters have their names.
func TestWholeNames(t *testing.T) {
	m := zoo(nil).m
	for _, name := range []string{"", "fr"} {
		cfg := saving("none", map[string]string{"": "rms", "fr": "norm"}[name])
		cfg.Name = name
		if _, err := rewrite.Inject(m, cfg, rewrite.Options{Inputs: true}); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{"rms.weight", "norm.weight.fr", "norm.bias.fr", "norm.weight"} {
		v := m.Graph.Index()[n]
		if v == nil || v.IsInput() != (n != "norm.weight") {
			t.Errorf("%s: %+v", n, v)
		}
	}
	cfg := saving("all")
	cfg.Name = "third"
	if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err == nil || !strings.Contains(err.Error(), `norm.bias is trained whole by adapter "fr" and by "third"`) {
		t.Errorf("two owners: %v", err)
	}
}

// TestWholeErrors: names that no module has, and sets that do not fit.
func TestWholeErrors(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"clasifier", `modules_to_save "clasifier": the model has no module of that name with weights. Did you mean classifier?`},
		{"norn", "Did you mean norm?"},
		{"nothing_like_it", "has no module of that name with weights"},
	} {
		if _, err := rewrite.Inject(zoo(nil).m, saving("none", c.name), rewrite.Options{}); !errors.Is(err, adapter.ErrNoMatch) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	m := zoo(nil).m
	if _, err := rewrite.Inject(m, saving("none", "conv"), rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	set, err := rewrite.Extract(m, "")
	if err != nil {
		t.Fatal(err)
	}
	good := set.Saved
	set.Saved, set.Config.Bias = nil, "all"
	rep, err := rewrite.Apply(zoo(nil).m, set, rewrite.Options{})
	if err != nil || len(rep.Notes) != 2 || !strings.Contains(rep.Notes[0], "modules_to_save names conv") || !strings.Contains(rep.Notes[1], "holds no biases") {
		t.Errorf("nothing saved: %+v, %v", rep, err)
	}
	set.Config.Bias = "none"
	for _, c := range []struct {
		saved         []adapter.Named
		base, adapted string
	}{
		{[]adapter.Named{{Key: "conf.weight", Tensor: good[0].Tensor}}, "the adapter holds conf.weight, and the model has no such parameter; did you mean conv?", "does not train conf.weight"},
		{[]adapter.Named{{Key: "conv.weight", Tensor: testutil.Random(1, 8, 4, 1)}}, "conv.weight: float32[8 4 1] does not fit", "conv.weight: float32[8 4 1] does not fit"},
		{[]adapter.Named{{Key: "conv.weight", Tensor: tensor.New(tensor.Int32, 4, 8, 1)}}, "does not fit", "does not fit"},
		{append(good[:1:1], adapter.Named{Key: "model.conv.weight", Tensor: good[0].Tensor}), "both are the model's conv.weight", "does not train model.conv.weight"},
	} {
		set.Saved = c.saved
		if _, err := rewrite.Apply(zoo(nil).m, set, rewrite.Options{}); err == nil || !strings.Contains(err.Error(), c.base) {
			t.Errorf("on the base: %v, want %q", err, c.base)
		}
		if _, err := rewrite.Apply(m.Clone(), set, rewrite.Options{}); err == nil || !strings.Contains(err.Error(), c.adapted) {
			t.Errorf("on the adapter: %v, want %q", err, c.adapted)
		}
	}
}

// TestORTWhole runs trained copies in ONNX Runtime.
func TestORTWhole(t *testing.T) {
	ort.Available(t)
	for _, c := range wholeCases {
		if slices.Contains(c.cfg.Save, "layers") {
			continue // its targets are saved
		}
		m := zoo(nil).m
		if _, err := rewrite.Inject(m, c.cfg, rewrite.Options{}); err != nil {
			t.Fatal(err)
		}
		over := train(t, m)
		path, _ := save(t, m, "m.onnx")
		got := ort.Run(t, path, zooFeeds())
		for i, want := range run(t, zoo(over).m, zooFeeds()) {
			name := m.Graph.Outputs[i].Name
			testutil.Close(t, c.name+", "+name, got[name], want, 1e-5, 1e-5)
		}
	}
}
