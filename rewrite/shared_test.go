package rewrite_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

const (
	stories14 = "models/stories260k/stories260K_op14.onnx"
	stories17 = "models/stories260k/stories260K_op17.onnx"
)

// unreadable is data whose type and shape may be asked for, not its value.
type unreadable struct{ ir.Data }

func (unreadable) Tensor() (*tensor.Tensor, error) { return nil, errors.New("a weight was read") }

// seal makes every weight of a model fail when it is read, and returns what
// makes it readable again.
func seal(m *ir.Model) {
	m.Graphs(func(g *ir.Graph) bool {
		for _, v := range g.Initializers {
			if v.Data.DType().IsFloat() {
				v.Data = unreadable{v.Data}
			}
		}
		return true
	})
}

func TestStories(t *testing.T) {
	const bone, bat, lora = 48000, 12000, 8 * 5 * (2*(64+64) + 2*(64+32) + 3*(64+172))
	for _, c := range []struct {
		file   string
		method adapter.Method
		rank   int
		params int
		form   rewrite.Form
	}{
		{stories14, adapter.Bone, 16, bone, rewrite.Activation},
		{stories14, adapter.Bone, 16, bone, rewrite.Weighted},
		{stories14, adapter.Bat, 4, bat, rewrite.Auto},
		{stories17, adapter.Bone, 16, bone, rewrite.Activation},
		{stories17, adapter.MiSS, 16, bone, rewrite.Weighted},
		{stories17, adapter.Bat, 4, bat, rewrite.Auto},
		{stories17, adapter.LoRA, 8, lora, rewrite.Activation},
		{stories17, adapter.LoRA, 8, lora, rewrite.Weighted},
	} {
		path := testutil.Shared(t, c.file)
		_, want := save(t, load(t, path), "m.onnx")
		m := load(t, path)
		rep, err := rewrite.Inject(m, config(c.method, c.rank), rewrite.Options{Form: c.form})
		if err != nil {
			t.Fatal(err)
		}
		if len(rep.Targets) != 35 || rep.Trainable != c.params {
			t.Errorf("%v: %d targets, %d parameters; want 35, %d", c.method, len(rep.Targets), rep.Trainable, c.params)
		}
		if got := rep.Targets[0]; got.Path != "layers.0.self_attn.q_proj" || got.Node != "/layers.0/self_attn/q_proj/MatMul" || got.Source != rewrite.FromNode {
			t.Errorf("first target %+v", got)
		}
		if i := slices.IndexFunc(rep.Targets, func(x rewrite.TargetReport) bool { return !strings.HasSuffix(x.Path, "_proj") }); i >= 0 {
			t.Errorf("target %s", rep.Targets[i].Path)
		}
		if len(rep.Skipped) != 1 || rep.Skipped[0].Path != "lm_head" {
			t.Errorf("skipped %+v, want the head", rep.Skipped)
		}
		adapted, _ := save(t, m, "m.onnx")
		for _, s := range []*ir.Model{m, load(t, adapted)} {
			if err := rewrite.Strip(s); err != nil {
				t.Fatal(err)
			}
			if _, got := save(t, s, "m.onnx"); !bytes.Equal(got, want) {
				t.Errorf("%v %v: stripped model differs from the base", c.method, c.form)
			}
		}
	}
}

func TestInjectReadsNoWeight(t *testing.T) {
	for _, file := range []string{stories17, "models/structure/mnist-8.onnx", "models/structure/genai_tiny_gpt2_fp16.onnx"} {
		m := load(t, testutil.Shared(t, file))
		seal(m)
		cfg := config(adapter.Bone, 2)
		cfg.Targets = adapter.Modules{Regex: ".*"}
		rep, err := rewrite.Inject(m, cfg, rewrite.Options{})
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if len(rep.Targets) == 0 {
			t.Errorf("%s: no targets", file)
		}
	}
}

func TestTrainableLine(t *testing.T) {
	rep := &rewrite.Report{Trainable: 48000, All: 308000}
	if got, want := rep.TrainableLine(), "trainable params: 48,000 || all params: 308,000 || trainable%: 15.5844"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	m := load(t, testutil.Shared(t, stories17))
	base := rewrite.Params(m)
	if want := 260032 + 512*64; base != want { // the tied head is stored twice
		t.Errorf("%d parameters, want %d", base, want)
	}
	rep, err := rewrite.Inject(m, config(adapter.Bone, 16), rewrite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if rep.All != base+48000 || !strings.HasPrefix(rep.TrainableLine(), "trainable params: 48,000 || all params: ") {
		t.Errorf("base %d: %s", base, rep.TrainableLine())
	}
	var table strings.Builder
	if err := rep.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"layers.4.mlp.down_proj", "skipped lm_head: it is the head", "172"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("table lacks %q:\n%s", want, &table)
		}
	}
}

// TestStructures finds the layers in what several exporters wrote.
func TestStructures(t *testing.T) {
	for _, c := range []struct {
		file   string
		layers int
		head   string // "" where there is none
		path   string // one that must be found
		source rewrite.Source
	}{
		{"models/babyllama/babyllama_op17.onnx", 36, "lm_head", "layers.4.mlp.down_proj", rewrite.FromNode},
		{"models/structure/optimum_tiny_classifier_op11.onnx", 14, "classifier", "distilbert.transformer.layer.1.ffn.lin2", rewrite.FromBias},
		{"models/structure/random_encoder.onnx", 4, "", "transformer_encoder.layers.0.self_attn.out_proj", rewrite.FromInitializer},
		{"models/structure/random_decoder.onnx", 6, "linear", "transformer_decoder.layers.0.self_attn.in_proj", rewrite.FromBias},
		{"models/structure/dummy_transformer.onnx", 8, "", "transformer_encoder.layers.1.linear2", rewrite.FromBias},
		{"models/structure/mnist-8.onnx", 1, "Times212", "Times212", rewrite.FromPosition},
		{"models/structure/genai_tiny_gpt2_fp32.onnx", 21, "lm_head", "transformer.h.0.attn.c_attn", rewrite.FromInitializer},
		{"models/structure/genai_tiny_qwen_gqa_fp16.onnx", 13, "linear.12", "linear.3", rewrite.FromPosition},
	} {
		found, err := rewrite.Find(load(t, testutil.Shared(t, c.file)))
		if err != nil {
			t.Fatal(err)
		}
		var heads []string
		for _, l := range found.Linear {
			if l.Head {
				heads = append(heads, l.Path)
			}
		}
		if got := strings.Join(heads, " "); len(found.Linear) != c.layers || got != c.head {
			t.Errorf("%s: %d layers, head %q; want %d, %q", c.file, len(found.Linear), got, c.layers, c.head)
		}
		if l := found.At(c.path); l == nil || l.Source != c.source {
			t.Errorf("%s: %s: %+v, want one from %s", c.file, c.path, l, c.source)
		}
	}
}

// change adds a little to the last weight of a model.
func change(t *testing.T, m *ir.Model) {
	t.Helper()
	vs := m.Graph.Initializers
	for i := len(vs) - 1; i >= 0; i-- {
		if d := vs[i].Data; d.DType() == tensor.Float32 && len(d.Shape()) == 2 && d.Shape()[0] == 172 {
			w, err := d.Tensor()
			if err != nil {
				t.Fatal(err)
			}
			w = w.Clone()
			tensor.Data[float32](w)[5] += 1e-3
			vs[i].Data = ir.Dense(w)
			return
		}
	}
	t.Fatal("no weight to change")
}

func TestApplyHoldsToTheBase(t *testing.T) {
	path := testutil.Shared(t, stories17)
	m := load(t, path)
	if _, err := rewrite.Inject(m, config(adapter.Bone, 16), rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	set, err := rewrite.Extract(m, "")
	if err != nil {
		t.Fatal(err)
	}
	if want, err := rewrite.Fingerprint(load(t, path), pathsOf(set)); err != nil || set.Fingerprint != want {
		t.Errorf("fingerprint %s of the adapted model, %s of the base (%v)", set.Fingerprint, want, err)
	}
	for _, file := range []string{stories14, stories17} {
		rep, err := rewrite.Apply(load(t, testutil.Shared(t, file)), set, rewrite.Options{})
		if err != nil {
			t.Errorf("%s: %v", file, err)
		} else if len(rep.Targets) != 35 || len(rep.Notes) != 0 {
			t.Errorf("%s: %d targets, notes %q", file, len(rep.Targets), rep.Notes)
		}
	}

	other := load(t, path)
	change(t, other)
	_, before := save(t, other, "m.onnx")
	var mismatch *rewrite.BaseMismatchError
	_, err = rewrite.Apply(other, set, rewrite.Options{})
	if !errors.As(err, &mismatch) || mismatch.Adapter != set.Fingerprint || mismatch.Model == set.Fingerprint {
		t.Fatalf("other base: %v", err)
	}
	if !strings.Contains(err.Error(), mismatch.Adapter) || !strings.Contains(err.Error(), mismatch.Model) {
		t.Errorf("error lacks a fingerprint: %v", err)
	}
	if _, after := save(t, other, "m.onnx"); !bytes.Equal(before, after) {
		t.Error("the refused model changed")
	}
	if _, err := rewrite.Inject(other, config(adapter.Bone, 16), rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := rewrite.Apply(other, set, rewrite.Options{}); !errors.As(err, &mismatch) {
		t.Errorf("other base with an adapter: %v", err)
	}

	bare := *set
	bare.Fingerprint = ""
	rep, err := rewrite.Apply(load(t, path), &bare, rewrite.Options{})
	if err != nil || len(rep.Notes) != 1 {
		t.Errorf("without fingerprint: %v, %+v; want one note", err, rep)
	}
}

func pathsOf(set *adapter.Set) []string {
	var out []string
	for _, e := range set.Entries {
		out = append(out, e.Path)
	}
	return out
}
