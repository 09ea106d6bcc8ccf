package adapter_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/tensor"
)

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		m    adapter.Method
		d    adapter.Dims
		want string // "" where it fits
	}{
		{adapter.Bat, adapter.Dims{In: 10, Out: 8, Rank: 4}, "fully divisible into [r, r] blocks"},
		{adapter.Bat, adapter.Dims{In: 8, Out: 10, Rank: 4}, "bat needs a rank that divides 8 and 10; got 4"},
		{adapter.Bat, adapter.Dims{In: 8, Out: 12, Rank: 4}, ""},
		{adapter.Bone, adapter.Dims{In: 8, Out: 8, Rank: 0}, "`r` should be a positive integer value but the value passed is 0"},
		{adapter.LoRA, adapter.Dims{In: 8, Out: 8, Rank: -1}, "`r` should be a positive integer value but the value passed is -1"},
		{adapter.MiSSMini, adapter.Dims{In: 8, Out: 10, Rank: 4, MiniRank: 4}, "mini_r that divides 10"},
		{adapter.MiSSMini, adapter.Dims{In: 8, Out: 10, Rank: 4}, "`mini_r` should be a positive integer"},
		{adapter.MiSSMini, adapter.Dims{In: 8, Out: 10, Rank: 4, MiniRank: 5}, ""},
		{adapter.Bone, adapter.Dims{In: 9, Out: 4, Rank: 3}, ""},
		{adapter.Bone, adapter.Dims{In: 9, Out: 4, Rank: 9}, ""},
		{adapter.Bone, adapter.Dims{In: 9, Out: 4, Rank: 10}, "at most 9"},
		{adapter.MiSS, adapter.Dims{In: 9, Out: 4, Rank: 10}, "miss needs a rank of at most 9"},
		{adapter.LoRA, adapter.Dims{In: 9, Out: 4, Rank: 10}, ""},
		{adapter.Bone, adapter.Dims{Out: 4, Rank: 1}, "cannot adapt"},
		{adapter.Method(99), adapter.Dims{In: 1, Out: 1, Rank: 1}, "unknown method(99)"},
	} {
		err := c.m.Check(c.d)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%v %+v: %v", c.m, c.d, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%v %+v: got error %v, want one with %q", c.m, c.d, err, c.want)
		}
	}
}

func TestRanks(t *testing.T) {
	a, b := adapter.Target{Name: "a", In: 64, Out: 32}, adapter.Target{Name: "b", In: 48, Out: 64}
	for _, c := range []struct {
		m       adapter.Method
		targets []adapter.Target
		want    string
	}{
		{adapter.Bat, []adapter.Target{a}, "1 2 4 8 16 32"},
		{adapter.Bat, []adapter.Target{a, b}, "1 2 4 8 16"},
		{adapter.Bone, []adapter.Target{a, b}, "1 to 48"},
		{adapter.LoRA, []adapter.Target{a, b}, "any"},
		{adapter.Bat, nil, "any"},
	} {
		if got := c.m.Ranks(c.targets...).String(); got != c.want {
			t.Errorf("%v of %v: got %q, want %q", c.m, c.targets, got, c.want)
		}
	}
	if r := (adapter.Ranks{List: []int{}}); r.Has(1) || r.String() != "none" {
		t.Errorf("empty set: %v", r)
	}
	err := adapter.Bat.CheckAll(48, 0, []adapter.Target{{Name: `node "k"`, In: 64, Out: 32}, {Name: `node "q"`, In: 96, Out: 48}})
	want := `node "k": bat needs a rank that divides 64 and 32; got 48`
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.HasSuffix(err.Error(), "Ranks that fit all targets: 1 2 4 8 16") || strings.Contains(err.Error(), `"q"`) {
		t.Errorf("got error %v, want %q and the ranks", err, want)
	}
	err = adapter.MiSSMini.CheckAll(4, 5, []adapter.Target{{Name: "k", In: 8, Out: 12}, {Name: "q", In: 8, Out: 8}})
	if err == nil || !strings.Contains(err.Error(), "mini_r must divide 4") {
		t.Errorf("got error %v, want the mini ranks that fit", err)
	}
	if err := adapter.Bone.CheckAll(4, 0, []adapter.Target{a, b}); err != nil {
		t.Error(err)
	}
}

// TestGradsByDifferences checks the gradients of every method, alone and as
// the first of two layers, in float64.
func TestGradsByDifferences(t *testing.T) {
	const in, out, n = 8, 12, 3
	f64 := func(seed uint64, shape ...int) *tensor.Tensor {
		x, err := testutil.Random(seed, shape...).Cast(tensor.Float64)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	x, w, g := f64(1, n, in), f64(2, in, out), f64(3, n, out)
	for _, m := range adapter.Methods() {
		for _, second := range []adapter.Method{m, adapter.Bat, adapter.LoRA} {
			s := adapter.Stack{}
			for i, k := range []adapter.Method{m, second} {
				l := adapter.Layer{Method: k, Alpha: 3}
				for b, blk := range k.Blocks(adapter.Dims{In: in, Out: out, Rank: 4, MiniRank: 3}) {
					l.Blocks = append(l.Blocks, f64(uint64(10+3*i+b), blk.Shape...))
				}
				s = append(s, l)
			}
			grads, err := s.Grad(x, w, g)
			if err != nil {
				t.Fatal(err)
			}
			loss := func() float64 {
				y, err := s.Forward(x, w, nil)
				if err != nil {
					t.Fatal(err)
				}
				sum := 0.0
				for i, v := range tensor.Data[float64](y) {
					sum += v * tensor.Data[float64](g)[i]
				}
				return sum
			}
			name := fmt.Sprintf("%v then %v", m, second)
			compareGrad(t, name+", x", x, grads.X, loss)
			for i, l := range s {
				for b, blk := range l.Blocks {
					compareGrad(t, fmt.Sprintf("%s, layer %d block %d", name, i, b), blk, grads.Blocks[i][b], loss)
				}
			}
		}
	}
}

func compareGrad(t *testing.T, name string, p, grad *tensor.Tensor, loss func() float64) {
	t.Helper()
	const h = 1e-5
	data := tensor.Data[float64](p)
	for i := 0; i < len(data); i += 5 {
		old := data[i]
		data[i] = old + h
		up := loss()
		data[i] = old - h
		down := loss()
		data[i] = old
		want, got := (up-down)/(2*h), tensor.Data[float64](grad)[i]
		if math.Abs(got-want) > 1e-6*(1+math.Abs(want)) {
			t.Fatalf("%s, element %d: got %v, want %v", name, i, got, want)
		}
	}
}

// TestMergeTypes: a weight keeps its type, and the merge is the float64 one
// rounded once.
func TestMergeTypes(t *testing.T) {
	for _, m := range adapter.Methods() {
		d := adapter.Dims{In: 16, Out: 8, Rank: 4, MiniRank: 2}
		l := adapter.Layer{Method: m}
		for i, b := range m.Blocks(d) {
			l.Blocks = append(l.Blocks, testutil.Random(uint64(i), b.Shape...))
		}
		for _, dt := range []tensor.DType{tensor.Float16, tensor.BFloat16, tensor.Float64} {
			w, err := testutil.Random(9, d.In, d.Out).Cast(dt)
			if err != nil {
				t.Fatal(err)
			}
			wide, err := w.Cast(tensor.Float64)
			if err != nil {
				t.Fatal(err)
			}
			got, err := l.Merge(w)
			if err != nil {
				t.Fatal(err)
			}
			exact, err := l.Merge(wide)
			if err != nil {
				t.Fatal(err)
			}
			want, err := exact.Cast(dt)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Equal(want) {
				t.Errorf("%v into %v is not the float64 merge rounded once", m, dt)
			}
		}
	}
}

// TestMergeInChunks: a weight large enough to be cut into chunks merges as
// its columns' tiles do alone.
func TestMergeInChunks(t *testing.T) {
	const in, out, r = 1152, 512, 6
	d := adapter.Dims{In: in, Out: out, Rank: r, MiniRank: 4}
	for _, m := range []adapter.Method{adapter.Bone, adapter.MiSSMini, adapter.LoRA} {
		l := adapter.Layer{Method: m}
		for i, b := range m.Blocks(d) {
			l.Blocks = append(l.Blocks, testutil.Random(uint64(i), b.Shape...))
		}
		w := testutil.Random(7, in, out)
		got, err := l.Merge(w)
		if err != nil {
			t.Fatal(err)
		}
		eye := tensor.New(tensor.Float32, in, in)
		for i := range in {
			tensor.Data[float32](eye)[i*in+i] = 1
		}
		want, err := l.Forward(eye.Rows(600, 900), w, nil)
		check(t, m.String(), got.Rows(600, 900), err, want)
	}
}

func TestBrokenAdapter(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, bad := range []float32{nan, inf} {
		for _, in := range []int{8, 10} {
			w := testutil.Random(1, in, 8)
			base := w.Clone()
			block := tensor.New(tensor.Float32, 4, 8)
			tensor.Data[float32](block)[5] = bad
			_, err := adapter.Layer{Method: adapter.Bone, Name: "x", Blocks: []*tensor.Tensor{block}}.Merge(w)
			if err == nil || !strings.Contains(err.Error(), "NaNs detected in the merged weights. The adapter x seems to be broken") {
				t.Errorf("in %d, block with %v: got error %v", in, bad, err)
			}
			if !w.Equal(base) {
				t.Error("the base weight was changed")
			}
		}
	}
	// Finite as float32, infinite as float16.
	w := tensor.New(tensor.Float16, 4, 4)
	block := tensor.New(tensor.Float32, 2, 4)
	tensor.Data[float32](block)[0] = 70000
	if _, err := (adapter.Layer{Method: adapter.Bone, Blocks: []*tensor.Tensor{block}}).Merge(w); err == nil {
		t.Error("a float16 merge that overflows passes")
	}
}

func TestSingularBat(t *testing.T) {
	b := tensor.FromSlice([]float32{-1, 0, 0, -1}, 1, 2, 2)
	l := adapter.Layer{Method: adapter.Bat, Blocks: []*tensor.Tensor{b}}
	w, err := l.Merge(testutil.Random(1, 4, 2))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Unmerge(w); err == nil || !strings.Contains(err.Error(), "singular") {
		t.Errorf("got error %v, want one that says singular", err)
	}
}

func TestShapesRefused(t *testing.T) {
	w := testutil.Random(1, 8, 12)
	blk := func(shape ...int) []*tensor.Tensor { return []*tensor.Tensor{tensor.New(tensor.Float32, shape...)} }
	for _, l := range []adapter.Layer{
		{Method: adapter.Bone, Blocks: blk(2, 11)},
		{Method: adapter.Bone, Blocks: blk(12)},
		{Method: adapter.Bone, Blocks: blk(0, 12)},
		{Method: adapter.Bone},
		{Method: adapter.Bat, Blocks: blk(2, 4, 4)},
		{Method: adapter.Bat, Blocks: blk(4, 12)},
		{Method: adapter.Bat, Blocks: blk(4, 3, 3)},
		{Method: adapter.MiSSMini, Blocks: blk(4, 5)},
		{Method: adapter.LoRA, Blocks: blk(4, 8)},
		{Method: adapter.LoRA, Blocks: append(blk(4, 8), blk(12, 3)...)},
		{Method: adapter.Bone, Blocks: []*tensor.Tensor{tensor.New(tensor.Int8, 2, 12)}},
		{Method: adapter.Method(9), Blocks: blk(2, 12)},
	} {
		if got, err := l.Merge(w); err == nil {
			t.Errorf("%v with %v: got %v, want an error", l.Method, l.Blocks, got)
		}
	}
	l := adapter.Layer{Method: adapter.Bone, Blocks: blk(2, 12)}
	for _, w := range []*tensor.Tensor{tensor.New(tensor.Int8, 8, 12), tensor.New(tensor.Float32, 96), tensor.New(tensor.Float32, 2, 8, 12)} {
		if got, err := l.Merge(w); err == nil {
			t.Errorf("weight %v: got %v, want an error", w, got)
		}
	}
	if y, err := l.Forward(testutil.Random(1, 3, 7), w, nil); err == nil {
		t.Errorf("input of 7 for 8: got %v, want an error", y)
	}
	if y, err := l.Forward(testutil.Random(1, 3, 8), w, testutil.Random(1, 3)); err == nil {
		t.Errorf("bias of 3 for 12: got %v, want an error", y)
	}
	if g, err := (adapter.Stack{l}).Grad(testutil.Random(1, 3, 8), w, testutil.Random(1, 2, 12)); err == nil {
		t.Errorf("gradient of 2 rows for 3: got %v, want an error", g)
	}
}

func TestInit(t *testing.T) {
	d := adapter.Dims{In: 16, Out: 8, Rank: 4, MiniRank: 2}
	w := testutil.Random(1, d.In, d.Out)
	bounds := map[adapter.Method][]float64{
		adapter.Bone: {1 / math.Sqrt(8)}, adapter.MiSS: {1 / math.Sqrt(8)}, adapter.Bat: {1.0 / 4}, adapter.MiSSMini: {1 / math.Sqrt(2)}, adapter.LoRA: {1.0 / 4, 1.0 / 2},
	}
	for _, m := range adapter.Methods() {
		zero := m.Init(d, adapter.InitZero, 1, "q")
		got, err := adapter.Layer{Method: m, Blocks: zero}.Merge(w)
		if err != nil || !got.Equal(w) {
			t.Errorf("%v: zero init does not start at the base (%v)", m, err)
		}
		a, b := m.Init(d, adapter.InitRandom, 1, "q"), m.Init(d, adapter.InitRandom, 1, "q")
		for i := range a {
			if !a[i].Equal(b[i]) {
				t.Errorf("%v: the same seed and path give other values", m)
			}
			if a[i].Equal(m.Init(d, adapter.InitRandom, 2, "q")[i]) || a[i].Equal(m.Init(d, adapter.InitRandom, 1, "k")[i]) {
				t.Errorf("%v: seed or path makes no difference", m)
			}
			largest := 0.0
			for _, v := range tensor.Data[float32](a[i]) {
				largest = max(largest, math.Abs(float64(v)))
			}
			if bound := bounds[m][i]; largest > bound || largest < bound/2 {
				t.Errorf("%v block %d: largest value %v, want just below %v", m, i, largest, bound)
			}
		}
	}
	lora := adapter.LoRA.Init(d, adapter.InitZero, 1, "q")
	if lora[0].Equal(tensor.New(tensor.Float32, 4, 16)) {
		t.Error("lora's A starts at zero, so nothing would ever train")
	}
}

// TestInitIsUniform: init_weights=False draws from U(-b, b), b = 1/sqrt(out) for
// bone: mean 0, variance b^2/3, an eighth of the values in every eighth.
func TestInitIsUniform(t *testing.T) {
	d := adapter.Dims{In: 256, Out: 256, Rank: 128}
	values := tensor.Data[float32](adapter.Bone.Init(d, adapter.InitRandom, 11, "q")[0])
	n, bound := float64(len(values)), 1.0/16
	var mean, square float64
	var eighths [8]float64
	for _, v := range values {
		x := float64(v) / bound
		if x < -1 || x >= 1 {
			t.Fatalf("%v is outside of +-%v", v, bound)
		}
		mean += x / n
		square += x * x / n
		eighths[int((x+1)*4)]++
	}
	// Five standard deviations of each figure, with n = 32768.
	if math.Abs(mean) > 5*math.Sqrt(1/(3*n)) || math.Abs(square-1.0/3) > 5*math.Sqrt(4.0/45/n) {
		t.Errorf("mean %v, mean square %v of what fills -1 to 1", mean, square)
	}
	for i, k := range eighths {
		if math.Abs(k-n/8) > 5*math.Sqrt(n*7/64) {
			t.Errorf("eighth %d has %v of %v values", i, k, n)
		}
	}
}

func TestNames(t *testing.T) {
	for _, m := range adapter.Methods() {
		got, err := adapter.ParseMethod(strings.ToUpper(m.String()))
		if err != nil || got != m {
			t.Errorf("ParseMethod(%v): got %v, %v", m, got, err)
		}
	}
	if _, err := adapter.ParseMethod("dora"); err == nil || !strings.Contains(err.Error(), "bone, bat, miss, miss-mini, lora") {
		t.Errorf("unknown method: got error %v", err)
	}
	for key, want := range map[string]string{"layers.0.q.bone_block": "layers.0.q bone_block", "q.miss_block": "q miss_block", "a.lora_A.weight": "a lora_A.weight"} {
		path, suffix, ok := adapter.SplitKey(key)
		if got := path + " " + suffix; !ok || got != want {
			t.Errorf("SplitKey(%q): got %q, %v, want %q", key, got, ok, want)
		}
	}
	for _, key := range []string{"bone_block", ".bone_block", "q.weight"} {
		if p, _, ok := adapter.SplitKey(key); ok {
			t.Errorf("SplitKey(%q): got %q", key, p)
		}
	}
}
