package rewrite_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/autodiff"
	"github.com/bonnx/bonnx/fuse"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/internal/testutil/ort"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
	"github.com/bonnx/bonnx/tensor/npz"
)

// piled is one adapter of a stack on module lin.
type piled struct {
	method adapter.Method
	rank   int
	form   rewrite.Form
}

// stacks are mixes of methods and forms, ranks 4, 2 and 3 by turns: 3 divides
// no size of the layer.
func stacks() [][]piled {
	var out [][]piled
	for _, a := range adapter.Methods() {
		for _, b := range []adapter.Method{adapter.Bone, adapter.Bat, adapter.LoRA} {
			for _, form := range []rewrite.Form{rewrite.Auto, rewrite.Weighted} {
				out = append(out, []piled{{a, 4, form}, {b, 2, rewrite.Auto}})
			}
		}
	}
	return append(out,
		[]piled{{adapter.Bone, 4, rewrite.Auto}, {adapter.Bat, 2, rewrite.Auto}, {adapter.Bone, 3, rewrite.Auto}},
		[]piled{{adapter.Bat, 4, rewrite.Auto}, {adapter.MiSS, 3, rewrite.Auto}, {adapter.Bat, 2, rewrite.Auto}},
		[]piled{{adapter.Bat, 4, rewrite.Auto}, {adapter.Bat, 2, rewrite.Auto}, {adapter.Bat, 1, rewrite.Auto}},
		[]piled{{adapter.LoRA, 3, rewrite.Auto}, {adapter.MiSSMini, 3, rewrite.Weighted}, {adapter.Bone, 4, rewrite.Auto}},
	)
}

func label(p []piled) string {
	var s []string
	for _, x := range p {
		s = append(s, fmt.Sprintf("%v%d(%v)", x.method, x.rank, x.form))
	}
	return strings.Join(s, " ")
}

// sets are the stack's adapters a, b, c on the weight of the layer.
func sets(p []piled) []*adapter.Set {
	var out []*adapter.Set
	for i, x := range p {
		cfg := config(x.method, x.rank)
		cfg.Name, cfg.Seed = string(rune('a'+i)), uint64(20+i)
		blocks := x.method.Init(cfg.Dims(layerIn, layerOut), adapter.InitRandom, cfg.Seed, "net.lin")
		out = append(out, &adapter.Set{Config: cfg, Entries: []adapter.Entry{{Path: "net.lin", Blocks: blocks}}})
	}
	return out
}

// pile puts the adapters that pick names (all where it is nil) on a layer.
func (l layer) pile(t *testing.T, p []piled, pick func(i int) bool) (*ir.Model, adapter.Stack) {
	t.Helper()
	m, _, _ := l.build(17, 8, layerIn, layerOut)
	var s adapter.Stack
	for i, set := range sets(p) {
		if pick != nil && !pick(i) {
			continue
		}
		if _, err := rewrite.Apply(m, set, rewrite.Options{Form: p[i].form}); err != nil {
			t.Fatalf("%s: %v", label(p), err)
		}
		s = append(s, set.Layer(set.Entries[0]))
	}
	return m, s
}

// stacked is the layer's output by adapter.Stack.
func (l layer) stacked(t *testing.T, s adapter.Stack, x, w, bias *tensor.Tensor) *tensor.Tensor {
	t.Helper()
	merged, err := s.Merge(w)
	if err != nil {
		t.Fatal(err)
	}
	zero := &adapter.Set{Config: config(adapter.Bone, 1), Entries: []adapter.Entry{{Blocks: []*tensor.Tensor{tensor.New(tensor.Float32, 1, layerOut)}}}}
	return l.wanted(t, zero, x, merged, bias)
}

// TestStacks holds stacks of every mix on every kind of layer to adapter.Stack.
func TestStacks(t *testing.T) {
	for _, l := range layers {
		_, w, bias := l.build(17, 8, layerIn, layerOut)
		fed, x := l.feed(layerIn)
		for _, p := range stacks() {
			m, s := l.pile(t, p, nil)
			got := run(t, m, map[string]*tensor.Tensor{"x": fed})[0]
			testutil.Close(t, l.name+", "+label(p), got, l.stacked(t, s, x, w, bias), 1e-5, 1e-5)
		}
	}
}

// TestSubsets strips and merges every subset of every stack: what is left after
// stripping is, byte for byte, the others put on the base; merging leaves the
// outputs alone, or is refused where a bat makes the order matter.
func TestSubsets(t *testing.T) {
	l := layers[3] // behind a Transpose
	base, _, _ := l.build(17, 8, layerIn, layerOut)
	_, plain := save(t, base, "m.onnx")
	fed, _ := l.feed(layerIn)
	feeds := map[string]*tensor.Tensor{"x": fed}
	refused := 0
	for _, p := range stacks() {
		whole, _ := l.pile(t, p, nil)
		want := run(t, whole, feeds)[0]
		for mask := 1; mask < 1<<len(p); mask++ {
			in := func(i int) bool { return mask>>i&1 == 1 }
			var names []string
			exact := true
			for i := range p {
				if !in(i) {
					continue
				}
				names = append(names, string(rune('a'+i)))
				for j := range i {
					exact = exact && (in(j) || p[i].method.Additive() && p[j].method.Additive())
				}
			}
			name := fmt.Sprintf("%s, %v", label(p), names)
			stripped := whole.Clone()
			if err := rewrite.Strip(stripped, names...); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			rest, _ := l.pile(t, p, func(i int) bool { return !in(i) })
			_, a := save(t, stripped, "m.onnx")
			if _, b := save(t, rest, "m.onnx"); !bytes.Equal(a, b) {
				t.Errorf("%s: stripping leaves another model than the rest on the base", name)
			}
			merged := whole.Clone()
			switch _, err := rewrite.Merge(merged, names...); {
			case exact && err != nil:
				t.Errorf("%s: merge: %v", name, err)
			case !exact:
				if refused++; err == nil || !strings.Contains(err.Error(), "cannot be merged without it") {
					t.Errorf("%s: merge: %v, want a refusal", name, err)
				}
				continue
			}
			testutil.Close(t, name+", merged", run(t, merged, feeds)[0], want, 1e-5, 1e-5)
			if left, err := rewrite.Adapters(merged); err != nil || len(left) != len(p)-len(names) {
				t.Errorf("%s: %d adapters left, %v", name, len(left), err)
			}
		}
		if err := rewrite.Strip(whole); err != nil {
			t.Fatal(err)
		}
		if _, got := save(t, whole, "m.onnx"); !bytes.Equal(got, plain) {
			t.Errorf("%s: stripped model is not the base", label(p))
		}
	}
	if refused == 0 {
		t.Error("no merge was refused")
	}
}

// stackGrads are the gradients of sum(y * g) by x and all blocks, of the graph
// as written or as raised.
func stackGrads(t *testing.T, m *ir.Model, x, g *tensor.Tensor, raise bool) []*tensor.Tensor {
	t.Helper()
	list, err := rewrite.Adapters(m)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	blocks := map[string]bool{}
	for _, a := range list {
		for _, n := range a.BlockNames() {
			names = append(names, n)
			blocks[n] = true
		}
	}
	m, err = ops.Canonical(m)
	if err != nil {
		t.Fatal(err)
	}
	isBlock := func(v *ir.Value) bool { return blocks[v.Name] }
	set := ops.Standard()
	if raise {
		if err := fuse.Raise(m, set, fuse.Options{Mutable: isBlock}); err != nil {
			t.Fatal(err)
		}
	}
	an, err := set.Analyze(m, ops.AnalyzeOptions{Mutable: isBlock})
	if err != nil {
		t.Fatal(err)
	}
	b := ops.NewBuilder(an, m.Graph, ir.NewNames(m))
	loss := b.Op("ReduceSum", ir.In(b.Mul(m.Graph.Outputs[0], b.Const("g", g))), ir.A("keepdims", ir.Int(0)))
	index := m.Graph.Index()
	by := ir.In(index["x"])
	for _, n := range names {
		by = append(by, index[n])
	}
	grads, err := autodiff.Gradient(b, loss, by)
	if err != nil {
		t.Fatal(err)
	}
	out, err := opcheck.Run(set, m, map[*ir.Value]*tensor.Tensor{index["x"]: x}, grads)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestStackGradients holds the gradients of x and of every block of every
// stack to adapter.Stack's.
func TestStackGradients(t *testing.T) {
	for _, p := range stacks() {
		b := newModel(17, 8)
		w, x, g := testutil.Random(1, layerIn, layerOut), testutil.Random(2, 3, layerIn), testutil.Random(3, 3, layerOut)
		b.output(b.op("/net/lin/MatMul", "MatMul", "y", ir.In(b.input("x", tensor.Float32, ir.Symbol("n"), ir.Fixed(layerIn)), b.init("w", w))),
			tensor.Float32, ir.Symbol("n"), ir.Fixed(layerOut))
		var s adapter.Stack
		for i, set := range sets(p) {
			if _, err := rewrite.Apply(b.m, set, rewrite.Options{Form: p[i].form}); err != nil {
				t.Fatal(err)
			}
			s = append(s, set.Layer(set.Entries[0]))
		}
		want, err := s.Grad(x, w, g)
		if err != nil {
			t.Fatal(err)
		}
		for _, raise := range []bool{false, true} {
			got := stackGrads(t, b.m, x, g, raise)
			name := fmt.Sprintf("%s, raised %v", label(p), raise)
			testutil.Close(t, name+", x", got[0], want.X, 1e-5, 1e-5)
			k := 1
			for i := range s {
				for j := range s[i].Blocks {
					testutil.Close(t, fmt.Sprintf("%s, block %d of %d", name, j, i), got[k], want.Blocks[i][j], 1e-5, 1e-5)
					k++
				}
			}
		}
	}
}

// goldenStacks are PEFT's layers with two active adapters, as graphs.
func goldenStacks(t *testing.T, check func(name string, f *npz.File, m *ir.Model)) {
	t.Helper()
	for _, c := range []struct {
		file   string
		method adapter.Method
		forms  []rewrite.Form
	}{
		{"multi_bone_10x7_r4_r3.npz", adapter.Bone, []rewrite.Form{rewrite.Activation, rewrite.Weighted}},
		{"multi_bone_8x6_r2_r4.npz", adapter.Bone, []rewrite.Form{rewrite.Activation, rewrite.Weighted}},
		{"multi_bat_8x12_r4_r2.npz", adapter.Bat, []rewrite.Form{rewrite.Auto}},
	} {
		f, err := npz.ReadFile(testutil.Shared(t, "golden/"+c.file), npz.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, form := range c.forms {
			m := goldenLayer{c.file, c.method, f}.model()
			for _, name := range []string{"a", "b"} {
				block, w := f.Get("block_"+name), f.Get("W").Shape()
				d, err := c.method.DimsOf(w[0], w[1], block.Shape())
				if err != nil {
					t.Fatal(err)
				}
				cfg := config(c.method, d.Rank)
				cfg.Name = name
				set := &adapter.Set{Config: cfg, Entries: []adapter.Entry{{Path: "lin", Blocks: []*tensor.Tensor{block}}}}
				if _, err := rewrite.Apply(m, set, rewrite.Options{Form: form}); err != nil {
					t.Fatal(err)
				}
			}
			check(fmt.Sprintf("%s, %v: ", c.file, form), f, m)
		}
	}
}

// TestGoldenStacks: outputs, gradients and the merged weight are PEFT's.
func TestGoldenStacks(t *testing.T) {
	goldenStacks(t, func(name string, f *npz.File, m *ir.Model) {
		testutil.Close(t, name+"y", run(t, m, map[string]*tensor.Tensor{"x": f.Get("x")})[0], f.Get("y"), goldenTol, goldenTol)
		for _, raise := range []bool{false, true} {
			for i, g := range stackGrads(t, m, f.Get("x"), f.Get("g"), raise) {
				what := []string{"grad_x", "grad_block_a", "grad_block_b"}[i]
				testutil.Close(t, name+what, g, f.Get(what), goldenTol, goldenTol)
			}
		}
		if _, err := rewrite.Merge(m); err != nil {
			t.Fatal(err)
		}
		testutil.Close(t, name+"W_merged", value(t, m, "w"), f.Get("W_merged"), goldenTol, goldenTol)
	})
}

// TestORTGoldenStacks: outputs in ONNX Runtime are PEFT's.
func TestORTGoldenStacks(t *testing.T) {
	ort.Available(t)
	goldenStacks(t, func(name string, f *npz.File, m *ir.Model) {
		path, _ := save(t, m, "m.onnx")
		testutil.Close(t, name+"y", ort.Run(t, path, map[string]*tensor.Tensor{"x": f.Get("x")})["y"], f.Get("y"), goldenTol, goldenTol)
	})
}

// TestORTStacks runs the stacks in ONNX Runtime.
func TestORTStacks(t *testing.T) {
	ort.Available(t)
	for _, l := range []layer{layers[0], layers[3], layers[10]} {
		_, w, bias := l.build(17, 8, layerIn, layerOut)
		fed, x := l.feed(layerIn)
		for _, p := range stacks() {
			m, s := l.pile(t, p, nil)
			path, _ := save(t, m, "m.onnx")
			got := ort.Run(t, path, map[string]*tensor.Tensor{"x": fed})["y"]
			testutil.Close(t, l.name+", "+label(p), got, l.stacked(t, s, x, w, bias), 1e-5, 1e-5)
		}
	}
}

// TestStackNames: adapter default has the bare names, the others their own.
func TestStackNames(t *testing.T) {
	m := tower(17, 8).m
	for _, name := range []string{"", "fr"} {
		cfg := config(adapter.Bone, 4)
		cfg.Name = name
		if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := rewrite.Sets(m)
	if err != nil || len(list) != 2 || list[0].Config.DisplayName() != "default" || list[1].Config.Name != "fr" || list[0].Fingerprint != "" {
		t.Fatalf("sets %+v, %v", list, err)
	}
	index := m.Graph.Index()
	for _, n := range []string{"layers.0.q_proj.bone_block", "layers.0.q_proj.bone_block.fr", "layers.1.k_proj.bone_block.fr"} {
		if index[n] == nil {
			t.Errorf("no block %q", n)
		}
	}
	for _, n := range []string{"/layers.0/q_proj/bone/Add", "/layers.0/q_proj/bone.fr/Add"} {
		if !strings.Contains(" "+names(m), " "+n+" ") {
			t.Errorf("no node %q among %s", n, names(m))
		}
	}
	if err := rewrite.SetFingerprint(m, list[1]); err != nil {
		t.Fatal(err)
	}
	if got, err := rewrite.Extract(m, "fr"); err != nil || got.Fingerprint != list[1].Fingerprint || got.Fingerprint == "" {
		t.Errorf("fingerprints %q and %q, %v", got.Fingerprint, list[1].Fingerprint, err)
	}
	if _, err := rewrite.Extract(m, ""); err == nil || !strings.Contains(err.Error(), "2 adapters; say which") {
		t.Errorf("which of two: %v", err)
	}
}

// TestTrusted: a fingerprint that is known to be right costs no reading.
func TestTrusted(t *testing.T) {
	set, err := rewrite.Extract(adapted(t, adapter.Bone, rewrite.Options{}), "")
	if err != nil {
		t.Fatal(err)
	}
	m := tower(17, 8).m
	seal(m)
	if _, err := rewrite.Apply(m.Clone(), set, rewrite.Options{}); err == nil {
		t.Error("the base was not read")
	}
	if _, err := rewrite.Apply(m, set, rewrite.Options{Trusted: true}); err != nil {
		t.Fatal(err)
	}
	if list, err := rewrite.Sets(m); err != nil || list[0].Fingerprint != set.Fingerprint {
		t.Errorf("recorded %+v, %v", list, err)
	}
}

// TestConvertSome gives one of two adapters another form.
func TestConvertSome(t *testing.T) {
	p := []piled{{adapter.Bone, 4, rewrite.Auto}, {adapter.LoRA, 2, rewrite.Auto}}
	m, _ := layers[0].pile(t, p, nil)
	fed, _ := layers[0].feed(layerIn)
	feeds := map[string]*tensor.Tensor{"x": fed}
	want := run(t, m, feeds)[0]
	if err := rewrite.Convert(m, rewrite.Options{Form: rewrite.Weighted, Inputs: true}, "b"); err != nil {
		t.Fatal(err)
	}
	list, err := rewrite.Adapters(m)
	if err != nil || list[0].Form != rewrite.Activation || list[0].Inputs || list[1].Form != rewrite.Weighted || !list[1].Inputs {
		t.Errorf("adapters %+v, %v", list, err)
	}
	testutil.Close(t, "converted", run(t, m, feeds)[0], want, 1e-5, 1e-5)
}

// TestMergedBaseIsAnother: an adapter above a merged one no longer has the base
// that its fingerprint names.
func TestMergedBaseIsAnother(t *testing.T) {
	m := adapted(t, adapter.Bone, rewrite.Options{})
	set, err := rewrite.Extract(m, "")
	if err != nil {
		t.Fatal(err)
	}
	set.Config.Name = "above"
	if _, err := rewrite.Apply(m, set, rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := rewrite.Merge(m, "default"); err != nil {
		t.Fatal(err)
	}
	if list, err := rewrite.Sets(m); err != nil || len(list) != 1 || list[0].Config.Name != "above" || list[0].Fingerprint != "" {
		t.Errorf("left %+v, %v", list, err)
	}
}
