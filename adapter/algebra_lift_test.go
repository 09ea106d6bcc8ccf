package adapter_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/tensor"
)

var shapes = sizes{"a": {24, 12}, "bb": {25, 6}, "ccc": {31, 18}}

// TestLift: at a multiple of the rank no bit of a merged weight changes, and
// the block is the old one repeated.
func TestLift(t *testing.T) {
	for _, c := range []struct {
		m          adapter.Method
		rank, mini int
		to         []int
	}{
		{adapter.Bone, 4, 0, []int{4, 8, 12, 24}},
		{adapter.Bone, 5, 0, []int{10, 15, 20}}, // 5 divides neither 24 nor 31
		{adapter.MiSS, 3, 0, []int{6, 9, 21}},
		{adapter.MiSSMini, 4, 3, []int{8, 16}},
		{adapter.MiSSMini, 7, 6, []int{14, 21}},
		{adapter.LoRA, 3, 0, []int{6, 30}},
		{adapter.LoRA, 4, 0, []int{8, 40}},
	} {
		s := random(1, c.m, c.rank, c.mini, shapes)
		for _, rank := range c.to {
			name := fmt.Sprintf("%v of rank %d to %d", c.m, c.rank, rank)
			for _, b := range []adapter.Base{{}, base(shapes)} {
				up, err := adapter.Lift(s, rank, b)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if up.Config.Rank != rank || up.Config.Method != c.m || up.Config.MiniRank != c.mini {
					t.Errorf("%s: got %+v", name, up.Config)
				}
				sameMerged(t, name, up, s, base(shapes))
				if c.m == adapter.LoRA {
					continue
				}
				old, block := s.Entries[0].Blocks[0], up.Entries[0].Blocks[0]
				for at := 0; at < rank; at += c.rank {
					if !block.Rows(at, at+c.rank).Equal(old) {
						t.Errorf("%s: rows %d are not the block", name, at)
					}
				}
			}
		}
	}
}

// TestLiftedLoRALearns: what the lift adds to lora is not dead: B gets a
// gradient there.
func TestLiftedLoRALearns(t *testing.T) {
	one := sizes{"a": {10, 6}}
	up, err := adapter.Lift(random(1, adapter.LoRA, 2, 0, one), 4, adapter.Base{})
	if err != nil {
		t.Fatal(err)
	}
	x, w := testutil.Random(1, 3, 10), testutil.Random(2, 10, 6)
	g, err := adapter.Stack{up.Layer(up.Entries[0])}.Grad(x, w, testutil.Random(3, 3, 6))
	if err != nil {
		t.Fatal(err)
	}
	b := tensor.Data[float32](g.Blocks[0][1])
	for l := range 4 {
		if b[l] == 0 {
			t.Errorf("component %d of B has no gradient", l)
		}
	}
}

// TestLiftKeepsBits: elements are copied, minus zero and half floats too.
func TestLiftKeepsBits(t *testing.T) {
	s := random(1, adapter.Bone, 2, 0, sizes{"a": {8, 2}})
	negative := float32(math.Copysign(0, -1))
	s.Entries[0].Blocks[0] = tensor.FromSlice([]float32{negative, 1e-45, math.MaxFloat32, -1}, 2, 2)
	up, err := adapter.Lift(s, 4, adapter.Base{})
	if err != nil {
		t.Fatal(err)
	}
	if got := up.Entries[0].Blocks[0].Rows(2, 4); !got.Equal(s.Entries[0].Blocks[0]) {
		t.Errorf("got %v", tensor.Data[float32](got))
	}
	for _, d := range []tensor.DType{tensor.Float16, tensor.BFloat16, tensor.Float64} {
		h, err := testutil.Random(3, 2, 2).Cast(d)
		if err != nil {
			t.Fatal(err)
		}
		if d == tensor.Float64 {
			tensor.Data[float64](h)[1] = 1.0 / 3
		}
		s.Entries[0].Blocks[0] = h
		up, err := adapter.Lift(s, 6, adapter.Base{})
		if err != nil {
			t.Fatal(err)
		}
		got, _ := up.Entries[0].Blocks[0].Float64s()
		want, _ := h.Float64s()
		if !slices.Equal(got, slices.Repeat(want, 3)) {
			t.Errorf("%v: got %v, want %v", d, got, want)
		}
	}
}

func TestLiftErrors(t *testing.T) {
	for _, c := range []struct {
		m          adapter.Method
		rank, mini int
		to         int
		base       adapter.Base
		want       string
	}{
		{adapter.Bone, 4, 0, 6, adapter.Base{}, "rank 6 is no multiple of the adapter's rank 4"},
		{adapter.Bone, 4, 0, 2, adapter.Base{}, "no multiple"},
		{adapter.Bone, 4, 0, 0, adapter.Base{}, "no multiple"},
		{adapter.Bone, 4, 0, 28, base(shapes), "a: bone needs a rank of at most 24, the weight's input size; got 28\nbb: bone needs a rank of at most 25, the weight's input size; got 28. Ranks that fit all targets: 1 to 24"},
		{adapter.MiSSMini, 8, 3, 32, base(shapes), "ccc: miss-mini needs a rank of at most 31"},
		{adapter.Bone, 4, 0, 8, base(sizes{"a": {24, 13}}), "a: bone bone_block of shape [4 12] does not fit a weight of (24, 13)"},
		{adapter.Bone, 4, 0, 8, base(nil), "a: no weight a"},
		{adapter.Bone, 4, 0, 1 << 17, adapter.Base{}, "a rank of at most 65536"},
	} {
		_, err := adapter.Lift(random(1, c.m, c.rank, c.mini, shapes), c.to, c.base)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v of rank %d to %d: got error %v, want one with %q", c.m, c.rank, c.to, err, c.want)
		}
	}
	square := sizes{"a": {8, 8}}
	if _, err := adapter.Lift(random(1, adapter.Bat, 2, 0, square), 4, base(square)); err == nil || !strings.Contains(err.Error(), "bat at rank 2 is not the same at any other rank") {
		t.Errorf("bat: got error %v", err)
	}
	_, rep := must(t)(adapter.Convert(random(1, adapter.Bone, 4, 0, shapes), adapter.BlendOptions{Rank: 8}))
	if len(rep.Notes) == 0 || !strings.Contains(strings.Join(rep.Notes, "\n"), "that rank 8 fits every target was not checked") {
		t.Errorf("without the base: got notes %q", rep.Notes)
	}
}

// TestLiftOfOddAlpha: a scale that no alpha of the larger rank gives is refused
// by a lift and kept within rounding by a conversion.
func TestLiftOfOddAlpha(t *testing.T) {
	on := sizes{"a": {24, 12}}
	s := random(1, adapter.LoRA, 3, 0, on)
	for s.Config.Alpha = 0.1; ; s.Config.Alpha += 0.01 {
		if scale := s.Config.Alpha / 3; scale*21/21 != scale {
			break
		}
	}
	if _, err := adapter.Lift(s, 21, adapter.Base{}); err == nil || !strings.Contains(err.Error(), "has no exact form at rank 21") {
		t.Errorf("alpha %v: got error %v", s.Config.Alpha, err)
	}
	got, _ := must(t)(adapter.Convert(s, adapter.BlendOptions{Rank: 21}))
	holdsSum(t, "odd alpha", got, []*adapter.Set{s}, []float64{1}, base(on))
}
