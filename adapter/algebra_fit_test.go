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

// TestConvertExact are the conversions that change no bit of a merged weight.
func TestConvertExact(t *testing.T) {
	uneven := sizes{"a": {24, 12}, "bb": {31, 18}}
	for _, c := range []struct {
		from          adapter.Method
		rank, mini    int
		to            adapter.Method
		o             adapter.BlendOptions
		wantRank      int
		wantMini      int
		wantParamsFor int // of target a
	}{
		{adapter.Bone, 5, 0, adapter.MiSS, adapter.BlendOptions{}, 5, 0, 60},
		{adapter.MiSS, 5, 0, adapter.Bone, adapter.BlendOptions{Rank: 20}, 20, 0, 240},
		{adapter.MiSSMini, 5, 3, adapter.Bone, adapter.BlendOptions{}, 5, 0, 60},
		{adapter.MiSSMini, 5, 3, adapter.MiSS, adapter.BlendOptions{Rank: 10}, 10, 0, 120},
		{adapter.MiSSMini, 5, 2, adapter.MiSSMini, adapter.BlendOptions{MiniRank: 6}, 5, 6, 30},
		{adapter.Bone, 5, 0, adapter.LoRA, adapter.BlendOptions{}, 5, 0, 5 * (24 + 12)},
		{adapter.MiSSMini, 7, 3, adapter.LoRA, adapter.BlendOptions{}, 7, 0, 7 * (24 + 12)},
		{adapter.Bone, 7, 0, adapter.LoRA, adapter.BlendOptions{Rank: 9}, 9, 0, 9 * (24 + 12)},
		{adapter.LoRA, 5, 0, adapter.LoRA, adapter.BlendOptions{Rank: 15}, 15, 0, 15 * (24 + 12)},
	} {
		name := fmt.Sprintf("%v of rank %d to %v %+v", c.from, c.rank, c.to, c.o)
		s := random(3, c.from, c.rank, c.mini, uneven)
		c.o.Method, c.o.Base = &c.to, base(uneven)
		got, rep := must(t)(adapter.Convert(s, c.o))
		if !rep.Exact || rep.Error != 0 || len(rep.Targets) != 2 || rep.Targets[0] != (adapter.TargetFit{Path: "a", Exact: true}) {
			t.Errorf("%s: report %+v", name, rep)
		}
		if got.Config.Method != c.to || got.Config.Rank != c.wantRank || got.Config.MiniRank != c.wantMini {
			t.Errorf("%s: got %+v", name, got.Config)
		}
		n := 0
		for _, b := range got.Entry("a").Blocks {
			n += b.Size()
		}
		if n != c.wantParamsFor {
			t.Errorf("%s: %d parameters, want %d", name, n, c.wantParamsFor)
		}
		sameMerged(t, name, got, s, base(uneven))
	}
	// At a rank of in rows nothing repeats, so any rank converts to it.
	one := sizes{"a": {24, 12}}
	s := random(3, adapter.Bone, 7, 0, one)
	got, rep := must(t)(adapter.Convert(s, adapter.BlendOptions{Rank: 24, Base: base(one)}))
	if !rep.Exact {
		t.Error("rank 7 to all 24 rows is not exact")
	}
	sameMerged(t, "7 to 24 of 24", got, s, base(one))
	if _, rep := must(t)(adapter.Convert(s, adapter.BlendOptions{Rank: 23, Base: base(one)})); rep.Exact || rep.Error == 0 {
		t.Errorf("rank 7 to 23 of 24 rows: %+v", rep)
	}
}

// TestConvertToLoRA: the fold and the transposed block.
func TestConvertToLoRA(t *testing.T) {
	s := random(1, adapter.Bone, 2, 0, sizes{"a": {5, 3}})
	s.Entries[0].Blocks[0] = tensor.FromSlice([]float32{1, 2, 3, 4, 5, 6}, 2, 3)
	lora := adapter.LoRA
	got, _ := must(t)(adapter.Convert(s, adapter.BlendOptions{Method: &lora, Base: base(sizes{"a": {5, 3}})}))
	for i, want := range []*tensor.Tensor{
		tensor.FromSlice([]float32{1, 0, 1, 0, 1, 0, 1, 0, 1, 0}, 2, 5),
		tensor.FromSlice([]float32{1, 4, 2, 5, 3, 6}, 3, 2),
	} {
		if b := got.Entries[0].Blocks[i]; !b.Equal(want) {
			t.Errorf("block %d: got %v, want %v", i, tensor.Data[float32](b), tensor.Data[float32](want))
		}
	}
	// Any method joins a lora: bone's two blocks of one rank share their fold.
	on := sizes{"a": {24, 12}, "bb": {36, 18}}
	sets := []*adapter.Set{random(1, adapter.Bone, 5, 0, on), random(2, adapter.LoRA, 3, 0, on), random(4, adapter.MiSSMini, 5, 2, on), random(5, adapter.LoRA, 2, 0, on)}
	weights := []float64{0.5, -1.25, 2, 0.1}
	got, rep := must(t)(adapter.Blend(sets, weights, adapter.BlendOptions{Method: &lora, Base: base(on)}))
	if !rep.Exact || got.Config.Rank != 5+3+2 {
		t.Errorf("exact %v, rank %d", rep.Exact, got.Config.Rank)
	}
	holdsSum(t, "mixed to lora", got, sets, weights, base(on))
}

// residual is what the result's delta has beyond the wanted one.
func residual(t *testing.T, got *adapter.Set, sets []*adapter.Set, weights []float64, path string, w *tensor.Tensor) (res, want []float64) {
	want = delta(t, path, sets, weights, w)
	res = delta(t, path, []*adapter.Set{got}, []float64{1}, w)
	for i, v := range want {
		res[i] -= v
	}
	return res, want
}

func norm(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x * x
	}
	return math.Sqrt(sum)
}

// TestFitIsLeast: for every method to every other, of random shapes, the error
// that is reported is that of the merged weights, and it is stationary in every
// element of every block.
func TestFitIsLeast(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, from := range adapter.Methods() {
		for _, to := range adapter.Methods() {
			for range 6 {
				in, out := 12*(1+rng.IntN(3)), 12*(1+rng.IntN(2))
				ranks := []int{1, 2, 3, 4, 6, 12}
				if from != adapter.Bat && to != adapter.Bat {
					in += rng.IntN(7)
					ranks = append(ranks, 5, 7, 9)
				}
				on := sizes{"x": {in, out}, "yy": {in + 12, out}}
				minis := []int{1, 2, 3, 4, 6}
				pick := func(m adapter.Method) (rank, mini int) {
					if rank = ranks[rng.IntN(len(ranks))]; m == adapter.MiSSMini {
						mini = minis[rng.IntN(len(minis))]
					}
					return rank, mini
				}
				rank, mini := pick(from)
				sets := []*adapter.Set{random(rng.Uint64(), from, rank, mini, on), random(rng.Uint64(), from, rank, mini, on)}
				weights := []float64{0.75, -0.5}
				o := adapter.BlendOptions{Method: &to, Base: base(on)}
				o.Rank, o.MiniRank = pick(to)
				name := fmt.Sprintf("%v of rank %d/%d to %v of rank %d/%d on (%d, %d)", from, rank, mini, to, o.Rank, o.MiniRank, in, out)
				got, rep := must(t)(adapter.Blend(sets, weights, o))
				isLeast(t, name, got, rep, sets, weights, o.Base)
			}
		}
	}
}

// isLeast takes the gradient of half the squared error by the blocks, which
// package adapter's own derivative has at x = I and dy = error.
func isLeast(t *testing.T, name string, got *adapter.Set, rep *adapter.BlendReport, sets []*adapter.Set, weights []float64, b adapter.Base) {
	t.Helper()
	var missing, wanted []float64
	for i, e := range got.Entries {
		w, err := b.Weight(e.Path)
		if err != nil {
			t.Fatal(err)
		}
		res, want := residual(t, got, sets, weights, e.Path, w)
		missing, wanted = append(missing, res...), append(wanted, want...)
		if f := rep.Targets[i]; f.Path != e.Path || math.Abs(f.Error-norm(res)/norm(want)) > 1e-6 || f.Exact && f.Error != 0 {
			t.Errorf("%s: reported %+v, want error %v", name, f, norm(res)/norm(want))
		}
		in, out := w.Shape()[0], w.Shape()[1]
		eye := tensor.New(tensor.Float64, in, in)
		for k := range in {
			tensor.Data[float64](eye)[k*in+k] = 1
		}
		g, err := adapter.Stack{got.Layer(e)}.Grad(eye, w, tensor.FromSlice(res, in, out))
		if err != nil {
			t.Fatal(err)
		}
		for k, d := range g.Blocks[0] {
			for _, v := range tensor.Data[float64](d) {
				// Blocks are rounded to float32; a gradient sums up to in*out of these errors.
				if math.Abs(v) > 3e-6*(1+norm(want)) {
					t.Errorf("%s, %s: block %d has a gradient of %v, the error is not least", name, e.Path, k, v)
					return
				}
			}
		}
	}
	if e := norm(missing) / norm(wanted); math.Abs(rep.Error-e) > 1e-6 {
		t.Errorf("%s: reported error %v, want %v", name, rep.Error, e)
	}
}

// TestLowerRank: half the rank is the mean of the two halves, weighted by the
// rows that each has.
func TestLowerRank(t *testing.T) {
	on := sizes{"a": {7, 1}}
	s := random(1, adapter.Bone, 4, 0, on)
	s.Entries[0].Blocks[0] = tensor.FromSlice([]float32{1, 2, 4, 8}, 4, 1)
	got, rep := must(t)(adapter.Convert(s, adapter.BlendOptions{Rank: 2, Base: base(on)}))
	// Rows 0 to 6 add 1 2 4 8 1 2 4: even rows (1+4+1+4)/4, odd ones (2+8+2)/3.
	if d := tensor.Data[float32](got.Entries[0].Blocks[0]); d[0] != 2.5 || d[1] != 4 {
		t.Errorf("got block %v, want 2.5 and 4", d)
	}
	want := norm([]float64{1.5, 2, 1.5, 4, 1.5, 2, 1.5}) / norm([]float64{1, 2, 4, 8, 1, 2, 4})
	if rep.Exact || rep.Targets[0].Exact || math.Abs(rep.Error-want) > 1e-12 || rep.Error != rep.Targets[0].Error {
		t.Errorf("got %+v, want error %v", rep, want)
	}
}

// TestFitFindsBat: where what is wanted is a bat adapter, the fit finds it.
func TestFitFindsBat(t *testing.T) {
	on := sizes{"a": {24, 12}, "bb": {36, 12}}
	bat := random(1, adapter.Bat, 4, 0, on)
	sets := []*adapter.Set{bat, random(2, adapter.Bone, 4, 0, on)}
	method := adapter.Bat
	got, rep := must(t)(adapter.Blend(sets, []float64{1, 0}, adapter.BlendOptions{Method: &method, Rank: 4, Base: base(on)}))
	if rep.Exact || rep.Error > 1e-7 {
		t.Errorf("report %+v", rep)
	}
	for i, e := range bat.Entries {
		testutil.Close(t, e.Path, got.Entries[i].Blocks[0], e.Blocks[0], 1e-6, 1e-6)
	}
}

// TestFitKeepsTheRank: where no rank is exact and none is asked for, it is the
// adapters' own.
func TestFitKeepsTheRank(t *testing.T) {
	on := sizes{"a": {24, 12}}
	bone := adapter.Bone
	got, rep := must(t)(adapter.Convert(random(1, adapter.Bat, 4, 0, on), adapter.BlendOptions{Method: &bone, Base: base(on)}))
	if got.Config.Rank != 4 || got.Config.Method != bone || rep.Exact || !(rep.Error > 0 && rep.Error < 1) {
		t.Errorf("got %+v, report %+v", got.Config, rep)
	}
}

// TestFitSingular: where the weight cancels bat's identity no block reaches
// anything, and the result is zero, not NaN.
func TestFitSingular(t *testing.T) {
	on := sizes{"a": {4, 4}}
	b := adapter.Base{Weight: func(string) (*tensor.Tensor, error) {
		w := tensor.New(tensor.Float32, 4, 4)
		for i := range 3 {
			tensor.Data[float32](w)[i*5] = -1
		}
		return w, nil
	}}
	method := adapter.Bat
	s := random(1, adapter.Bone, 2, 0, on)
	got, rep := must(t)(adapter.Convert(s, adapter.BlendOptions{Method: &method, Rank: 4, Base: b}))
	for i, v := range tensor.Data[float32](got.Entries[0].Blocks[0]) {
		if i < 12 && v != 0 || i >= 12 && v == 0 {
			t.Errorf("element %d of the block is %v", i, v)
		}
	}
	if !(rep.Error > 0.5 && rep.Error < 1) {
		t.Errorf("error %v", rep.Error)
	}
}

// spectra are singular values: falling off, flat but for a little, and few.
var spectra = map[string][]float64{
	"falling": {8, 5, 5, 3, 1, 0.5, 0.25, 0.1, 0.05, 0.01, 0.005, 1e-3, 1e-4, 1e-6, 1e-8, 1e-9},
	"flat":    {1, 1, 1, 0.999, 0.99, 0.98, 0.97, 0.96, 0.95, 0.94, 0.93, 0.92, 0.91, 0.9, 0.89, 0.88, 0.87, 0.86, 0.85, 0.84, 0.83, 0.82, 0.81, 0.8, 0.79, 0.78, 0.77, 0.76, 0.75, 0.74},
	"few":     {3, 2},
}

// TestTruncation: of a delta with known singular values lora keeps the largest,
// whether its columns' span is known (a lora's) or searched for (bat's).
func TestTruncation(t *testing.T) {
	const in, out = 40, 30
	u, v := reflection(5, in), reflection(6, out)
	lora := adapter.LoRA
	for name, values := range spectra {
		wide := tensor.New(tensor.Float64, in, out)
		a, b := tensor.New(tensor.Float64, len(values), in), tensor.New(tensor.Float64, out, len(values))
		for l, x := range values {
			copy(tensor.Data[float64](a)[l*in:], u[l*in:(l+1)*in])
			for j := range out {
				tensor.Data[float64](b)[j*len(values)+l] = x * v[l*out+j]
				for k := range in {
					tensor.Data[float64](wide)[k*out+j] += u[l*in+k] * x * v[l*out+j]
				}
			}
		}
		on := sizes{"a": {in, out}}
		fromLoRA, fromBat := random(1, adapter.LoRA, len(values), 0, on), random(1, adapter.Bat, 10, 0, on)
		fromLoRA.Entries[0].Blocks, fromLoRA.Config.Alpha = []*tensor.Tensor{a, b}, 0
		base := adapter.Base{Weight: func(string) (*tensor.Tensor, error) { return lessIdentities(wide, 10), nil }}
		fromBat.Entries[0].Blocks = []*tensor.Tensor{identities(out/10, 10)}
		for _, s := range []*adapter.Set{fromLoRA, fromBat} {
			for _, r := range []int{1, 2, 3, 4, 6, 10, 13, 14, 15} {
				if r >= len(values) {
					continue
				}
				got, rep := must(t)(adapter.Convert(s, adapter.BlendOptions{Method: &lora, Rank: r, Base: base}))
				// Bat's delta is a difference of numbers of size 1.
				if want := norm(values[r:]) / norm(values); rep.Exact || math.Abs(rep.Error-want) > 1e-9*want+1e-15 {
					t.Errorf("%s from %v to rank %d: error %v, want %v", name, s.Config.Method, r, rep.Error, want)
				}
				if got.Entries[0].Blocks[0].Shape()[0] != r || got.Config.Rank != r || got.Config.Alpha != 0 {
					t.Errorf("%s to rank %d: got %+v", name, r, got.Config)
				}
			}
		}
	}
}

// identities is a bat block of n identities: it adds W + I to every tile.
func identities(n, r int) *tensor.Tensor {
	t := tensor.New(tensor.Float64, n, r, r)
	for i := range n {
		for k := range r {
			tensor.Data[float64](t)[i*r*r+k*r+k] = 1
		}
	}
	return t
}

// lessIdentities is w without I in every r by r tile.
func lessIdentities(w *tensor.Tensor, r int) *tensor.Tensor {
	w = w.Clone()
	out := w.Shape()[1]
	for i := range tensor.Data[float64](w) {
		if i/out%r == i%out%r {
			tensor.Data[float64](w)[i]--
		}
	}
	return w
}

// reflection is the orthogonal I - 2 x x^T / |x|^2 of a random x.
func reflection(seed uint64, n int) []float64 {
	x, _ := testutil.Random(seed, n).Float64s()
	f := 2 / (norm(x) * norm(x))
	h := make([]float64, n*n)
	for i := range n {
		h[i*n+i] = 1
		for j := range n {
			h[i*n+j] -= f * x[i] * x[j]
		}
	}
	return h
}

// TestFitOfMean: no weights are equal weights in a fit too.
func TestFitOfMean(t *testing.T) {
	on := sizes{"a": {24, 12}}
	sets := []*adapter.Set{random(1, adapter.Bone, 8, 0, on), random(2, adapter.Bone, 6, 0, on)}
	o := adapter.BlendOptions{Rank: 5, Base: base(on)}
	mean, x := must(t)(adapter.Blend(sets, nil, o))
	half, y := must(t)(adapter.Blend(sets, []float64{0.5, 0.5}, o))
	sameBlocks(t, "mean", mean, half)
	if x.Exact || x.Error != y.Error {
		t.Errorf("reports %+v and %+v", x, y)
	}
}

// TestZeroDelta: an adapter that adds nothing converts to one that adds
// nothing, with no error.
func TestZeroDelta(t *testing.T) {
	on := sizes{"a": {24, 12}}
	a := random(1, adapter.Bone, 8, 0, on)
	for _, to := range adapter.Methods() {
		o := adapter.BlendOptions{Method: &to, Rank: 3, Base: base(on)}
		if to == adapter.MiSSMini {
			o.MiniRank = 3
		}
		got, rep := must(t)(adapter.Blend([]*adapter.Set{a, a}, []float64{1, -1}, o))
		w, _ := o.Base.Weight("a")
		if m := merged(t, got, o.Base)["a"]; !m.Equal(w) || rep.Error != 0 {
			t.Errorf("%v: adds something, error %v", to, rep.Error)
		}
	}
}

// TestSelections: the result names its targets where the adapters' own
// selections do not say the same.
func TestSelections(t *testing.T) {
	ab, bc := sizes{"a": {24, 12}, "bb": {36, 12}}, sizes{"bb": {36, 12}, "ccc": {48, 12}}
	x, y := random(1, adapter.Bone, 4, 0, ab), random(1, adapter.Bone, 4, 0, bc)
	got, _ := must(t)(adapter.Blend([]*adapter.Set{x, y}, nil, adapter.BlendOptions{Name: "both"}))
	if l := got.Config.Targets.List; !slices.Equal(l, []string{"a", "bb", "ccc"}) || got.Config.Name != "both" {
		t.Errorf("got targets %v, name %q", l, got.Config.Name)
	}
	got, _ = must(t)(adapter.Blend([]*adapter.Set{x, x}, nil, adapter.BlendOptions{}))
	if !got.Config.Targets.AllLinear() {
		t.Errorf("got targets %v", got.Config.Targets)
	}
	named, err := adapter.Collect(&got.Config, got.Named())
	if err != nil || len(named.Entries) != 2 {
		t.Errorf("the result does not survive a file: %v", err)
	}
	if _, _, err := adapter.Blend([]*adapter.Set{x}, nil, adapter.BlendOptions{Name: "a b"}); err == nil || !strings.Contains(err.Error(), `adapter name "a b"`) {
		t.Errorf("got error %v", err)
	}
}
