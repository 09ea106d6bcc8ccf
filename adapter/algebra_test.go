package adapter_test

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/tensor"
)

// sizes are targets by path, (in, out).
type sizes map[string][2]int

// base is a model of random weights.
func base(s sizes) adapter.Base {
	return adapter.Base{
		Weight: func(path string) (*tensor.Tensor, error) {
			d, ok := s[path]
			if !ok {
				return nil, fmt.Errorf("no weight %s", path)
			}
			return testutil.Random(uint64(len(path)*1000+d[0]), d[0], d[1]), nil
		},
		Fingerprint: func(paths []string) (string, error) { return "of " + strings.Join(paths, " "), nil },
	}
}

// random is an adapter with random blocks on all of s.
func random(seed uint64, m adapter.Method, rank, mini int, s sizes) *adapter.Set {
	c := adapter.DefaultConfig()
	c.Method, c.Rank, c.MiniRank = m, rank, mini
	if m == adapter.LoRA {
		c.Alpha = 3
	}
	set := &adapter.Set{Config: c}
	for path, d := range s {
		e := adapter.Entry{Path: path}
		for i, b := range m.Blocks(c.Dims(d[0], d[1])) {
			e.Blocks = append(e.Blocks, testutil.Random(seed+uint64(i)+uint64(len(path)), b.Shape...))
		}
		set.Entries = append(set.Entries, e)
	}
	slices.SortFunc(set.Entries, func(a, b adapter.Entry) int { return strings.Compare(a.Path, b.Path) })
	return set
}

// merged are all weights with the adapter folded in.
func merged(t *testing.T, set *adapter.Set, b adapter.Base) map[string]*tensor.Tensor {
	t.Helper()
	out := map[string]*tensor.Tensor{}
	for _, e := range set.Entries {
		w, err := b.Weight(e.Path)
		if err != nil {
			t.Fatal(err)
		}
		if out[e.Path], err = set.Layer(e).Merge(w); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// sameMerged wants two adapters to give the same weights, bit for bit.
func sameMerged(t *testing.T, what string, got, want *adapter.Set, b adapter.Base) {
	t.Helper()
	g, w := merged(t, got, b), merged(t, want, b)
	for path := range w {
		if g[path] == nil || !g[path].Equal(w[path]) {
			t.Errorf("%s: the merged weight of %s changed", what, path)
		}
	}
	if len(g) != len(w) {
		t.Errorf("%s: %d targets, want %d", what, len(g), len(w))
	}
}

// sameBlocks wants the same blocks, bit for bit.
func sameBlocks(t *testing.T, what string, got, want *adapter.Set) {
	t.Helper()
	if len(got.Entries) != len(want.Entries) {
		t.Fatalf("%s: %d targets, want %d", what, len(got.Entries), len(want.Entries))
	}
	for i, e := range want.Entries {
		for k, b := range e.Blocks {
			if g := got.Entry(e.Path); g == nil || !g.Blocks[k].Equal(b) {
				t.Errorf("%s: block %d of target %d differs", what, k, i)
			}
		}
	}
}

// delta is what the sets add to a weight together, in float64.
func delta(t *testing.T, path string, sets []*adapter.Set, weights []float64, w *tensor.Tensor) []float64 {
	t.Helper()
	w64, err := w.Cast(tensor.Float64)
	if err != nil {
		t.Fatal(err)
	}
	sum := make([]float64, w.Size())
	for i, s := range sets {
		e := s.Entry(path)
		if e == nil {
			continue
		}
		d, err := s.Layer(*e).Delta(w64)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range tensor.Data[float64](d) {
			sum[k] += weights[i] * v
		}
	}
	return sum
}

func must(t *testing.T) func(*adapter.Set, *adapter.BlendReport, error) (*adapter.Set, *adapter.BlendReport) {
	return func(s *adapter.Set, r *adapter.BlendReport, err error) (*adapter.Set, *adapter.BlendReport) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s, r
	}
}

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

// TestBlendExact blends random adapters of many shapes and wants every merged
// weight to be the base plus the weighted sum of the deltas.
func TestBlendExact(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	pick := func(n int) int { return 1 + rng.IntN(n) }
	families := map[string][]adapter.Method{
		"bone": {adapter.Bone}, "miss": {adapter.MiSS}, "bone and miss": {adapter.Bone, adapter.MiSS}, "mini": {adapter.MiSSMini},
		"mini and miss": {adapter.MiSSMini, adapter.MiSS}, "lora": {adapter.LoRA}, "bat": {adapter.Bat},
	}
	for name, family := range families {
		for range 40 {
			in, out := 12*pick(4)+rng.IntN(5), 12*pick(3)
			batRank := 1
			if name == "bat" {
				in -= in % 4
				batRank = []int{1, 2, 4}[rng.IntN(3)]
			}
			all := sizes{"x": {in, out}, "yy": {in + 12, 12}}
			var sets []*adapter.Set
			var weights []float64
			for range pick(4) {
				on := sizes{"x": all["x"]}
				if rng.IntN(2) == 0 {
					on["yy"] = all["yy"]
				}
				m := family[rng.IntN(len(family))]
				rank, mini := []int{1, 2, 3, 4, 6}[rng.IntN(5)], 0
				switch m {
				case adapter.Bat:
					rank = batRank
				case adapter.MiSSMini:
					mini = []int{1, 2, 3, 4, 6, 12}[rng.IntN(6)]
				}
				sets = append(sets, random(rng.Uint64(), m, rank, mini, on))
				weights = append(weights, rng.NormFloat64())
			}
			got, rep := must(t)(adapter.Blend(sets, weights, adapter.BlendOptions{Base: base(all)}))
			if !rep.Exact || rep.Error != 0 {
				t.Fatalf("%s: not exact, error %v", name, rep.Error)
			}
			holdsSum(t, name, got, sets, weights, base(all))
		}
	}
}

// holdsSum wants the delta of got to be the weighted sum, but for one rounding
// of each element of a block to float32.
func holdsSum(t *testing.T, name string, got *adapter.Set, sets []*adapter.Set, weights []float64, b adapter.Base) {
	t.Helper()
	for _, e := range got.Entries {
		w, err := b.Weight(e.Path)
		if err != nil {
			t.Fatal(err)
		}
		want := delta(t, e.Path, sets, weights, w)
		have := delta(t, e.Path, []*adapter.Set{got}, []float64{1}, w)
		largest := 0.0
		for _, v := range want {
			largest = max(largest, math.Abs(v))
		}
		for i, v := range want {
			// Half of float32's last bit, of the element itself where the
			// delta is one element, of the largest where it is a sum of some.
			bound := math.Abs(v) * (1 + 1e-6) / (1 << 24)
			if m := got.Config.Method; m == adapter.LoRA || m == adapter.Bat {
				bound = 40 * largest / (1 << 24)
			}
			if math.Abs(have[i]-v) > bound+1e-15 {
				t.Fatalf("%s, %s, element %d: got %v, want %v", name, e.Path, i, have[i], v)
			}
		}
	}
}

// TestBlendForms is the form of exact results.
func TestBlendForms(t *testing.T) {
	type form struct {
		m          adapter.Method
		rank, mini int
	}
	wide, equal := sizes{"a": {48, 12}, "b": {60, 12}}, sizes{"a": {48, 12}, "b": {48, 24}}
	for _, c := range []struct {
		from []form
		on   sizes
		want form
	}{
		{[]form{{adapter.Bone, 4, 0}, {adapter.Bone, 6, 0}}, wide, form{adapter.Bone, 12, 0}},
		{[]form{{adapter.Bone, 4, 0}, {adapter.Bone, 8, 0}}, wide, form{adapter.Bone, 8, 0}},
		{[]form{{adapter.MiSS, 5, 0}, {adapter.Bone, 3, 0}}, wide, form{adapter.MiSS, 15, 0}},
		{[]form{{adapter.Bone, 9, 0}, {adapter.Bone, 16, 0}}, equal, form{adapter.Bone, 48, 0}}, // 144 would be past the input size
		{[]form{{adapter.MiSSMini, 4, 3}, {adapter.MiSSMini, 4, 3}}, wide, form{adapter.MiSSMini, 4, 3}},
		{[]form{{adapter.MiSSMini, 4, 3}, {adapter.MiSSMini, 6, 4}}, wide, form{adapter.MiSSMini, 12, 12}},
		{[]form{{adapter.MiSSMini, 4, 3}, {adapter.MiSS, 6, 0}}, wide, form{adapter.MiSS, 12, 0}},
		{[]form{{adapter.LoRA, 4, 0}, {adapter.LoRA, 3, 0}}, wide, form{adapter.LoRA, 7, 0}},
		{[]form{{adapter.Bat, 4, 0}, {adapter.Bat, 4, 0}}, wide, form{adapter.Bat, 4, 0}},
	} {
		var sets []*adapter.Set
		var weights []float64
		for i, f := range c.from {
			sets = append(sets, random(uint64(i), f.m, f.rank, f.mini, c.on))
			weights = append(weights, float64(1-3*i))
		}
		got, rep := must(t)(adapter.Blend(sets, weights, adapter.BlendOptions{Base: base(c.on)}))
		if f := (form{got.Config.Method, got.Config.Rank, got.Config.MiniRank}); f != c.want || !rep.Exact {
			t.Errorf("%v: got %v, exact %v, want %v", c.from, f, rep.Exact, c.want)
		}
		holdsSum(t, fmt.Sprint(c.from), got, sets, weights, base(c.on))
	}
}

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

// TestGoldenBlend: the sum of two adapters is PEFT's model with both active.
func TestGoldenBlend(t *testing.T) {
	for _, c := range goldenCases(t, func(c goldenCase) bool { return strings.HasPrefix(c.File, "multi_bone") }) {
		f := load(t, c)
		on := sizes{"m": {c.Meta.In, c.Meta.Out}}
		b := adapter.Base{Dims: func(string) (int, int, error) { return c.Meta.In, c.Meta.Out, nil }}
		var sets []*adapter.Set
		for _, name := range []string{"block_a", "block_b"} {
			s := random(1, adapter.Bone, f.Get(name).Shape()[0], 0, on)
			s.Entries[0].Blocks[0] = f.Get(name)
			sets = append(sets, s)
		}
		got, rep := must(t)(adapter.Blend(sets, []float64{1, 1}, adapter.BlendOptions{Base: b}))
		if !rep.Exact {
			t.Errorf("%s: not exact", c.File)
		}
		y, err := got.Layer(got.Entries[0]).Forward(f.Get("x"), f.Get("W"), f.Get("bias"))
		check(t, c.File+" y", y, err, f.Get("y"))
		w, err := got.Layer(got.Entries[0]).Merge(f.Get("W"))
		check(t, c.File+" W_merged", w, err, f.Get("W_merged"))
	}
}

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
		{[]*adapter.Set{bone(30)}, nil, adapter.BlendOptions{Rank: 3, Base: base(on)}, "a: bone needs a rank of at most 24, the weight's input size; got 30"},
		{[]*adapter.Set{bone(4)}, nil, adapter.BlendOptions{Rank: 3}, "a: a fit needs the size of the weight"},
		{[]*adapter.Set{random(1, adapter.Bone, 65535, 0, sizes{"a": {65536, 1}}), random(1, adapter.Bone, 65534, 0, sizes{"a": {65536, 1}})}, nil, adapter.BlendOptions{}, "a rank of at most 65536"},
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
		{name: "not of the base", sets: []*adapter.Set{set(ab, "of a bb"), set(a, "G")}, base: base(ab), differ: true},
	} {
		got, rep, err := adapter.Blend(c.sets, nil, adapter.BlendOptions{Base: c.base})
		var different *adapter.DifferentBasesError
		if errors.As(err, &different) != c.differ || err != nil && !c.differ {
			t.Errorf("%s: got error %v", c.name, err)
		}
		if err != nil {
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
