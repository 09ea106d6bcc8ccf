package adapter_test

import (
	"fmt"
	"math"
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
