package rewrite_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testmodel"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

func tiny(t *testing.T) *ir.Model {
	t.Helper()
	m, err := testmodel.Tiny.Model()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// made is an adapter for the tiny model with random blocks, on the targets
// named or all.
func made(t *testing.T, seed uint64, method adapter.Method, rank int, targets ...string) *adapter.Set {
	t.Helper()
	m := tiny(t)
	c := config(method, rank)
	c.Seed = seed
	if targets != nil {
		c.Targets = adapter.Modules{List: targets}
	}
	if _, err := rewrite.Inject(m, c, rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	s, err := rewrite.Extract(m, "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func baseOf(t *testing.T, m *ir.Model) adapter.Base {
	t.Helper()
	b, err := rewrite.Base(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// summed is the tiny model with the weighted sum of all deltas in its weights,
// by the definition of Bone: W[k,j] + sum_i weight_i D_i[k mod r_i, j].
func summed(t *testing.T, sets []*adapter.Set, weights []float64) *ir.Model {
	t.Helper()
	m := tiny(t)
	for name, v := range m.Graph.Index() {
		path, ok := strings.CutSuffix(name, ".weight")
		if !ok {
			continue
		}
		x, err := v.Data.Tensor()
		if err != nil {
			t.Fatal(err)
		}
		w := x.Clone()
		for i, f := range tensor.Data[float32](w) {
			sum := float64(f)
			for n, s := range sets {
				if e := s.Entry(path); e != nil {
					out := w.Shape()[1]
					sum += weights[n] * float64(tensor.Data[float32](e.Blocks[0])[i/out%s.Config.Rank*out+i%out])
				}
			}
			tensor.Data[float32](w)[i] = float32(sum)
		}
		v.Data = ir.Dense(w)
	}
	return m
}

// logits are the model's in ONNX Runtime.
func logits(t *testing.T, m *ir.Model) *tensor.Tensor {
	t.Helper()
	path, _ := save(t, m, "m.onnx")
	ids := testutil.RandomInts(4, 0, int64(testmodel.Tiny.Vocab), 2, 19)
	return ort.Run(t, path, map[string]*tensor.Tensor{"input_ids": ids})["logits"]
}

// applied is the tiny model with the adapter on it.
func applied(t *testing.T, s *adapter.Set, form rewrite.Form) *ir.Model {
	t.Helper()
	m := tiny(t)
	rep, err := rewrite.Apply(m, s, rewrite.Options{Form: form})
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Notes) > 0 {
		t.Errorf("applied with notes %q", rep.Notes)
	}
	return m
}

// TestORTBlend blends adapters of different ranks and targets, one of them
// taken away, and wants the logits of weights that hold the weighted sum.
func TestORTBlend(t *testing.T) {
	ort.Available(t)
	sets := []*adapter.Set{
		made(t, 1, adapter.Bone, 4), made(t, 2, adapter.MiSS, 6, "q_proj", "down_proj"), made(t, 3, adapter.Bone, 3, "q_proj", "o_proj"),
	}
	weights := []float64{0.75, -0.5, 1.25}
	blended, rep, err := adapter.Blend(sets, weights, adapter.BlendOptions{Base: baseOf(t, tiny(t))})
	if err != nil {
		t.Fatal(err)
	}
	if !rep.Exact || blended.Config.Rank != 12 || blended.Fingerprint == "" || len(rep.Notes) > 0 {
		t.Fatalf("rank %d, fingerprint %q, report %+v", blended.Config.Rank, blended.Fingerprint, rep)
	}
	base, want := logits(t, tiny(t)), logits(t, summed(t, sets, weights))
	if testutil.Compare(want, base, 1e-2, 0) == nil {
		t.Error("the sum changes nothing")
	}
	for _, form := range []rewrite.Form{rewrite.Activation, rewrite.Weighted} {
		testutil.Close(t, fmt.Sprintf("%v form", form), logits(t, applied(t, blended, form)), want, 1e-5, 1e-5)
	}
	m := applied(t, blended, rewrite.Auto)
	if _, err := rewrite.Merge(m); err != nil {
		t.Fatal(err)
	}
	testutil.Close(t, "merged", logits(t, m), want, 1e-6, 1e-6)
	// As a lora, which takes the sum of the ranks.
	lora := adapter.LoRA
	converted, rep, err := adapter.Convert(blended, adapter.BlendOptions{Method: &lora, Base: baseOf(t, tiny(t))})
	if err != nil || !rep.Exact {
		t.Fatalf("to lora: %v, %+v", err, rep)
	}
	testutil.Close(t, "as lora", logits(t, applied(t, converted, rewrite.Activation)), want, 1e-5, 1e-5)
}

// TestORTBlendSaved blends adapters that trained the head whole: its weight is
// the weighted sum of theirs.
func TestORTBlendSaved(t *testing.T) {
	ort.Available(t)
	var sets []*adapter.Set
	for i := range 2 {
		m := tiny(t)
		c := config(adapter.Bone, 3+i)
		c.Save = []string{"lm_head"}
		if _, err := rewrite.Inject(m, c, rewrite.Options{}); err != nil {
			t.Fatal(err)
		}
		s, err := rewrite.Extract(m, "")
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Saved) != 1 {
			t.Fatalf("saved %v", s.Saved)
		}
		s.Saved[0].Tensor = testutil.Random(uint64(i), s.Saved[0].Tensor.Shape()...)
		sets = append(sets, s)
	}
	weights := []float64{1.5, -0.5}
	blended, rep, err := adapter.Blend(sets, weights, adapter.BlendOptions{Base: baseOf(t, tiny(t))})
	if err != nil || !rep.Exact {
		t.Fatalf("%v, %+v", err, rep)
	}
	want := summed(t, sets, weights)
	head := want.Graph.Index()["lm_head.weight"]
	w := tensor.New(tensor.Float32, head.Data.Shape()...)
	in, out := w.Shape()[0], w.Shape()[1]
	for k := range in {
		for j := range out {
			sum := 0.0
			for i, s := range sets { // (out, in) as in torch
				sum += weights[i] * float64(tensor.Data[float32](s.Saved[0].Tensor)[j*in+k])
			}
			tensor.Data[float32](w)[k*out+j] = float32(sum)
		}
	}
	head.Data = ir.Dense(w)
	testutil.Close(t, "with a head", logits(t, applied(t, blended, rewrite.Auto)), logits(t, want), 1e-5, 1e-5)
}

// TestORTLift wants the logits of the merged model from the merged lifted
// adapter, bit for bit, and of the lifted one in weight form.
func TestORTLift(t *testing.T) {
	ort.Available(t)
	for _, method := range []adapter.Method{adapter.Bone, adapter.MiSS, adapter.MiSSMini, adapter.LoRA} {
		for _, rank := range []int{2, 5} {
			s := made(t, 1, method, rank)
			up, err := adapter.Lift(s, 3*rank, baseOf(t, tiny(t)))
			if err != nil {
				t.Fatal(err)
			}
			got, want := applied(t, up, rewrite.Auto), applied(t, s, rewrite.Auto)
			if method != adapter.LoRA {
				name := fmt.Sprintf("%v of rank %d, weight form", method, rank)
				testutil.Close(t, name, logits(t, applied(t, up, rewrite.Weighted)), logits(t, applied(t, s, rewrite.Weighted)), 0, 0)
			}
			for _, m := range []*ir.Model{got, want} {
				if _, err := rewrite.Merge(m); err != nil {
					t.Fatal(err)
				}
			}
			testutil.Close(t, fmt.Sprintf("%v of rank %d, merged", method, rank), logits(t, got), logits(t, want), 0, 0)
		}
	}
}

// TestORTBlendBat: bat adds what is linear in its block, so adapters of one rank
// sum up; at another rank the error is what the report says.
func TestORTBlendBat(t *testing.T) {
	ort.Available(t)
	sets := []*adapter.Set{made(t, 1, adapter.Bat, 4), made(t, 2, adapter.Bat, 4)}
	half := []float64{0.5, 0.5}
	blended, rep, err := adapter.Blend(sets, half, adapter.BlendOptions{Base: baseOf(t, tiny(t))})
	if err != nil || !rep.Exact {
		t.Fatalf("%v, %+v", err, rep)
	}
	want := tiny(t)
	for name, v := range want.Graph.Index() {
		e := sets[0].Entry(strings.TrimSuffix(name, ".weight"))
		if e == nil || !strings.HasSuffix(name, ".weight") {
			continue
		}
		w, err := v.Data.Tensor()
		if err != nil {
			t.Fatal(err)
		}
		after := w.Clone()
		for i, s := range sets {
			d, err := s.Layer(*s.Entry(e.Path)).Delta(w)
			if err != nil {
				t.Fatal(err)
			}
			for k, x := range tensor.Data[float32](d) {
				tensor.Data[float32](after)[k] += float32(half[i]) * x
			}
		}
		v.Data = ir.Dense(after)
	}
	testutil.Close(t, "bat", logits(t, applied(t, blended, rewrite.Auto)), logits(t, want), 1e-5, 1e-5)
	bone := adapter.Bone
	_, rep, err = adapter.Convert(blended, adapter.BlendOptions{Method: &bone, Base: baseOf(t, tiny(t))})
	if err != nil || rep.Exact || !(rep.Error > 0.01 && rep.Error < 1) || len(rep.Targets) != len(blended.Entries) {
		t.Errorf("bat to bone: %v, %+v", err, rep)
	}
}

// TestBlendHoldsToTheBase: adapters of another base are refused, under other
// targets too, and module paths may have a prefix.
func TestBlendHoldsToTheBase(t *testing.T) {
	a, b := made(t, 1, adapter.Bone, 4), made(t, 2, adapter.Bone, 4, "q_proj")
	c := testmodel.Tiny
	c.Seed = 9
	other, err := c.Model()
	if err != nil {
		t.Fatal(err)
	}
	var different *adapter.DifferentBasesError
	if _, _, err := adapter.Blend([]*adapter.Set{a, b}, nil, adapter.BlendOptions{Base: baseOf(t, other)}); !errors.As(err, &different) {
		t.Errorf("got error %v", err)
	}
	got, rep, err := adapter.Blend([]*adapter.Set{a, b}, nil, adapter.BlendOptions{Base: baseOf(t, applied(t, a, rewrite.Auto))})
	if err != nil {
		t.Fatal(err)
	}
	if got.Fingerprint != a.Fingerprint || len(rep.Notes) > 0 {
		t.Errorf("got fingerprint %q, want %q, notes %q", got.Fingerprint, a.Fingerprint, rep.Notes)
	}
	for i := range b.Entries {
		b.Entries[i].Path = "model." + b.Entries[i].Path
	}
	b.Fingerprint = ""
	if _, err := adapter.Lift(b, 8, baseOf(t, tiny(t))); err != nil {
		t.Errorf("with a prefix: %v", err)
	}
	if _, err := adapter.Lift(b, 20, baseOf(t, tiny(t))); err == nil || !strings.Contains(err.Error(), "model.layers.0.self_attn.q_proj: bone needs a rank of at most 16") {
		t.Errorf("past the input size: got error %v", err)
	}
	b.Entries[0].Path = "nowhere"
	if _, err := adapter.Lift(b, 8, baseOf(t, tiny(t))); !errors.Is(err, adapter.ErrNoMatch) {
		t.Errorf("an unknown module: got error %v", err)
	}
}
