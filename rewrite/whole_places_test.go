package rewrite_test

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/bonnx/bonnx/adapter"
	"github.com/bonnx/bonnx/autodiff"
	"github.com/bonnx/bonnx/internal/testutil"
	"github.com/bonnx/bonnx/internal/testutil/opcheck"
	"github.com/bonnx/bonnx/ir"
	"github.com/bonnx/bonnx/ops"
	"github.com/bonnx/bonnx/rewrite"
	"github.com/bonnx/bonnx/tensor"
)

// TestWholeChains trains the weight of every kind of layer whole, under a bat:
// the trained copy has the layer's layout, and what is merged goes back through
// the chain, or beside it where that would lose precision.
func TestWholeChains(t *testing.T) {
	for _, l := range layers {
		m, w, bias := l.build(17, 8, layerIn, layerOut)
		_, base := save(t, m, "m.onnx")
		fed, x := l.feed(layerIn)
		feeds := map[string]*tensor.Tensor{"x": fed}
		cfg := config(adapter.Bone, 4)
		cfg.Name, cfg.Save = "a", []string{"lin"}
		cfg.Targets = adapter.Modules{List: []string{"other"}}
		set := &adapter.Set{Config: cfg, Saved: []adapter.Named{{Key: "net.lin.weight", Tensor: testutil.Random(50, layerOut, layerIn)}}}
		if l.gemm {
			bias = testutil.Random(51, layerOut)
			set.Saved = append(set.Saved, adapter.Named{Key: "net.lin.bias", Tensor: bias})
		}
		set.Entries = nil
		if _, err := rewrite.Apply(m, set, rewrite.Options{}); err == nil || !strings.Contains(err.Error(), "no blocks") {
			t.Errorf("%s: a set without blocks: %v", l.name, err)
		}
		bat := sets([]piled{{adapter.Bat, 4, rewrite.Auto}})[0]
		bat.Config.Save, bat.Saved = cfg.Save, set.Saved
		if _, err := rewrite.Apply(m, bat, rewrite.Options{}); err != nil {
			t.Fatalf("%s: %v", l.name, err)
		}
		trained, err := turned(set.Saved[0].Tensor).Cast(w.DType())
		if err != nil {
			t.Fatal(err)
		}
		want := l.stacked(t, adapter.Stack{bat.Layer(bat.Entries[0])}, x, trained, bias)
		testutil.Close(t, l.name, run(t, m, feeds)[0], want, 1e-5, 1e-5)
		list, err := rewrite.Adapters(m)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := list[0].Targets[0].Weight.Read(); err != nil || !got.Equal(w) {
			t.Errorf("%s: the target's weight is not the base's (%v)", l.name, err)
		}
		l.checkStrip(t, m, base)
		inits := len(m.Graph.Initializers)
		if _, err := rewrite.Merge(m); err != nil {
			t.Fatal(err)
		}
		testutil.Close(t, l.name+", merged", run(t, m, feeds)[0], want, 1e-5, 1e-5)
		b, _, _ := l.build(17, 8, layerIn, layerOut)
		if got, want := len(m.Graph.Initializers), len(b.Graph.Initializers); got != want {
			t.Errorf("%s: %d initializers of %d are left, want %d", l.name, got, inits, want)
		}
	}
}

// quantized makes x -> MatMul by a quantized weight -> Relu -> y.
func quantized() *gb {
	b := newModel(17, 8)
	q := b.init("lin.weight_quantized", tensor.FromSlice([]int8{1, 2, 3, 4, 5, 6, 7, 8}, 4, 2))
	w := b.op("dq", "DequantizeLinear", "w", ir.In(q, b.init("lin.weight_scale", tensor.Scalar(float32(0.5)))))
	h := b.op("/lin/MatMul", "MatMul", "h", ir.In(b.input("x", tensor.Float32, ir.Symbol("n"), ir.Fixed(4)), w))
	h = b.op("", "Relu", "r", ir.In(h))
	h = b.op("/out/MatMul", "MatMul", "o", ir.In(h, b.init("out.w", testutil.Random(3, 2, 2))))
	b.output(b.op("", "Relu", "y", ir.In(h)), tensor.Float32, ir.Symbol("n"), ir.Fixed(2))
	return b
}

// TestWholeOfQuantized: the copy of a quantized weight holds what it stands for,
// and is kept beside it by a merge.
func TestWholeOfQuantized(t *testing.T) {
	b := quantized()
	cfg := config(adapter.Bone, 2)
	cfg.Init, cfg.Save, cfg.Targets = adapter.InitZero, []string{"lin"}, adapter.Modules{List: []string{"out"}}
	rep, err := rewrite.Inject(b.m, cfg, rewrite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Saved) != 1 || rep.Saved[0].Key != "lin.weight" {
		t.Errorf("trained whole %+v", rep.Saved)
	}
	want := tensor.FromSlice([]float32{.5, 1, 1.5, 2, 2.5, 3, 3.5, 4}, 4, 2)
	if got := value(t, b.m, "lin.weight"); !got.Equal(want) {
		t.Errorf("copy %v", got)
	}
	trained := testutil.Random(8, 4, 2)
	if err := rewrite.SetBlocks(b.m, map[string]*tensor.Tensor{"lin.weight": trained}); err != nil {
		t.Fatal(err)
	}
	if _, err := rewrite.Merge(b.m); err != nil {
		t.Fatal(err)
	}
	if v := b.m.Graph.Index()["lin.weight"]; v == nil || len(v.Uses()) != 1 || v.Uses()[0].Node.Name != "/lin/MatMul" || !value(t, b.m, "lin.weight").Equal(trained) {
		t.Errorf("merged: %+v", v)
	}
	if v := b.m.Graph.Index()["lin.weight_quantized"]; v == nil || v.Data.DType() != tensor.Int8 {
		t.Error("the quantized weight changed")
	}
}

// TestWholeOfHalf: a float16 weight is trained as float32 and stored as float16
// again, unless it does not fit.
func TestWholeOfHalf(t *testing.T) {
	half := func(x *tensor.Tensor) *tensor.Tensor {
		h, err := x.Cast(tensor.Float16)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	build := func() *ir.Model {
		b := newModel(17, 8)
		h := half(testutil.Random(1, 4, 4))
		y := b.op("/lin/MatMul", "MatMul", "h", ir.In(b.input("x", tensor.Float16, ir.Symbol("n"), ir.Fixed(4)), b.init("lin.weight", h)))
		y = b.op("/out/MatMul", "MatMul", "o", ir.In(y, b.init("out.w", h)))
		b.output(b.op("", "Relu", "y", ir.In(y)), tensor.Float16, ir.Symbol("n"), ir.Fixed(4))
		return b.m
	}
	m := build()
	cfg := config(adapter.Bone, 2)
	cfg.Init, cfg.Save, cfg.Targets = adapter.InitZero, []string{"lin"}, adapter.Modules{List: []string{"out"}}
	if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	list, err := rewrite.Adapters(m)
	if err != nil {
		t.Fatal(err)
	}
	name := list[0].TrainableNames()[1]
	if d := value(t, m, name).DType(); d != tensor.Float32 {
		t.Errorf("the copy is %v", d)
	}
	large := testutil.Random(2, 4, 4)
	tensor.Data[float32](large)[3] = 1e6
	for _, c := range []struct {
		values *tensor.Tensor
		err    string
	}{{testutil.Random(2, 4, 4), ""}, {large, "does not fit float16"}, {infinite(), "infinite or NaN"}} {
		s := m.Clone()
		if err := rewrite.SetBlocks(s, map[string]*tensor.Tensor{name: c.values}); err != nil {
			t.Fatal(err)
		}
		trained := s.Clone()
		_, err := rewrite.Merge(s)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if !value(t, s, "lin.weight").Equal(half(c.values)) {
			t.Error("the merged weight is not the trained one as float16")
		}
		feeds := map[string]*tensor.Tensor{"x": half(testutil.Random(9, 3, 4))}
		if a, b := run(t, trained, feeds)[0], run(t, s, feeds)[0]; !a.Equal(b) {
			t.Error("trained and merged give different results")
		}
	}
}

func infinite() *tensor.Tensor {
	t := testutil.Random(2, 4, 4)
	tensor.Data[float32](t)[0] = float32(math.Inf(-1))
	return t
}

// TestWholeUnderBlocks: what one adapter trains whole stands under the blocks of
// another; a merge of these alone would be lost and is refused.
func TestWholeUnderBlocks(t *testing.T) {
	for _, first := range []bool{true, false} {
		m := tower(17, 8).m
		whole := config(adapter.Bone, 4)
		whole.Name, whole.Save, whole.Targets = "whole", []string{"layers.0.q_proj"}, adapter.Modules{List: []string{"k_proj"}}
		bat := config(adapter.Bat, 4)
		bat.Name, bat.Targets = "bat", adapter.Modules{List: []string{"q_proj"}}
		list := []adapter.Config{whole, bat}
		if !first {
			list = []adapter.Config{bat, whole}
		}
		for _, cfg := range list {
			if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		trained := testutil.Random(70, 8, 8)
		if err := rewrite.SetBlocks(m, map[string]*tensor.Tensor{"layers.0.q_proj.weight.whole": trained}); err != nil {
			t.Fatal(err)
		}
		feeds := map[string]*tensor.Tensor{"x": testutil.Random(9, 3, 8)}
		y := run(t, m, feeds)[0]

		// The same by hand: the trained weight in the base, then the blocks.
		want := tower(17, 8).m
		want.Graph.Index()["onnx::MatMul_1"].Data = ir.Dense(trained)
		for _, cfg := range list {
			cfg.Save = nil
			if _, err := rewrite.Inject(want, cfg, rewrite.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		testutil.Close(t, "whole under a bat", y, run(t, want, feeds)[0], 1e-6, 1e-6)

		if _, err := rewrite.Merge(m.Clone(), "bat"); err == nil || !strings.Contains(err.Error(), `adapter "whole" trains the weight whole`) {
			t.Errorf("merge of the bat alone: %v", err)
		}
		for _, names := range [][]string{{"whole"}, nil} {
			c := m.Clone()
			if _, err := rewrite.Merge(c, names...); err != nil {
				t.Fatal(err)
			}
			testutil.Close(t, "merged "+strings.Join(names, " "), run(t, c, feeds)[0], y, 1e-5, 1e-5)
		}
		if err := rewrite.Strip(m, "whole"); err != nil {
			t.Fatal(err)
		}
		rest := tower(17, 8).m
		if _, err := rewrite.Inject(rest, bat, rewrite.Options{}); err != nil {
			t.Fatal(err)
		}
		_, a := save(t, m, "m.onnx")
		if _, b := save(t, rest, "m.onnx"); !bytes.Equal(a, b) {
			t.Error("stripping what is whole leaves another model than the bat on the base")
		}
	}
}

// TestWholeGradients: the trained copies get the gradients of the parameters
// that they stand for.
func TestWholeGradients(t *testing.T) {
	m := zoo(nil).m
	cfg := saving("all", "rms", "norm", "conv", "classifier", "up")
	cfg.Init = adapter.InitRandom
	cfg.Targets.List = []string{"q"}
	if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	list, err := rewrite.Adapters(m)
	if err != nil {
		t.Fatal(err)
	}
	names := list[0].TrainableNames()
	grads := gradients(t, m, names)
	for i, name := range names {
		g, x := grads[i], value(t, m, name)
		for k := 0; k < x.Size(); k += 1 + x.Size()/3 {
			const h = 1e-2
			at := func(d float32) float64 {
				c := m.Clone()
				y := x.Clone()
				tensor.Data[float32](y)[k] += d
				if err := rewrite.SetBlocks(c, map[string]*tensor.Tensor{name: y}); err != nil {
					t.Fatal(err)
				}
				return total(run(t, c, zooFeeds()))
			}
			want, got := (at(h)-at(-h))/(2*h), float64(tensor.Data[float32](g)[k])
			if math.Abs(got-want) > 2e-2*(1+math.Abs(want)) {
				t.Errorf("%s, element %d: gradient %v, want %v", name, k, got, want)
			}
		}
	}
}

// TestWholeInBranch trains a weight of the main graph that a branch reads too.
func TestWholeInBranch(t *testing.T) {
	build := func() *gb {
		b := newModel(17, 8)
		x := b.input("x", tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
		cond := b.input("c", tensor.Bool)
		w := b.init("lin.weight", testutil.Random(1, 4, 4))
		h := b.op("/lin/MatMul", "MatMul", "h", ir.In(x, w))
		branch := func(name string, out func(s *gb) *ir.Value) *ir.Graph {
			s := &gb{b.m, ir.NewGraph(name)}
			s.g.Outputs = []*ir.Value{out(s)}
			return s.g
		}
		yes := branch("yes", func(s *gb) *ir.Value { return s.op("/lin/MatMul_1", "MatMul", "t", ir.In(h, w)) })
		no := branch("no", func(s *gb) *ir.Value {
			return s.op("/low/MatMul", "MatMul", "f", ir.In(h, s.init("low.weight", testutil.Random(2, 4, 4))))
		})
		y := b.op("if", "If", "y", ir.In(cond), ir.A("then_branch", ir.GraphAttr{Graph: yes}), ir.A("else_branch", ir.GraphAttr{Graph: no}))
		b.output(y, tensor.Float32, ir.Symbol("n"), ir.Fixed(4))
		return b
	}
	m := build().m
	_, base := save(t, m, "m.onnx")
	cfg := config(adapter.Bone, 2)
	cfg.Init, cfg.Save, cfg.Targets = adapter.InitZero, []string{"lin"}, adapter.Modules{List: []string{"low"}}
	if _, err := rewrite.Inject(m, cfg, rewrite.Options{}); err != nil {
		t.Fatal(err)
	}
	w := testutil.Random(8, 4, 4)
	if err := rewrite.SetBlocks(m, map[string]*tensor.Tensor{"lin.weight_1": w}); err != nil {
		t.Fatal(err)
	}
	want := build().m
	want.Graph.Index()["lin.weight"].Data = ir.Dense(w)
	merged := m.Clone()
	if _, err := rewrite.Merge(merged); err != nil {
		t.Fatal(err)
	}
	for _, c := range []bool{true, false} {
		feeds := map[string]*tensor.Tensor{"x": testutil.Random(9, 3, 4), "c": tensor.Scalar(c)}
		testutil.Close(t, "trained", run(t, m, feeds)[0], run(t, want, feeds)[0], 1e-6, 1e-6)
		testutil.Close(t, "merged", run(t, merged, feeds)[0], run(t, want, feeds)[0], 1e-6, 1e-6)
	}
	if err := rewrite.Strip(m); err != nil {
		t.Fatal(err)
	}
	if _, got := save(t, m, "m.onnx"); !bytes.Equal(got, base) {
		t.Error("stripped model is not the base")
	}
}

// TestScrambledStacks moves strings and numbers of records with several
// adapters and trained copies about; see TestScrambledRecords.
func TestScrambledStacks(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	whole := zoo(nil).m
	for i, cfg := range []adapter.Config{saving("none", "classifier", "embed"), saving("all"), saving("none", "head")} {
		cfg.Name = string(rune('a' + i))
		if i > 0 {
			cfg.Method, cfg.Bias = adapter.Bat, "none"
			cfg.Rank, cfg.Targets.List = 2, []string{"q", "up"}
		}
		if _, err := rewrite.Inject(whole, cfg, rewrite.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	text, _ := whole.Metadata.Get(rewrite.MetadataKey)
	var all []string
	for n := range whole.Graph.Nodes() {
		all = append(all, n.Name, n.Output(0).Name)
	}
	for _, v := range whole.Graph.Initializers {
		all = append(all, v.Name)
	}
	failed := 0
	for range 300 {
		var tree any
		if err := json.Unmarshal([]byte(text), &tree); err != nil {
			t.Fatal(err)
		}
		scramble(tree, rng, all)
		b, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		m := whole.Clone()
		m.Metadata.Set(rewrite.MetadataKey, string(b))
		for _, do := range []func(*ir.Model) error{
			func(m *ir.Model) error { return rewrite.Strip(m) },
			func(m *ir.Model) error { return rewrite.Strip(m, "b") },
			func(m *ir.Model) error { _, err := rewrite.Merge(m, "a"); return err },
			func(m *ir.Model) error { _, err := rewrite.Sets(m); return err },
			func(m *ir.Model) error { return rewrite.Convert(m, rewrite.Options{Inputs: true}) },
		} {
			c := m.Clone()
			if err := do(c); err != nil {
				failed++
			}
			if err := ir.Verify(c); err != nil {
				t.Fatalf("record %s: invalid model: %v", b, err)
			}
		}
	}
	if failed == 0 {
		t.Error("no scrambled record was refused")
	}
}

// gradients are those of the sum of all outputs by the initializers of these
// names.
func gradients(t *testing.T, m *ir.Model, names []string) []*tensor.Tensor {
	t.Helper()
	trained := map[string]bool{}
	for _, n := range names {
		trained[n] = true
	}
	m, err := ops.Canonical(m)
	if err != nil {
		t.Fatal(err)
	}
	set := ops.Standard()
	an, err := set.Analyze(m, ops.AnalyzeOptions{Mutable: func(v *ir.Value) bool { return trained[v.Name] }})
	if err != nil {
		t.Fatal(err)
	}
	b := ops.NewBuilder(an, m.Graph, ir.NewNames(m))
	var loss *ir.Value
	for _, y := range m.Graph.Outputs {
		sum := b.Op("ReduceSum", ir.In(y), ir.A("keepdims", ir.Int(0)))
		if loss != nil {
			sum = b.Op("Add", ir.In(loss, sum))
		}
		loss = sum
	}
	index := m.Graph.Index()
	var by []*ir.Value
	for _, n := range names {
		by = append(by, index[n])
	}
	grads, err := autodiff.Gradient(b, loss, by)
	if err != nil {
		t.Fatal(err)
	}
	feeds := map[*ir.Value]*tensor.Tensor{}
	for name, x := range zooFeeds() {
		feeds[index[name]] = x
	}
	out, err := opcheck.Run(set, m, feeds, grads)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// total is the sum of all elements.
func total(ts []*tensor.Tensor) float64 {
	sum := 0.0
	for _, x := range ts {
		for _, v := range tensor.Data[float32](x) {
			sum += float64(v)
		}
	}
	return sum
}
