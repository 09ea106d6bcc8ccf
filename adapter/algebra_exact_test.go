package adapter_test

import (
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/tensor"
)

// TestBlendIdentities are sums that must come out bit for bit.
func TestBlendIdentities(t *testing.T) {
	square := sizes{"a": {24, 12}, "bb": {36, 12}}
	for _, m := range []adapter.Method{adapter.Bone, adapter.MiSS, adapter.MiSSMini, adapter.Bat} {
		mini := 0
		if m == adapter.MiSSMini {
			mini = 4
		}
		a, b := random(1, m, 4, mini, square), random(7, m, 4, mini, square)
		blend := func(weights []float64, sets ...*adapter.Set) *adapter.Set {
			got, rep := must(t)(adapter.Blend(sets, weights, adapter.BlendOptions{}))
			if !rep.Exact {
				t.Fatalf("%v: not exact", m)
			}
			return got
		}
		sameBlocks(t, m.String()+": A/2 + A/2", blend([]float64{0.5, 0.5}, a, a), a)
		sameBlocks(t, m.String()+": mean of three equal", blend(nil, a, a, a), a)
		sameBlocks(t, m.String()+": A + B - B", blend([]float64{1, 1, -1}, a, b, b), a)
		sameBlocks(t, m.String()+": A + 1e30 B - 1e30 B", blend([]float64{1e30, 1, -1e30}, b, a, b), a)
		sameBlocks(t, m.String()+": 0 B + A", blend([]float64{0, 1}, b, a), a)
		zero := blend([]float64{1, -1}, a, a)
		for _, e := range zero.Entries {
			if !e.Blocks[0].Equal(tensor.New(tensor.Float32, e.Blocks[0].Shape()...)) {
				t.Errorf("%v: A - A is not zero", m)
			}
		}
		sameBlocks(t, m.String()+": order", blend([]float64{0.1, 0.2, -0.7}, a, b, zero), blend([]float64{-0.7, 0.2, 0.1}, zero, b, a))
	}
	// Of different ranks: sums in any order, and taking a skill out again.
	a, b, c := random(1, adapter.Bone, 4, 0, square), random(2, adapter.Bone, 6, 0, square), random(3, adapter.Bone, 8, 0, square)
	x, _ := must(t)(adapter.Blend([]*adapter.Set{a, b, c}, []float64{0.3, 1.7, -0.9}, adapter.BlendOptions{}))
	y, _ := must(t)(adapter.Blend([]*adapter.Set{c, a, b}, []float64{-0.9, 0.3, 1.7}, adapter.BlendOptions{}))
	sameBlocks(t, "any order", x, y)
	back, _ := must(t)(adapter.Blend([]*adapter.Set{a, b, b}, []float64{1, 1, -1}, adapter.BlendOptions{}))
	sameMerged(t, "A + B - B at rank 12", back, a, base(square))
}

// TestFederated: the mean over sites is, element by element, the float32 that
// is nearest to it.
func TestFederated(t *testing.T) {
	on := sizes{"a": {20, 6}, "bb": {17, 9}}
	for n := 2; n <= 9; n++ {
		var sites []*adapter.Set
		for i := range n {
			sites = append(sites, random(uint64(20*i), adapter.Bone, 4, 0, on))
		}
		got, rep := must(t)(adapter.Blend(sites, nil, adapter.BlendOptions{}))
		if !rep.Exact || got.Config.Rank != 4 {
			t.Fatalf("exact %v, rank %d", rep.Exact, got.Config.Rank)
		}
		for e, entry := range got.Entries {
			for i, v := range tensor.Data[float32](entry.Blocks[0]) {
				sum := 0.0 // exact: these are multiples of 2^-53 below 16
				for _, s := range sites {
					sum += float64(tensor.Data[float32](s.Entries[e].Blocks[0])[i])
				}
				if want := float32(sum / float64(n)); v != want {
					t.Fatalf("%d sites, element %d: got %v, want %v", n, i, v, want)
				}
			}
		}
	}
}

// TestNearest holds the elements of blends to exact arithmetic: each is the
// float32 that is nearest to the weighted sum, or to the mean, however the
// terms cancel.
func TestNearest(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	const n = 600
	value := func(bits int) float64 {
		return math.Ldexp(float64(rng.Int64N(1<<bits)-1<<(bits-1)), -rng.IntN(60))
	}
	for trial := range 60 {
		count := 1 + rng.IntN(6)
		var sets []*adapter.Set
		var weights []float64
		for range count {
			s := random(1, adapter.Bone, 1, 0, sizes{"a": {2, n}})
			for i := range n {
				tensor.Data[float32](s.Entries[0].Blocks[0])[i] = float32(value(6))
			}
			sets, weights = append(sets, s), append(weights, value(4+rng.IntN(49)))
		}
		divisor := int64(1)
		if trial%2 == 0 {
			weights, divisor = nil, int64(count)
		}
		got, _ := must(t)(adapter.Blend(sets, weights, adapter.BlendOptions{}))
		for i, v := range tensor.Data[float32](got.Entries[0].Blocks[0]) {
			sum := new(big.Rat)
			for k, s := range sets {
				term := new(big.Rat).SetFloat64(float64(tensor.Data[float32](s.Entries[0].Blocks[0])[i]))
				if weights != nil {
					term.Mul(term, new(big.Rat).SetFloat64(weights[k]))
				}
				sum.Add(sum, term)
			}
			if want, _ := sum.Quo(sum, big.NewRat(divisor, 1)).Float32(); v != want {
				t.Fatalf("%d adapters over %d, element %d: got %v, want %v", count, divisor, i, v, want)
			}
		}
	}
}

// TestNearestOfTies: just past half of float32's last bit, by less than a
// float64 tells.
func TestNearestOfTies(t *testing.T) {
	for _, c := range []struct {
		terms []float32
		want  float32
	}{
		{[]float32{1, 0x1p-24, 0x1p-60}, 1 + 0x1p-23},
		{[]float32{1, 0x1p-24, -0x1p-60}, 1},
		{[]float32{1, 0x1p-24}, 1},
		{[]float32{1 + 0x1p-23, 0x1p-24, -0x1p-60}, 1 + 0x1p-23},
		{[]float32{-1, -0x1p-24, -0x1p-60}, -1 - 0x1p-23},
		{[]float32{-1, -0x1p-24, 0x1p-60}, -1},
	} {
		var sets []*adapter.Set
		for _, v := range c.terms {
			s := random(1, adapter.Bone, 1, 0, sizes{"a": {1, 1}})
			tensor.Data[float32](s.Entries[0].Blocks[0])[0] = v
			sets = append(sets, s)
		}
		got, _ := must(t)(adapter.Blend(sets, slices.Repeat([]float64{1}, len(sets)), adapter.BlendOptions{}))
		if v := tensor.Data[float32](got.Entries[0].Blocks[0])[0]; v != c.want {
			t.Errorf("%v: got %v, want %v", c.terms, v, c.want)
		}
	}
}
