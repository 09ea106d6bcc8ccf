package adapter_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

// tol is the suggested tolerance of the golden values, absolute and relative.
const tol = 1e-5

type goldenCase struct {
	File string
	Meta struct {
		Kind string
		In   int `json:"in_features"`
		Out  int `json:"out_features"`
		R    json.RawMessage
		Mini *int `json:"mini_r"`
	}
}

// kinds are the methods by the names that the index gives them; those with a
// miss_ prefix show that PEFT's MiSS is the same maths.
var kinds = map[string]adapter.Method{
	"bone": adapter.Bone, "bat": adapter.Bat, "miss": adapter.MiSS, "miss_bat": adapter.Bat, "miss_mini": adapter.MiSSMini,
}

func goldenCases(t *testing.T, keep func(goldenCase) bool) []goldenCase {
	t.Helper()
	b, err := os.ReadFile(testutil.Shared(t, "golden/index.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all, out []goldenCase
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if keep(c) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		t.Fatal("no golden case is left")
	}
	return out
}

func load(t *testing.T, c goldenCase) *npz.File {
	t.Helper()
	f, err := npz.ReadFile(testutil.Shared(t, "golden/"+c.File), npz.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestGoldenLayers(t *testing.T) {
	cases := goldenCases(t, func(c goldenCase) bool {
		return !strings.HasPrefix(c.File, "train_") && !strings.HasPrefix(c.File, "multi_") && !strings.HasPrefix(c.File, "rwkv")
	})
	if len(cases) != 37 {
		t.Errorf("%d layer cases, want 37", len(cases))
	}
	for _, c := range cases {
		t.Run(c.File, func(t *testing.T) {
			f := load(t, c)
			m, ok := kinds[c.Meta.Kind]
			if !ok {
				t.Fatalf("kind %q", c.Meta.Kind)
			}
			l := adapter.Layer{Method: m, Blocks: []*tensor.Tensor{f.Get("block")}}
			x, w, bias := f.Get("x"), f.Get("W"), f.Get("bias")
			base := w.Clone()

			y, err := l.Forward(x, w, bias)
			check(t, "y", y, err, f.Get("y"))
			y, err = adapter.Stack{}.Forward(x, w, bias)
			check(t, "y_base", y, err, f.Get("y_base"))
			merged, err := l.Merge(w)
			check(t, "W_merged", merged, err, f.Get("W_merged"))
			delta, err := l.Delta(w)
			check(t, "delta_W", delta, err, f.Get("delta_W"))
			g, err := adapter.Stack{l}.Grad(x, w, f.Get("g"))
			if err != nil {
				t.Fatal(err)
			}
			check(t, "grad_x", g.X, nil, f.Get("grad_x"))
			check(t, "grad_block", g.Blocks[0][0], nil, f.Get("grad_block"))
			back, err := l.Unmerge(merged)
			check(t, "unmerged", back, err, w)
			if want := f.Get("W_unmerged"); want != nil {
				check(t, "W_unmerged", back, nil, want)
			}
			if !w.Equal(base) {
				t.Error("the base weight was changed")
			}
			checkLimits(t, c, m, f)
		})
	}
}

// checkLimits: what PEFT merges passes Check, a rank above in does not.
func checkLimits(t *testing.T, c goldenCase, m adapter.Method, f *npz.File) {
	t.Helper()
	d, err := m.DimsOf(c.Meta.In, c.Meta.Out, f.Get("block").Shape())
	if err != nil {
		t.Fatal(err)
	}
	var r int
	if err := json.Unmarshal(c.Meta.R, &r); err != nil {
		t.Fatal(err)
	}
	if d.Rank != r || m == adapter.MiSSMini && d.MiniRank != *c.Meta.Mini {
		t.Errorf("dims %+v read off the block, want rank %d", d, r)
	}
	if got := m.Params(d); got != f.Get("block").Size() {
		t.Errorf("Params = %d, want %d", got, f.Get("block").Size())
	}
	err = m.Check(d)
	if r > c.Meta.In && (err == nil || !strings.Contains(err.Error(), "at most 6")) {
		t.Errorf("rank %d above in %d: got error %v", r, c.Meta.In, err)
	}
	if r <= c.Meta.In && err != nil {
		t.Errorf("Check: %v", err)
	}
}

func check(t *testing.T, name string, got *tensor.Tensor, err error, want *tensor.Tensor) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	testutil.Close(t, name, got, want, tol, tol)
}

// TestGoldenStacks: two active adapters in list order.
func TestGoldenStacks(t *testing.T) {
	for _, c := range goldenCases(t, func(c goldenCase) bool { return strings.HasPrefix(c.File, "multi_") }) {
		t.Run(c.File, func(t *testing.T) {
			f := load(t, c)
			m := kinds[c.Meta.Kind]
			s := adapter.Stack{
				{Method: m, Name: "a", Blocks: []*tensor.Tensor{f.Get("block_a")}},
				{Method: m, Name: "b", Blocks: []*tensor.Tensor{f.Get("block_b")}},
			}
			y, err := s.Forward(f.Get("x"), f.Get("W"), f.Get("bias"))
			check(t, "y", y, err, f.Get("y"))
			merged, err := s.Merge(f.Get("W"))
			check(t, "W_merged", merged, err, f.Get("W_merged"))
			back, err := s.Unmerge(merged)
			check(t, "unmerged", back, err, f.Get("W"))
			g, err := s.Grad(f.Get("x"), f.Get("W"), f.Get("g"))
			if err != nil {
				t.Fatal(err)
			}
			check(t, "grad_x", g.X, nil, f.Get("grad_x"))
			check(t, "grad_block_a", g.Blocks[0][0], nil, f.Get("grad_block_a"))
			check(t, "grad_block_b", g.Blocks[1][0], nil, f.Get("grad_block_b"))
			if m != adapter.Bat {
				return
			}
			swapped, err := adapter.Stack{s[1], s[0]}.Merge(f.Get("W"))
			if err != nil {
				t.Fatal(err)
			}
			if testutil.Compare(swapped, merged, 1e-4, 1e-4) == nil {
				t.Error("the order of two bat adapters makes no difference")
			}
		})
	}
}

// TestRowVariantIsNotBat: RWKV-PEFT indexes the block by input tile. Its
// block must not fit, or not give the same numbers, as bat.
func TestRowVariantIsNotBat(t *testing.T) {
	for _, c := range goldenCases(t, func(c goldenCase) bool { return strings.HasPrefix(c.File, "rwkvpeft_batrow") }) {
		f := load(t, c)
		l := adapter.Layer{Method: adapter.Bat, Blocks: []*tensor.Tensor{f.Get("block")}}
		if got, err := l.Merge(f.Get("W")); err == nil {
			t.Errorf("%s: a block of the row variant is taken for bat: %v", c.File, got)
		}
		// The same numbers on a square weight, where the shapes agree.
		w, err := f.Get("W").Transpose()
		if err != nil {
			t.Fatal(err)
		}
		square := w.Rows(0, 8)
		got, err := l.Merge(square)
		if err != nil {
			t.Fatal(err)
		}
		if testutil.Compare(got, rowVariant(square, f.Get("block")), 1e-3, 1e-3) == nil {
			t.Errorf("%s: bat equals the row variant on a square weight", c.File)
		}
	}
}

// rowVariant is W_ji + B_j^T (W_ji + I), B indexed by the input tile.
func rowVariant(w, block *tensor.Tensor) *tensor.Tensor {
	out := w.Clone()
	n, m, r := w.Shape()[0], w.Shape()[1], block.Shape()[1]
	W, B, D := tensor.Data[float32](w), tensor.Data[float32](block), tensor.Data[float32](out)
	for k := range n {
		for c := range m {
			j, p, i, q := k/r, k%r, c/r, c%r
			D[k*m+c] += B[j*r*r+q*r+p]
			for s := range r {
				D[k*m+c] += B[j*r*r+s*r+p] * W[(j*r+s)*m+i*r+q]
			}
		}
	}
	return out
}

// TestGoldenTraining checks the merged weights at the end of the recorded
// runs, and that a zero block changes nothing.
func TestGoldenTraining(t *testing.T) {
	for _, c := range goldenCases(t, func(c goldenCase) bool { return strings.HasPrefix(c.File, "train_") }) {
		t.Run(c.File, func(t *testing.T) {
			f := load(t, c)
			m := kinds[c.Meta.Kind]
			for _, k := range []string{"0", "1"} {
				l := adapter.Layer{Method: m, Blocks: []*tensor.Tensor{f.Get("block" + k + "_final")}}
				got, err := l.Merge(f.Get("W" + k))
				check(t, "W"+k+"_merged", got, err, f.Get("W"+k+"_merged"))
			}
			l := adapter.Layer{Method: m, Blocks: []*tensor.Tensor{f.Get("block1_init")}}
			if z, err := l.Delta(f.Get("W1")); err != nil || !strings.Contains(c.File, "random") && !z.Equal(tensor.New(tensor.Float32, z.Shape()...)) {
				t.Errorf("a zero block changes the weight (%v)", err)
			}
		})
	}
}
