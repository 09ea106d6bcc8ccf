package adapter_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/tensor"
)

func TestBlendErrors(t *testing.T) {
	on, uneven := sizes{"a": {24, 12}, "bb": {36, 12}}, sizes{"a": {24, 12}, "bb": {20, 12}}
	bone := func(rank int) *adapter.Set { return random(1, adapter.Bone, rank, 0, on) }
	nan := bone(4)
	tensor.Data[float32](nan.Entries[1].Blocks[0])[3] = float32(math.NaN())
	large := bone(4)
	tensor.Data[float32](large.Entries[1].Blocks[0])[3] = math.MaxFloat32
	other := random(1, adapter.Bone, 4, 0, sizes{"a": {24, 18}})
	mini := adapter.MiSSMini
	for _, c := range []struct {
		sets    []*adapter.Set
		weights []float64
		o       adapter.BlendOptions
		want    string
	}{
		{nil, nil, adapter.BlendOptions{}, "no adapter"},
		{[]*adapter.Set{bone(4)}, []float64{1, 2}, adapter.BlendOptions{}, "2 weights for 1 adapters"},
		{[]*adapter.Set{bone(4)}, []float64{math.NaN()}, adapter.BlendOptions{}, "the adapter: weight NaN is not finite"},
		{[]*adapter.Set{bone(4), nan}, nil, adapter.BlendOptions{}, "adapter 2 (default): bb: a block has elements that are not finite"},
		{[]*adapter.Set{bone(4), nan}, nil, adapter.BlendOptions{Labels: []string{"A.npz", "B.npz"}}, "B.npz: bb: a block"},
		{[]*adapter.Set{large, large}, []float64{1, 1}, adapter.BlendOptions{}, "bb: an element of the result does not fit float32"},
		{[]*adapter.Set{bone(4), other}, nil, adapter.BlendOptions{}, "a: blocks of the adapters are for weights of different sizes, 12 and 18"},
		{[]*adapter.Set{random(1, adapter.Bone, 9, 0, uneven), random(1, adapter.Bone, 16, 0, uneven)}, nil, adapter.BlendOptions{Base: base(uneven)},
			"the exact result takes rank 144, for adapters of rank 9, 16: a: bone needs a rank of at most 24"},
		{[]*adapter.Set{bone(4), random(1, adapter.LoRA, 4, 0, on)}, nil, adapter.BlendOptions{}, "adapters of bone and lora: say which method"},
		{[]*adapter.Set{random(1, adapter.Bat, 4, 0, on), random(1, adapter.Bat, 6, 0, on)}, nil, adapter.BlendOptions{}, "adapters of rank 4, 6 have no exact blend; say which rank"},
		{[]*adapter.Set{random(1, adapter.Bat, 4, 0, on)}, nil, adapter.BlendOptions{Rank: 2}, "needs the size of the weight"},
		{[]*adapter.Set{random(1, adapter.Bat, 4, 0, on)}, nil, adapter.BlendOptions{Rank: 2, Base: adapter.Base{Dims: func(string) (int, int, error) { return 36, 12, nil }}}, "what bat adds depends on the weight"},
		{[]*adapter.Set{bone(4)}, nil, adapter.BlendOptions{Method: &mini}, "`mini_r` should be a positive integer"},
		{[]*adapter.Set{bone(4)}, nil, adapter.BlendOptions{Method: &mini, MiniRank: 5, Base: base(on)}, "a: miss-mini needs a mini_r that divides 12"},
		{[]*adapter.Set{bone(4)}, []float64{1e308}, adapter.BlendOptions{}, "a: an element of the result does not fit float32"},
		{[]*adapter.Set{bone(4)}, []float64{1e308}, adapter.BlendOptions{Rank: 3, Base: base(on)}, "a: what the adapters add together does not fit float32"},
		{[]*adapter.Set{bone(30)}, nil, adapter.BlendOptions{Rank: 3, Base: base(on)}, "a: bone needs a rank of at most 24, the weight's input size; got 30"},
		{[]*adapter.Set{bone(4)}, nil, adapter.BlendOptions{Rank: 3}, "a: a fit needs the size of the weight"},
		{[]*adapter.Set{random(1, adapter.Bone, 65535, 0, sizes{"a": {65536, 1}}), random(1, adapter.Bone, 65534, 0, sizes{"a": {65536, 1}})}, nil, adapter.BlendOptions{}, "for adapters of rank 65535, 65534 takes a rank past any use"},
		{[]*adapter.Set{bone(4)}, nil, adapter.BlendOptions{Rank: 1 << 17}, "a rank of at most 65536"},
		{[]*adapter.Set{bone(4)}, nil, adapter.BlendOptions{Rank: -1}, "`r` should be a positive integer"},
		{[]*adapter.Set{{Config: adapter.Config{Rank: 1}}}, nil, adapter.BlendOptions{}, "no blocks"},
		{[]*adapter.Set{{Config: adapter.Config{Rank: 1}, Entries: []adapter.Entry{{Path: "q"}}}}, nil, adapter.BlendOptions{}, "q: bone has 1 blocks; got 0"},
		{[]*adapter.Set{{Config: adapter.Config{Rank: 1}, Entries: []adapter.Entry{{Path: "q", Blocks: []*tensor.Tensor{tensor.Ints(1)}}}}}, nil, adapter.BlendOptions{}, "is no bone_block of bone"},
	} {
		_, _, err := adapter.Blend(c.sets, c.weights, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got error %v, want one with %q", err, c.want)
		}
	}
}

// TestBlendBases: fingerprints that disagree are an error, and what was not
// compared is said.
func TestBlendBases(t *testing.T) {
	ab, a := sizes{"a": {24, 12}, "bb": {36, 12}}, sizes{"a": {24, 12}}
	set := func(on sizes, print string) *adapter.Set {
		s := random(1, adapter.Bone, 4, 0, on)
		s.Fingerprint = print
		return s
	}
	for _, c := range []struct {
		name        string
		sets        []*adapter.Set
		base        adapter.Base
		print, note string
		differ      bool
	}{
		{name: "the same", sets: []*adapter.Set{set(ab, "F"), set(ab, "F")}, print: "F"},
		{name: "different", sets: []*adapter.Set{set(ab, "F"), set(ab, "G")}, differ: true},
		{name: "none", sets: []*adapter.Set{set(ab, ""), set(ab, "")}, note: "says nothing of the base"},
		{name: "one", sets: []*adapter.Set{set(ab, "F"), set(ab, "")}, print: "F", note: "adapter 2 (default) says nothing of the base"},
		{name: "fewer targets", sets: []*adapter.Set{set(ab, "F"), set(a, "G")}, print: "F", note: "cannot be compared"},
		{name: "other targets", sets: []*adapter.Set{set(sizes{"bb": {36, 12}}, "F"), set(a, "G")}, note: "the result does not say which base"},
		{name: "with the base", sets: []*adapter.Set{set(ab, "of a bb"), set(a, "of a")}, base: base(ab), print: "of a bb"},
		{name: "with the base, together", sets: []*adapter.Set{set(sizes{"bb": {36, 12}}, "of bb"), set(a, "of a")}, base: base(ab), print: "of a bb"},
		{name: "two names", sets: []*adapter.Set{set(ab, ""), set(sizes{"model.bb": {36, 12}}, "")}, note: "model.bb and bb may be one module under two names"},
		{name: "not of the base", sets: []*adapter.Set{set(ab, "of a bb"), set(a, "G")}, base: base(ab), differ: true},
	} {
		got, rep, err := adapter.Blend(c.sets, nil, adapter.BlendOptions{Base: c.base})
		var different *adapter.DifferentBasesError
		if errors.As(err, &different) != c.differ || err != nil && !c.differ {
			t.Errorf("%s: got error %v", c.name, err)
		}
		if err != nil {
			for _, part := range append(different.Labels[:], different.Fingerprints[:]...) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s: error %q does not say %q", c.name, err, part)
				}
			}
			continue
		}
		notes := strings.Join(rep.Notes, "\n")
		if got.Fingerprint != c.print || (c.note == "") != (notes == "") || !strings.Contains(notes, c.note) {
			t.Errorf("%s: got fingerprint %q and notes %q, want %q and %q", c.name, got.Fingerprint, notes, c.print, c.note)
		}
	}
}

// TestBlendSaved: trained values of the base blend where that has a meaning.
func TestBlendSaved(t *testing.T) {
	on := sizes{"a": {24, 12}}
	set := func(key string, values ...float32) *adapter.Set {
		s := random(1, adapter.Bone, 4, 0, on)
		if key != "" {
			s.Saved = []adapter.Named{{Key: key, Tensor: tensor.FromSlice(values, len(values))}}
		}
		return s
	}
	got, _ := must(t)(adapter.Blend([]*adapter.Set{set("a.bias", 1, 2), set("a.bias", 3, -2)}, []float64{0.75, 0.25}, adapter.BlendOptions{}))
	if v := tensor.Data[float32](got.Saved[0].Tensor); len(got.Saved) != 1 || got.Saved[0].Key != "a.bias" || v[0] != 1.5 || v[1] != 1 {
		t.Errorf("got %v", got.Saved)
	}
	got, _ = must(t)(adapter.Convert(set("a.bias", 1, 2), adapter.BlendOptions{Rank: 8}))
	if len(got.Saved) != 1 {
		t.Errorf("a conversion loses trained values: %v", got.Saved)
	}
	for _, c := range []struct {
		sets    []*adapter.Set
		weights []float64
		want    string
	}{
		{[]*adapter.Set{set("a.bias", 1), set("")}, nil, "adapter 2 (default) has no value of a.bias"},
		{[]*adapter.Set{set("a.bias", 1), set("b.bias", 1)}, nil, "adapter 2 (default) has no value of a.bias"},
		{[]*adapter.Set{set("a.bias", 1), set("a.bias", 1)}, []float64{1, -1}, "only weights that add up to 1 can blend; these add up to 0"},
		{[]*adapter.Set{set("a.bias", 1), set("a.bias", 1, 2)}, nil, "a.bias: values differ in kind"},
	} {
		_, _, err := adapter.Blend(c.sets, c.weights, adapter.BlendOptions{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got error %v, want one with %q", err, c.want)
		}
	}
}
