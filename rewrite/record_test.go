package rewrite_test

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

func adapted(t *testing.T, method adapter.Method, o rewrite.Options) *ir.Model {
	t.Helper()
	m := tower(17, 8).m
	if _, err := rewrite.Inject(m, config(method, 2), o); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestRecordThatLies: a record that does not fit the graph is an error that
// says where, and changes nothing.
func TestRecordThatLies(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"no JSON", `{"version"`, `{"version`, "metadata bonnx.adapters"},
		{"newer version", `"version":1`, `"version":3`, "version 3; this program knows up to 2"},
		{"unknown method", `"method":"bone"`, `"method":"bome"`, `unknown method "bome"`},
		{"another method", `"method":"bone"`, `"method":"lora"`, "blocks"},
		{"another rank", `"r":2`, `"r":4`, "blocks of rank 2; the configuration says 4"},
		{"rank 0", `"r":2`, `"r":0`, "positive"},
		{"another form", `"form":"activation"`, `"form":"weight"`, "besides the weight"},
		{"no form", `"form":"activation"`, `"form":"auto"`, "form is auto"},
		{"missing node", `/layers.0/q_proj/bone/Add`, `/layers.0/q_proj/bone/Sub`, `no node "/layers.0/q_proj/bone/Sub"`},
		{"a node twice", `/layers.0/q_proj/bone/Add`, `/layers.1/k_proj/bone/Add`, "named twice"},
		{"a node of the base", `/layers.0/q_proj/bone/Add`, `/head/MatMul`, "not where the adapter joins"},
		{"missing block", `"layers.0.q_proj.bone_block"`, `"layers.7.q_proj.bone_block"`, `no initializer "layers.7.q_proj.bone_block"`},
		{"another block", `"layers.0.q_proj.bone_block"`, `"head.bias"`, "does not fit"},
		{"missing constant", `"bonnx/ints_1"`, `"bonnx/ints_9"`, `no initializer "bonnx/ints_9"`},
		{"other sizes", `"in":8,"out":8`, `"in":8,"out":4`, "does not fit"},
		{"another weight's sizes", `"in":8,"out":8`, `"in":16,"out":8`, "not the one that was adapted"},
		{"another kind", `"kind":"MatMul"`, `"kind":"Gemm"`, "not where it was"},
	} {
		m := adapted(t, adapter.Bone, rewrite.Options{})
		text, _ := m.Metadata.Get(rewrite.MetadataKey)
		if !strings.Contains(text, c.old) {
			t.Fatalf("%s: the record has no %s: %s", c.name, c.old, text)
		}
		m.Metadata.Set(rewrite.MetadataKey, strings.Replace(text, c.old, c.new, 1))
		nodes := names(m)
		if err := rewrite.Strip(m); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", c.name, err, c.want)
		}
		if names(m) != nodes {
			t.Errorf("%s: the model changed", c.name)
		}
	}
}

// TestRecordsInACircle: two adapters of which each says that it stands on the
// other are refused, though the graph itself has no cycle.
func TestRecordsInACircle(t *testing.T) {
	m := adapted(t, adapter.Bone, rewrite.Options{Form: rewrite.Weighted})
	const q, k = "/layers.0/q_proj/bone/Gather", "/layers.1/k_proj/bone/Gather"
	gathers := map[string]*ir.Node{}
	for n := range m.Graph.Nodes() {
		gathers[n.Name] = n
	}
	text, _ := m.Metadata.Get(rewrite.MetadataKey)
	for name, other := range map[string]string{q: k, k: q} {
		n := ir.NewNode("", "Identity", gathers[other].Output(0))
		n.Name = name + "/reader"
		n.SetOutput(0, m.Graph.NewValue(n.Name, nil))
		m.Graph.InsertAfter(n, gathers[k])
		add := strings.TrimSuffix(name, "Gather") + "Add"
		text = strings.Replace(text, `"`+name+`","`+add+`"`, `"`+n.Name+`","`+name+`"`, 1)
	}
	m.Metadata.Set(rewrite.MetadataKey, text)
	if err := rewrite.Strip(m); err == nil || !strings.Contains(err.Error(), "does not depend on the weight") {
		t.Errorf("error %v", err)
	}
}

// TestScrambledRecords moves strings and numbers of a record about: whatever
// comes of it, nothing panics, and what succeeds leaves a valid model.
func TestScrambledRecords(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	failed := 0
	for i := range 400 {
		method := adapter.Methods()[i%5]
		m := adapted(t, method, rewrite.Options{Form: []rewrite.Form{rewrite.Auto, rewrite.Weighted}[i/5%2]})
		text, _ := m.Metadata.Get(rewrite.MetadataKey)
		var tree any
		if err := json.Unmarshal([]byte(text), &tree); err != nil {
			t.Fatal(err)
		}
		var all []string
		for n := range m.Graph.Nodes() {
			all = append(all, n.Name)
		}
		for _, v := range m.Graph.Initializers {
			all = append(all, v.Name)
		}
		scramble(tree, rng, all)
		b, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		m.Metadata.Set(rewrite.MetadataKey, string(b))
		for _, do := range []func(*ir.Model) error{
			func(m *ir.Model) error { return rewrite.Strip(m) },
			func(m *ir.Model) error { _, err := rewrite.Merge(m); return err },
			func(m *ir.Model) error { _, err := rewrite.Extract(m, ""); return err },
			func(m *ir.Model) error { return rewrite.Convert(m, rewrite.Options{Inputs: true}) },
		} {
			c := m.Clone()
			if err := do(c); err != nil {
				failed++
			}
			if err := ir.Verify(c); err != nil {
				t.Fatalf("record %s: invalid model: %v", b, err)
			}
		}
	}
	if failed == 0 {
		t.Error("no scrambled record was refused")
	}
}

// scramble changes about one leaf in ten.
func scramble(x any, rng *rand.Rand, names []string) {
	change := func(v any) any {
		if rng.IntN(10) > 0 {
			scramble(v, rng, names)
			return v
		}
		switch v := v.(type) {
		case string:
			return names[rng.IntN(len(names))]
		case float64:
			return v + float64(rng.IntN(7)-3)
		case []any:
			if len(v) > 1 {
				rng.Shuffle(len(v), func(i, j int) { v[i], v[j] = v[j], v[i] })
				return v[:1+rng.IntN(len(v))]
			}
		}
		return v
	}
	switch x := x.(type) {
	case map[string]any:
		for k, v := range x {
			x[k] = change(v)
		}
	case []any:
		for i, v := range x {
			x[i] = change(v)
		}
	}
}

// TestApplyErrors: adapters that do not fit the model.
func TestApplyErrors(t *testing.T) {
	set := func() *adapter.Set {
		s, err := rewrite.Extract(adapted(t, adapter.Bone, rewrite.Options{}), "")
		if err != nil {
			t.Fatal(err)
		}
		s.Fingerprint = ""
		return s
	}
	for _, c := range []struct {
		name    string
		edit    func(s *adapter.Set)
		base    string // error on the base model
		adapted string // error on the adapted model
	}{
		{"unknown module", func(s *adapter.Set) { s.Entries[0].Path = "layers.5.q_proj" }, "layers.5.q_proj", "no module layers.5.q_proj"},
		{"another shape", func(s *adapter.Set) { s.Entries[1].Blocks[0] = tensor.New(tensor.Float32, 2, 8) }, "does not fit a weight of (8, 6)", "float32[2 6]"},
		{"another rank", func(s *adapter.Set) { s.Entries[1].Blocks[0] = tensor.New(tensor.Float32, 3, 6) }, "the configuration says 2", "float32[2 6]"},
		{"integers", func(s *adapter.Set) { s.Entries[1].Blocks[0] = tensor.New(tensor.Int32, 2, 6) }, "int32", "int32"},
		{"too few blocks", func(s *adapter.Set) { s.Entries[1].Blocks = nil }, "1 blocks; got 0", "0 blocks"},
		{"no blocks", func(s *adapter.Set) { s.Entries = nil }, "no blocks", "no blocks"},
		{"saved modules", func(s *adapter.Set) {
			s.Saved = []adapter.Named{{Key: "head.weight", Tensor: tensor.New(tensor.Float32, 1)}}
		}, "head.weight", "head.weight"},
		{"another method", func(s *adapter.Set) { s.Config.Method = adapter.Bat }, "does not fit", "is bone, the one to apply is bat"},
		{"twice", func(s *adapter.Set) { s.Entries[1].Path = "x." + s.Entries[0].Path }, "both are the model's layers.0.q_proj", "no module"},
	} {
		s := set()
		c.edit(s)
		for want, m := range map[string]*ir.Model{c.base: tower(17, 8).m, "\x00" + c.adapted: adapted(t, adapter.Bone, rewrite.Options{})} {
			before := names(m)
			_, err := rewrite.Apply(m, s, rewrite.Options{})
			if err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(want, "\x00")) {
				t.Errorf("%s: error %v, want %q", c.name, err, want)
			}
			if names(m) != before {
				t.Errorf("%s: the model changed", c.name)
			}
		}
	}
}

// TestApplyReplacesBlocks: bare blocks, some of them, in another float type.
func TestApplyReplacesBlocks(t *testing.T) {
	for _, form := range []rewrite.Form{rewrite.Activation, rewrite.Weighted} {
		m := adapted(t, adapter.MiSSMini, rewrite.Options{Form: form})
		kept := value(t, m, "layers.1.k_proj.miss_block")
		block, err := testutil.Random(8, 2, 2).Cast(tensor.Float64)
		if err != nil {
			t.Fatal(err)
		}
		set, err := adapter.Collect(nil, []adapter.Named{{Key: "layers.0.q_proj.miss_block", Tensor: block}})
		if err != nil {
			t.Fatal(err)
		}
		rep, err := rewrite.Apply(m, set, rewrite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(rep.Targets) != 1 || len(rep.Notes) != 2 {
			t.Errorf("targets %+v, notes %q", rep.Targets, rep.Notes)
		}
		if got := value(t, m, "layers.0.q_proj.miss_block"); !got.Equal(testutil.Random(8, 2, 2)) {
			t.Error("the block is not the new one")
		}
		if !value(t, m, "layers.1.k_proj.miss_block").Equal(kept) {
			t.Error("the other block changed")
		}
	}
}

func value(t *testing.T, m *ir.Model, name string) *tensor.Tensor {
	t.Helper()
	v := m.Graph.Index()[name]
	if v == nil {
		t.Fatalf("no %q", name)
	}
	x, err := v.Data.Tensor()
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestApplyWithPrefix puts an adapter on a graph whose paths lack "model.".
func TestApplyWithPrefix(t *testing.T) {
	src := adapted(t, adapter.Bone, rewrite.Options{})
	set, err := rewrite.Extract(src, "")
	if err != nil {
		t.Fatal(err)
	}
	set.Fingerprint = ""
	for i := range set.Entries {
		set.Entries[i].Path = "model." + set.Entries[i].Path
	}
	m := tower(17, 8).m
	rep, err := rewrite.Apply(m, set, rewrite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := targets(rep); got != "layers.0.q_proj layers.1.k_proj" || len(rep.Notes) != 2 {
		t.Errorf("targets %q, notes %q", got, rep.Notes)
	}
	x := map[string]*tensor.Tensor{"x": testutil.Random(5, 3, 8)}
	if a, b := run(t, src, x)[0], run(t, m, x)[0]; !a.Equal(b) {
		t.Error("other outputs than the source's")
	}
}

// TestAlphaCounts: lora's blocks under another scale are other numbers.
func TestAlphaCounts(t *testing.T) {
	m := adapted(t, adapter.LoRA, rewrite.Options{})
	set, err := rewrite.Extract(m, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rewrite.Apply(m, set, rewrite.Options{}); err != nil {
		t.Error(err)
	}
	set.Config.Alpha = 16
	if _, err := rewrite.Apply(m, set, rewrite.Options{}); err == nil || !strings.Contains(err.Error(), "alpha 3, the one to apply 16") {
		t.Errorf("error %v", err)
	}
}
